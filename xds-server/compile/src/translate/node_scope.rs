//! From a node to its views: which part of the mesh it sees, and as what.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lateen_config::{ObjectKey, convert::SELECT_NAMESPACE};
use lateen_model::{Namespace, NodeInfo, NodeRole};
use lateen_registry::{Fact, FactKey, GatewayId};

use super::{
    ClientProfile, EndpointView, Families, GatewayView, InboundView, NodeViews, OutboundView, Read, Selector,
    read,
};

/// The views of a node. They hold of its labels only what some object asks for, so that nodes that no object
/// tells apart share their views.
pub fn node_views(r: &mut dyn Read, node: &NodeInfo) -> NodeViews {
    let mesh = read::mesh(r);
    let profile = profile(node);
    // gRPC clients know no VHDS: https://grpc.github.io/grpc/core/md_doc_grpc_xds_features.html
    let vhds = profile != ClientProfile::Grpc && mesh.lateen.as_ref().is_some_and(|own| own.vhds);
    let families = families(&node.addresses);
    let mut views =
        NodeViews { outbound: None, endpoints: endpoint_view(r, node), inbound: None, gateway: None };
    if node.role == NodeRole::Gateway {
        views.gateway = Some(GatewayView {
            namespace: node.namespace.clone(),
            domain: node.domain.clone(),
            gateways: gateways(r, node),
            profile,
            vhds,
            families,
        });
        return views;
    }
    let sidecar = effective_sidecar(r, node, &read::root_namespace(&mesh));
    views.outbound = Some(OutboundView {
        namespace: node.namespace.clone(),
        domain: node.domain.clone(),
        profile,
        sidecar: sidecar.clone(),
        selectors: Arc::new(source_selectors(r, node)),
        vhds,
        families,
    });
    if profile != ClientProfile::Grpc {
        views.inbound = Some(InboundView {
            namespace: node.namespace.clone(),
            addresses: node.addresses.clone(),
            labels: Arc::new(node.labels.clone()),
            workload: node.workload.clone(),
            domain: node.domain.clone(),
            profile,
            sidecar,
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
        ClientProfile::Envoy
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

fn source_selectors(r: &mut dyn Read, node: &NodeInfo) -> BTreeSet<Selector> {
    let all = r.fact(&FactKey::SourceSelectors).and_then(Fact::source_selectors).unwrap_or_default();
    all.iter().filter(|selector| selects(selector, &node.labels)).cloned().collect()
}

fn selects(selector: &BTreeMap<Arc<str>, Arc<str>>, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The `Sidecar` of a workload: the first of its namespace that selects it, else the first of its namespace
/// without a selector, else that of the root namespace.
/// <https://istio.io/latest/docs/reference/config/networking/sidecar/#Sidecar>
fn effective_sidecar(r: &mut dyn Read, node: &NodeInfo, root: &Namespace) -> Option<ObjectKey> {
    let of = |r: &mut dyn Read, namespace: &Namespace| {
        r.fact(&FactKey::Sidecars(namespace.clone())).and_then(Fact::sidecars).unwrap_or_default()
    };
    let own = of(r, &node.namespace);
    let selector = |sidecar: &lateen_config::istio::Sidecar| {
        sidecar.workload_selector.as_ref().map(|s| &s.labels).filter(|labels| !labels.is_empty()).cloned()
    };
    let selecting = own.iter().find(|sidecar| {
        selector(&sidecar.spec).is_some_and(|wanted| {
            wanted.iter().all(|(name, value)| node.labels.get(name.as_str()).is_some_and(|v| **v == **value))
        })
    });
    let general = || own.iter().find(|sidecar| selector(&sidecar.spec).is_none());
    if let Some(found) = selecting.or_else(general) {
        return Some(found.key.clone());
    }
    if *root == node.namespace {
        return None;
    }
    of(r, root).iter().find(|sidecar| selector(&sidecar.spec).is_none()).map(|sidecar| sidecar.key.clone())
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
