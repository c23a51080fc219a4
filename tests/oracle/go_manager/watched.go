package main

import (
	"k8s.io/component-base/featuregate"
	"k8s.io/klog/v2"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
)

// watched stands between the manager and its plug-ins' clients.
type watched struct {
	*devicemanager.ManagerImpl
	marks *marks
	// Of the benchmark, which measures one plug-in at a time. This one's list is being taken over, until so many
	// questions have been asked.
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
