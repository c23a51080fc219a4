// One program for three: the Kubernetes libraries that etcd, kube-apiserver and kube-scheduler share are most of each of
// them, and are compiled and linked once this way. The first argument says which of the three it shall be.
package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	component := os.Args[1]
	os.Args = os.Args[1:]
	if in, err := os.Stdin.Stat(); err == nil && in.Mode()&os.ModeNamedPipe != 0 {
		go endWithStandardInput()
	}
	switch component {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		run(apiserver.NewAPIServerCommand())
	case "kube-scheduler":
		run(scheduler.NewSchedulerCommand())
	default:
		usage()
	}
}

func run(command *cobra.Command) { os.Exit(cli.Run(command)) }

// Nothing is left of a program whose starter has died: that would have closed the pipe. An API server that is asked to
// end waits for its etcd, which has ended already.
func endWithStandardInput() {
	io.Copy(io.Discard, os.Stdin)
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	time.Sleep(2 * time.Second)
	os.Exit(1)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: go_control_plane etcd|kube-apiserver|kube-scheduler [flags]")
	os.Exit(2)
}
