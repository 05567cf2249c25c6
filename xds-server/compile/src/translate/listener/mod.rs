//! Outbound listeners.

mod contest;
mod stream;

use std::sync::Arc;

use lateen_config::istio::MeshConfig;
use lateen_model::{Diagnostic, Host, Severity};
use lateen_proto::{envoy::config::core::v3::TrafficDirection, google::protobuf};
use lateen_xds::ResourceType;

use crate::plan::{Chain, Inspector, Listener, SNIFFED, Site, rds};

use super::{
    Bind, ClientProfile, Compiled, Families, Fixed, ListenerPart, OutboundView, Read, claims, grpc, names,
    notes::{CONFLICT, Notes},
    read,
    sidecar_scope::{Scope, Unknown},
    virtual_host,
    wire::{
        self,
        cds::{self, cluster as c},
        lds::{self, FilterChainMatch},
    },
};

use contest::{Contest, Settled};

pub(crate) use stream::forward;

/// <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig>: `proxyListenPort`
const OUTBOUND_PORT: u16 = 15001;

/// A listener from all parts under its name, which are in their order and different from each other.
pub fn outbound_listener(
    r: &mut dyn Read,
    view: &OutboundView,
    scope: &Scope,
    name: &str,
    parts: &[ListenerPart],
) -> Option<Compiled> {
    let bind = parts.first()?.bind();
    if view.profile == ClientProfile::Grpc {
        return grpc::listener(r, name, parts);
    }
    let mesh = read::mesh(r);
    let mut notes = Notes::default();
    let mut plan = Plan::default();
    for part in parts {
        plan.add(r, &mut notes, &mesh, part);
    }
    let passthrough = passthrough(r, &mut notes, view, &mesh, scope, bind);
    // Of services with one address the first is called by it: only what has none may have meant somebody else.
    let of_address = !["0.0.0.0", "::"].contains(&&*bind.address);
    let open = passthrough.clone().filter(|_| scope.unknown == Unknown::Allow && !of_address);
    let site = Site::outbound(&mesh, view.profile);
    let streams = plan.streams.settle(r, &mut notes, &site, name, open);
    // Where each of several services has all requests, they are as contested as all other connections.
    let contested = !plan.left_out.is_empty();
    if let Some(other) = &plan.http {
        let outcome = if streams.ends { "they end".to_owned() } else { format!("{other} routes them") };
        for route_config in &plan.left_out {
            notes.finding(requests_lost(r, name, route_config, &outcome));
        }
    }
    let http = plan.http.filter(|_| !(contested && streams.ends));
    if let Some(route_config) = &http {
        notes.reference(r, ResourceType::RouteConfiguration, route_config);
    }
    let chains = Chains { http, streams, passthrough };
    let listener = chains.build(&mesh, view, name, bind).finish(r, &mut notes);
    Some(notes.compiled(&listener))
}

impl ListenerPart {
    /// Where the listener is.
    pub(crate) fn bind(&self) -> &Bind {
        match self {
            Self::Http { bind, .. } | Self::Stream { bind, .. } | Self::Sniffed { bind, .. } => bind,
        }
    }
}

/// What the parts come to.
#[derive(Debug, Default)]
struct Plan {
    http: Option<Arc<str>>,
    /// Other route configurations.
    left_out: Vec<Arc<str>>,
    streams: Contest,
}

impl Plan {
    fn add(&mut self, r: &mut dyn Read, notes: &mut Notes, mesh: &Arc<MeshConfig>, part: &ListenerPart) {
        let (route_config, key) = match part {
            ListenerPart::Http { route_config, .. } => (Some(route_config), None),
            ListenerPart::Stream { stream, .. } => (None, Some(stream)),
            ListenerPart::Sniffed { route_config, stream, .. } => (Some(route_config), Some(stream)),
        };
        if let Some(route_config) = route_config {
            match &self.http {
                Some(other) if other != route_config => self.left_out.push(route_config.clone()),
                Some(_) => {}
                None => self.http = Some(route_config.clone()),
            }
        }
        let chains = key.map(|key| stream::chains(r, notes, mesh, key)).unwrap_or_default();
        for chain in chains {
            self.streams.add(chain);
        }
    }
}

