package gatewayapi

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// class is the GatewayClass of the run.
const class = "lateen"

// cluster stands for Kubernetes: it keeps the objects that the suite applies, starts what would run (back ends as
// processes of their own, an Envoy for each Gateway, a sidecar for each pod of a mesh), and writes the objects as the
// files that `lateen serve` reads.
type cluster struct {
	client  client.Client
	scheme  *runtime.Scheme
	folder  string
	scratch string
	control *control

	lock     sync.Mutex
	pods     map[types.NamespacedName]*pod
	gateways map[types.NamespacedName]*gateway
	services map[types.NamespacedName]string
	written  map[string]string
	sidecars []*process
}

// gateway is the Envoy of a Gateway.
type gateway struct {
	room    *room
	process *process
}

func newCluster(scheme *runtime.Scheme, folder, scratch string) *cluster {
	c := &cluster{
		scheme: scheme, folder: folder, scratch: scratch,
		pods:     map[types.NamespacedName]*pod{},
		gateways: map[types.NamespacedName]*gateway{},
		services: map[types.NamespacedName]string{},
		written:  map[string]string{},
	}
	class := &gatewayv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: class},
		Spec:       gatewayv1.GatewayClassSpec{ControllerName: "lateen.io/gateway-controller"},
	}
	after := func(ctx context.Context, inner client.WithWatch, err error) error {
		if err != nil {
			return err
		}
		return c.follow(ctx, inner)
	}
	c.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(class).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, inner client.WithWatch, object client.Object, options ...client.CreateOption) error {
			if stamp := object.GetCreationTimestamp(); stamp.IsZero() {
				object.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
			}
			return after(ctx, inner, inner.Create(ctx, object, options...))
		},
		Update: func(ctx context.Context, inner client.WithWatch, object client.Object, options ...client.UpdateOption) error {
			return after(ctx, inner, inner.Update(ctx, object, options...))
		},
		Patch: func(ctx context.Context, inner client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
			return after(ctx, inner, inner.Patch(ctx, object, patch, options...))
		},
		Delete: func(ctx context.Context, inner client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			return after(ctx, inner, inner.Delete(ctx, object, options...))
		},
		Get: func(ctx context.Context, inner client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			err := inner.Get(ctx, key, object, options...)
			if err == nil {
				c.fill(object)
			}
			return err
		},
		List: func(ctx context.Context, inner client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			err := inner.List(ctx, list, options...)
			if gateways, ok := list.(*gatewayv1.GatewayList); ok && err == nil {
				for index := range gateways.Items {
					c.fill(&gateways.Items[index])
				}
			}
			return err
		},
	}).Build()
	return c
}

// follow does what controllers would after a change.
func (c *cluster) follow(ctx context.Context, inner client.Client) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	if err := c.followDeployments(ctx, inner); err != nil {
		return err
	}
	files := map[string]string{}
	if err := c.followServices(ctx, inner, files); err != nil {
		return err
	}
	if err := c.followGateways(ctx, inner, files); err != nil {
		return err
	}
	for _, list := range []client.ObjectList{
		&corev1.NamespaceList{}, &corev1.PodList{}, &discoveryv1.EndpointSliceList{}, &gatewayv1.GatewayClassList{},
		&gatewayv1.HTTPRouteList{}, &gatewayv1.GRPCRouteList{}, &gatewayv1.ReferenceGrantList{},
	} {
		if err := c.listed(ctx, inner, list, files); err != nil {
			return err
		}
	}
	return c.writeAll(files)
}

// followServices gives each service an address, and those that select pods their endpoints.
func (c *cluster) followServices(ctx context.Context, inner client.Client, files map[string]string) error {
	services := &corev1.ServiceList{}
	if err := inner.List(ctx, services); err != nil {
		return err
	}
	for index := range services.Items {
		service := &services.Items[index]
		key := client.ObjectKeyFromObject(service)
		if service.Spec.ClusterIP == "" {
			if c.services[key] == "" {
				c.services[key] = fmt.Sprintf("10.96.0.%d", len(c.services)+1)
			}
			service.Spec.ClusterIP = c.services[key]
		}
		// As the API server fills them in.
		for index := range service.Spec.Ports {
			port := &service.Spec.Ports[index]
			if port.Protocol == "" {
				port.Protocol = corev1.ProtocolTCP
			}
			if port.TargetPort == (intstr.IntOrString{}) {
				port.TargetPort = intstr.FromInt32(port.Port)
			}
		}
		if err := c.add(files, service); err != nil {
			return err
		}
		if len(service.Spec.Selector) > 0 {
			if err := c.add(files, c.endpoints(service)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cluster) endpoints(service *corev1.Service) *discoveryv1.EndpointSlice {
	yes, slice := true, &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	slice.Name, slice.Namespace = service.Name+"-pods", service.Namespace
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: service.Name}
	for _, port := range service.Spec.Ports {
		number, name, protocol := port.TargetPort.IntVal, port.Name, port.Protocol
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
			Name: &name, Port: &number, Protocol: &protocol, AppProtocol: port.AppProtocol,
		})
	}
	for key, pod := range c.pods {
		if key.Namespace != service.Namespace || !pod.has(service.Spec.Selector) {
			continue
		}
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{pod.room.address},
			Conditions: discoveryv1.EndpointConditions{Ready: &yes},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: key.Namespace, Name: key.Name},
		})
	}
	return slice
}

