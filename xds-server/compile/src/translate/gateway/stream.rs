//! Filter chains of connections that no server of the gateway reads requests from.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use lateen_config::istio::{L4Match, Labels, MeshConfig, RouteDestination, ServerHosts, TlsMatch};
use lateen_model::Host;
use lateen_proto::{
    Message,
    envoy::config::{core::v3::CidrRange, listener::v3::FilterChainMatch},
};
use lateen_registry::GatewayId;

use super::{GatewayListenerKey, ServerPart, ServerRole, attach, plan};
use crate::{
    plan::{Chain, Network, Site},
    translate::{
        Read, claims,
        listener::forward,
        notes::{NOT_TRANSLATED, Notes},
        read::{self, Routes},
        route::{self, Context},
        wire,
    },
};

/// The `VirtualService`s of a listener's key by their gateways, and the hosts of its closed servers.
pub(super) struct Streams {
    by_gateway: HashMap<GatewayId, Vec<(Routes, Vec<Host>)>>,
    closed: HashSet<Host>,
}

impl Streams {
    /// Reads them.
    pub(super) fn load(r: &mut dyn Read, key: &GatewayListenerKey) -> Self {
        let mut by_gateway: HashMap<GatewayId, Vec<(Routes, Vec<Host>)>> = HashMap::new();
        for source in key.streams.iter() {
            let Some(routes) = read::virtual_service(r, &source.object) else { continue };
            let hosts = attach::hosts_of(&routes, &key.domain);
            by_gateway.entry(source.gateway.clone()).or_default().push((routes, hosts));
        }
        let closed = key.servers.iter().flat_map(|part| part.role.closed()).cloned().collect();
        Self { by_gateway, closed }
    }

    /// Those of a server.
    fn of(&self, part: &ServerPart, hosts: &ServerHosts) -> impl Iterator<Item = &Routes> {
        let own = self.by_gateway.get(&part.gateway).into_iter().flatten();
        own.filter(move |(routes, own)| attach::shares(hosts, routes, own)).map(|(routes, _)| routes)
    }

    /// Are connections for this name a closed server's, rather than those of the server with these hosts?
    fn is_closed(&self, name: &Host, hosts: &ServerHosts) -> bool {
        let own = |pattern: &Host| hosts.has(pattern);
        !self.closed.is_empty() && plan::is_closed(name, |pattern| self.closed.contains(pattern), own)
    }
}

/// The server whose chains are asked for.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub mesh: &'a Arc<MeshConfig>,
    pub key: &'a GatewayListenerKey,
    pub part: &'a ServerPart,
    pub hosts: &'a ServerHosts,
    pub streams: &'a Streams,
}

/// Chains of one server, the first of those that match the same.
#[derive(Default)]
struct Chains {
    all: Vec<Chain>,
    /// What they match, encoded.
    matched: HashSet<Vec<u8>>,
    /// Names that one of them has whatever the destination is.
    names: HashSet<String>,
}

impl Chains {
    fn add(&mut self, matching: FilterChainMatch, from: &Routes, filter: impl FnOnce() -> Option<Network>) {
        if !self.matched.insert(matching.encode_to_vec()) {
            return;
        }
        let Some(filter) = filter() else { return };
        if matching.prefix_ranges.is_empty() {
            self.names.extend(matching.server_names.iter().cloned());
            if matching.server_names.is_empty() {
                self.names.insert("*".to_owned());
            }
        }
        self.all.push(Chain { matching, origins: from.origins.to_vec(), ..Chain::of(filter) });
    }
}

/// The chains of a TCP server, or of one of TLS that ends here.
/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#TCPRoute>
pub(super) fn tcp(r: &mut dyn Read, notes: &mut Notes, at: At<'_>) -> Vec<Chain> {
    let (gateway, none) = (at.part.gateway.to_string(), BTreeSet::new());
    let context = context(at.mesh, at.key, &gateway, &none);
    let site = at.key.site(at.mesh);
    let anything = [L4Match::default()];
    let ends_tls = matches!(at.part.role, ServerRole::TerminatedTls);
    let names = if ends_tls { at.hosts.iter().count() } else { 1 };
    let mut chains = Chains::default();
    for routes in at.streams.of(at.part, at.hosts) {
        for tcp in &routes.spec.tcp {
            let matches = if tcp.matches.is_empty() { &anything[..] } else { &tcp.matches };
            let here = |wanted: &&L4Match| {
                let source = (&wanted.source_labels, &*wanted.source_namespace);
                matches_here(wanted.port, source, &wanted.gateways, routes, &context)
            };
            for wanted in matches.iter().filter(here) {
                let excess = claims::excess(names, wanted.destination_subnets.len(), 1);
                let matching = FilterChainMatch {
                    prefix_ranges: ranges(&wanted.destination_subnets, excess.as_ref()),
                    source_prefix_ranges: wire::cidr(&wanted.source_subnet).into_iter().collect(),
                    ..Default::default()
                };
                let proxy = || proxy(r, notes, &context, (routes, &tcp.route), &site, excess);
                chains.add(matching, routes, proxy);
            }
        }
    }
    chains.all
}

