// Command go-control-plane serves xDS with go-control-plane's snapshot cache, one snapshot for each node id, as
// told over the control protocol of the conformance suite (conformance/proto). It is a target to judge, and a
// pattern for how little a server needs to be judged.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	extensionservice "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	runtimeservice "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
)

// heartbeat is how often resources with a time to live are repeated.
const heartbeat = 300 * time.Millisecond

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where xDS is served")
	control := flag.String("control", "127.0.0.1:0", "where resources are told")
	ads := flag.Bool("ads", false, "hold an ADS response back until all names of the snapshot were asked for")
	flag.Parse()

	target := &target{ads: *ads}
	if err := target.start(*listen); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *control)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("xDS on %s\ncontrol on %s\n", target.address, listener.Addr())

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	log.Fatal(http.Serve(listener, routes(target)))
}

// target is the server under test and what it was told.
type target struct {
	ads     bool
	address string

	mu      sync.Mutex
	groups  map[string]group
	cache   cache.SnapshotCache
	server  *grpc.Server
	streams map[stream]string
}

// stream identifies a stream; the library numbers both kinds on their own.
type stream struct {
	delta bool
	id    int64
}

// start serves with an empty cache.
func (t *target) start(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	t.address = listener.Addr().String()
	t.cache = cache.NewSnapshotCacheWithHeartbeating(context.Background(), t.ads, cache.IDHash{}, nil, heartbeat)
	t.streams = map[stream]string{}
	if t.groups == nil {
		t.groups = map[string]group{}
	}
	t.server = grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	register(t.server, xds.NewServer(context.Background(), t.cache, t.callbacks(), sotw.WithOrderedADS()))
	go func(server *grpc.Server) {
		if err := server.Serve(listener); err != nil {
			log.Print(err)
		}
	}(t.server)
	return nil
}

func register(server *grpc.Server, serve xds.Server) {
	discovery.RegisterAggregatedDiscoveryServiceServer(server, serve)
	clusterservice.RegisterClusterDiscoveryServiceServer(server, serve)
	endpointservice.RegisterEndpointDiscoveryServiceServer(server, serve)
	listenerservice.RegisterListenerDiscoveryServiceServer(server, serve)
	routeservice.RegisterRouteDiscoveryServiceServer(server, serve)
	routeservice.RegisterScopedRoutesDiscoveryServiceServer(server, serve)
	routeservice.RegisterVirtualHostDiscoveryServiceServer(server, serve)
	secretservice.RegisterSecretDiscoveryServiceServer(server, serve)
	runtimeservice.RegisterRuntimeDiscoveryServiceServer(server, serve)
	extensionservice.RegisterExtensionConfigDiscoveryServiceServer(server, serve)
}

// callbacks count the streams of each node.
func (t *target) callbacks() xds.Callbacks {
	opened := func(delta bool, id int64, node *core.Node) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if _, known := t.streams[stream{delta, id}]; !known {
			t.streams[stream{delta, id}] = node.GetId()
		}
	}
	closed := func(delta bool, id int64) {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.streams, stream{delta, id})
	}
	return xds.CallbackFuncs{
		StreamRequestFunc: func(id int64, request *discovery.DiscoveryRequest) error {
			opened(false, id, request.GetNode())
			return nil
		},
		StreamClosedFunc: func(id int64, _ *core.Node) { closed(false, id) },
		StreamDeltaRequestFunc: func(id int64, request *discovery.DeltaDiscoveryRequest) error {
			opened(true, id, request.GetNode())
			return nil
		},
		DeltaStreamClosedFunc: func(id int64, _ *core.Node) { closed(true, id) },
	}
}

// restart ends the server with all its streams, and starts one that was told the same.
func (t *target) restart() error {
	// Not under the lock: streams that end want to be counted.
	t.server.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.start(t.address); err != nil {
		return err
	}
	for name, group := range t.groups {
		if err := t.publish(name, group); err != nil {
			return err
		}
	}
	return nil
}

// publish makes a group's resources its snapshot.
func (t *target) publish(name string, group group) error {
	snapshot, err := group.snapshot()
	if err != nil {
		return err
	}
	return t.cache.SetSnapshot(context.Background(), name, snapshot)
}
