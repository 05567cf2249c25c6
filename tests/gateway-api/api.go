package gatewayapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	pb "sigs.k8s.io/gateway-api/conformance/echo-basic/grpcechoserver"
)

// api serves the two things that the suite asks of an API server directly: logs of pods, and commands in them.
type api struct {
	cluster *cluster
	// calls counts the commands.
	calls *atomic.Int64
}

// ServeHTTP answers `/api/v1/namespaces/NS/pods/POD/log` and `…/exec`.
func (a *api) ServeHTTP(to http.ResponseWriter, request *http.Request) {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	if len(parts) != 7 || parts[4] != "pods" {
		http.NotFound(to, request)
		return
	}
	a.cluster.lock.Lock()
	of := a.cluster.pods[types.NamespacedName{Namespace: parts[3], Name: parts[5]}]
	a.cluster.lock.Unlock()
	switch {
	case of == nil:
		http.NotFound(to, request)
	case parts[6] == "log":
		_, _ = io.WriteString(to, of.log())
	case parts[6] == "exec":
		a.calls.Add(1)
		text, err := a.cluster.call(of, request.URL.Query()["command"])
		execute(to, request, text, err)
	default:
		http.NotFound(to, request)
	}
}

// execute answers as a kubelet does that ran a command: over SPDY, with version 4 of its protocol.
func execute(to http.ResponseWriter, request *http.Request, text string, failed error) {
	if _, err := httpstream.Handshake(request, to, []string{"v4.channel.k8s.io"}); err != nil {
		return
	}
	arrived := make(chan httpstream.Stream, 4)
	connection := spdy.NewResponseUpgrader().UpgradeResponse(to, request, func(stream httpstream.Stream, _ <-chan struct{}) error {
		arrived <- stream
		return nil
	})
	if connection == nil {
		return
	}
	defer func() { _ = connection.Close() }()
	streams := map[string]httpstream.Stream{}
	for len(streams) < 3 {
		select {
		case stream := <-arrived:
			streams[stream.Headers().Get(corev1.StreamType)] = stream
		case <-time.After(10 * time.Second):
			return
		}
	}
	status := metav1.Status{Status: metav1.StatusSuccess}
	if failed != nil {
		status = metav1.Status{Status: metav1.StatusFailure, Message: failed.Error()}
	}
	_, _ = io.WriteString(streams[corev1.StreamTypeStdout], text)
	_ = json.NewEncoder(streams[corev1.StreamTypeError]).Encode(status)
	for _, stream := range streams {
		_ = stream.Close()
	}
	// The client closes the connection when it has read all.
	select {
	case <-connection.CloseChan():
	case <-time.After(10 * time.Second):
	}
}

// grpcEcho answers calls in a pod of the mesh.
type grpcEcho struct {
	pb.UnimplementedGrpcEchoServer
	of *pod
}

func (g *grpcEcho) Echo(ctx context.Context, request *pb.EchoRequest) (*pb.EchoResponse, error) {
	assertions := &pb.Assertions{Context: &pb.Context{Pod: g.of.object.Name}}
	if incoming, ok := metadata.FromIncomingContext(ctx); ok {
		for name, values := range incoming {
			for _, value := range values {
				assertions.Headers = append(assertions.Headers, &pb.Header{Key: name, Value: value})
			}
		}
	}
	return &pb.EchoResponse{Assertions: assertions, Request: request}, nil
}

func (c *cluster) callGRPC(from *pod, target *url.URL, headers http.Header, count int) (string, error) {
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		resolved, err := c.resolve(from, address)
		if err != nil {
			return nil, err
		}
		return from.room.dial(ctx, "tcp", resolved)
	}
	return repeated(count, func() (string, error) {
		connection, err := grpc.NewClient("passthrough:///"+target.Host, grpc.WithContextDialer(dial),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(target.Host))
		if err != nil {
			return "", err
		}
		defer func() { _ = connection.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for name, values := range headers {
			ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(name), values[0])
		}
		answered := metadata.MD{}
		answer, err := pb.NewGrpcEchoClient(connection).Echo(ctx, &pb.EchoRequest{}, grpc.Header(&answered))
		if err != nil {
			return "", err
		}
		// A call that went well is 200 to the client of the suite.
		lines := []string{"StatusCode=200", "Hostname=" + answer.GetAssertions().GetContext().GetPod()}
		for name, values := range answered {
			lines = append(lines, fmt.Sprintf("ResponseHeader=%s:%s", name, values[0]))
		}
		for _, header := range answer.GetAssertions().GetHeaders() {
			lines = append(lines, fmt.Sprintf("RequestHeader=%s:%s", header.GetKey(), header.GetValue()))
		}
		return strings.Join(lines, "\n"), nil
	})
}