/// The chains of TLS that ends elsewhere.
/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#TLSRoute>
pub(super) fn passthrough(r: &mut dyn Read, notes: &mut Notes, at: At<'_>) -> Vec<Chain> {
    let (gateway, none) = (at.part.gateway.to_string(), BTreeSet::new());
    let context = context(at.mesh, at.key, &gateway, &none);
    let site = at.key.site(at.mesh);
    let mut chains = Chains::default();
    for routes in at.streams.of(at.part, at.hosts) {
        for tls in &routes.spec.tls {
            let here = |wanted: &&TlsMatch| {
                let source = (&wanted.source_labels, &*wanted.source_namespace);
                matches_here(wanted.port, source, &wanted.gateways, routes, &context)
            };
            for wanted in tls.matches.iter().filter(here) {
                let names = wanted.sni_hosts.iter().map(|name| Host::from(name.to_ascii_lowercase()));
                let mut names: Vec<String> = names
                    .flat_map(|name| at.hosts.met(&routes.namespace, &name))
                    .filter(|name| !at.streams.is_closed(name, at.hosts))
                    // The first route for a name has it.
                    .filter(|name| !chains.names.contains(name.as_str()))
                    .map(|name| name.to_string())
                    .collect();
                if names.is_empty() {
                    continue;
                }
                names.sort();
                names.dedup();
                if names.iter().any(|name| name == "*") {
                    names.clear();
                }
                let excess = claims::excess(wanted.sni_hosts.len(), wanted.destination_subnets.len(), 1);
                let matching = FilterChainMatch {
                    server_names: names,
                    transport_protocol: "tls".to_owned(),
                    prefix_ranges: ranges(&wanted.destination_subnets, excess.as_ref()),
                    ..Default::default()
                };
                let proxy = || proxy(r, notes, &context, (routes, &tls.route), &site, excess);
                chains.add(matching, routes, proxy);
            }
        }
    }
    chains.all
}

/// The destinations of a match. One that is too large is for all of them, and closed: what it was to take goes nowhere
/// else, and what others have stays theirs.
fn ranges(subnets: &[String], excess: Option<&String>) -> Vec<CidrRange> {
    if excess.is_some() { Vec::new() } else { subnets.iter().filter_map(|text| wire::cidr(text)).collect() }
}

fn context<'a>(
    mesh: &Arc<MeshConfig>,
    key: &'a GatewayListenerKey,
    gateway: &'a str,
    selectors: &'a BTreeSet<lateen_registry::Selector>,
) -> Context<'a> {
    Context {
        mesh: mesh.clone(),
        gateway,
        listen_port: key.bind.port,
        port: key.bind.port,
        selectors,
        source_namespace: Some(&key.namespace),
        targets: &key.targets,
        domain: &key.domain,
        profile: key.profile,
    }
}

fn matches_here(
    port: Option<u32>,
    (labels, namespace): (&Labels, &str),
    gateways: &[String],
    from: &Routes,
    context: &Context<'_>,
) -> bool {
    port.is_none_or(|port| port == u32::from(context.listen_port))
        && route::source_matches(labels, namespace, context)
        && route::gateway_matches(gateways, &from.namespace, context)
}

fn proxy(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    (from, to): (&Routes, &[RouteDestination]),
    site: &Site<'_>,
    excess: Option<String>,
) -> Option<Network> {
    from.origins.iter().for_each(|origin| notes.origin(origin));
    if let Some(why) = excess {
        notes.warn(NOT_TRANSLATED, Some((&from.key, &from.origin)), why);
        return Some(site.closed());
    }
    (!to.is_empty()).then(|| forward(r, notes, context, from, to, site))
}
