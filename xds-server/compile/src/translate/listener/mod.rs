//! Outbound listeners.

mod stream;

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::istio::MeshConfig;
use lateen_proto::{envoy::config::core::v3::TrafficDirection, google::protobuf};
use lateen_xds::ResourceType;

use crate::plan::{Chain, Inspector, Listener, Site, rds};

use super::{
    Bind, ClientProfile, Compiled, Families, Fixed, ListenerPart, OutboundView, Read,
    claims::Claims,
    grpc, names,
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

pub(crate) use stream::forward;

/// What the HTTP inspector calls the protocols that it recognizes.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/listener_filters/http_inspector>
const SNIFFED_PROTOCOLS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];
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
        plan.add(r, &mut notes, &mesh, name, part);
    }
    if let Some(route_config) = &plan.http {
        notes.reference(r, ResourceType::RouteConfiguration, route_config);
    }
    let passthrough = passthrough(r, &mut notes, view, &mesh, scope, bind);
    if plan.ambiguous && !bind.bound && (plan.shut || scope.unknown == Unknown::Allow) {
        // Where the client was going is a better answer than a service that it did not mean; but not if it may have meant
        // one that is closed. HTTP is told apart by its host all the same.
        let site = Site::outbound(&mesh, view.profile);
        let to = if plan.shut { names::BLACK_HOLE } else { names::PASSTHROUGH };
        plan.everything = (plan.shut || plan.http.is_some()).then(|| {
            notes.cluster(r, to);
            stream::Chain { filters: vec![site.to_cluster(to)], ..stream::Chain::default() }
        });
    }
    let listener = plan.build(&mesh, view, name, bind, passthrough).finish(r, &mut notes);
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
    chains: Vec<stream::Chain>,
    everything: Option<stream::Chain>,
    taken: BTreeSet<stream::Matched>,
    /// Do several services want every connection?
    ambiguous: bool,
    /// Is one of those closed?
    shut: bool,
}

impl Plan {
    fn add(
        &mut self,
        r: &mut dyn Read,
        notes: &mut Notes,
        mesh: &Arc<MeshConfig>,
        name: &str,
        part: &ListenerPart,
    ) {
        let (route_config, key) = match part {
            ListenerPart::Http { route_config, .. } => (Some(route_config), None),
            ListenerPart::Stream { stream, .. } => (None, Some(stream)),
            ListenerPart::Sniffed { route_config, stream, .. } => (Some(route_config), Some(stream)),
        };
        if let Some(route_config) = route_config {
            match &self.http {
                Some(other) if other != route_config => {
                    let text = format!("{name}: HTTP is routed by {other}, {route_config} is left out");
                    notes.warn(CONFLICT, None, text);
                }
                Some(_) => {}
                None => self.http = Some(route_config.clone()),
            }
        }
        for chain in key.map(|key| stream::chains(r, notes, mesh, key)).unwrap_or_default() {
            self.add_chain(notes, name, chain);
        }
    }

    fn add_chain(&mut self, notes: &mut Notes, name: &str, mut chain: stream::Chain) {
        let host = chain.host.clone();
        let free = stream::claim(&mut self.taken, &mut chain);
        if !free {
            let text = format!("{name}: connections to {host} can't be told from those to another service");
            notes.warn(CONFLICT, None, text);
        }
        if chain.is_everything() {
            self.ambiguous |= !free;
            self.shut |= chain.closed;
            if free {
                self.everything = Some(chain);
            }
        } else if free || !chain.names.is_empty() {
            self.chains.push(chain);
        }
    }

    fn build(
        self,
        mesh: &MeshConfig,
        view: &OutboundView,
        name: &str,
        bind: &Bind,
        passthrough: Option<Chain>,
    ) -> Listener {
        let by_name = self.chains.iter().any(|chain| !chain.names.is_empty());
        let mut claims = Claims::default();
        let mut chains: Vec<Chain> = self.chains.into_iter().map(stream::Chain::build).collect();
        chains.retain_mut(|chain| claims.claim(&mut chain.matching));
        let http = self.http.as_ref().map(|route_config| http_chain(mesh, view.profile, name, route_config));
        let mixed = http.is_some() && self.everything.is_some();
        let default = match (http, self.everything) {
            (Some(mut http), Some(everything)) => {
                http.matching = FilterChainMatch {
                    application_protocols: SNIFFED_PROTOCOLS.map(str::to_owned).to_vec(),
                    ..Default::default()
                };
                chains.push(http);
                Some(everything.build())
            }
            (Some(http), None) => Some(http),
            (None, Some(everything)) => Some(everything.build()),
            (None, None) => passthrough,
        };
        for (index, chain) in chains.iter_mut().enumerate() {
            // A name makes it possible to change one chain without draining the others.
            chain.name = format!("{name}_{index}");
        }
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
