//! Filter chains of connections that no server of the gateway reads requests from.

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::istio::{L4Match, MeshConfig, RouteDestination, Server, TlsMatch};
use lateen_model::{Host, Origin};
use lateen_proto::envoy::config::listener::v3::FilterChainMatch;

use super::{AttachedRoutes, GatewayListenerKey, ServerPart, ServerRole, attach, servers};
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

/// The `VirtualService`s of a listener's key.
pub(super) struct Streams(Vec<(AttachedRoutes, Routes)>);

impl Streams {
    /// Reads them.
    pub(super) fn load(r: &mut dyn Read, key: &GatewayListenerKey) -> Self {
        let load =
            |source: &AttachedRoutes| Some((source.clone(), read::virtual_service(r, &source.object)?));
        Self(key.streams.iter().filter_map(load).collect())
    }

    /// Those of a server.
    fn of<'a>(
        &'a self,
        key: &'a GatewayListenerKey,
        part: &'a ServerPart,
        server: &Server,
    ) -> impl Iterator<Item = &'a Routes> {
        let hosts = servers::hosts(server, &part.gateway);
        let own =
            self.0.iter().filter(|(source, _)| source.gateway == part.gateway).map(|(_, routes)| routes);
        own.filter(move |routes| attach::shares(&hosts, routes, &key.domain))
    }
}

/// The chains of a TCP server, or of one of TLS that ends here.
/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#TCPRoute>
pub(super) fn tcp(
    r: &mut dyn Read,
    notes: &mut Notes,
    mesh: &Arc<MeshConfig>,
    key: &GatewayListenerKey,
    part: &ServerPart,
    server: &Server,
    streams: &Streams,
) -> Vec<Chain> {
    let (gateway, none) = (part.gateway.to_string(), BTreeSet::new());
    let context = context(mesh, key, &gateway, &none);
    let site = key.site(mesh);
    let anything = [L4Match::default()];
    let ends_tls = matches!(part.role, ServerRole::TerminatedTls);
    let names = if ends_tls { servers::hosts(server, &part.gateway).len() } else { 1 };
    let mut chains = Vec::new();
    for routes in streams.of(key, part, server) {
        for tcp in &routes.spec.tcp {
            let matches = if tcp.matches.is_empty() { &anything[..] } else { &tcp.matches };
            for wanted in matches.iter().filter(|wanted| l4_matches(wanted, routes, &context)) {
                if let Some(why) = claims::excess(names, wanted.destination_subnets.len(), 1) {
                    notes.warn(NOT_TRANSLATED, Some((&routes.key, &routes.origin)), why);
                    continue;
                }
                let matching = FilterChainMatch {
                    prefix_ranges: wanted
                        .destination_subnets
                        .iter()
                        .filter_map(|text| wire::cidr(text))
                        .collect(),
                    source_prefix_ranges: wire::cidr(&wanted.source_subnet).into_iter().collect(),
                    ..Default::default()
                };
                let proxy = || proxy(r, notes, &context, routes, &tcp.route, &site);
                add(&mut chains, matching, &routes.origins, proxy);
            }
        }
    }
    chains
}

/// The chains of TLS that ends elsewhere.
/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#TLSRoute>
pub(super) fn passthrough(
    r: &mut dyn Read,
    notes: &mut Notes,
    mesh: &Arc<MeshConfig>,
    key: &GatewayListenerKey,
    part: &ServerPart,
    server: &Server,
    streams: &Streams,
) -> Vec<Chain> {
    let (gateway, none) = (part.gateway.to_string(), BTreeSet::new());
    let context = context(mesh, key, &gateway, &none);
    let site = key.site(mesh);
    let hosts = servers::hosts(server, &part.gateway);
    let mut chains: Vec<Chain> = Vec::new();
    for routes in streams.of(key, part, server) {
        for tls in &routes.spec.tls {
            for wanted in tls.matches.iter().filter(|wanted| tls_matches(wanted, routes, &context)) {
                let ranges = wanted.destination_subnets.len();
                if let Some(why) = claims::excess(wanted.sni_hosts.len(), ranges, 1) {
                    notes.warn(NOT_TRANSLATED, Some((&routes.key, &routes.origin)), why);
                    continue;
                }
                let names = wanted.sni_hosts.iter().map(|name| Host::from(name.to_ascii_lowercase()));
                let mut names: Vec<String> = names
                    .flat_map(|name| {
                        let met = hosts.iter().filter_map(move |host| host.meet(&routes.namespace, &name));
                        met.map(|host| host.to_string()).collect::<Vec<_>>()
                    })
                    // The first route for a name has it.
                    .filter(|name| !chains.iter().any(|chain| serves(chain, name)))
                    .collect();
                if names.is_empty() {
                    continue;
                }
                names.sort();
                names.dedup();
                if names.iter().any(|name| name == "*") {
                    names.clear();
                }
                let matching = FilterChainMatch {
                    server_names: names,
                    transport_protocol: "tls".to_owned(),
                    prefix_ranges: wanted
                        .destination_subnets
                        .iter()
                        .filter_map(|text| wire::cidr(text))
                        .collect(),
                    ..Default::default()
                };
                let proxy = || proxy(r, notes, &context, routes, &tls.route, &site);
                add(&mut chains, matching, &routes.origins, proxy);
            }
        }
    }
    chains
}

fn serves(chain: &Chain, name: &str) -> bool {
    let matching = &chain.matching;
    matching.prefix_ranges.is_empty()
        && (matching.server_names.iter().any(|known| known == name)
            || (matching.server_names.is_empty() && name == "*"))
}

fn add(
    chains: &mut Vec<Chain>,
    matching: FilterChainMatch,
    origins: &[Origin],
    filter: impl FnOnce() -> Option<Network>,
) {
    if chains.iter().any(|chain| chain.matching == matching) {
        return;
    }
    if let Some(filter) = filter() {
        chains.push(Chain { matching, origins: origins.to_vec(), ..Chain::of(filter) });
    }
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

fn l4_matches(wanted: &L4Match, from: &Routes, context: &Context<'_>) -> bool {
    wanted.port.is_none_or(|port| port == u32::from(context.listen_port))
        && route::source_matches(&wanted.source_labels, &wanted.source_namespace, context)
        && route::gateway_matches(&wanted.gateways, &from.namespace, context)
}

fn tls_matches(wanted: &TlsMatch, from: &Routes, context: &Context<'_>) -> bool {
    wanted.port.is_none_or(|port| port == u32::from(context.listen_port))
        && route::source_matches(&wanted.source_labels, &wanted.source_namespace, context)
        && route::gateway_matches(&wanted.gateways, &from.namespace, context)
}

fn proxy(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
    to: &[RouteDestination],
    site: &Site<'_>,
) -> Option<Network> {
    from.origins.iter().for_each(|origin| notes.origin(origin));
    (!to.is_empty()).then(|| forward(r, notes, context, from, to, site))
}
