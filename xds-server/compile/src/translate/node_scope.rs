//! From a node to its views: which part of the mesh it sees, and as what.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lateen_config::convert::SELECT_NAMESPACE;
use lateen_model::{NodeInfo, NodeRole};
use lateen_registry::{Fact, FactKey, GatewayId};

use super::{
    ClientProfile, EndpointView, Families, GatewayView, InboundView, NodeViews, OutboundView, Read, Selector,
    policies, read,
};
use crate::select;

/// The views of a node. They hold of its labels only what some object asks for, so that nodes that no object
/// tells apart share their views.
pub fn node_views(r: &mut dyn Read, node: &NodeInfo) -> NodeViews {
    let mesh = read::mesh(r);
    let profile = profile(node);
    // gRPC clients know no VHDS: https://grpc.github.io/grpc/core/md_doc_grpc_xds_features.html
    let vhds =
        node.delta && profile != ClientProfile::Grpc && mesh.lateen.as_ref().is_some_and(|own| own.vhds);
    let families = families(&node.addresses);
    let mut views = NodeViews {
        outbound: None,
        endpoints: endpoint_view(r, node),
        inbound: None,
        gateway: None,
        policies: None,
    };
    let effective = policies::effective(r, node);
    if profile != ClientProfile::Grpc {
        views.policies = Some(effective.view);
    }
    if node.role == NodeRole::Gateway {
        views.gateway = Some(GatewayView {
            namespace: node.namespace.clone(),
            domain: node.domain.clone(),
            gateways: gateways(r, node),
            selectors: Arc::new(selectors(r, node)),
            profile,
            vhds,
            families,
            policy: effective.connections,
        });
        return views;
    }
    let sidecar = select::effective_sidecar(r, node, &read::root_namespace(&mesh));
    views.outbound = Some(OutboundView {
        namespace: node.namespace.clone(),
        domain: node.domain.clone(),
        profile,
        sidecar: sidecar.clone(),
        selectors: Arc::new(selectors(r, node)),
        vhds,
        families,
    });
    if profile != ClientProfile::Grpc {
        views.inbound = Some(InboundView {
            addresses: node.addresses.clone(),
            families,
            profile,
            sidecar,
            plaintext: effective.plaintext,
            policy: effective.connections,
        });
    }
    views
}

fn profile(node: &NodeInfo) -> ClientProfile {
    // The agents' names begin so: "gRPC C-core", "gRPC Go", "gRPC Java", "grpc-node-js".
    let agent = node.user_agent.to_ascii_lowercase();
    if node.role == NodeRole::Grpc || agent.starts_with("grpc") {
        ClientProfile::Grpc
    } else if agent.starts_with("lateen") {
        ClientProfile::Lateen
    } else {
        ClientProfile::Envoy(node.streams)
    }
}

fn families(addresses: &[IpAddr]) -> Families {
    match (addresses.iter().any(IpAddr::is_ipv4), addresses.iter().any(IpAddr::is_ipv6)) {
        (true, true) => Families::Dual,
        (false, true) => Families::V6,
        (true | false, false) => Families::V4,
    }
}

fn endpoint_view(r: &mut dyn Read, node: &NodeInfo) -> EndpointView {
    let asked = r.fact(&FactKey::FailoverLabels).and_then(Fact::failover_labels).unwrap_or_default();
    let labels = asked.iter().filter_map(|name| Some((name.clone(), node.labels.get(name)?.clone())));
    EndpointView {
        locality: node.locality.clone(),
        network: node.network.clone(),
        failover_labels: Arc::new(labels.collect()),
    }
}

/// The selectors that ask for labels of the node and are satisfied. Those of others would tell apart nodes for which
/// everything is the same.
fn selectors(r: &mut dyn Read, node: &NodeInfo) -> BTreeSet<Selector> {
    let all = r.fact(&FactKey::SourceSelectors).and_then(Fact::source_selectors).unwrap_or_default();
    let is_gateway = node.role == NodeRole::Gateway;
    let asking = all.iter().filter(|selector| selector.asks(&node.namespace, is_gateway));
    asking.map(|selector| &selector.labels).filter(|labels| selects(labels, &node.labels)).cloned().collect()
}

