//! Facts into xDS resources: pure functions, each a memo of the engine.
//!
//! A function here reaches the world only through [`Read`], which records every look-up, and depends on a node
//! only through a view or a key. Names and defaults are Istio's, so that existing tools understand them.
//!
//! The outbound side, in the order in which the engine asks:
//!
//! 1. [`outbound_scope`]: what the view sees of the mesh; then [`host_entry`]: what a host contributes to it (its clusters, endpoints, virtual hosts, listener
//!    parts), as names with keys;
//! 2. [`cluster`], [`load_assignment`], [`virtual_host`]: one resource from one key; equal keys share one
//!    compilation in all views;
//! 3. [`outbound_listener`]: a listener from all the parts that hosts contribute under its name;
//! 4. [`route_shell`]: a `RouteConfiguration` without its virtual hosts;
//! 5. [`fixed_outbound`]: what a view has whatever its hosts are.

mod backend_tls;
mod called;
pub(crate) mod claims;
mod closed;
mod cluster;
#[cfg(test)]
pub(crate) mod cold;
mod endpoint;
mod gateway;
#[cfg(test)]
mod golden;
mod grpc;
mod host_entry;
mod inbound;
mod listener;
mod load_balancing;
mod locality;
pub(crate) mod names;
mod node_scope;
pub(crate) mod notes;
#[cfg(test)]
mod outbound_tests;
mod outlier;
mod policies;
mod policy;
mod pool;
pub(crate) mod read;
pub(crate) mod route;
mod server_tls;
mod sidecar_scope;
mod transport;
mod unapplied;
mod virtual_host;
pub(crate) mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use bytes::Bytes;
use lateen_config::ObjectKey;
use lateen_model::{Diagnostic, Host, Locality, Namespace, Origin, Streams};
use lateen_registry::{Fact, FactKey, GatewayId, Selector};
use lateen_xds::{NameId, ResourceRef, ResourceType};

use crate::plan::ConnectionPolicy;

pub use cluster::cluster;
pub use endpoint::load_assignment;
pub use gateway::{
    AttachedRoutes, GatewayEntry, GatewayListenerKey, GatewayPlan, GatewayVirtualHostKey, RouteServers,
    ServerPart, ServerRole, Socket, SocketServers, gateway_host, gateway_listener, gateway_plan,
    gateway_route_shell, gateway_socket, gateway_virtual_host,
};
pub(crate) use host_entry::HTTP_PORT;
pub use host_entry::host_entry;
pub use inbound::{InboundEntry, InboundKey, InboundPort, InboundResource, inbound, inbound_resource};
pub use listener::{fixed_outbound, outbound_listener};
pub use node_scope::node_views;
pub use notes::NO_DESTINATION;
pub use policies::policy_resources;
pub(crate) use sidecar_scope::Wanted;
pub use sidecar_scope::{Scope, outbound_scope};
pub use unapplied::unapplied;
pub(crate) use virtual_host::{VIRTUAL_HOSTS_FIELD, closed_host};
pub use virtual_host::{route_shell, virtual_host};

pub(crate) use policy::Policy;
pub(crate) use read::{Routes, Rule};
pub(crate) use sidecar_scope::Egress;

/// All a compile function may read the world through. The engine's implementation records what is read, also
/// when there is nothing.
pub trait Read {
    /// The cell of the World, if there is one.
    fn fact(&mut self, key: &FactKey) -> Option<Fact>;
    /// The interned name: no read of the world.
    fn name(&mut self, text: &str) -> NameId;
}

/// One compiled resource, or one virtual host.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Compiled {
    /// The encoded message; deterministic.
    pub bytes: Bytes,
    /// The resources it names and that exist, sorted, without duplicates.
    pub refs: Vec<ResourceRef>,
    /// The objects it was made from, sorted, without duplicates.
    pub origins: Vec<Origin>,
    /// What was found wrong on the way.
    pub findings: Vec<Diagnostic>,
    /// Of a listener the objects behind each of its filter chains, in their order; what says most comes first.
    pub chains: Vec<Arc<[Origin]>>,
}

/// Which dialect of xDS a client understands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ClientProfile {
    /// Stock Envoy, with how it opens its streams.
    Envoy(Streams),
    /// A proxyless gRPC client: <https://grpc.github.io/grpc/core/md_doc_grpc_xds_features.html>
    Grpc,
    /// Our own proxy.
    Lateen,
}

