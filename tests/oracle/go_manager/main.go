// The kubelet's device manager, topology manager, fit check and PodResources server, of Kubernetes itself, as a loop of
// commands: a JSON object a line on standard input, and one answer each, in order, on standard output.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/go-logr/logr"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/metrics"
)

type command struct {
	Do string
	// start: the manager begins on a directory. A node that is new has no pods.
	settings
	New bool
	// wait
	What, Resource string
	Count          int
	// tracks
	Socket string
	// admit, remove: of the benchmark
	Pods []pod
	// admit-pods, resize
	Manifests []*v1.Pod
	Start     bool
	// delete
	UIDs []types.UID
	// metrics
	Names []string
}

type pod struct {
	Name   string
	Limits map[string]int64
}

type answer struct {
	Error string  `json:"error,omitempty"`
	At    float64 `json:"at,omitempty"`
	Value any     `json:"value,omitempty"`
}

type loop struct {
	node  *node
	marks *marks
}

func (l *loop) handle(c command) (said answer, err error) {
	switch c.Do {
	case "start":
		if c.New {
			l.node = &node{}
		}
		legacyregistry.Reset() // a manager that starts is a process that starts
		l.marks = newMarks()
		err = l.node.start(c.settings, l.marks)
	case "stop":
		l.node.stop()
	case "wait":
		said.At, err = l.marks.wait(mark{c.What, c.Resource}, c.Count)
	case "tracks":
		said.Value = isTracked(l.node.manager, c.Resource, c.Socket)
	case "admit":
		for _, one := range c.Pods {
			if refused := l.node.admit(one.asKubernetes()); refused != nil {
				err = fmt.Errorf("%s: %s: %s", one.Name, refused.Reason, refused.Message)
				break
			}
		}
	case "remove":
		for _, one := range c.Pods {
			l.node.remove(types.UID(one.Name))
		}
	case "admit-pods":
		said.Value = l.node.admitAll(c.Manifests, c.Start)
	case "start-again":
		said.Value = l.node.startAgain(c.Manifests[0])
	case "all-pods-known":
		l.node.sources.ready = true
	case "delete":
		for _, uid := range c.UIDs {
			l.node.remove(uid)
		}
	case "resize":
		said.Value = l.node.resize(c.Manifests[0])
	case "expire-grace":
		expireGrace(l.node.manager)
		l.node.updateStatus() // as a kubelet does every few seconds; this is when it removes the resource
	case "node":
		said.Value = l.node.published()
	case "health":
		said.Value = l.node.health()
	case "metrics":
		said.Value, err = measured(c.Names)
	default:
		err = fmt.Errorf("no such command: %q", c.Do)
	}
	return said, err
}

func (p pod) asKubernetes() *v1.Pod {
	limits := v1.ResourceList{}
	for name, count := range p.Limits {
		limits[v1.ResourceName(name)] = *resource.NewQuantity(count, resource.DecimalSI)
	}
	resources := v1.ResourceRequirements{Limits: limits, Requests: limits}
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: "default", UID: types.UID(p.Name)},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "main", Resources: resources}}},
	}
}

func main() {
	klog.SetLogger(logr.Discard())
	metrics.Register()
	l := loop{}
	commands, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for commands.More() {
		var c command
		if err := commands.Decode(&c); err != nil {
			log.Fatal(err)
		}
		said, err := l.handle(c)
		if err != nil {
			said.Error = err.Error()
		}
		if err := answers.Encode(said); err != nil {
			log.Fatal(err)
		}
	}
}
