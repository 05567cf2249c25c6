// What istiod tells sidecars and gateways of each world in a folder: resources as JSON, one file a world.
package oracle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
)

// client is one line `# node: ID LABELS` of a world.
type client struct {
	ID     string
	Labels map[string]string
}

func clients(text string) (found []client) {
	for _, line := range strings.Split(text, "\n") {
		rest, ok := strings.CutPrefix(line, "# node: ")
		if !ok {
			continue
		}
		id, labels, _ := strings.Cut(rest, " ")
		one := client{ID: id, Labels: map[string]string{}}
		for _, pair := range strings.Split(labels, ",") {
			if key, value, ok := strings.Cut(pair, "="); ok {
				one.Labels[key] = value
			}
		}
		found = append(found, one)
	}
	return found
}

func TestAnswers(t *testing.T) {
	in, out := os.Getenv("ORACLE_WORLDS"), os.Getenv("ORACLE_ANSWERS")
	files, err := filepath.Glob(filepath.Join(in, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no worlds in %q", in)
	}
	sort.Strings(files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			answers := answer(t, string(text))
			bytes, err := json.Marshal(answers)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(out, name+".json"), bytes, 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// answer gives, by node id and type, the resources of each client.
func answer(t *testing.T, text string) map[string]map[string][]json.RawMessage {
	var kubernetes, configs []string
	settings := mesh.DefaultMeshConfig()
	for _, document := range strings.Split(text, "\n---\n") {
		switch {
		case strings.Contains(document, "kind: MeshConfig"):
			_, body, _ := strings.Cut(document, "spec:\n")
			merged, err := mesh.ApplyMeshConfig(body, settings)
			if err != nil {
				t.Fatal(err)
			}
			settings = merged
		case strings.Contains(document, "apiVersion: networking.istio.io"):
			configs = append(configs, document)
		case strings.Contains(document, "kind:"):
			kubernetes = append(kubernetes, document)
		}
	}
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		ConfigString:           strings.Join(configs, "\n---\n"),
		KubernetesObjectString: strings.Join(kubernetes, "\n---\n"),
		MeshConfig:             settings,
	})
	all := map[string]map[string][]json.RawMessage{}
	for _, one := range clients(text) {
		proxy := server.SetupProxy(node(t, one, settings))
		listeners := server.Listeners(proxy)
		all[one.ID] = map[string][]json.RawMessage{
			"listeners": raw(t, listeners),
			"routes":    raw(t, server.Routes(proxy)),
			"clusters":  raw(t, server.Clusters(proxy)),
			"endpoints": raw(t, server.Endpoints(proxy)),
		}
	}
	return all
}

func node(t *testing.T, one client, settings *meshconfig.MeshConfig) *model.Proxy {
	parts := strings.Split(one.ID, "~")
	if len(parts) != 4 {
		t.Fatalf("node id %q has not four parts", one.ID)
	}
	workload, namespace, _ := strings.Cut(parts[2], ".")
	_ = workload
	return &model.Proxy{
		Type:            model.NodeType(parts[0]),
		IPAddresses:     []string{parts[1]},
		ID:              parts[2],
		DNSDomain:       parts[3],
		ConfigNamespace: namespace,
		Labels:          one.Labels,
		Metadata:        &model.NodeMetadata{Namespace: namespace, Labels: one.Labels},
	}
}

func raw[M proto.Message](t *testing.T, messages []M) []json.RawMessage {
	all := make([]json.RawMessage, 0, len(messages))
	for _, message := range messages {
		bytes, err := protojson.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes)
	}
	return all
}
