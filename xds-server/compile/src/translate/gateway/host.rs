//! What a gateway has of one host in one route configuration: its virtual host, and where its requests go.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use lateen_config::{Family, ObjectKey, istio::ServerHost};
use lateen_model::Host;
use lateen_registry::GatewayId;

use super::{
    AttachedRoutes, GatewayEntry, GatewayVirtualHostKey, RouteServers,
    attach::{self, Precision, Reached},
    plan::HttpServer,
};
use crate::{
    select::{Client, Order},
    translate::{GatewayView, Read, Target, names, read, read::Routes},
};

/// A `VirtualService` that has the host; in the order of selection, wherever it is attached.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    precision: Reverse<Precision>,
    order: Order,
    object: ObjectKey,
    gateway: GatewayId,
    /// The host that it is attached for.
    named: Host,
}

/// The virtual host of `host`: nothing where no route is attached under it, and no request is redirected.
///
/// The `VirtualService`s of a host are joined: where a server names it, those for wildcards that cover it too. Of the
/// Gateway API's routes only those count that name it best.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#httproutespec>
pub fn gateway_host(
    r: &mut dyn Read,
    view: &GatewayView,
    route_config: &Arc<str>,
    servers: &RouteServers,
    host: &Host,
) -> GatewayEntry {
    if servers.is_closed(host) {
        return if servers.names_closed(host) {
            closed(view, route_config, servers.port, host)
        } else {
            // What the closed server names has it.
            GatewayEntry::default()
        };
    }
    let mesh = read::mesh(r);
    let client = Client::gateway(view, &mesh);
    let mut candidates: BTreeMap<ObjectKey, (Candidate, Routes)> = BTreeMap::new();
    let mut https_redirect = false;
    for server in servers.servers_for(host).into_iter().filter_map(|index| servers.servers.get(index)) {
        let found = found(r, view, &client, server, host);
        let is_own = server.named(host).next().is_some();
        https_redirect |= server.https_redirect && (is_own || !found.is_empty());
        for (object, candidate) in found {
            candidates.entry(object).or_insert(candidate);
        }
    }
    if candidates.is_empty() && !https_redirect {
        return GatewayEntry::default();
    }
    let mut all: Vec<(Candidate, Routes)> = candidates.into_values().collect();
    all.sort_by(|left, right| left.0.cmp(&right.0));
    let best = all.first().map(|(first, _)| first.precision);
    let mut reached = Reached::new(view, &mesh);
    let mut targets: BTreeMap<Host, Target> = BTreeMap::new();
    let mut routes = Vec::new();
    for (chosen, from) in all.into_iter().take_while(|(candidate, _)| Some(candidate.precision) == best) {
        let named = attach::named(r, &from, &view.domain);
        let found = reached.add(r, &named, servers.port);
        targets.extend(found.into_iter().map(|target| (target.host.clone(), target)));
        let attached = AttachedRoutes { gateway: chosen.gateway, object: chosen.object };
        routes.push((attached, chosen.named));
    }
    let key = GatewayVirtualHostKey {
        host: host.clone(),
        port: servers.port,
        routes: routes.into(),
        targets: targets.into_values().collect(),
        https_redirect,
        closed: false,
        namespace: view.namespace.clone(),
        domain: view.domain.clone(),
        profile: view.profile,
    };
    let (clusters, endpoints) = reached.finish(r);
    let name = names::virtual_host(host, servers.port);
    let virtual_hosts = vec![(route_config.clone(), name, Arc::new(key))];
    GatewayEntry { virtual_hosts, clusters, endpoints, ..GatewayEntry::default() }
}

/// The virtual host of a host whose server is closed, for requests that come over a connection for another one.
fn closed(view: &GatewayView, route_config: &Arc<str>, port: u16, host: &Host) -> GatewayEntry {
    let key = GatewayVirtualHostKey {
        host: host.clone(),
        port,
        routes: Arc::default(),
        targets: Arc::default(),
        https_redirect: false,
        closed: true,
        namespace: view.namespace.clone(),
        domain: view.domain.clone(),
        profile: view.profile,
    };
    let virtual_hosts = vec![(route_config.clone(), names::virtual_host(host, port), Arc::new(key))];
    GatewayEntry { virtual_hosts, ..GatewayEntry::default() }
}

/// What is attached to a server under the host, each object with how well it names it at best.
fn found(
    r: &mut dyn Read,
    view: &GatewayView,
    client: &Client<'_>,
    server: &HttpServer,
    host: &Host,
) -> BTreeMap<ObjectKey, (Candidate, Routes)> {
    let mut found: BTreeMap<ObjectKey, (Candidate, Routes)> = BTreeMap::new();
    let wider = wider(host);
    let mut named = vec![host.clone()];
    if server.named(host).next().is_some() {
        named.extend(wider.iter().cloned());
    }
    for named in named {
        for routes in attach::routes(r, view, &server.gateway, &named) {
            let meets =
                |own: &ServerHost| own.meet(&routes.namespace, &named).is_some_and(|met| met == *host);
            // Only those that cover the host can meet in it.
            let mut covering = std::iter::once(host).chain(&wider).flat_map(|own| server.named(own));
            // The first name is the best one.
            if !covering.any(meets) || found.contains_key(&routes.key) {
                continue;
            }
            let best = match routes.precedence.family {
                Family::Istio => host,
                Family::GatewayApi => &named,
            };
            let candidate = Candidate {
                precision: Reverse(Precision::of(best)),
                order: client.order(&routes),
                object: routes.key.clone(),
                gateway: server.gateway.clone(),
                named: named.clone(),
            };
            found.insert(routes.key.clone(), (candidate, routes));
        }
    }
    found
}

/// All wildcards that cover a host, those that end within a label too; the longest first.
fn wider(host: &Host) -> Vec<Host> {
    let text = host.as_str().strip_prefix('*').unwrap_or(host.as_str());
    let from = usize::from(!host.is_wildcard());
    let cuts = text.char_indices().map(|(at, _)| at).chain([text.len()]).skip(from);
    cuts.filter_map(|at| text.get(at..))
        .map(|rest| Host::from(format!("*{rest}")))
        .filter(|wide| wide != host)
        .collect()
}
