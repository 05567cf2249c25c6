//! Filter chains of services that are carried as TCP: opaque bytes, and TLS that is passed through.

use std::{collections::BTreeMap, sync::Arc};

use lateen_config::{
    ObjectKey,
    istio::{Destination, MeshConfig, RouteDestination},
};
use lateen_model::{Origin, Service, Version};
use lateen_proto::envoy::{
    config::{core::v3::CidrRange, listener::v3::FilterChainMatch},
    extensions::filters::network::tcp_proxy::v3::{
        TcpProxy,
        tcp_proxy::{ClusterSpecifier, TunnelingConfig, WeightedCluster, weighted_cluster::ClusterWeight},
    },
    r#type::v3::{HashPolicy, hash_policy},
};

use super::super::{
    ClientProfile, Read, StreamKey, claims, closed, names,
    notes::{NOT_TRANSLATED, Notes},
    read::{self, Routes},
    route::{self, Context, Place},
    wire,
};
use crate::plan::{Network, Site};

/// More instances than these share filter chains.
const INSTANCE_CHAINS_MAX: usize = 256;

/// Where connections are told apart, and what is done with them.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// Which they are.
    pub matching: FilterChainMatch,
    /// What is done.
    pub filters: Vec<Network>,
    /// The service.
    pub host: Arc<str>,
    /// Is something closed that they go to?
    pub closed: bool,
    /// The object with the route, if it is one's.
    pub object: Option<ObjectKey>,
    /// What it is made from.
    pub origins: Vec<Origin>,
}

impl Chain {
    /// Does it take every connection?
    pub(super) fn is_everything(&self) -> bool {
        self.matching == FilterChainMatch::default()
    }
}

/// What connections have in common that are for one chain.
fn matching(names: &[String], destinations: &[CidrRange], sources: &[CidrRange]) -> FilterChainMatch {
    FilterChainMatch {
        prefix_ranges: destinations.to_vec(),
        source_prefix_ranges: sources.to_vec(),
        transport_protocol: if names.is_empty() { String::new() } else { "tls".into() },
        server_names: names.to_vec(),
        ..Default::default()
    }
}

fn ranges<T: AsRef<str>>(texts: &[T]) -> Vec<CidrRange> {
    texts.iter().filter_map(|text| wire::cidr(text.as_ref())).collect()
}

/// A chain for each instance, so that one that comes or goes ends no connection to another; of very many instances a
/// chain for some of them, which are the same ones as long as there are very many.
fn for_instances(chain: Chain, instances: &[CidrRange]) -> Vec<Chain> {
    if instances.len() < 2 || chain.matching.prefix_ranges != instances {
        return vec![chain];
    }
    let mut groups: BTreeMap<u64, Vec<CidrRange>> = BTreeMap::new();
    for (number, instance) in (0..).zip(instances) {
        let spread = Version::of(instance.address_prefix.as_bytes()).0 % INSTANCE_CHAINS_MAX as u64;
        let group = if instances.len() > INSTANCE_CHAINS_MAX { spread } else { number };
        groups.entry(group).or_default().push(instance.clone());
    }
    let chain = |prefix_ranges| Chain {
        matching: FilterChainMatch { prefix_ranges, ..chain.matching.clone() },
        ..chain.clone()
    };
    groups.into_values().map(chain).collect()
}

/// The chains of a service; the first that matches counts.
pub(super) fn chains(
    r: &mut dyn Read,
    notes: &mut Notes,
    mesh: &Arc<MeshConfig>,
    key: &StreamKey,
) -> Vec<Chain> {
    let service = key.namespace.as_ref().and_then(|namespace| read::service_in(r, &key.host, namespace));
    if let Some(service) = &service {
        notes.origin(&service.origin);
    }
    let context = Context {
        mesh: mesh.clone(),
        gateway: "mesh",
        listen_port: key.listen_port,
        port: key.port,
        selectors: &key.selectors,
        source_namespace: key.source_namespace.as_ref(),
        targets: &key.targets,
        domain: &key.domain,
        profile: ClientProfile::Envoy(lateen_model::Streams::Aggregated),
    };
    let mut found = Vec::new();
    for object in key.routes.iter() {
        if let Some(routes) = read::virtual_service(r, object) {
            found.extend(routed(r, notes, &context, key, &routes));
        }
    }
    let whole = matching(&[], &ranges(&key.destinations), &[]);
    let complete = found.iter().any(|chain| chain.matching == whole);
    let named = key.sni && !found.is_empty();
    if let (Some(service), false, false) = (service, complete, named) {
        found.push(own(r, notes, &context, key, &service));
    }
    if key.keeps_destination {
        let all = found.into_iter().flat_map(|chain| for_instances(chain, &whole.prefix_ranges));
        found = all.collect();
    }
    found
}

/// Connections that no route is for: they are the service's, with its policy.
fn own(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    key: &StreamKey,
    service: &Arc<Service>,
) -> Chain {
    let site = Site::outbound(&context.mesh, context.profile);
    // The cluster knows how to go on from an instance.
    let place = route::own_place(r, &mut Notes::default(), &key.targets, service, key.port);
    let closed = closed::is_closed(r, context.profile, &place.policy());
    let passes = key.keeps_destination && key.destinations.is_empty() && !closed;
    let filter = if passes {
        notes.cluster(r, names::PASSTHROUGH);
        site.to_cluster(names::PASSTHROUGH)
    } else {
        let place = route::own_place(r, notes, &key.targets, service, key.port);
        proxy(&site, &[(place, 1)])
    };
    let name = key.host.as_str();
    let server_names = if key.sni && name != "*" { vec![name.to_owned()] } else { Vec::new() };
    Chain {
        matching: matching(&server_names, &ranges(&key.destinations), &[]),
        filters: vec![filter],
        host: name.into(),
        closed,
        object: None,
        origins: vec![service.origin.clone()],
    }
}