/// The IP families a node can reach.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Families {
    /// IPv4 only; also where the node has told no address.
    #[default]
    V4,
    /// IPv6 only.
    V6,
    /// Both, IPv4 first.
    Dual,
}

/// The part of a node that outbound resources depend on, and no more.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct OutboundView {
    /// The node's namespace.
    pub namespace: Namespace,
    /// DNS domain of its platform (`cluster.local`).
    pub domain: Arc<str>,
    /// Dialect.
    pub profile: ClientProfile,
    /// The `Sidecar` in effect.
    pub sidecar: Option<ObjectKey>,
    /// Those selectors of `VirtualService`s and `DestinationRule`s that can hold for the node, and that its labels
    /// satisfy.
    pub selectors: Arc<BTreeSet<Selector>>,
    /// Are virtual hosts delivered one by one?
    pub vhds: bool,
    /// IP families.
    pub families: Families,
}

/// The part of a node that endpoints depend on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct EndpointView {
    /// Where the node is.
    pub locality: Locality,
    /// Its network.
    pub network: Arc<str>,
    /// Values of those of its labels that some `failoverPriority` names.
    pub failover_labels: Arc<BTreeMap<Arc<str>, Arc<str>>>,
}

/// The part of a node that inbound resources depend on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InboundView {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its IP families.
    pub families: Families,
    /// Dialect.
    pub profile: ClientProfile,
    /// The `Sidecar` in effect.
    pub sidecar: Option<ObjectKey>,
    /// Where it takes no plain text.
    pub plaintext: Plaintext,
    /// What holds for connections.
    pub policy: ConnectionPolicy,
}

/// The part of a node that a gateway's resources depend on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GatewayView {
    /// The node's namespace.
    pub namespace: Namespace,
    /// DNS domain of its platform.
    pub domain: Arc<str>,
    /// The `Gateway`s that select it, in precedence order.
    pub gateways: Arc<[GatewayId]>,
    /// Those selectors of `DestinationRule`s that can hold for the node, and that its labels satisfy.
    pub selectors: Arc<BTreeSet<Selector>>,
    /// Dialect.
    pub profile: ClientProfile,
    /// Are virtual hosts delivered one by one?
    pub vhds: bool,
    /// IP families.
    pub families: Families,
    /// What holds for connections.
    pub policy: ConnectionPolicy,
}

/// Policies whose content comes by ECDS, of a workload or a gateway; in precedence order.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct PolicyView {
    /// Objects that say which tokens of end users are good.
    pub authentication: Arc<[ObjectKey]>,
    /// Objects that may have a say in which requests are let through.
    pub authorization: Arc<[ObjectKey]>,
    /// Objects that say how connections are secured.
    pub peers: Arc<[ObjectKey]>,
    /// Is it a gateway's?
    pub gateway: bool,
}

/// Where a workload takes no plain text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Plaintext {
    /// On all ports but these.
    pub refused: bool,
    /// On ports that have a setting of their own.
    pub ports: Arc<BTreeMap<u16, bool>>,
}

impl Plaintext {
    /// Is it refused on this port?
    pub fn is_refused(&self, port: u16) -> bool {
        self.ports.get(&port).copied().unwrap_or(self.refused)
    }
}

/// All views of a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NodeViews {
    /// Sidecars and proxyless clients.
    pub outbound: Option<OutboundView>,
    /// Everybody.
    pub endpoints: EndpointView,
    /// Sidecars and proxyless servers.
    pub inbound: Option<InboundView>,
    /// Gateways.
    pub gateway: Option<GatewayView>,
    /// Who has slots for policies.
    pub policies: Option<PolicyView>,
}

/// `DestinationRule`s that apply together: all stand in one cell of the World.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RuleSet {
    /// The cell: their `host`, perhaps a wildcard.
    pub host: Host,
    /// The rules, in precedence order.
    pub rules: Arc<[ObjectKey]>,
}

/// Everything that decides the bytes of a cluster, but for the world.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClusterKey {
    /// The service.
    pub host: Host,
    /// Namespace of the definition that the view sees.
    pub namespace: Namespace,
    /// The service's port.
    pub port: u16,
    /// Name of the subset.
    pub subset: Option<Arc<str>>,
    /// The rules that apply.
    pub rules: Option<RuleSet>,
    /// Dialect.
    pub profile: ClientProfile,
    /// IP families, where the proxy resolves names.
    pub families: Families,
    /// Is it a gateway's, and as such another one than in the mesh? `ClusterKey::of_gateway` says where.
    pub gateway: bool,
}

