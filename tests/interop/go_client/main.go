// A client of anything that serves the kubelet's device plug-in or PodResources API, and an independent peer for the
// tests of devicemgr: it is made of grpc-go and of Kubernetes' own stubs.
//
// It reads calls from standard input, one JSON object after the other, and makes them. For each message that comes back
// it prints a JSON object, and one with the status when the call has ended.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	deviceplugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	_ "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// call is one line of input.
type call struct {
	Method   string            // /v1beta1.DevicePlugin/Allocate
	Request  json.RawMessage   // the message, as JSON
	Timeout  float64           // seconds
	Metadata map[string]string // the values of keys that end in -bin as they are
	Gzip     bool
	Messages int // of a stream: hang up after so many; 0: read to its end
}

// event is one line of output: a message, or the status in which the call has ended.
type event struct {
	Call    int             `json:"call"`
	Message json.RawMessage `json:"message,omitempty"`
	Code    *uint32         `json:"code,omitempty"`
	Text    string          `json:"text"`
}

type client struct {
	socket string
	output *json.Encoder
	lock   sync.Mutex // of output
}

func main() {
	socket := flag.String("socket", "", "who is called")
	atOnce := flag.Bool("at-once", false, "make all calls at the same time")
	reconnect := flag.Bool("reconnect", false, "make each call on a connection of its own")
	flag.Parse()

	c := &client{socket: *socket, output: json.NewEncoder(os.Stdout)}
	calls := read(os.Stdin)
	switch {
	case *reconnect:
		for number, one := range calls {
			c.onNewConnection(func(connection *grpc.ClientConn) { c.make(connection, number, one) })
		}
	case *atOnce:
		c.onNewConnection(func(connection *grpc.ClientConn) {
			var group sync.WaitGroup
			for number, one := range calls {
				group.Go(func() { c.make(connection, number, one) })
			}
			group.Wait()
		})
	default:
		c.onNewConnection(func(connection *grpc.ClientConn) {
			for number, one := range calls {
				c.make(connection, number, one)
			}
		})
	}
}

func read(input io.Reader) (calls []call) {
	for decoder := json.NewDecoder(input); ; {
		var one call
		switch err := decoder.Decode(&one); {
		case errors.Is(err, io.EOF):
			return calls
		case err != nil:
			log.Fatal(err)
		}
		calls = append(calls, one)
	}
}

func (c *client) onNewConnection(use func(*grpc.ClientConn)) {
	connection, err := grpc.NewClient("unix:"+c.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	use(connection)
}

// make makes one call, and prints what comes of it.
func (c *client) make(connection *grpc.ClientConn, number int, one call) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(one.Timeout*float64(time.Second)))
	defer cancel()
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(one.Metadata))
	var options []grpc.CallOption
	if one.Gzip {
		options = append(options, grpc.UseCompressor(gzip.Name))
	}
	request, answer, isStream := types(one.Method)
	if err := protojson.Unmarshal(one.Request, request); err != nil {
		log.Fatal(err)
	}
	tell := func() { c.print(event{Call: number, Message: encoded(answer)}) }

	var err error
	if isStream {
		err = stream(ctx, cancel, connection, one, options, request, answer, tell)
	} else if err = connection.Invoke(ctx, one.Method, request, answer, options...); err == nil {
		tell()
	}
	ended := status.Convert(err)
	code := uint32(ended.Code())
	c.print(event{Call: number, Code: &code, Text: ended.Message()})
}

// stream tells of each message; it returns the error in which the call ended.
func stream(
	ctx context.Context, cancel func(), connection *grpc.ClientConn, one call, options []grpc.CallOption,
	request, answer proto.Message, tell func(),
) error {
	opened, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, one.Method, options...)
	if err != nil {
		return err
	}
	if err := errors.Join(opened.SendMsg(request), opened.CloseSend()); err != nil {
		return err
	}
	for count := 1; ; count++ {
		proto.Reset(answer)
		switch err := opened.RecvMsg(answer); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if one.Messages == 0 || count <= one.Messages { // more may have come before the call was cancelled
			tell()
		}
		if count == one.Messages {
			cancel()
		}
	}
}

// types finds a request and an answer for the method; one that nobody knows gets empty messages.
func types(method string) (request, answer proto.Message, isStream bool) {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return &deviceplugin.Empty{}, &deviceplugin.Empty{}, false
	}
	known := found.(protoreflect.MethodDescriptor)
	return empty(known.Input()), empty(known.Output()), known.IsStreamingServer()
}

func empty(message protoreflect.MessageDescriptor) proto.Message {
	found, err := protoregistry.GlobalTypes.FindMessageByName(message.FullName())
	if err != nil {
		log.Fatal(err)
	}
	return found.New().Interface()
}

func encoded(message proto.Message) json.RawMessage {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		log.Fatal(err)
	}
	return text
}

func (c *client) print(one event) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if err := c.output.Encode(one); err != nil {
		log.Fatal(err)
	}
}