/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#TLSRoute> and `#TCPRoute`
fn routed(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    key: &StreamKey,
    from: &Routes,
) -> Vec<Chain> {
    from.origins.iter().for_each(|origin| notes.origin(origin));
    let site = Site::outbound(&context.mesh, context.profile);
    let own = |list: &[String]| if list.is_empty() { ranges(&key.destinations) } else { ranges(list) };
    let port = |port: Option<u32>| port.is_none_or(|port| port == u32::from(context.listen_port));
    let chain = |matching: FilterChainMatch, filter: Network, closed: bool| Chain {
        matching,
        filters: vec![filter],
        host: key.host.as_str().into(),
        closed,
        object: Some(from.key.clone()),
        origins: from.origins.to_vec(),
    };
    let mut found = Vec::new();
    for tls in &from.spec.tls {
        for m in tls.matches.iter().filter(|m| {
            port(m.port)
                && route::gateway_matches(&m.gateways, &from.namespace, context)
                && route::source_matches(&m.source_labels, &m.source_namespace, context)
        }) {
            let destinations = own(&m.destination_subnets);
            found.push(if let Some(why) = claims::excess(m.sni_hosts.len(), destinations.len(), 1) {
                // Without the names: what the match was to take goes nowhere else.
                notes.warn(NOT_TRANSLATED, Some((&from.key, &from.origin)), why);
                notes.cluster(r, names::BLACK_HOLE);
                chain(matching(&[], &destinations, &[]), site.closed(), true)
            } else {
                let (filter, closed) = forward_or_close(r, notes, context, from, &tls.route, &site);
                chain(matching(&m.sni_hosts, &destinations, &[]), filter, closed)
            });
        }
    }
    for tcp in &from.spec.tcp {
        let anything = [lateen_config::istio::L4Match::default()];
        let matches = if tcp.matches.is_empty() { &anything[..] } else { &tcp.matches[..] };
        for m in matches.iter().filter(|m| {
            port(m.port)
                && route::gateway_matches(&m.gateways, &from.namespace, context)
                && route::source_matches(&m.source_labels, &m.source_namespace, context)
        }) {
            let (filter, closed) = forward_or_close(r, notes, context, from, &tcp.route, &site);
            let sources = ranges(std::slice::from_ref(&m.source_subnet));
            found.push(chain(matching(&[], &own(&m.destination_subnets), &sources), filter, closed));
        }
    }
    found
}

/// A TCP proxy to the destinations of a route; used by gateways too.
pub(crate) fn forward(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
    to: &[RouteDestination],
    site: &Site<'_>,
) -> Network {
    proxy(site, &places(r, notes, context, from, to))
}

/// The same, and whether one of the destinations is closed.
fn forward_or_close(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
    to: &[RouteDestination],
    site: &Site<'_>,
) -> (Network, bool) {
    let places = places(r, notes, context, from, to);
    let closed = places.iter().any(|(place, _)| closed::is_closed(r, context.profile, &place.policy()));
    (proxy(site, &places), closed)
}

/// The destinations of a route, with their weights.
fn places(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
    to: &[RouteDestination],
) -> Vec<(Place, u32)> {
    let mut places: Vec<(&Destination, u32)> = Vec::new();
    for to in to {
        let weight = to.weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(u32::from(true));
        places.extend(to.destination.as_ref().map(|destination| (destination, weight)));
    }
    places.retain(|(_, weight)| to.len() == 1 || *weight > 0);
    let resolve = |(to, weight)| (route::place(r, notes, context, from, to), weight);
    places.into_iter().map(resolve).collect()
}

fn proxy(site: &Site<'_>, places: &[(Place, u32)]) -> Network {
    let mut proxy = TcpProxy::default();
    if let Some((first, _)) = places.first() {
        proxy.stat_prefix = first.cluster.to_string();
        let policy = first.policy();
        proxy.idle_timeout = wire::duration(policy.tcp().and_then(|tcp| tcp.idle_timeout));
        proxy.tunneling_config = policy.tunnel.map(|tunnel| TunnelingConfig {
            hostname: format!("{}:{}", tunnel.target_host, tunnel.target_port),
            use_post: tunnel.protocol == "POST",
            ..Default::default()
        });
        let hash = policy.load_balancer.and_then(|lb| lb.consistent_hash.as_ref());
        if hash.is_some_and(|hash| hash.use_source_ip == Some(true)) {
            let by_source = hash_policy::PolicySpecifier::SourceIp(hash_policy::SourceIp {});
            proxy.hash_policy = vec![HashPolicy { policy_specifier: Some(by_source) }];
        }
    }
    proxy.cluster_specifier = Some(match places {
        [(only, _)] => ClusterSpecifier::Cluster(only.cluster.to_string()),
        several => {
            let weight = |(place, weight): &(Place, u32)| ClusterWeight {
                name: place.cluster.to_string(),
                weight: *weight,
                ..Default::default()
            };
            ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: several.iter().map(weight).collect(),
            })
        }
    });
    site.tcp(proxy)
}