impl ClusterKey {
    /// Do gateways reach this port in another way than sidecars? No client's choice is theirs to repeat: neither an
    /// address that it called nor a version of HTTP that was not announced. And a `BackendTLSPolicy` is theirs only.
    pub(crate) fn of_gateway(r: &mut dyn Read, service: &lateen_model::Service, port: u16) -> bool {
        let unknown = |known: &lateen_model::Port| known.protocol == lateen_model::Protocol::Unknown;
        service.resolution == lateen_model::Resolution::None
            || service.ports.iter().filter(|known| known.number == port).any(unknown)
            || backend_tls::of_port(r, service, port).is_some()
    }
}

/// From where endpoints are seen.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Vantage {
    /// They are the same from everywhere.
    Anywhere,
    /// They depend on the view; [`EndpointsKey::seen_from`] says which.
    Depends,
    /// They are seen from here.
    From(Arc<EndpointView>),
}

/// Everything that decides the bytes of a `ClusterLoadAssignment`, but for the world.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EndpointsKey {
    /// The service.
    pub host: Host,
    /// Namespace of the definition that the view sees.
    pub namespace: Namespace,
    /// The service's port.
    pub port: u16,
    /// Name of the subset.
    pub subset: Option<Arc<str>>,
    /// The rules that apply.
    pub rules: Option<RuleSet>,
    /// Dialect.
    pub profile: ClientProfile,
    /// The families that the client can reach.
    pub families: Families,
    /// From where.
    pub vantage: Vantage,
}

impl EndpointsKey {
    /// The key for a node's endpoint view.
    pub fn seen_from(&self, view: &Arc<EndpointView>) -> Self {
        match self.vantage {
            Vantage::Depends => Self { vantage: Vantage::From(view.clone()), ..self.clone() },
            Vantage::Anywhere | Vantage::From(_) => self.clone(),
        }
    }
}

/// Which short names of a service its clients may use.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Aliases {
    /// None: the host is not a name of the platform.
    None,
    /// `name.namespace` and `name.namespace.svc`.
    Qualified(Arc<str>),
    /// These, and `name` alone: the client is in the same namespace.
    Short(Arc<str>),
}

/// A host that routes lead to, as the view sees it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// Namespace of the definition that the view sees; none where it sees none.
    pub namespace: Option<Namespace>,
    /// The rules that apply.
    pub rules: Option<RuleSet>,
}

/// Everything that decides the bytes of a virtual host, but for the world.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct VirtualHostKey {
    /// What clients ask for; perhaps a wildcard.
    pub host: Host,
    /// Namespace of the service definition; none for a host that only a `VirtualService` has.
    pub namespace: Option<Namespace>,
    /// The port that clients call.
    pub listen_port: u16,
    /// The service's port, where it differs from the listener's.
    pub port: u16,
    /// Which `domains` it answers to.
    pub domains: Domains,
    /// What it answers to beside its host: short names, names of instances, addresses. Those are left out that are
    /// somebody else's for the client.
    pub names: Arc<[Arc<str>]>,
    /// DNS domain in which short names of destinations are completed.
    pub domain: Arc<str>,
    /// The `VirtualService`s that hold: the first with a route for the client and the port is in effect.
    pub routes: Arc<[ObjectKey]>,
    /// The host, perhaps a wildcard, that they are for: they are read there, so that a `VirtualService` of very many
    /// hosts can change host by host. None where there are none.
    pub routes_of: Option<Host>,
    /// Where routes lead: the destinations of the `VirtualService`s, and the service itself.
    pub targets: Arc<[Target]>,
    /// The selectors that the client satisfies; empty when the `VirtualService` has no `sourceLabels`.
    pub selectors: Arc<BTreeSet<Selector>>,
    /// The client's namespace; none when the `VirtualService` has no `sourceNamespace`.
    pub source_namespace: Option<Namespace>,
    /// Dialect.
    pub profile: ClientProfile,
}

/// Which `Host` headers a virtual host answers to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Domains {
    /// Its names: the route configuration ignores the port of the header.
    Names,
    /// Its names with the port: one route configuration serves several ports. Those of port 80 also without.
    NamesWithPort,
    /// Any: it is alone in its route configuration.
    Any,
}

