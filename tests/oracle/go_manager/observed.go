package main

import (
	"fmt"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	v1helper "k8s.io/kubernetes/pkg/apis/core/v1/helper"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/pkg/kubelet/metrics"
)

type admission struct {
	Pod        string             `json:"pod"`
	Refused    *refusal           `json:"refused"`
	Containers map[string]started `json:"containers"`
}

type started struct {
	Devices map[string][]string `json:"devices"`
	Options *options            `json:"options"`
	Error   string              `json:"error,omitempty"`
}

type options struct {
	Envs        map[string]string `json:"envs"`
	Annotations map[string]string `json:"annotations"`
	Mounts      []string          `json:"mounts"`
	Devices     []string          `json:"devices"`
	CDI         []string          `json:"cdi"`
}

// admitAll: the kubelet admits one pod after the other, and then starts their containers.
func (n *node) admitAll(pods []*v1.Pod, start bool) []admission {
	admissions := make([]admission, len(pods))
	for index, pod := range pods {
		admissions[index] = admission{Pod: pod.Name, Refused: n.admit(pod), Containers: map[string]started{}}
	}
	for index, pod := range pods {
		if admissions[index].Refused != nil {
			continue
		}
		for _, container := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
			admissions[index].Containers[container.Name] = n.container(pod, &container, start)
		}
	}
	return admissions
}

// startAgain starts the containers that run, once more.
func (n *node) startAgain(pod *v1.Pod) admission {
	started := admission{Pod: pod.Name, Containers: map[string]started{}}
	for _, container := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
		init := slices.ContainsFunc(pod.Spec.InitContainers, func(one v1.Container) bool { return one.Name == container.Name })
		if !init || podutil.IsRestartableInitContainer(&container) {
			started.Containers[container.Name] = n.container(pod, &container, true)
		}
	}
	return started
}

func (n *node) container(pod *v1.Pod, container *v1.Container, start bool) started {
	result := started{Devices: map[string][]string{}}
	if start {
		made, err := n.manager.GetDeviceRunContainerOptions(ctx, pod, container)
		if err != nil {
			result.Error = err.Error()
		} else if made != nil {
			result.Options = describe(made)
		}
	}
	for name, instances := range n.manager.GetDevices(string(pod.UID), container.Name) {
		for id := range instances {
			result.Devices[name] = append(result.Devices[name], id)
		}
		slices.Sort(result.Devices[name])
	}
	return result
}

func describe(made *devicemanager.DeviceRunContainerOptions) *options {
	all := &options{map[string]string{}, map[string]string{}, []string{}, []string{}, []string{}}
	for _, one := range made.Envs {
		all.Envs[one.Name] = one.Value
	}
	for _, one := range made.Annotations {
		all.Annotations[one.Name] = one.Value
	}
	for _, one := range made.Mounts {
		all.Mounts = append(all.Mounts, fmt.Sprintf("%s|%s|%t", one.ContainerPath, one.HostPath, one.ReadOnly))
	}
	for _, one := range made.Devices {
		all.Devices = append(all.Devices, fmt.Sprintf("%s|%s|%s", one.PathInContainer, one.PathOnHost, one.Permissions))
	}
	for _, one := range made.CDIDevices {
		all.CDI = append(all.CDI, one.Name)
	}
	slices.Sort(all.Mounts)
	slices.Sort(all.Devices)
	slices.Sort(all.CDI)
	return all
}

// published is what the node says of extended resources: capacity and allocatable.
func (n *node) published() map[string][2]int64 {
	n.updateStatus()
	counts := map[string][2]int64{}
	for name, capacity := range n.status.Capacity {
		if v1helper.IsExtendedResourceName(name) {
			allocatable := n.status.Allocatable[name]
			counts[string(name)] = [2]int64{capacity.Value(), allocatable.Value()}
		}
	}
	return counts
}

// health is what goes into the status of each pod: by pod, container, resource and device. Containers have a status
// as soon as they have started.
func (n *node) health() map[string]map[string]map[string]map[string]string {
	all := map[string]map[string]map[string]map[string]string{}
	for _, pod := range n.active() {
		status := v1.PodStatus{}
		for _, container := range pod.Spec.Containers {
			status.ContainerStatuses = append(status.ContainerStatuses, v1.ContainerStatus{Name: container.Name})
		}
		n.manager.UpdateAllocatedResourcesStatus(klog.TODO(), pod, &status)
		containers := map[string]map[string]map[string]string{}
		for _, container := range status.ContainerStatuses {
			resources := map[string]map[string]string{}
			for _, one := range container.AllocatedResourcesStatus {
				resources[string(one.Name)] = map[string]string{}
				for _, device := range one.Resources {
					resources[string(one.Name)][string(device.ResourceID)] = string(device.Health)
				}
			}
			containers[container.Name] = resources
		}
		all[pod.Name] = containers
	}
	return all
}

type family struct {
	Type    string           `json:"type"`
	Buckets []float64        `json:"buckets,omitempty"`
	Counts  map[string]int64 `json:"counts"` // by labels
}

// measured are these metrics, as far as they have values: of a histogram its buckets, and how many values there were.
func measured(names []string) (map[string]family, error) {
	gathered, err := legacyregistry.DefaultGatherer.Gather()
	families := map[string]family{}
	for _, one := range gathered {
		if !slices.Contains(names, one.GetName()) {
			continue
		}
		made := family{Type: strings.ToLower(one.GetType().String()), Counts: map[string]int64{}}
		for _, sample := range one.GetMetric() {
			made.Counts[labels(sample)] = value(sample)
			for _, bucket := range sample.GetHistogram().GetBucket() {
				if len(made.Buckets) < len(sample.GetHistogram().GetBucket()) {
					made.Buckets = append(made.Buckets, bucket.GetUpperBound())
				}
			}
		}
		families[one.GetName()] = made
	}
	return families, err
}

func labels(sample *dto.Metric) string {
	words := []string{}
	for _, label := range sample.GetLabel() {
		words = append(words, label.GetName()+"="+label.GetValue())
	}
	slices.Sort(words)
	return strings.Join(words, ",")
}

func value(sample *dto.Metric) int64 {
	switch {
	case sample.Histogram != nil:
		return int64(sample.Histogram.GetSampleCount())
	case sample.Counter != nil:
		return int64(sample.Counter.GetValue())
	}
	return int64(sample.GetGauge().GetValue())
}

// count is what the kubelet does when it has refused a pod; its list of known reasons is not exported, and the only one
// of it that devices lead to is an error of the topology manager or of a provider.
func count(reason string) {
	switch {
	case reason == lifecycle.UnexpectedAdmissionError || reason == "TopologyAffinityError":
	case strings.HasPrefix(reason, lifecycle.InsufficientResourcePrefix):
		reason = "OutOfExtendedResources"
	default:
		reason = "Other"
	}
	metrics.AdmissionRejectionsTotal.WithLabelValues(reason).Inc()
}