fn selects(selector: &BTreeMap<Arc<str>, Arc<str>>, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The gateways that select a node by its labels, whatever its namespace is.
/// <https://istio.io/latest/docs/reference/config/networking/gateway/#Gateway>
fn gateways(r: &mut dyn Read, node: &NodeInfo) -> Arc<[GatewayId]> {
    let all = r.fact(&FactKey::Gateways).and_then(Fact::gateways).unwrap_or_else(|| Arc::from([]));
    let matching = all.iter().filter(|gateway| {
        gateway.selector.iter().all(|(name, value)| match &**name {
            SELECT_NAMESPACE => node.namespace.as_str() == &**value,
            label => node.labels.get(label) == Some(value),
        })
    });
    matching.map(|gateway| gateway.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use lateen_xds::Names;

    use super::{
        super::cold::{Plain, world},
        *,
    };

    const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: all, namespace: istio-system}
spec: {egress: [{hosts: ['*/*']}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: general, namespace: shop}
spec: {egress: [{hosts: ['./*']}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: special, namespace: shop}
spec: {workloadSelector: {labels: {app: cart}}, egress: [{hosts: ['./*']}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec: {selector: {app: edge, tier: front}, servers: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ['*']}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: api, namespace: infra}
spec: {gatewayClassName: lateen, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.example.com]
  http:
  - match: [{sourceLabels: {app: cart}}, {sourceLabels: {app: web, version: v1}}]
    route: [{destination: {host: cart.example.com}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec: {hosts: [cart.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
";

    fn views(id: &str, labels: &[(&str, &str)]) -> NodeViews {
        let world = world(MESH);
        let mut node = NodeInfo::from_id(id);
        node.labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        node_views(&mut Plain { world: &world, names: Names::default() }, &node)
    }

    fn sidecar(namespace: &str, labels: &[(&str, &str)]) -> Option<String> {
        let views = views(&format!("sidecar~10.0.0.1~w.{namespace}~{namespace}.svc.cluster.local"), labels);
        assert!(views.gateway.is_none());
        let (outbound, inbound) = (views.outbound.unwrap(), views.inbound.unwrap());
        assert_eq!(outbound.sidecar, inbound.sidecar);
        outbound.sidecar.map(|key| format!("{}/{}", key.namespace, key.name))
    }

    #[test]
    fn the_most_special_sidecar_is_in_effect() {
        assert_eq!(sidecar("shop", &[("app", "cart")]).as_deref(), Some("shop/special"));
        assert_eq!(sidecar("shop", &[("app", "web")]).as_deref(), Some("shop/general"));
        assert_eq!(sidecar("other", &[("app", "cart")]).as_deref(), Some("istio-system/all"));
    }

    #[test]
    fn gateways_select_by_all_labels_and_those_of_the_gateway_api_by_namespace_too() {
        let gateways = |namespace: &str, labels: &[(&str, &str)]| {
            let views =
                views(&format!("router~10.0.0.1~gw.{namespace}~{namespace}.svc.cluster.local"), labels);
            assert!(views.outbound.is_none() && views.inbound.is_none());
            let ids: Vec<String> = views.gateway.unwrap().gateways.iter().map(ToString::to_string).collect();
            ids
        };
        assert_eq!(gateways("x", &[("app", "edge"), ("tier", "front"), ("more", "1")]), ["infra/edge"]);
        assert!(gateways("infra", &[("app", "edge")]).is_empty());
        let api = ("gateway.networking.k8s.io/gateway-name", "api");
        assert_eq!(gateways("infra", &[api]), ["infra/api~http"]);
        assert!(gateways("shop", &[api]).is_empty());
    }

    #[test]
    fn nodes_that_no_selector_tells_apart_share_their_view() {
        let outbound = |labels: &[(&str, &str)]| {
            views("sidecar~10.0.0.1~w.other~other.svc.cluster.local", labels).outbound.unwrap()
        };
        assert_eq!(outbound(&[("app", "a"), ("pod", "1")]), outbound(&[("app", "b"), ("pod", "2")]));
        assert_eq!(outbound(&[("app", "web")]), outbound(&[]));
        assert_ne!(outbound(&[("app", "web"), ("version", "v1")]), outbound(&[("app", "web")]));
        assert_eq!(outbound(&[("app", "cart")]).selectors.len(), 1);
    }

    #[test]
    fn a_selector_tells_apart_only_nodes_that_it_can_hold_for() {
        let rule = |namespace: &str| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: {namespace}}}\n\
                 spec: {{host: cart.example.com, workloadSelector: {{matchLabels: {{app: {namespace}}}}}}}\n"
            )
        };
        let routes = |name: &str, more: &str| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: one}}\n\
                 spec: {{hosts: [{name}.example.com]{more}, http: [{{match: [{{sourceLabels: {{v: {name}}}}}], \
                 route: [{{destination: {{host: cart.example.com}}}}]}}]}}\n"
            )
        };
        let text = [
            rule("one"),
            rule("two"),
            routes("all", ""),
            routes("own", ", exportTo: [.]"),
            routes("edge", ", gateways: [edge]"),
        ];
        let world = world(&text.concat());
        let views = |id: &str, labels: &[(&str, &str)]| {
            let mut node = NodeInfo::from_id(id);
            node.labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            node_views(&mut Plain { world: &world, names: Names::default() }, &node)
        };
        let sidecar = |namespace: &str, labels: &[(&str, &str)]| {
            views(&format!("sidecar~10.0.0.1~w.{namespace}~{namespace}.svc.cluster.local"), labels).outbound
        };
        for labels in [&[("app", "one")], &[("v", "own")], &[("v", "edge")]] {
            assert_eq!(sidecar("two", labels), sidecar("two", &[]), "{labels:?}");
        }
        for (namespace, label) in
            [("one", ("app", "one")), ("one", ("v", "own")), ("two", ("app", "two")), ("two", ("v", "all"))]
        {
            assert_ne!(sidecar(namespace, &[label]), sidecar(namespace, &[]), "{namespace} {label:?}");
        }
        let gateway =
            |labels: &[(&str, &str)]| views("router~10.0.0.1~g.one~one.svc.cluster.local", labels).gateway;
        for label in [("app", "two"), ("v", "all"), ("v", "own"), ("v", "edge")] {
            assert_eq!(gateway(&[label]), gateway(&[]), "{label:?}");
        }
        assert_ne!(gateway(&[("app", "one")]), gateway(&[]));
    }

    #[test]
    fn dialects_are_told_apart_by_the_user_agent() {
        let of = |agent: &str| {
            let mut node = NodeInfo::from_id("sidecar~10.0.0.1~w.x~x.svc.cluster.local");
            node.user_agent = agent.into();
            profile(&node)
        };
        assert_eq!(of("envoy"), ClientProfile::Envoy(lateen_model::Streams::Aggregated));
        assert_eq!(of("gRPC Go"), ClientProfile::Grpc);
        assert_eq!(of("grpc-node-js"), ClientProfile::Grpc);
        assert_eq!(of("lateen-proxy"), ClientProfile::Lateen);
    }
}
