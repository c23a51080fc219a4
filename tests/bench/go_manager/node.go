package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	cadvisorapi "github.com/google/cadvisor/lib/model"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
)

// node is as much of a kubelet as an admission of devices passes through: both managers, and the fit check.
type node struct {
	manager  *devicemanager.ManagerImpl
	handlers []lifecycle.PodAdmitHandler
	mutex    sync.Mutex
	pods     []*v1.Pod
}

func newNode(directory, policy string, numaNodes int, marks *marks) (*node, error) {
	topology := make([]cadvisorapi.Node, numaNodes)
	for id := range topology {
		topology[id].Id = id
	}
	aligner, err := topologymanager.NewManager(klog.TODO(), topology, policy, "container", nil)
	if err != nil {
		return nil, err
	}
	manager, err := newManager(filepath.Join(directory, "device-plugins", "kubelet.sock"), topology, aligner, marks)
	if err != nil {
		return nil, err
	}
	aligner.AddHintProvider(klog.TODO(), manager)
	n := &node{manager: manager}
	fit := lifecycle.NewPredicateAdmitHandler(n.published, noPreemption{}, manager.UpdatePluginResources)
	n.handlers = []lifecycle.PodAdmitHandler{aligner, fit}
	return n, manager.Start(klog.TODO(), n.active, sourcesAreReady{}, containermap.NewContainerMap(), sets.New[string]())
}

// admit does what a kubelet does with a new pod, in the kubelet's order.
func (n *node) admit(pod *v1.Pod) error {
	others := n.active()
	n.mutex.Lock()
	n.pods = append(n.pods, pod)
	n.mutex.Unlock()
	attributes := &lifecycle.PodAdmitAttributes{Pod: pod, OtherPods: others, Operation: lifecycle.AddOperation}
	for _, handler := range n.handlers {
		if result := handler.Admit(context.TODO(), attributes); !result.Admit {
			n.remove(pod.UID)
			return fmt.Errorf("%s: %s: %s", pod.Name, result.Reason, result.Message)
		}
	}
	return nil
}

// remove: the pod has ended. The manager finds out at its next admission.
func (n *node) remove(uid types.UID) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.pods = slices.DeleteFunc(n.pods, func(pod *v1.Pod) bool { return pod.UID == uid })
}

func (n *node) active() []*v1.Pod {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return slices.Clone(n.pods)
}

// published is the node with what the manager has to offer, for the fit check.
func (n *node) published(context.Context, bool) (*v1.Node, error) {
	capacity, allocatable, _ := n.manager.GetCapacity(klog.TODO())
	pods := *resource.NewQuantity(1000, resource.DecimalSI)
	capacity[v1.ResourcePods], allocatable[v1.ResourcePods] = pods, pods
	status := v1.NodeStatus{Capacity: capacity, Allocatable: allocatable}
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "bench"}, Status: status}, nil
}

type sourcesAreReady struct{}

func (sourcesAreReady) AddSource(string) {}
func (sourcesAreReady) AllReady() bool   { return true }

type noPreemption struct{}

func (noPreemption) HandleAdmissionFailure(_ context.Context, _ *v1.Pod, reasons []lifecycle.PredicateFailureReason, _ lifecycle.Operation) ([]lifecycle.PredicateFailureReason, error) {
	return reasons, nil
}