// followDeployments makes the pods.
func (c *cluster) followDeployments(ctx context.Context, inner client.Client) error {
	deployments := &appsv1.DeploymentList{}
	if err := inner.List(ctx, deployments); err != nil {
		return err
	}
	for index := range deployments.Items {
		deployment := &deployments.Items[index]
		replicas := int32(1)
		if deployment.Spec.Replicas != nil {
			replicas = *deployment.Spec.Replicas
		}
		for number := range replicas {
			key := types.NamespacedName{Namespace: deployment.Namespace, Name: fmt.Sprintf("%s-set-%d", deployment.Name, number)}
			if c.pods[key] != nil {
				continue
			}
			made, err := c.startPod(key, &deployment.Spec.Template)
			if err != nil {
				return fmt.Errorf("pod %s: %w", key, err)
			}
			c.pods[key] = made
			if err := inner.Create(ctx, made.object); err != nil {
				return err
			}
		}
	}
	return nil
}

// followGateways keeps an Envoy for each Gateway of our class. Certificates come as files: the file adapter reads no
// Secrets.
func (c *cluster) followGateways(ctx context.Context, inner client.Client, files map[string]string) error {
	gateways := &gatewayv1.GatewayList{}
	if err := inner.List(ctx, gateways); err != nil {
		return err
	}
	there := map[types.NamespacedName]bool{}
	for index := range gateways.Items {
		object := &gateways.Items[index]
		if object.Spec.GatewayClassName != class {
			continue
		}
		key := client.ObjectKeyFromObject(object)
		there[key] = true
		if c.gateways[key] == nil {
			room, err := newRoom()
			if err != nil {
				return err
			}
			process, err := c.control.startEnvoy(room, c.scratch, "--gateway", "--name", key.Name, "--namespace", key.Namespace,
				"--label", "gateway.networking.k8s.io/gateway-name="+key.Name)
			if err != nil {
				return err
			}
			c.gateways[key] = &gateway{room, process}
		}
		if err := c.withCertificates(ctx, inner, object); err != nil {
			return err
		}
		if err := c.add(files, object); err != nil {
			return err
		}
	}
	for key, gone := range c.gateways {
		if !there[key] {
			gone.process.stop()
			delete(c.gateways, key)
		}
	}
	return nil
}

func (c *cluster) withCertificates(ctx context.Context, inner client.Client, object *gatewayv1.Gateway) error {
	for index := range object.Spec.Listeners {
		tls := object.Spec.Listeners[index].TLS
		if tls == nil || len(tls.CertificateRefs) == 0 {
			continue
		}
		reference := tls.CertificateRefs[0]
		if reference.Namespace != nil && string(*reference.Namespace) != object.Namespace {
			continue
		}
		secret := &corev1.Secret{}
		if err := inner.Get(ctx, types.NamespacedName{Namespace: object.Namespace, Name: string(reference.Name)}, secret); err != nil {
			continue
		}
		tls.Options = map[gatewayv1.AnnotationKey]gatewayv1.AnnotationValue{}
		for field, option := range map[string]gatewayv1.AnnotationKey{
			"tls.crt": "lateen.io/server-certificate", "tls.key": "lateen.io/private-key",
		} {
			file := filepath.Join(c.scratch, secret.Name+"."+field)
			if err := os.WriteFile(file, secret.Data[field], 0o600); err != nil {
				return err
			}
			tls.Options[option] = gatewayv1.AnnotationValue(file)
		}
	}
	return nil
}

func (c *cluster) listed(ctx context.Context, inner client.Client, list client.ObjectList, files map[string]string) error {
	if err := inner.List(ctx, list); err != nil {
		return err
	}
	return eachItem(list, func(object client.Object) error { return c.add(files, object) })
}

func (c *cluster) add(files map[string]string, object client.Object) error {
	kind, err := apiutil.GVKForObject(object, c.scheme)
	if err != nil {
		return err
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return err
	}
	if kind.Kind != "Pod" {
		delete(fields, "status")
	}
	fields["apiVersion"], fields["kind"] = kind.GroupVersion().String(), kind.Kind
	text, err := yaml.Marshal(fields)
	if err != nil {
		return err
	}
	name := strings.ToLower(fmt.Sprintf("%s.%s.%s.yaml", kind.Kind, object.GetNamespace(), object.GetName()))
	files[name] = string(text)
	return nil
}

// writeAll writes what is not there yet, whole files at once, and removes the rest.
func (c *cluster) writeAll(files map[string]string) error {
	for name, text := range files {
		if c.written[name] == text {
			continue
		}
		half := filepath.Join(c.scratch, "half")
		if err := os.WriteFile(half, []byte(text), 0o600); err != nil {
			return err
		}
		if err := os.Rename(half, filepath.Join(c.folder, name)); err != nil {
			return err
		}
	}
	for name := range c.written {
		if _, there := files[name]; !there {
			if err := os.Remove(filepath.Join(c.folder, name)); err != nil {
				return err
			}
		}
	}
	c.written = files
	return nil
}
