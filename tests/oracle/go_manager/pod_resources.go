package main

import (
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"
	alpha "k8s.io/kubelet/pkg/apis/podresources/v1alpha1"
	kubeletgrpc "k8s.io/kubernetes/pkg/kubelet/apis/grpc"
	"k8s.io/kubernetes/pkg/kubelet/apis/podresources"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
)

// servePodResources is what the kubelet's server does.
func (n *node) servePodResources(path string) (*grpc.Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	providers := podresources.PodResourcesProviders{
		Pods: podsOf{n}, Devices: devicesOf{n}, Cpus: nothing{}, Memory: nothing{}, DynamicResources: nothing{},
	}
	limit := kubeletgrpc.WithRateLimiter(ctx, "podresources", podresources.DefaultQPS, podresources.DefaultBurstTokens)
	server := grpc.NewServer(limit)
	api.RegisterPodResourcesListerServer(server, podresources.NewV1PodResourcesServer(ctx, providers))
	alpha.RegisterPodResourcesListerServer(server, podresources.NewV1alpha1PodResourcesServer(providers))
	go server.Serve(listener)
	return server, nil
}

type podsOf struct{ *node }

func (p podsOf) GetActivePods() []*v1.Pod { return p.active() }
func (p podsOf) GetPods() []*v1.Pod       { return p.active() }
func (p podsOf) GetPodByName(namespace, name string) (*v1.Pod, bool) {
	for _, pod := range p.active() {
		if pod.Namespace == namespace && pod.Name == name {
			return pod, true
		}
	}
	return nil, false
}

type devicesOf struct{ *node }

func (d devicesOf) UpdateAllocatedDevices(logger klog.Logger) {
	d.manager.UpdateAllocatedDevices(logger)
}
func (d devicesOf) GetDevices(uid, container string) []*api.ContainerDevices {
	return asContainerDevices(d.manager.GetDevices(uid, container))
}
func (d devicesOf) GetAllocatableDevices(logger klog.Logger) []*api.ContainerDevices {
	return asContainerDevices(d.manager.GetAllocatableDevices(logger))
}

// asContainerDevices is what the kubelet's container manager does: an entry for each node of each device.
func asContainerDevices(devices devicemanager.ResourceDeviceInstances) []*api.ContainerDevices {
	var entries []*api.ContainerDevices
	for name, instances := range devices {
		for id, device := range instances {
			entry := func() *api.ContainerDevices {
				return &api.ContainerDevices{ResourceName: name, DeviceIds: []string{id}}
			}
			if device.Topology == nil {
				entries = append(entries, entry())
				continue
			}
			for _, node := range device.Topology.Nodes {
				on := entry()
				on.Topology = &api.TopologyInfo{Nodes: []*api.NUMANode{{ID: node.GetID()}}}
				entries = append(entries, on)
			}
		}
	}
	return entries
}

// nothing: there are no managers for CPUs, memory and claims.
type nothing struct{}

func (nothing) GetCPUs(*v1.Pod, *v1.Container) []int64                               { return nil }
func (nothing) GetPodCPUs(string) []int64                                            { return nil }
func (nothing) GetAllocatableCPUs() []int64                                          { return nil }
func (nothing) GetMemory(klog.Logger, *v1.Pod, *v1.Container) []*api.ContainerMemory { return nil }
func (nothing) GetPodMemory(klog.Logger, string) []*api.ContainerMemory              { return nil }
func (nothing) GetAllocatableMemory(klog.Logger) []*api.ContainerMemory              { return nil }
func (nothing) GetDynamicResources(klog.Logger, *v1.Pod, *v1.Container) []*api.DynamicResource {
	return nil
}
