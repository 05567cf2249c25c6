package gatewayapi

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Statuses are not what this run is about: without Kubernetes nobody writes them. So that the suite goes on to its
// requests, an object that is read has every condition that a check may want, the good ones first.

// fill gives an object that was read the status that lets the suite proceed.
func (c *cluster) fill(object client.Object) {
	switch read := object.(type) {
	case *gatewayv1.GatewayClass:
		read.Status.Conditions = conditions(read, "Accepted")
	case *gatewayv1.Gateway:
		c.fillGateway(read)
	case *gatewayv1.HTTPRoute:
		read.Status.Parents = parents(read, read.Spec.ParentRefs)
	case *gatewayv1.GRPCRoute:
		read.Status.Parents = parents(read, read.Spec.ParentRefs)
	case *corev1.Namespace:
		read.Status.Phase = corev1.NamespaceActive
	}
}

func (c *cluster) fillGateway(read *gatewayv1.Gateway) {
	c.lock.Lock()
	made := c.gateways[client.ObjectKeyFromObject(read)]
	c.lock.Unlock()
	if made == nil {
		return
	}
	kind := gatewayv1.IPAddressType
	read.Status.Addresses = []gatewayv1.GatewayStatusAddress{{Type: &kind, Value: made.room.address}}
	read.Status.Conditions = conditions(read, "Accepted", "Programmed")
	read.Status.Listeners = nil
	for _, listener := range read.Spec.Listeners {
		read.Status.Listeners = append(read.Status.Listeners, gatewayv1.ListenerStatus{
			Name: listener.Name, Conditions: conditions(read, "Accepted", "Programmed", "ResolvedRefs"),
		})
	}
}

func parents(route client.Object, references []gatewayv1.ParentReference) []gatewayv1.RouteParentStatus {
	var all []gatewayv1.RouteParentStatus
	group, kind := gatewayv1.Group(gatewayv1.GroupVersion.Group), gatewayv1.Kind("Gateway")
	for _, reference := range references {
		// As the API server fills them in.
		if reference.Group == nil {
			reference.Group = &group
		}
		if reference.Kind == nil {
			reference.Kind = &kind
		}
		all = append(all, gatewayv1.RouteParentStatus{
			ParentRef: reference, ControllerName: "lateen.io/gateway-controller",
			Conditions: conditions(route, "Accepted", "ResolvedRefs"),
		})
	}
	return all
}

var refusals = map[string][]string{
	"Accepted": {
		"NotAllowedByListeners", "NoMatchingListenerHostname", "NoMatchingParent", "UnsupportedValue",
	},
	"ResolvedRefs": {"RefNotPermitted", "InvalidKind", "BackendNotFound", "InvalidCertificateRef", "InvalidRouteKinds"},
	"Programmed":   {"Invalid"},
}

func conditions(object client.Object, kinds ...string) []metav1.Condition {
	var all []metav1.Condition
	add := func(kind string, status metav1.ConditionStatus, reason string) {
		all = append(all, metav1.Condition{
			Type: kind, Status: status, Reason: reason, ObservedGeneration: object.GetGeneration(),
		})
	}
	for _, kind := range kinds {
		add(kind, metav1.ConditionTrue, kind)
	}
	for _, kind := range kinds {
		for _, reason := range refusals[kind] {
			add(kind, metav1.ConditionFalse, reason)
		}
	}
	return all
}
