//! What the servers of a gateway view make: its sockets, its route configurations, and which hosts those take.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use lateen_config::istio::{Gateway, ServerHost};
use lateen_model::{Diagnostic, Host};
use lateen_registry::{GatewayId, Sourced};

use super::{ServerPart, ServerRole, attach, servers};
use crate::translate::{GatewayView, Read};

/// An address and a port.
pub type Socket = (Arc<str>, u16);

/// The servers of a view. Changes with `Gateway`s only, never with routes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GatewayPlan {
    /// The servers of each socket.
    pub sockets: BTreeMap<Arc<Socket>, SocketServers>,
    /// The servers of each route configuration.
    pub route_configs: BTreeMap<Arc<str>, Arc<RouteServers>>,
    /// Conflicts between servers.
    pub findings: Vec<Diagnostic>,
    takers: HashMap<GatewayId, Takers>,
}

/// The servers that share a socket.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SocketServers {
    /// In precedence order.
    pub parts: Arc<[ServerPart]>,
    /// Another address with the same port.
    pub also: Option<Arc<str>>,
}

/// The route configurations that a gateway's servers have, by the hosts of those servers.
#[derive(Clone, PartialEq, Debug, Default)]
struct Takers {
    by_host: HashMap<Host, Vec<Arc<str>>>,
    /// Of wildcards that end within a label: these are few, if any.
    odd: Vec<(Host, Arc<str>)>,
}

/// The servers that share a route configuration.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RouteServers {
    pub(super) port: u16,
    /// In precedence order.
    pub(super) servers: Vec<HttpServer>,
    by_host: HashMap<Host, Vec<usize>>,
    odd: Vec<(Host, usize)>,
    /// Hosts of closed servers of the socket, of those that a server here covers.
    closed: HashSet<Host>,
}

/// A server that speaks HTTP.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct HttpServer {
    pub gateway: GatewayId,
    /// Sorted by host.
    pub hosts: Vec<ServerHost>,
    pub https_redirect: bool,
}

impl HttpServer {
    /// Its hosts that are exactly this one, each for some namespace.
    pub(super) fn named(&self, host: &Host) -> impl Iterator<Item = &ServerHost> {
        let from = self.hosts.partition_point(|own| own.host < *host);
        self.hosts.iter().skip(from).take_while(move |own| own.host == *host)
    }
}

/// The plan of a view.
pub fn gateway_plan(r: &mut dyn Read, view: &GatewayView) -> GatewayPlan {
    let gateways: Vec<(GatewayId, Arc<Sourced<Gateway>>)> =
        view.gateways.iter().filter_map(|id| Some((id.clone(), attach::gateway(r, id)?))).collect();
    let by_id: HashMap<&GatewayId, &Sourced<Gateway>> =
        gateways.iter().map(|(id, gateway)| (id, &**gateway)).collect();
    let servers::Plan { sockets, findings, .. } = servers::merge(&gateways, view.families);
    let mut plan = GatewayPlan { findings: findings.into_iter().collect(), ..GatewayPlan::default() };
    let mut route_configs: BTreeMap<Arc<str>, RouteServers> = BTreeMap::new();
    for (socket, merged) in sockets {
        let mut secure: HashMap<Host, Vec<Arc<str>>> = HashMap::new();
        for part in &merged.parts {
            let (Some(name), Some(gateway)) = (part.role.route_config(), by_id.get(&part.gateway)) else {
                continue;
            };
            let Some(spec) = gateway.spec.servers.get(part.index) else { continue };
            let misdirected =
                spec.misdirected.iter().filter_map(|host| ServerHost::parse(host, &part.gateway.namespace));
            let mut hosts: Vec<_> = servers::hosts(spec, &part.gateway).chain(misdirected).collect();
            hosts.sort_by(|left, right| left.host.cmp(&right.host));
            let server = HttpServer {
                gateway: part.gateway.clone(),
                hosts,
                https_redirect: spec.tls.as_ref().is_some_and(|tls| tls.https_redirect)
                    && matches!(part.role, ServerRole::Http { .. }),
            };
            plan.takers.entry(part.gateway.clone()).or_default().add(&server, name);
            if part.role.is_tls() {
                for own in &server.hosts {
                    secure.entry(own.host.clone()).or_default().push(name.clone());
                }
            }
            route_configs.entry(name.clone()).or_default().add(server, socket.1);
        }
        for host in merged.parts.iter().flat_map(|part| part.role.closed()) {
            for name in covering(host).filter_map(|pattern| secure.get(&pattern)).flatten() {
                route_configs.entry(name.clone()).or_default().closed.insert(host.clone());
            }
        }
        let servers = SocketServers { parts: merged.parts.into(), also: merged.also };
        plan.sockets.insert(Arc::new(socket), servers);
    }
    plan.route_configs = route_configs.into_iter().map(|(name, of)| (name, Arc::new(of))).collect();
    plan
}

