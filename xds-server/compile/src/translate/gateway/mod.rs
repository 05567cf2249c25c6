//! Gateways: what proxies at the edge of the mesh are given.
//!
//! In the order in which the engine asks:
//!
//! 1. [`gateway_plan`]: the sockets and the route configurations of a view, from its servers;
//! 2. [`gateway_socket`], [`gateway_host`]: the names and keys of what the view has of one socket, and of one host in
//!    one route configuration. A change of one route reaches the hosts that the route names and no other;
//! 3. [`gateway_listener`], [`gateway_route_shell`], [`gateway_virtual_host`]: one resource, or one virtual host,
//!    from one key; clusters and endpoints are those of the outbound side ([`super::cluster`],
//!    [`super::load_assignment`]), but only where a route leads to them.
//!
//! Names are Istio's: listeners `0.0.0.0_8080`, route configurations `http.8080` and
//! `https.443.PORT_NAME.GATEWAY.NAMESPACE`, virtual hosts `HOST:PORT`.

mod attach;
mod host;
mod listener;
mod plan;
mod servers;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod virtual_host;

use std::sync::Arc;

use lateen_config::{ObjectKey, istio::MeshConfig};
use lateen_model::{Host, Namespace};
use lateen_registry::GatewayId;

use super::{Bind, ClientProfile, ClusterKey, EndpointsKey, Target};
use crate::plan::{ConnectionPolicy, Direction, Site};

pub use host::gateway_host;
pub use listener::gateway_listener;
pub use plan::{GatewayPlan, RouteServers, Socket, SocketServers, gateway_plan};
pub(crate) use servers::closed_servers;
pub use socket::gateway_socket;
pub use virtual_host::{gateway_route_shell, gateway_virtual_host};

/// What a gateway view has of a socket or of a host; every list is sorted by name. Entries of several hosts can hold
/// the same cluster or endpoints, always with the same key.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GatewayEntry {
    /// Listener name and key.
    pub listeners: Vec<(Arc<str>, Arc<GatewayListenerKey>)>,
    /// Names of the route configurations; each exists even without a virtual host.
    pub route_configs: Vec<Arc<str>>,
    /// Name of the route configuration, name of the virtual host, key.
    pub virtual_hosts: Vec<(Arc<str>, Arc<str>, Arc<GatewayVirtualHostKey>)>,
    /// Cluster name and key: those that routes lead to.
    pub clusters: Vec<(Arc<str>, Arc<ClusterKey>)>,
    /// Name of the assignment and key, to be localized by [`EndpointsKey::seen_from`].
    pub endpoints: Vec<(Arc<str>, Arc<EndpointsKey>)>,
}

/// Everything that decides the bytes of a gateway's listener, but for the world.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GatewayListenerKey {
    /// Where it listens.
    pub bind: Bind,
    /// Another address with the same port.
    pub also: Option<Arc<str>>,
    /// The servers that share the socket, in precedence order.
    pub servers: Arc<[ServerPart]>,
    /// The `VirtualService`s with routes for TCP or TLS.
    pub streams: Arc<[AttachedRoutes]>,
    /// Where those lead.
    pub targets: Arc<[Target]>,
    /// The node's namespace.
    pub namespace: Namespace,
    /// DNS domain of its platform.
    pub domain: Arc<str>,
    /// Dialect.
    pub profile: ClientProfile,
    /// What holds for connections.
    pub policy: ConnectionPolicy,
}

impl GatewayListenerKey {
    /// For whom the listener's filters are.
    fn site<'a>(&self, mesh: &'a MeshConfig) -> Site<'a> {
        Site { mesh, direction: Direction::Gateway, profile: self.profile, policy: self.policy }
    }
}

/// A server and what becomes of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ServerPart {
    /// The gateway it is of.
    pub gateway: GatewayId,
    /// Its position in `servers`.
    pub index: usize,
    /// What it is.
    pub role: ServerRole,
}

/// What a server is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ServerRole {
    /// HTTP in the clear.
    Http {
        /// The route configuration, shared by all servers of the socket.
        route_config: Arc<str>,
    },
    /// HTTP in TLS that ends here.
    Https {
        /// The server's own route configuration.
        route_config: Arc<str>,
    },
    /// Connections in the clear.
    Tcp,
    /// Connections in TLS that ends here.
    TerminatedTls,
    /// Connections in TLS that ends elsewhere, routed by SNI.
    Passthrough,
    /// TLS that can't be had: connections for these hosts end. No wider server of the socket takes them, nor requests
    /// for them that come for its own hosts.
    Closed {
        /// Those that no earlier server has, sorted.
        hosts: Arc<[Host]>,
    },
}

impl ServerRole {
    fn is_tls(&self) -> bool {
        match self {
            Self::Https { .. } | Self::TerminatedTls | Self::Passthrough | Self::Closed { .. } => true,
            Self::Http { .. } | Self::Tcp => false,
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// The hosts for which connections end.
    fn closed(&self) -> &[Host] {
        if let Self::Closed { hosts } = self { hosts } else { &[] }
    }

    fn route_config(&self) -> Option<&Arc<str>> {
        match self {
            Self::Http { route_config } | Self::Https { route_config } => Some(route_config),
            Self::Tcp | Self::TerminatedTls | Self::Passthrough | Self::Closed { .. } => None,
        }
    }

    fn as_str(&self) -> &'static str {
        match self {
            Self::Http { .. } => "HTTP",
            Self::Https { .. } => "HTTPS",
            Self::Tcp => "TCP",
            Self::TerminatedTls | Self::Passthrough | Self::Closed { .. } => "TLS",
        }
    }
}

/// A `VirtualService` as it is attached to a gateway.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AttachedRoutes {
    /// The gateway.
    pub gateway: GatewayId,
    /// The object.
    pub object: ObjectKey,
}

/// Everything that decides the bytes of a gateway's virtual host, but for the world.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GatewayVirtualHostKey {
    /// What clients ask for; perhaps a wildcard.
    pub host: Host,
    /// The server's port.
    pub port: u16,
    /// The `VirtualService`s, in precedence order: their routes are joined. Each is read with the host, perhaps a
    /// wildcard, that it is attached for, so that one of very many hosts can change host by host.
    pub routes: Arc<[(AttachedRoutes, Host)]>,
    /// Where they lead.
    pub targets: Arc<[Target]>,
    /// Are requests in the clear redirected to HTTPS?
    pub https_redirect: bool,
    /// Is the host one of a closed server's? Then its requests are answered 421.
    pub closed: bool,
    /// The node's namespace.
    pub namespace: Namespace,
    /// DNS domain of its platform.
    pub domain: Arc<str>,
    /// Dialect.
    pub profile: ClientProfile,
}
