package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg/fake"
)

// pretender is the fake container runtime of Kubernetes' own tests with what a real kubelet needs beyond those: containers
// that end, and a log path for each.
type pretender struct {
	*fake.RemoteRuntime
	mutex   sync.Mutex
	created map[string]container // by id
	out     *json.Encoder
}

type container struct {
	log   string // where it would be
	exits bool   // at once
}

// What has been done with a container: a line of JSON on standard output.
type deed struct {
	Did       string                      `json:"did"` // listening, created, exited, ran
	Pod       string                      `json:"pod,omitempty"`
	Container string                      `json:"container,omitempty"`
	Config    *runtimeapi.ContainerConfig `json:"config,omitempty"` // of a container that was created
}

// What shall be done, as a line of JSON on standard input: containers of a pod exit, by default all of them; or, with a
// uid, a container of that pod runs although no kubelet has asked for it.
type order struct {
	Pod       string `json:"pod"`
	Container string `json:"container"`
	Code      int32  `json:"code"`
	UID       string `json:"uid"`
}

// exitsAtOnce is the command of a container that has ended with 0 as soon as it is started: an init container.
var exitsAtOnce = []string{"exit"}

// serveRuntime serves the container runtime interface on a socket until in ends.
func serveRuntime(socket string, in io.Reader, out io.Writer) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	runtime := &pretender{RemoteRuntime: fake.NewFakeRemoteRuntime(), created: map[string]container{}, out: json.NewEncoder(out)}
	runtime.RuntimeService.FakeStatus = &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true},
		{Type: runtimeapi.NetworkReady, Status: true},
	}}
	runtime.RuntimeService.FakeLinuxConfiguration = &runtimeapi.LinuxRuntimeConfiguration{
		CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS,
	}
	runtime.ImageService.SetFakeImageSize(1)
	runtime.ImageService.SetFakeFilesystemUsage([]*runtimeapi.FilesystemUsage{})

	server := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(server, runtime)
	runtimeapi.RegisterImageServiceServer(server, runtime)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	go func() { failed <- runtime.obey(in) }()
	defer server.Stop()
	runtime.tell(deed{Did: "listening"})
	return <-failed
}

func (p *pretender) obey(in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		if o.UID == "" {
			p.exit(o)
		} else if err := p.run(o); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (p *pretender) exit(o order) {
	service := p.RuntimeService
	service.Lock()
	for _, c := range service.Containers {
		running := c.State == runtimeapi.ContainerState_CONTAINER_RUNNING
		if running && podOf(c.Labels) == o.Pod && (o.Container == "" || c.Metadata.Name == o.Container) {
			ended(&c.ContainerStatus, o.Code)
		}
	}
	service.Unlock()
	p.tell(deed{Did: "exited", Pod: o.Pod, Container: o.Container})
}

// run does what a kubelet does when it starts a container, as far as the next kubelet looks for it.
func (p *pretender) run(o order) error {
	labels := map[string]string{
		"io.kubernetes.pod.name":       o.Pod,
		"io.kubernetes.pod.namespace":  "default",
		"io.kubernetes.pod.uid":        o.UID,
		"io.kubernetes.container.name": o.Container,
	}
	sandbox, err := p.RunPodSandbox(context.Background(), &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: o.Pod, Namespace: "default", Uid: o.UID},
		Labels:   labels,
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}})
	if err != nil {
		return err
	}
	created, err := p.CreateContainer(context.Background(), &runtimeapi.CreateContainerRequest{
		PodSandboxId: sandbox.PodSandboxId,
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: o.Container},
			Image:    &runtimeapi.ImageSpec{Image: "none:latest"},
			Labels:   labels,
		},
	})
	if err != nil {
		return err
	}
	_, err = p.StartContainer(context.Background(), &runtimeapi.StartContainerRequest{ContainerId: created.ContainerId})
	p.tell(deed{Did: "ran", Pod: o.Pod, Container: o.Container})
	return err
}

func (p *pretender) CreateContainer(ctx context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	answer, err := p.RemoteRuntime.CreateContainer(ctx, r)
	if err != nil {
		return nil, err
	}
	p.mutex.Lock()
	p.created[answer.ContainerId] = container{
		log:   filepath.Join(r.SandboxConfig.GetLogDirectory(), r.Config.GetLogPath()),
		exits: slices.Equal(r.Config.Command, exitsAtOnce),
	}
	p.mutex.Unlock()
	p.tell(deed{Did: "created", Pod: podOf(r.Config.Labels), Container: r.Config.Metadata.Name, Config: r.Config})
	return answer, nil
}

func (p *pretender) StartContainer(ctx context.Context, r *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	answer, err := p.RemoteRuntime.StartContainer(ctx, r)
	if err != nil {
		return nil, err
	}
	p.mutex.Lock()
	exits := p.created[r.ContainerId].exits
	p.mutex.Unlock()
	if exits {
		service := p.RuntimeService
		service.Lock()
		defer service.Unlock()
		ended(&service.Containers[r.ContainerId].ContainerStatus, 0)
	}
	return answer, nil
}

// ContainerStatus adds what Kubernetes' fake has not: where the log is. A kubelet that removes a container deletes that
// path with anything behind it, and without one everything in its working directory.
func (p *pretender) ContainerStatus(ctx context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	answer, err := p.RemoteRuntime.ContainerStatus(ctx, r)
	if err != nil {
		return nil, err
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	answer.Status.LogPath = p.created[r.ContainerId].log
	if answer.Status.LogPath == "" {
		answer.Status.LogPath = "/nonexistent/log"
	}
	return answer, nil
}

func ended(status *runtimeapi.ContainerStatus, code int32) {
	status.State = runtimeapi.ContainerState_CONTAINER_EXITED
	status.ExitCode = code
	status.FinishedAt = time.Now().UnixNano()
	status.Reason = "Completed"
	if code != 0 {
		status.Reason = "Error"
	}
}

func podOf(labels map[string]string) string { return labels["io.kubernetes.pod.name"] }

func (p *pretender) tell(d deed) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.out.Encode(d)
}
