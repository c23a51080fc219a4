// The kubelet's device manager, topology manager and fit check, of Kubernetes itself, as a loop of commands for the
// benchmark: a JSON object a line on standard input, and one answer each, in order, on standard output.
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
	"k8s.io/klog/v2"
)

type command struct {
	Do string // start, wait, admit or remove
	// start
	Directory, Policy string
	Nodes             int
	// wait
	What, Resource string
	Count          int
	// admit, remove
	Pods []pod
}

type pod struct {
	Name   string
	Limits map[string]int64
}

type answer struct {
	Error string  `json:"error,omitempty"`
	At    float64 `json:"at,omitempty"`
}

type loop struct {
	node  *node
	marks *marks
}

func (l *loop) handle(c command) (at float64, err error) {
	switch c.Do {
	case "start":
		l.node, err = newNode(c.Directory, c.Policy, c.Nodes, l.marks)
	case "wait":
		at, err = l.marks.wait(mark{c.What, c.Resource}, c.Count)
	case "admit":
		for _, one := range c.Pods {
			if err = l.node.admit(one.asKubernetes()); err != nil {
				break
			}
		}
	case "remove":
		for _, one := range c.Pods {
			l.node.remove(types.UID(one.Name))
		}
	default:
		err = fmt.Errorf("no such command: %q", c.Do)
	}
	return at, err
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
	l := loop{marks: newMarks()}
	commands, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for commands.More() {
		var c command
		if err := commands.Decode(&c); err != nil {
			log.Fatal(err)
		}
		at, err := l.handle(c)
		said := answer{At: at}
		if err != nil {
			said.Error = err.Error()
		}
		if err := answers.Encode(said); err != nil {
			log.Fatal(err)
		}
	}
}
