package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	cadvisorapi "github.com/google/cadvisor/lib/model"
	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	registrationapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	v1helper "k8s.io/kubernetes/pkg/apis/core/v1/helper"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	plugin "k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/plugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/pkg/kubelet/pluginmanager"
)

var ctx = context.Background()

var gates = utilfeature.DefaultFeatureGate

type settings struct {
	Directory, Policy, Scope string
	Options                  map[string]string
	Nodes                    int
	Distances                [][]uint64
	// Running are the (pod uid, container) that run when the manager starts; Unknown says that it is not known yet which
	// pods there are.
	Running [][2]string
	Unknown bool
	// Watch plugins_registry, too.
	Watch bool
}

// node is as much of a kubelet as an admission of devices passes through: both managers, the fit check, and the
// PodResources server; and what the node publishes.
type node struct {
	manager  *devicemanager.ManagerImpl
	watched  *watched
	handlers []lifecycle.PodAdmitHandler
	sources  *sources
	agents   *grpc.Server
	watching context.CancelFunc
	mutex    sync.Mutex
	pods     []*v1.Pod
	status   v1.NodeStatus
}

func (n *node) start(s settings, marks *marks) error {
	topology := make([]cadvisorapi.Node, s.Nodes)
	for id := range topology {
		topology[id].Id = id
		if s.Distances != nil {
			topology[id].Distances = s.Distances[id]
		}
	}
	aligner, err := topologymanager.NewManager(klog.TODO(), topology, s.Policy, s.Scope, s.Options)
	if err != nil {
		return err
	}
	between := func(manager *devicemanager.ManagerImpl) plugin.ClientHandler {
		n.watched = &watched{ManagerImpl: manager, marks: marks}
		utilfeature.DefaultFeatureGate = &watchedGate{FeatureGate: gates, watched: n.watched}
		return n.watched
	}
	socket := filepath.Join(s.Directory, "device-plugins", "kubelet.sock")
	n.manager, err = newManager(socket, topology, aligner, between)
	if err != nil {
		return err
	}
	aligner.AddHintProvider(klog.TODO(), n.manager)
	fit := lifecycle.NewPredicateAdmitHandler(n.asNode, noPreemption{}, n.manager.UpdatePluginResources)
	n.handlers = []lifecycle.PodAdmitHandler{aligner, fit}
	n.sources = &sources{ready: !s.Unknown}
	if s.Unknown {
		n.pods = nil
	}
	n.resetIfRecreated()
	if n.agents, err = n.servePodResources(filepath.Join(s.Directory, "pod-resources", "kubelet.sock")); err != nil {
		return err
	}
	if err := n.manager.Start(klog.TODO(), n.active, n.sources, containers(s.Running), running(s.Running)); err != nil {
		return err
	}
	if s.Watch {
		return n.watch(filepath.Join(s.Directory, "plugins_registry"))
	}
	return nil
}

func (n *node) stop() {
	if n.watching != nil {
		n.watching()
	}
	n.agents.Stop()
	n.manager.Stop(klog.TODO())
	n.watched.disconnectAll()
}

// watch is the kubelet's plug-in manager, for device plug-ins.
func (n *node) watch(directory string) error {
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return err
	}
	watcher := pluginmanager.NewPluginManager(directory, &record.FakeRecorder{})
	watcher.AddHandler(registrationapi.DevicePlugin, n.manager.GetWatcherHandler())
	var watching context.Context
	watching, n.watching = context.WithCancel(ctx)
	go watcher.Run(watching, n.sources, watching.Done())
	return nil
}

func containers(running [][2]string) containermap.ContainerMap {
	known := containermap.NewContainerMap()
	for _, one := range running {
		known.Add(one[0], one[1], fmt.Sprint(one))
	}
	return known
}

func running(of [][2]string) sets.Set[string] {
	ids := sets.New[string]()
	for _, one := range of {
		ids.Insert(fmt.Sprint(one))
	}
	return ids
}

// refusal is what a pod's status says.
type refusal struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// admit does what a kubelet does with a new pod, in the kubelet's order.
func (n *node) admit(pod *v1.Pod) *refusal {
	n.updateStatus()
	others := n.active()
	n.mutex.Lock()
	n.pods = append(n.pods, pod)
	n.mutex.Unlock()
	if refused := n.ask(pod, others, lifecycle.AddOperation); refused != nil {
		n.remove(pod.UID)
		count(refused.Reason)
		return refused
	}
	return nil
}

func (n *node) resize(pod *v1.Pod) *refusal {
	others := slices.DeleteFunc(n.active(), func(one *v1.Pod) bool { return one.UID == pod.UID })
	return n.ask(pod, others, lifecycle.ResizeOperation)
}

func (n *node) ask(pod *v1.Pod, others []*v1.Pod, operation lifecycle.Operation) *refusal {
	attributes := &lifecycle.PodAdmitAttributes{Pod: pod, OtherPods: others, Operation: operation}
	for _, handler := range n.handlers {
		if result := handler.Admit(ctx, attributes); !result.Admit {
			return &refusal{result.Reason, "Pod was rejected: " + result.Message}
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

// updateStatus is what the kubelet does with capacity and allocatable of extended resources (nodestatus.MachineInfo).
func (n *node) updateStatus() {
	capacity, allocatable, removed := n.manager.GetCapacity(klog.TODO())
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.status.Capacity == nil {
		pods := v1.ResourceList{v1.ResourcePods: *resource.NewQuantity(1000, resource.DecimalSI)}
		n.status = v1.NodeStatus{Capacity: pods, Allocatable: pods.DeepCopy()}
	}
	for name, count := range capacity {
		n.status.Capacity[name] = count
	}
	for _, name := range removed {
		n.status.Capacity[v1.ResourceName(name)] = *resource.NewQuantity(0, resource.DecimalSI)
	}
	for name, count := range n.status.Capacity {
		n.status.Allocatable[name] = count
	}
	for name, count := range allocatable {
		n.status.Allocatable[name] = count
	}
}

// resetIfRecreated is what the kubelet does when it registers its node (CAP-6).
func (n *node) resetIfRecreated() {
	if !n.manager.ShouldResetExtendedResourceCapacity() {
		return
	}
	for name := range n.status.Capacity {
		if v1helper.IsExtendedResourceName(name) {
			n.status.Capacity[name] = *resource.NewQuantity(0, resource.DecimalSI)
			n.status.Allocatable[name] = *resource.NewQuantity(0, resource.DecimalSI)
		}
	}
}

// asNode is for the fit check, which asks for the node as the API server has it.
func (n *node) asNode(context.Context, bool) (*v1.Node, error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Status: *n.status.DeepCopy()}, nil
}

type sources struct{ ready bool }

func (s *sources) AddSource(string) {}
func (s *sources) AllReady() bool   { return s.ready }

type noPreemption struct{}

func (noPreemption) HandleAdmissionFailure(_ context.Context, _ *v1.Pod, reasons []lifecycle.PredicateFailureReason, _ lifecycle.Operation) ([]lifecycle.PredicateFailureReason, error) {
	return reasons, nil
}