/// What there is to say of a route configuration that a listener has no place for. Its name begins with the service's
/// host: shared ones stand in the way of none.
fn requests_lost(r: &mut dyn Read, listener: &str, route_config: &str, outcome: &str) -> Diagnostic {
    let host = route_config.rsplit_once(':').map_or(route_config, |(host, _)| host);
    Diagnostic {
        code: CONFLICT,
        severity: Severity::Warning,
        object: None,
        origin: read::services(r, &Host::from(host)).first().map(|service| service.origin.clone()),
        path: String::new(),
        message: format!(
            "{listener}: requests to {host} can't be told from those to another service: {outcome}"
        ),
        hint: Some(contest::HINT.to_owned()),
    }
}

/// All there is for the filter chains of a listener.
struct Chains {
    http: Option<Arc<str>>,
    streams: Settled,
    passthrough: Option<Chain>,
}

impl Chains {
    fn build(self, mesh: &MeshConfig, view: &OutboundView, name: &str, bind: &Bind) -> Listener {
        let Settled { mut chains, everything, ends: _ } = self.streams;
        let by_name = chains.iter().any(|chain| !chain.matching.server_names.is_empty());
        let http = self.http.as_ref().map(|route_config| http_chain(mesh, view.profile, name, route_config));
        let mixed = http.is_some() && everything.is_some();
        let default = match (http, everything) {
            (Some(mut http), Some(everything)) => {
                http.matching.application_protocols = SNIFFED.map(str::to_owned).to_vec();
                http.name = claims::chain_name(name, &http.matching);
                chains.push(http);
                Some(everything)
            }
            (Some(http), None) => Some(http),
            (None, Some(everything)) => Some(everything),
            (None, None) => self.passthrough,
        };
        let mut base = listener(name, bind, view.families);
        let mut inspectors = Vec::new();
        if by_name || mixed {
            inspectors.push(Inspector::Tls(None));
        }
        if mixed {
            inspectors.push(Inspector::Http(None));
        }
        if !inspectors.is_empty() {
            // No limit by default, as in Istio: who speaks last is not cut off, and nothing else waits.
            let timeout = mesh.protocol_detection_timeout.unwrap_or_default();
            base.listener_filters_timeout = Some(protobuf::Duration::from(timeout));
            base.continue_on_listener_filters_timeout = true;
        }
        Listener { base, inspectors, chains, default }
    }
}

fn http_chain(mesh: &MeshConfig, profile: ClientProfile, name: &str, route_config: &str) -> Chain {
    let site = Site::outbound(mesh, profile);
    Chain::of(site.http(format!("outbound_{name}"), rds(profile, route_config)))
}

/// What captured connections do for which no chain of a listener is meant.
fn passthrough(
    r: &mut dyn Read,
    notes: &mut Notes,
    view: &OutboundView,
    mesh: &MeshConfig,
    scope: &Scope,
    bind: &Bind,
) -> Option<Chain> {
    if bind.bound {
        return None;
    }
    let cluster = unknown_cluster(r, notes, view, mesh, scope);
    let filter = Site::outbound(mesh, view.profile).to_cluster(&cluster);
    Some(Chain { name: "PassthroughFilterChain".into(), ..Chain::of(filter) })
}

/// Where connections to unknown destinations go.
fn unknown_cluster(
    r: &mut dyn Read,
    notes: &mut Notes,
    view: &OutboundView,
    mesh: &MeshConfig,
    scope: &Scope,
) -> String {
    let name = match &scope.unknown {
        Unknown::Allow => names::PASSTHROUGH,
        Unknown::Block => names::BLACK_HOLE,
        Unknown::Proxy(proxy) => return virtual_host::egress_proxy(r, notes, view, (mesh, scope), proxy),
    };
    notes.cluster(r, name);
    name.to_owned()
}

