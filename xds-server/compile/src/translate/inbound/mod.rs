//! Traffic to a workload: the listeners in front of it, and the clusters that lead to it.
//!
//! Captured connections all come to `virtualInbound`, with a filter chain for each port; a `Sidecar`'s ingress
//! listeners of capture mode `NONE` are sockets of their own. Which ports there are is said by the `Sidecar`'s
//! ingress listeners, where it has any, else by the services that have an endpoint at the node's address.
//!
//! What a workload has is a small [`InboundEntry`] of names and keys; the resources are compiled from the keys, which
//! hold nothing of the workload but its ports, address families and policies: equal replicas share them.

mod chain;
mod cluster;
mod listener;
mod port;

use std::sync::Arc;

use lateen_config::ObjectKey;
use lateen_model::{Diagnostic, Origin};
use lateen_xds::ResourceType;

use super::{ClientProfile, Compiled, Families, InboundView, Read, read};
use crate::plan::ConnectionPolicy;
use port::Bound;

pub use port::InboundPort;
use port::PortSource;

/// Cluster for connections to ports that nobody described.
const PASSTHROUGH: &str = "InboundPassthroughCluster";
/// Listener that captured inbound connections come to.
const VIRTUAL_INBOUND: &str = "virtualInbound";

/// What a workload has, sorted by type and name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct InboundEntry {
    /// Type, name and key.
    pub resources: Vec<(ResourceType, Arc<str>, Arc<InboundKey>)>,
    /// What was wrong on the way.
    pub findings: Vec<Diagnostic>,
}

/// Everything that decides the bytes of an inbound resource, but for the world.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InboundKey {
    /// Which resource.
    pub resource: InboundResource,
    /// The `Sidecar` in effect.
    pub sidecar: Option<ObjectKey>,
    /// IP families of the workload.
    pub families: Families,
    /// Dialect.
    pub profile: ClientProfile,
    /// What holds for connections.
    pub policy: ConnectionPolicy,
}

/// An inbound resource.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum InboundResource {
    /// `virtualInbound`.
    Captured {
        /// Ports with chains of their own.
        ports: Arc<[InboundPort]>,
        /// Other ports that are unlike the rest: are connections to them refused?
        others: Arc<[(u16, bool)]>,
        /// Are connections to all other ports refused?
        closed: bool,
    },
    /// A listener with sockets of its own, at these addresses.
    Bound(InboundPort, Vec<Arc<str>>),
    /// The cluster of a port.
    Cluster(InboundPort),
    /// The cluster for ports that nobody described.
    Passthrough,
}

impl InboundResource {
    /// Its type.
    pub fn kind(&self) -> ResourceType {
        match self {
            Self::Captured { .. } | Self::Bound(..) => ResourceType::Listener,
            Self::Cluster(_) | Self::Passthrough => ResourceType::Cluster,
        }
    }
}

/// What comes to a node. The names are Istio's: `virtualInbound`, `inbound|8080||`, `InboundPassthroughCluster`;
/// `127.0.0.1_8080` for a socket of its own.
pub fn inbound(r: &mut dyn Read, view: &InboundView) -> InboundEntry {
    let mesh = read::mesh(r);
    let port::Ports { ports, captures, findings } = port::ports(r, view, &mesh);
    let mut resources = Vec::new();
    let mut add = |name: Arc<str>, resource: InboundResource| {
        let kind = resource.kind();
        let key = InboundKey {
            resource,
            sidecar: view.sidecar.clone(),
            families: view.families,
            profile: view.profile,
            policy: view.policy,
        };
        resources.push((kind, name, Arc::new(key)));
    };
    let mut captured = Vec::new();
    for (port, bound) in ports {
        add(port.cluster_name(), InboundResource::Cluster(port.clone()));
        match bound {
            Bound::Captured => captured.push(port),
            // A socket that would take nothing is not opened.
            Bound::At(_) if port.closed => {}
            Bound::At(addresses) => {
                let name = listener::name(&port, &addresses);
                add(name, InboundResource::Bound(port, addresses));
            }
        }
    }
    if captures {
        let closed = view.plaintext.refused;
        let others = view.plaintext.ports.iter().map(|(port, refused)| (*port, *refused));
        let others = others.filter(|(number, refused)| {
            *number > 0 && *refused != closed && captured.iter().all(|port| port.number != *number)
        });
        let others = others.collect();
        let all = InboundResource::Captured { ports: captured.into(), others, closed };
        add(VIRTUAL_INBOUND.into(), all);
        add(PASSTHROUGH.into(), InboundResource::Passthrough);
    }
    resources.sort_by(|(kind, name, _), (other, than, _)| (kind, name).cmp(&(other, than)));
    InboundEntry { resources, findings }
}

/// What is closed of the ports of a `Sidecar`, whoever it holds for.
pub(super) fn closed_ports(
    sidecar: &lateen_registry::Sourced<lateen_config::istio::Sidecar>,
) -> Vec<Diagnostic> {
    port::closed_ports(sidecar)
}

/// One resource. `None` if there is nothing to listen for.
pub fn inbound_resource(r: &mut dyn Read, key: &InboundKey) -> Option<Compiled> {
    let mesh = read::mesh(r);
    let sidecar = key.sidecar.as_ref().and_then(|key| read::sidecar(r, key));
    let of = Of { key, mesh: &mesh, sidecar: sidecar.as_deref() };
    match &key.resource {
        InboundResource::Captured { ports, others, closed } => {
            Some(listener::captured(r, &of, ports, others, *closed))
        }
        InboundResource::Bound(port, addresses) => listener::bound(r, &of, port, addresses),
        InboundResource::Cluster(port) => Some(cluster::of_port(r, &of, port)),
        InboundResource::Passthrough => Some(cluster::passthrough(&of)),
    }
}

/// What a resource is made from.
#[derive(Clone, Copy)]
struct Of<'a> {
    key: &'a InboundKey,
    mesh: &'a lateen_config::istio::MeshConfig,
    sidecar: Option<&'a lateen_registry::Sourced<lateen_config::istio::Sidecar>>,
}

impl<'a> Of<'a> {
    /// The ingress listener of a port.
    fn ingress(&self, port: &InboundPort) -> Option<&'a lateen_config::istio::IngressListener> {
        match port.from {
            PortSource::Ingress(index) => self.sidecar?.spec.ingress.get(index),
            PortSource::Services(_) => None,
        }
    }

    /// The objects that say that there is such a port.
    fn origins(&self, r: &mut dyn Read, port: &InboundPort) -> Vec<Origin> {
        match &port.from {
            PortSource::Ingress(_) => self.sidecar.iter().map(|sidecar| sidecar.origin.clone()).collect(),
            PortSource::Services(services) => services
                .iter()
                .filter_map(|(host, namespace)| Some(read::service_in(r, host, namespace)?.origin.clone()))
                .collect(),
        }
    }
}
