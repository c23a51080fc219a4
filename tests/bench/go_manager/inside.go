package main

import (
	"reflect"
	_ "unsafe" // for go:linkname

	cadvisorapi "github.com/google/cadvisor/lib/model"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	"k8s.io/klog/v2"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	plugin "k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/plugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
)

// newManagerImpl is what NewManagerImpl of upstream calls with the path of kubelet.sock, which it has compiled in.
//
//go:linkname newManagerImpl k8s.io/kubernetes/pkg/kubelet/cm/devicemanager.newManagerImpl
func newManagerImpl(klog.Logger, string, []cadvisorapi.Node, topologymanager.Store) (*devicemanager.ManagerImpl, error)

// newManager makes upstream's manager on another path; what happens to its plug-ins is marked.
func newManager(socketPath string, topology []cadvisorapi.Node, store topologymanager.Store, marks *marks) (*devicemanager.ManagerImpl, error) {
	manager, err := newManagerImpl(klog.TODO(), socketPath, topology, store)
	if err != nil {
		return nil, err
	}
	watched := &watched{ManagerImpl: manager, marks: marks}
	server, err := plugin.NewServer(klog.TODO(), socketPath, manager, watched)
	if err != nil {
		return nil, err
	}
	*serverOf(manager) = server
	utilfeature.DefaultFeatureGate = &watchedGate{FeatureGate: utilfeature.DefaultFeatureGate, watched: watched}
	return manager, nil
}

// serverOf is a field of the manager that its package does not export.
func serverOf(manager *devicemanager.ManagerImpl) *plugin.Server {
	return (*plugin.Server)(reflect.ValueOf(manager).Elem().FieldByName("server").Addr().UnsafePointer())
}

// watched stands between the manager and its plug-ins' clients.
type watched struct {
	*devicemanager.ManagerImpl
	marks *marks
	// One plug-in at a time is measured. This one's list is being taken over, until so many questions have been asked.
	resource  string
	questions int
}

func (w *watched) PluginListAndWatchReceiver(logger klog.Logger, resource string, list *pluginapi.ListAndWatchResponse) {
	w.resource, w.questions = resource, len(list.Devices)+1
	w.ManagerImpl.PluginListAndWatchReceiver(logger, resource, list)
	w.marks.set(mark{"written", resource})
}

func (w *watched) asked() {
	if w.questions--; w.questions == 0 {
		w.marks.set(mark{"applied", w.resource})
	}
}

func (w *watched) PluginDisconnected(logger klog.Logger, resource, socket string) {
	w.ManagerImpl.PluginDisconnected(logger, resource, socket)
	w.marks.set(mark{"gone", resource})
}

// watchedGate is asked by the manager once for each device of a list, and once more when it has let go of its lock: now
// the list counts, and has not been written down.
type watchedGate struct {
	featuregate.FeatureGate
	watched *watched
}

func (g *watchedGate) Enabled(feature featuregate.Feature) bool {
	if feature == features.ResourceHealthStatus {
		g.watched.asked()
	}
	return g.FeatureGate.Enabled(feature)
}
