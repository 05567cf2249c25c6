package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	// Types that resources are made of.
	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// key identifies a resource.
type key struct{ typeURL, name string }

// group is what clients with one node id are served.
type group map[key]told

// told is a resource with the bytes it was told in.
type told struct {
	message types.Resource
	body    []byte
	ttl     *time.Duration
}

// read makes a message of a resource. The cache takes names from messages: another name can't be served.
func read(resource resource) (told, error) {
	message, err := (&anypb.Any{TypeUrl: resource.TypeURL, Value: resource.Body}).UnmarshalNew()
	if err != nil {
		return told{}, err
	}
	if name := cache.GetResourceName(message); name != resource.Name {
		return told{}, fmt.Errorf("the cache serves this resource as %q, not as %q", name, resource.Name)
	}
	var ttl *time.Duration
	if resource.TTLMs != nil {
		duration := time.Duration(*resource.TTLMs) * time.Millisecond
		ttl = &duration
	}
	return told{message: message, body: resource.Body, ttl: ttl}, nil
}

// snapshot has, for each type, a version that its contents make.
func (g group) snapshot() (*cache.Snapshot, error) {
	keys := make([]key, 0, len(g))
	for key := range g {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(a, b int) bool {
		return keys[a].typeURL+"\x00"+keys[a].name < keys[b].typeURL+"\x00"+keys[b].name
	})
	byType := map[types.ResponseType][]types.ResourceWithTTL{}
	hashes := map[types.ResponseType][]byte{}
	for _, key := range keys {
		index := cache.GetResponseType(key.typeURL)
		if index == types.UnknownType {
			return nil, fmt.Errorf("the cache does not serve %s", key.typeURL)
		}
		told := g[key]
		byType[index] = append(byType[index], types.ResourceWithTTL{Resource: proto.Clone(told.message), TTL: told.ttl})
		sum := sha256.Sum256(told.body)
		hashes[index] = append(append(hashes[index], key.name...), sum[:]...)
		if told.ttl != nil {
			hashes[index] = append(hashes[index], told.ttl.String()...)
		}
	}
	snapshot := &cache.Snapshot{}
	for index := range snapshot.Resources {
		sum := sha256.Sum256(hashes[types.ResponseType(index)])
		version := hex.EncodeToString(sum[:8])
		snapshot.Resources[index] = cache.NewResourcesWithTTL(version, byType[types.ResponseType(index)])
	}
	return snapshot, nil
}
