//! What a gateway has of one socket: its listener, its route configurations, and where its connections go.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use lateen_config::istio::ServerHosts;
use lateen_model::Host;

use super::{
    AttachedRoutes, GatewayEntry, GatewayListenerKey, ServerRole, SocketServers, attach, attach::Reached,
    plan::Socket,
};
use crate::translate::{Bind, GatewayView, Read, Target, names, read, read::Routes};

/// The listener of a socket, if it has anything to listen for, and everything that its connections lead to. Of HTTP it
/// knows the route configurations only.
pub fn gateway_socket(
    r: &mut dyn Read,
    view: &GatewayView,
    socket: &Socket,
    servers: &SocketServers,
) -> GatewayEntry {
    let mesh = read::mesh(r);
    let mut reached = Reached::new(view, &mesh);
    let mut streams: Vec<AttachedRoutes> = Vec::new();
    let mut seen: HashSet<AttachedRoutes> = HashSet::new();
    let mut targets: BTreeMap<Host, Target> = BTreeMap::new();
    let mut route_configs: Vec<Arc<str>> = Vec::new();
    for part in servers.parts.iter().filter(|part| !part.role.is_closed()) {
        if let Some(route_config) = part.role.route_config() {
            route_configs.push(route_config.clone());
            continue;
        }
        let Some(gateway) = attach::gateway(r, &part.gateway) else { continue };
        let Some(spec) = gateway.spec.servers.get(part.index) else { continue };
        let hosts = ServerHosts::of(spec, &part.gateway.namespace);
        for routes in attach::streams(r, view, &part.gateway) {
            if !has_streams(&routes, &part.role)
                || !attach::shares(&hosts, &routes, &attach::hosts_of(&routes, &view.domain))
            {
                continue;
            }
            let source = AttachedRoutes { gateway: part.gateway.clone(), object: routes.key.clone() };
            if !seen.insert(source.clone()) {
                continue;
            }
            let named = attach::named(r, &routes, &view.domain);
            let found = reached.add(r, &named, socket.1);
            targets.extend(found.into_iter().map(|target| (target.host.clone(), target)));
            streams.push(source);
        }
    }
    route_configs.sort();
    route_configs.dedup();
    let (clusters, endpoints) = reached.finish(r);
    let mut entry = GatewayEntry { route_configs, clusters, endpoints, ..GatewayEntry::default() };
    let closed = servers.parts.iter().any(|part| part.role.is_closed());
    if !entry.route_configs.is_empty() || !streams.is_empty() || closed {
        let bind = Bind { address: socket.0.clone(), port: socket.1, bound: true };
        let key = GatewayListenerKey {
            bind,
            also: servers.also.clone(),
            servers: servers.parts.clone(),
            streams: streams.into(),
            targets: targets.into_values().collect(),
            namespace: view.namespace.clone(),
            domain: view.domain.clone(),
            profile: view.profile,
            policy: view.policy,
        };
        entry.listeners.push((names::listener(&key.bind), Arc::new(key)));
    }
    entry
}

/// Has it routes for a server that does not speak HTTP?
fn has_streams(routes: &Routes, role: &ServerRole) -> bool {
    match role {
        ServerRole::Passthrough => !routes.spec.tls.is_empty(),
        ServerRole::Tcp | ServerRole::TerminatedTls => !routes.spec.tcp.is_empty(),
        ServerRole::Http { .. } | ServerRole::Https { .. } | ServerRole::Closed { .. } => false,
    }
}
