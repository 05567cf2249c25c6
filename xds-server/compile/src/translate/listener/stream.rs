//! Filter chains of services that are carried as TCP: opaque bytes, and TLS that is passed through.

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::istio::{Destination, MeshConfig, RouteDestination};
use lateen_model::Origin;
use lateen_proto::envoy::{
    config::listener::v3::FilterChainMatch,
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
use crate::plan::{self, Network, Site};

/// Where connections are told apart, and what is done with them.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Server names; none is any.
    pub names: Vec<String>,
    /// Destination ranges; none is any.
    pub destinations: Vec<Arc<str>>,
    /// Source ranges; none is any.
    pub sources: Vec<Arc<str>>,
    /// What is done.
    pub filters: Vec<Network>,
    /// The service, for findings.
    pub host: Arc<str>,
    /// Is it the service's own cluster that they go to, and is that closed?
    pub closed: bool,
    /// What it is made from.
    pub origins: Vec<Origin>,
}

impl Chain {
    /// Does it take every connection?
    pub(super) fn is_everything(&self) -> bool {
        self.names.is_empty() && self.destinations.is_empty() && self.sources.is_empty()
    }

    /// The chain as Envoy has it.
    pub(super) fn build(self) -> plan::Chain {
        let ranges =
            |texts: &[Arc<str>]| texts.iter().filter_map(|text| wire::cidr(text)).collect::<Vec<_>>();
        let matched = FilterChainMatch {
            prefix_ranges: ranges(&self.destinations),
            source_prefix_ranges: ranges(&self.sources),
            transport_protocol: if self.names.is_empty() { String::new() } else { "tls".into() },
            server_names: self.names,
            ..Default::default()
        };
        plan::Chain {
            matching: matched,
            filters: self.filters,
            origins: self.origins,
            ..plan::Chain::default()
        }
    }
}

/// The chains of a service, the first that matches as much as another counts.
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
    let site = Site::outbound(mesh, context.profile);
    let mut found = Vec::new();
    for object in key.routes.iter() {
        if let Some(routes) = read::virtual_service(r, object) {
            found.extend(routed(r, notes, &context, key, &routes));
        }
    }
    let complete = found.iter().any(|chain| chain.names.is_empty() && chain.sources.is_empty());
    let named = key.sni && !found.is_empty();
    if let (Some(service), false, false) = (service, complete, named) {
        // Connections to an instance are the service's, with its policy; the cluster knows how to go on from there.
        let place = route::own_place(r, &mut Notes::default(), &key.targets, &service, key.port);
        let closed = closed::is_closed(r, context.profile, &place.policy());
        let passes = key.keeps_destination && key.destinations.is_empty() && !closed;
        let filter = if passes {
            notes.cluster(r, names::PASSTHROUGH);
            site.to_cluster(names::PASSTHROUGH)
        } else {
            let place = route::own_place(r, notes, &key.targets, &service, key.port);
            proxy(&site, &[(place, 1)])
        };
        let name = key.host.as_str();
        let by_name = key.sni && name != "*";
        found.push(Chain {
            names: if by_name { vec![name.to_owned()] } else { Vec::new() },
            destinations: key.destinations.to_vec(),
            sources: Vec::new(),
            filters: vec![filter],
            host: name.into(),
            closed,
            origins: vec![service.origin.clone()],
        });
    }
    found
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
    let texts = |list: &[String]| list.iter().map(|text| Arc::from(text.as_str())).collect::<Vec<Arc<str>>>();
    let own = |list: &[String]| if list.is_empty() { key.destinations.to_vec() } else { texts(list) };
    let port = |port: Option<u32>| port.is_none_or(|port| port == u32::from(context.listen_port));
    let mut found = Vec::new();
    for tls in &from.spec.tls {
        for m in tls.matches.iter().filter(|m| {
            port(m.port)
                && route::gateway_matches(&m.gateways, &from.namespace, context)
                && route::source_matches(&m.source_labels, &m.source_namespace, context)
        }) {
            let destinations = own(&m.destination_subnets);
            let (names, filters) = match claims::excess(m.sni_hosts.len(), destinations.len(), 1) {
                // Without the names: what the match was to take goes nowhere else.
                Some(why) => {
                    notes.warn(NOT_TRANSLATED, Some((&from.key, &from.origin)), why);
                    (Vec::new(), vec![site.closed()])
                }
                None => (m.sni_hosts.clone(), vec![forward(r, notes, context, from, &tls.route, &site)]),
            };
            found.push(Chain {
                names,
                destinations,
                sources: Vec::new(),
                filters,
                host: key.host.as_str().into(),
                closed: false,
                origins: from.origins.to_vec(),
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
            let filters = vec![forward(r, notes, context, from, &tcp.route, &site)];
            let sources = if m.source_subnet.is_empty() {
                Vec::new()
            } else {
                texts(std::slice::from_ref(&m.source_subnet))
            };
            let destinations = own(&m.destination_subnets);
            found.push(Chain {
                names: Vec::new(),
                destinations,
                sources,
                filters,
                host: key.host.as_str().into(),
                closed: false,
                origins: from.origins.to_vec(),
            });
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
    let weighted: Vec<(&Destination, u32)> = to
        .iter()
        .filter_map(|to| {
            let weight = to.weight.and_then(|weight| u32::try_from(weight).ok());
            let weight = weight.unwrap_or(u32::from(true));
            to.destination.as_ref().map(|destination| (destination, weight))
        })
        .filter(|(_, weight)| to.len() == 1 || *weight > 0)
        .collect();
    let mut places = Vec::new();
    for (destination, weight) in weighted {
        places.push((route::place(r, notes, context, from, destination), weight));
    }
    proxy(site, &places)
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

/// What one chain matches: destination ranges, source ranges, and a server name.
pub(super) type Matched = (Vec<Arc<str>>, Vec<Arc<str>>, String);

/// What of a chain is still free: Envoy refuses a listener in which two chains match the same.
pub(super) fn claim(taken: &mut BTreeSet<Matched>, chain: &mut Chain) -> bool {
    let mut key = (chain.destinations.clone(), chain.sources.clone());
    key.0.sort();
    key.1.sort();
    if chain.names.is_empty() {
        return taken.insert((key.0, key.1, String::new()));
    }
    let before = chain.names.len();
    chain.names.retain(|name| taken.insert((key.0.clone(), key.1.clone(), name.clone())));
    chain.names.len() == before
}
