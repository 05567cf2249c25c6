// Package gatewayapi runs the requests of the official Gateway API conformance suite without Kubernetes: its manifests
// as files, its back ends as processes in network namespaces, a stock Envoy for each Gateway and each pod of the mesh.
package gatewayapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"io/fs"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	clientset "k8s.io/client-go/kubernetes"
	kubescheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1alpha2 "sigs.k8s.io/gateway-api/apis/v1alpha2"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/config"
	suitegrpc "sigs.k8s.io/gateway-api/conformance/utils/grpc"
	"sigs.k8s.io/gateway-api/conformance/utils/roundtripper"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/conformance/utils/websocket"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// otherKinds are features about kinds that Lateen does not build yet.
var otherKinds = []features.FeatureName{
	features.SupportTLSRoute, features.SupportTCPRoute, features.SupportUDPRoute, features.SupportBackendTLSPolicy,
	features.SupportListenerSet,
}

// outcome is a row of the report.
type outcome struct {
	Test        string `json:"test"`
	Description string `json:"description"`
	Mesh        bool   `json:"mesh"`
	// Requests that the test made; none is a test about status only.
	Requests int64   `json:"requests"`
	Passed   bool    `json:"passed"`
	Skipped  string  `json:"skipped,omitempty"`
	Seconds  float64 `json:"seconds"`
}

func TestSuite(t *testing.T) {
	for _, name := range []string{"/proc/sys/net/ipv4/ip_forward"} {
		if err := os.WriteFile(name, []byte("1"), 0o600); err != nil {
			t.Fatalf("%s: run tools/gateway-api-suite.sh: %v", name, err)
		}
	}
	logs := binary("SUITE_LOGS")
	folder, scratch := t.TempDir(), t.TempDir()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		kubescheme.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install, gatewayv1alpha2.Install,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	made := newCluster(scheme, folder, scratch)
	made.control = startControl(t, folder)
	t.Cleanup(func() { made.stop(logs) })
	requests := &atomic.Int64{}
	server := httptest.NewServer(&api{made, requests})
	t.Cleanup(server.Close)
	run := newSuite(t, made, server, requests)
	// Those of the mesh are among them.
	all := tests.ConformanceTests
	run.Setup(t, all)
	var outcomes []outcome
	only := os.Getenv("SUITE_TEST")
	for _, test := range all {
		if only != "" && !strings.Contains(only, test.ShortName) {
			continue
		}
		row := outcome{Test: test.ShortName, Description: test.Description, Mesh: slices.Contains(test.Features, features.SupportMesh)}
		if unbuilt := slices.IndexFunc(otherKinds, func(kind features.FeatureName) bool { return slices.Contains(test.Features, kind) }); unbuilt >= 0 {
			row.Skipped = string(otherKinds[unbuilt])
			outcomes = append(outcomes, row)
			continue
		}
		before, began := requests.Load(), time.Now()
		row.Passed = t.Run(test.ShortName, func(t *testing.T) { test.Run(t, run) })
		row.Requests, row.Seconds = requests.Load()-before, time.Since(began).Seconds()
		outcomes = append(outcomes, row)
		save(t, logs, outcomes)
	}
}

func save(t *testing.T, logs string, outcomes []outcome) {
	t.Helper()
	text, err := json.MarshalIndent(outcomes, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(logs, "outcomes.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func newSuite(t *testing.T, made *cluster, server *httptest.Server, requests *atomic.Int64) *suite.ConformanceTestSuite {
	t.Helper()
	access := &rest.Config{Host: server.URL}
	set, err := clientset.NewForConfig(access)
	if err != nil {
		t.Fatal(err)
	}
	times := config.DefaultTimeoutConfig()
	config.SetupTimeoutConfig(&times)
	// Statuses are there at once or never; so are answers, once the files have been read.
	for _, limit := range []*time.Duration{
		&times.GatewayMustHaveCondition, &times.GatewayStatusMustHaveListeners, &times.GatewayListenersMustHaveConditions,
		&times.GWCMustBeAccepted, &times.HTTPRouteMustNotHaveParents, &times.HTTPRouteMustHaveCondition,
		&times.RouteMustHaveParents, &times.GatewayMustHaveAddress, &times.LatestObservedGenerationSet,
	} {
		*limit = 2 * time.Second
	}
	times.MaxTimeToConsistency = 8 * time.Second
	times.DefaultPollInterval = 100 * time.Millisecond
	return &suite.ConformanceTestSuite{
		Client: made.client, Clientset: set, RestConfig: access,
		RoundTripper:     &counted{&roundtripper.DefaultRoundTripper{TimeoutConfig: times}, requests},
		GRPCClient:       &countedGRPC{requests},
		WebSocketDialer:  &websocket.DefaultDialer{},
		GatewayClassName: class, ControllerName: "lateen.io/gateway-controller",
		Cleanup: false, CleanupTestResources: true,
		BaseManifests: "base/manifests.yaml", MeshManifests: "mesh/manifests.yaml",
		SupportedFeatures: features.SetsToNamesSet(features.AllFeatures).Difference(sets.New(otherKinds...)),
		TimeoutConfig:     times, SkipTests: sets.New[string](), ManifestFS: []fs.FS{&conformance.Manifests},
	}
}

// counted counts requests.
type counted struct {
	inner    roundtripper.RoundTripper
	requests *atomic.Int64
}

func (c *counted) CaptureRoundTrip(request roundtripper.Request) (*roundtripper.CapturedRequest, *roundtripper.CapturedResponse, error) {
	c.requests.Add(1)
	return c.inner.CaptureRoundTrip(request)
}

// countedGRPC makes each call on a connection of its own, and counts them.
type countedGRPC struct {
	requests *atomic.Int64
}

func (c *countedGRPC) SendRPC(t *testing.T, address string, expected suitegrpc.ExpectedResponse, timeout time.Duration) (*suitegrpc.Response, error) {
	t.Helper()
	c.requests.Add(1)
	once := &suitegrpc.DefaultClient{}
	defer once.Close()
	return once.SendRPC(t, address, expected, timeout)
}

func (c *countedGRPC) Close() {}

var _ http.Handler = (*api)(nil)
