package main

import (
	"reflect"
	"time"
	"unsafe"

	cadvisorapi "github.com/google/cadvisor/lib/model"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	plugin "k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/plugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
)

// What upstream does not export. (An overlay of the build cannot add a file to it: the go tool refuses files below the
// module cache.)

// newManagerImpl is what NewManagerImpl of upstream calls with the path of kubelet.sock, which it has compiled in.
//
//go:linkname newManagerImpl k8s.io/kubernetes/pkg/kubelet/cm/devicemanager.newManagerImpl
func newManagerImpl(klog.Logger, string, []cadvisorapi.Node, topologymanager.Store) (*devicemanager.ManagerImpl, error)

// getClient finds the client of a socket; the first argument is upstream's *server.
//
//go:linkname getClient k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/plugin/v1beta1.(*server).getClient
func getClient(server unsafe.Pointer, resource, socketPath string) plugin.Client

// newManager makes upstream's manager on another path. What plug-ins do reaches it through what between returns.
func newManager(socketPath string, topology []cadvisorapi.Node, store topologymanager.Store, between func(*devicemanager.ManagerImpl) plugin.ClientHandler) (*devicemanager.ManagerImpl, error) {
	manager, err := newManagerImpl(klog.TODO(), socketPath, topology, store)
	if err != nil {
		return nil, err
	}
	server, err := plugin.NewServer(klog.TODO(), socketPath, manager, between(manager))
	if err != nil {
		return nil, err
	}
	*serverOf(manager) = server
	return manager, nil
}

// serverOf is a field of the manager.
func serverOf(manager *devicemanager.ManagerImpl) *plugin.Server {
	return (*plugin.Server)(fieldOf(manager, "server").Addr().UnsafePointer())
}

// isTracked says whether the end of a plug-in's stream will be noticed: the server looks for its client then.
func isTracked(manager *devicemanager.ManagerImpl, resource, socketPath string) bool {
	return getClient(reflect.ValueOf(*serverOf(manager)).UnsafePointer(), resource, socketPath) != nil
}

// expireGrace makes all endpoints that have stopped so old that their grace period is over. Nothing else goes on in the
// manager meanwhile.
func expireGrace(manager *devicemanager.ManagerImpl) {
	for entries := fieldOf(manager, "endpoints").MapRange(); entries.Next(); {
		endpoint := entries.Value().FieldByName("e").Elem() // a pointer in an interface
		stopped := (*time.Time)(endpoint.Elem().FieldByName("stopTime").Addr().UnsafePointer())
		if !stopped.IsZero() {
			*stopped = time.Now().Add(-time.Hour)
		}
	}
}

func fieldOf(manager *devicemanager.ManagerImpl, name string) reflect.Value {
	return reflect.ValueOf(manager).Elem().FieldByName(name)
}