/// An outbound listener without chains.
fn listener(name: &str, bind: &Bind, families: Families) -> lds::Listener {
    let also = match (&*bind.address, families) {
        ("0.0.0.0", Families::Dual) => Some("::"),
        ("127.0.0.1", Families::Dual) => Some("::1"),
        _ => None,
    };
    let additional_addresses = also.map(|address| lds::AdditionalAddress {
        address: Some(wire::address(address, bind.port)),
        ..Default::default()
    });
    lds::Listener {
        name: name.to_owned(),
        address: Some(wire::address(&bind.address, bind.port)),
        additional_addresses: additional_addresses.into_iter().collect(),
        traffic_direction: TrafficDirection::Outbound as i32,
        // Open sockets are Envoy's default.
        bind_to_port: (!bind.bound).then(|| false.into()),
        ..Default::default()
    }
}

/// What a view has whatever its hosts are.
pub fn fixed_outbound(r: &mut dyn Read, view: &OutboundView, scope: &Scope) -> Fixed {
    if view.profile == ClientProfile::Grpc {
        return Fixed::default();
    }
    let mesh = read::mesh(r);
    let mut fixed = Fixed::default();
    for (name, message) in
        [(names::PASSTHROUGH, passthrough_cluster(&mesh)), (names::BLACK_HOLE, black_hole(&mesh))]
    {
        fixed.resources.push((ResourceType::Cluster, name.into(), Notes::default().compiled(&message)));
    }
    if scope.captures() {
        let compiled = virtual_outbound(r, view, &mesh, scope);
        fixed.resources.push((ResourceType::Listener, names::VIRTUAL_OUTBOUND.into(), compiled));
    }
    fixed
}

/// Captured connections come here and are handed to the listener of their destination.
fn virtual_outbound(r: &mut dyn Read, view: &OutboundView, mesh: &MeshConfig, scope: &Scope) -> Compiled {
    let mut notes = Notes::default();
    if let Some(origin) = &scope.origin {
        notes.origin(origin);
    }
    let port = mesh.proxy_listen_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(OUTBOUND_PORT);
    let address = if view.families == Families::V6 { "::" } else { "0.0.0.0" };
    let bind = Bind { address: address.into(), port, bound: true };
    let mut base = listener(names::VIRTUAL_OUTBOUND, &bind, view.families);
    base.use_original_dst = Some(true.into());
    notes.cluster(r, names::BLACK_HOLE);
    let cluster = unknown_cluster(r, &mut notes, view, mesh, scope);
    let site = Site::outbound(mesh, view.profile);
    let chains = vec![
        Chain {
            // A connection to the listener itself would be passed on to the listener itself.
            name: "virtualOutbound-blackhole".into(),
            matching: FilterChainMatch {
                destination_port: Some(u32::from(port).into()),
                ..Default::default()
            },
            ..Chain::of(site.closed())
        },
        Chain { name: "virtualOutbound-catchall-tcp".into(), ..Chain::of(site.to_cluster(&cluster)) },
    ];
    let listener = Listener { base, chains, ..Listener::default() }.finish(r, &mut notes);
    notes.compiled(&listener)
}

fn passthrough_cluster(mesh: &MeshConfig) -> cds::Cluster {
    let mut cluster = cds::Cluster {
        name: names::PASSTHROUGH.into(),
        cluster_discovery_type: Some(c::ClusterDiscoveryType::Type(c::DiscoveryType::OriginalDst as i32)),
        lb_policy: c::LbPolicy::ClusterProvided as i32,
        ..Default::default()
    };
    let (policy, transport) = (super::policy::Policy::default(), super::transport::Transport::default());
    super::pool::apply(&mut cluster, mesh, &policy, super::pool::Speech::Downstream, &transport);
    cluster
}

fn black_hole(mesh: &MeshConfig) -> cds::Cluster {
    let timeout = mesh.connect_timeout.unwrap_or(super::pool::CONNECT_TIMEOUT);
    cds::Cluster {
        name: names::BLACK_HOLE.into(),
        cluster_discovery_type: Some(c::ClusterDiscoveryType::Type(c::DiscoveryType::Static as i32)),
        connect_timeout: Some(timeout.into()),
        ..Default::default()
    }
}
