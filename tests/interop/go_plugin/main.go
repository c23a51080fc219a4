// A small device plug-in, and an independent peer for the tests of devicemgr.
//
// It exists because tests with devicemgr's own stand-in would share its mistakes: this one is made of the stubs that
// every Go plug-in uses (k8s.io/kubelet) on grpc-go, and behaves as they do. It serves its socket, registers, and
// when kubelet.sock is made anew it makes its own socket anew and registers again. No other process has its socket's
// name.
//
// Every call is printed to standard output, one line each, so that a test can see who was asked what.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const (
	checkPeriod     = 100 * time.Millisecond
	registerTimeout = 10 * time.Second
)

type plugin struct {
	api.UnimplementedDevicePluginServer
	directory, resource, endpoint string
	options                       *api.DevicePluginOptions
	ids                           []string
	serverOptions                 []grpc.ServerOption
}

func main() {
	directory := flag.String("directory", "", "the directory of kubelet.sock")
	resource := flag.String("resource", "", "the extended resource")
	own := fmt.Sprintf("go-%d.sock", time.Now().UnixNano())
	endpoint := flag.String("endpoint", own, "file name of the plug-in's socket")
	count := flag.Int("count", 1, "how many devices there are")
	preStart := flag.Bool("pre-start", false, "ask for PreStartContainer")
	preferred := flag.Bool("preferred", false, "offer GetPreferredAllocation; the last devices are preferred")
	age := flag.Duration("connection-age", 0, "say goodbye on each connection of this age, and cut it at twice the age")
	flag.Parse()

	p := &plugin{
		directory: *directory,
		resource:  *resource,
		endpoint:  *endpoint,
		options: &api.DevicePluginOptions{
			PreStartRequired:                *preStart,
			GetPreferredAllocationAvailable: *preferred,
		},
	}
	if *age > 0 {
		p.serverOptions = append(p.serverOptions, grpc.KeepaliveParams(
			keepalive.ServerParameters{MaxConnectionAge: *age, MaxConnectionAgeGrace: *age}))
	}
	for number := range *count {
		p.ids = append(p.ids, fmt.Sprintf("dev-%d", number))
	}
	p.stayRegistered()
}

// stayRegistered serves and registers once per life of kubelet.sock and of its own socket, until SIGTERM; stopping the
// server then removes its socket.
func (p *plugin) stayRegistered() {
	ended, release := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer release()
	var known os.FileInfo
	server := grpc.NewServer()
	defer func() { server.Stop() }()
	for ; ended.Err() == nil; pause(ended) {
		registry, err := os.Stat(p.registry())
		if err != nil || (isSame(registry, known) && exists(p.socket())) {
			continue
		}
		server.Stop()
		if server, err = p.serve(); err != nil {
			log.Fatal(err)
		}
		if err := p.register(); err != nil {
			log.Printf("not registered, trying again: %v", err)
			continue
		}
		known = registry
		fmt.Println("registered")
	}
}

func pause(ended context.Context) {
	select {
	case <-ended.Done():
	case <-time.After(checkPeriod):
	}
}

func (p *plugin) registry() string {
	return filepath.Join(p.directory, filepath.Base(api.KubeletSocket))
}

func (p *plugin) socket() string {
	return filepath.Join(p.directory, p.endpoint)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// isSame compares the times as well: a file system may give the number of a deleted inode to the next one.
func isSame(now, before os.FileInfo) bool {
	return before != nil && os.SameFile(now, before) && now.ModTime().Equal(before.ModTime())
}

// removeLeftovers removes the sockets of processes of this program that were killed: nobody serves them.
func removeLeftovers(directory string) {
	sockets, _ := filepath.Glob(filepath.Join(directory, "go-*.sock"))
	for _, left := range sockets {
		connection, err := net.Dial("unix", left)
		if err == nil {
			_ = connection.Close()
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(left)
		}
	}
}

func (p *plugin) serve() (*grpc.Server, error) {
	removeLeftovers(p.directory)
	socket := p.socket()
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer(p.serverOptions...)
	api.RegisterDevicePluginServer(server, p)
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Fatal(err)
		}
	}()
	return server, nil
}

func (p *plugin) register() error {
	ctx, cancel := context.WithTimeout(context.Background(), registerTimeout)
	defer cancel()
	connection, err := grpc.NewClient("unix:"+p.registry(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = api.NewRegistrationClient(connection).Register(ctx, &api.RegisterRequest{
		Version:      api.Version,
		Endpoint:     p.endpoint,
		ResourceName: p.resource,
		Options:      p.options,
	})
	return err
}

func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return p.options, nil
}

func (p *plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	report := &api.ListAndWatchResponse{}
	for _, id := range p.ids {
		report.Devices = append(report.Devices, &api.Device{ID: id, Health: api.Healthy})
	}
	if err := stream.Send(report); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (p *plugin) GetPreferredAllocation(
	_ context.Context, request *api.PreferredAllocationRequest,
) (*api.PreferredAllocationResponse, error) {
	response := &api.PreferredAllocationResponse{}
	for _, one := range request.ContainerRequests {
		fmt.Println("GetPreferredAllocation", strings.Join(one.AvailableDeviceIDs, ","), one.AllocationSize)
		ids := slices.Clone(one.MustIncludeDeviceIDs)
		for _, id := range slices.Backward(one.AvailableDeviceIDs) {
			if len(ids) < int(one.AllocationSize) && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		response.ContainerResponses = append(
			response.ContainerResponses, &api.ContainerPreferredAllocationResponse{DeviceIDs: ids})
	}
	return response, nil
}

func (p *plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	response := &api.AllocateResponse{}
	for _, one := range request.ContainerRequests {
		joined := strings.Join(one.DevicesIds, ",")
		fmt.Println("Allocate", joined)
		answer := &api.ContainerAllocateResponse{
			Envs: map[string]string{"GO_DEVICES": joined},
			Mounts: []*api.Mount{
				{ContainerPath: "/run/firmware", HostPath: "/lib/firmware", ReadOnly: true},
			},
			CdiDevices: []*api.CDIDevice{{Name: p.resource + "=all"}},
		}
		for _, id := range one.DevicesIds {
			if !slices.Contains(p.ids, id) {
				return nil, status.Errorf(codes.InvalidArgument, "there is no device %q", id)
			}
			answer.Devices = append(answer.Devices, &api.DeviceSpec{
				ContainerPath: "/dev/" + id, HostPath: "/dev/null", Permissions: "rw",
			})
		}
		response.ContainerResponses = append(response.ContainerResponses, answer)
	}
	return response, nil
}

func (p *plugin) PreStartContainer(
	_ context.Context, request *api.PreStartContainerRequest,
) (*api.PreStartContainerResponse, error) {
	fmt.Println("PreStartContainer", strings.Join(request.DevicesIds, ","))
	return &api.PreStartContainerResponse{}, nil
}