/// The address a listener is bound to or matches.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Bind {
    /// IP address, or `unix://PATH`.
    pub address: Arc<str>,
    /// Port; 0 for a Unix socket.
    pub port: u16,
    /// Is the socket opened? Otherwise connections come from `virtualOutbound`.
    pub bound: bool,
}

/// What a host contributes to a listener. Equal parts of several hosts are one; a listener is compiled from the
/// sorted set of its parts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ListenerPart {
    /// HTTP, routed by a `RouteConfiguration`.
    Http {
        /// Where.
        bind: Bind,
        /// Its name.
        route_config: Arc<str>,
    },
    /// TLS or TCP to this service.
    Stream {
        /// Where.
        bind: Bind,
        /// How it is routed.
        stream: Arc<StreamKey>,
    },
    /// A port whose protocol is unknown: HTTP is sniffed.
    Sniffed {
        /// Where.
        bind: Bind,
        /// The `RouteConfiguration` for what turns out to be HTTP.
        route_config: Arc<str>,
        /// How the rest is routed.
        stream: Arc<StreamKey>,
    },
}

/// Everything that decides the filter chains of a service in a TCP or TLS listener, but for the world.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamKey {
    /// The service.
    pub host: Host,
    /// Namespace of the definition that the view sees; none for a host that only a `VirtualService` has.
    pub namespace: Option<Namespace>,
    /// The service's port.
    pub port: u16,
    /// The port that clients call.
    pub listen_port: u16,
    /// The service's CIDR ranges or addresses, where the listener is not bound to one of them.
    pub destinations: Arc<[Arc<str>]>,
    /// Is it told from others by the server's name in TLS?
    pub sni: bool,
    /// Do the service's clients look for one of its instances, because it has no address of its own? Connections
    /// to anything else on its port go where they were going.
    pub keeps_destination: bool,
    /// As in [`VirtualHostKey`].
    pub domain: Arc<str>,
    /// The `VirtualService`s that hold: their routes follow one another.
    pub routes: Arc<[ObjectKey]>,
    /// As in [`VirtualHostKey`].
    pub targets: Arc<[Target]>,
    /// As in [`VirtualHostKey`].
    pub selectors: Arc<BTreeSet<Selector>>,
    /// As in [`VirtualHostKey`].
    pub source_namespace: Option<Namespace>,
}

/// What a host contributes to an outbound view; every list is sorted by name. Entries of several hosts can hold
/// the same cluster or endpoints, always with the same key (a `VirtualService` brings along what it leads to):
/// a name is in the view as long as one entry holds it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct HostEntry {
    /// Cluster name and key.
    pub clusters: Vec<(Arc<str>, Arc<ClusterKey>)>,
    /// Name of the assignment and key, to be localized by [`EndpointsKey::seen_from`].
    pub endpoints: Vec<(Arc<str>, Arc<EndpointsKey>)>,
    /// Name of the route configuration, name of the virtual host, key.
    pub virtual_hosts: Vec<(Arc<str>, Arc<str>, Arc<VirtualHostKey>)>,
    /// Listener name and part.
    pub listeners: Vec<(Arc<str>, ListenerPart)>,
}

/// A `RouteConfiguration` without the virtual hosts of its hosts: its encoding is `before`, then the virtual
/// hosts (each as an element of field 2, in name order), then `after`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Shell {
    /// The fields up to the virtual hosts.
    pub before: Bytes,
    /// The catch-all virtual host, and the fields that follow.
    pub after: Bytes,
    /// Are the virtual hosts left out, to be delivered by VHDS?
    pub vhds: bool,
    /// As in [`Compiled`].
    pub refs: Vec<ResourceRef>,
    /// As in [`Compiled`].
    pub origins: Vec<Origin>,
    /// As in [`Compiled`].
    pub findings: Vec<Diagnostic>,
}

/// What an outbound view has whatever its hosts are.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Fixed {
    /// Compiled resources: `virtualOutbound`, `PassthroughCluster`, `BlackHoleCluster`, bound listeners of a
    /// `Sidecar`.
    pub resources: Vec<(ResourceType, Arc<str>, Compiled)>,
    /// Route configurations that exist even without a virtual host.
    pub route_configs: Vec<Arc<str>>,
}
