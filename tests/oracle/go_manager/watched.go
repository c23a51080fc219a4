package main

import (
	"context"
	"sync"

	"k8s.io/component-base/featuregate"
	"k8s.io/klog/v2"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	plugin "k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/plugin/v1beta1"
)

// watched stands between the manager and its plug-ins' clients.
type watched struct {
	*devicemanager.ManagerImpl
	marks *marks
	mutex sync.Mutex
	// clients are all that have connected, whether the server still knows them or not.
	clients []plugin.Client
	// Of the benchmark, which measures one plug-in at a time. This one's list is being taken over, until so many
	// questions have been asked.
	resource  string
	questions int
}

func (w *watched) PluginConnected(ctx context.Context, resource string, p plugin.DevicePlugin) error {
	w.mutex.Lock()
	w.clients = append(w.clients, p.(plugin.Client))
	w.mutex.Unlock()
	return w.ManagerImpl.PluginConnected(ctx, resource, p)
}

// disconnectAll closes the connections that the server has forgotten (LIM-3, LIM-42, LIM-43), too. A kubelet's end as a
// process closes them; here they would go on, and lists on them would be written to the checkpoint of the next manager.
func (w *watched) disconnectAll() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, client := range w.clients {
		_ = client.Disconnect(klog.TODO()) // always nil
	}
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

func (w *watched) PluginDisconnected(logger klog.Logger, resource string, socketPath string) {
	w.ManagerImpl.PluginDisconnected(logger, resource, socketPath)
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