impl GatewayPlan {
    /// The route configurations in which a host that is attached to a gateway may be a virtual host.
    pub fn takers(&self, gateway: &GatewayId, host: &Host) -> Vec<Arc<str>> {
        let Some(takers) = self.takers.get(gateway) else { return Vec::new() };
        let named = covering(host).filter_map(|pattern| takers.by_host.get(&pattern)).flatten().cloned();
        let odd = takers.odd.iter().filter(|(pattern, _)| pattern.covers(host)).map(|(_, name)| name.clone());
        let mut all: Vec<_> = named.chain(odd).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The gateways that have servers for HTTP.
    pub fn gateways(&self) -> impl Iterator<Item = &GatewayId> {
        self.takers.keys()
    }
}

impl Takers {
    fn add(&mut self, server: &HttpServer, name: &Arc<str>) {
        for own in &server.hosts {
            if is_odd(&own.host) {
                self.odd.push((own.host.clone(), name.clone()));
            }
            let names = self.by_host.entry(own.host.clone()).or_default();
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
}

impl RouteServers {
    fn add(&mut self, server: HttpServer, port: u16) {
        let index = self.servers.len();
        for own in &server.hosts {
            if is_odd(&own.host) {
                self.odd.push((own.host.clone(), index));
            }
            let all = self.by_host.entry(own.host.clone()).or_default();
            if all.last() != Some(&index) {
                all.push(index);
            }
        }
        self.port = port;
        self.servers.push(server);
    }

    /// The hosts that are named themselves, by these servers or by closed ones. These may be virtual hosts of what is
    /// attached under a wider one.
    pub fn own_hosts(&self) -> impl Iterator<Item = &Host> {
        self.by_host.keys().chain(self.closed.iter().filter(|host| !self.by_host.contains_key(*host)))
    }

    /// Is this host named itself, by one of these servers or by a closed one?
    pub fn is_own(&self, host: &Host) -> bool {
        self.by_host.contains_key(host) || self.names_closed(host)
    }

    /// Does a closed server name this host itself?
    pub(super) fn names_closed(&self, host: &Host) -> bool {
        self.closed.contains(host)
    }

    /// Would a connection for this host be a closed server's, by what names it best?
    pub(super) fn is_closed(&self, host: &Host) -> bool {
        !self.closed.is_empty()
            && is_closed(host, |it| self.closed.contains(it), |it| self.by_host.contains_key(it))
    }

    /// The gateways whose servers take the host.
    pub fn gateways_for(&self, host: &Host) -> impl Iterator<Item = &GatewayId> {
        self.servers_for(host).into_iter().filter_map(|index| self.servers.get(index)).map(|s| &s.gateway)
    }

    /// The servers that take the host, in precedence order.
    pub(super) fn servers_for(&self, host: &Host) -> Vec<usize> {
        let named = covering(host).filter_map(|pattern| self.by_host.get(&pattern)).flatten().copied();
        let odd = self.odd.iter().filter(|(pattern, _)| pattern.covers(host)).map(|(_, index)| *index);
        let mut all: Vec<_> = named.chain(odd).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The host, and the wildcards of whole labels that cover it.
fn covering(host: &Host) -> impl Iterator<Item = Host> + '_ {
    std::iter::once(host.clone()).chain(host.wildcards())
}

/// Is what names a host best a closed server's, rather than an own one?
pub(super) fn is_closed(host: &Host, closed: impl Fn(&Host) -> bool, own: impl Fn(&Host) -> bool) -> bool {
    covering(host).find(|pattern| closed(pattern) || own(pattern)).is_some_and(|best| closed(&best))
}

/// A wildcard that is not of whole labels (`*-a.example.com`).
fn is_odd(host: &Host) -> bool {
    host.is_wildcard() && host.as_str() != "*" && !host.as_str().starts_with("*.")
}
