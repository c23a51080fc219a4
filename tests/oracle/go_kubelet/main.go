// One program for both, since they share most of their libraries: the kubelet, as Kubernetes publishes it, and a container
// runtime that only pretends. The first argument says which. Either ends when its standard input does, so that nothing is
// left of it when the test that started it dies.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register" // the format of its log that a program can read
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	which := os.Args[1]
	os.Args = os.Args[1:]
	switch {
	case which == "kubelet":
		go endWithStandardInput()
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
	case which == "runtime" && len(os.Args) == 2:
		if err := serveRuntime(os.Args[1], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		usage()
	}
}

func endWithStandardInput() {
	io.Copy(io.Discard, os.Stdin)
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: go_kubelet kubelet [flags] | go_kubelet runtime SOCKET")
	os.Exit(2)
}
