//! Everything that a gateway view has, by name.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_config::{
    ObjectKey,
    istio::{Gateway, MeshConfig, Server},
};
use lateen_model::Host;
use lateen_registry::{GatewayId, Sourced};

use super::{
    AttachedRoutes, GatewayEntry, GatewayListenerKey, GatewayVirtualHostKey, ServerPart, ServerRole,
    attach::{self, Named, Precision, Reached},
    servers::{self, ServerHost},
};
use crate::translate::{Bind, GatewayView, Read, Target, names, read, read::Routes};

/// The names and keys of everything that the view has.
pub fn gateway_entry(r: &mut dyn Read, view: &GatewayView) -> GatewayEntry {
    let mesh = read::mesh(r);
    let gateways: Vec<(GatewayId, Arc<Sourced<Gateway>>)> =
        view.gateways.iter().filter_map(|id| Some((id.clone(), attach::gateway(r, id)?))).collect();
    let plan = servers::merge(&gateways, view.families);
    let mut making = Making {
        view,
        gateways,
        routes: BTreeMap::new(),
        reached: Reached::new(view, &mesh),
        virtual_hosts: BTreeMap::new(),
        route_configs: BTreeSet::new(),
    };
    let mut listeners = Vec::new();
    for ((address, port), parts) in plan.sockets {
        if let Some(listener) = making.socket(r, address, port, &parts) {
            listeners.push((names::listener(&listener.bind), listener));
        }
    }
    making.finish(r, &mesh, listeners, plan.findings.into_iter().collect())
}

struct Making<'a> {
    view: &'a GatewayView,
    gateways: Vec<(GatewayId, Arc<Sourced<Gateway>>)>,
    /// By gateway, read once each.
    routes: BTreeMap<GatewayId, Attached>,
    reached: Reached<'a>,
    virtual_hosts: BTreeMap<(Arc<str>, Host), Draft>,
    route_configs: BTreeSet<Arc<str>>,
}

/// What is attached to a gateway, with the places it names.
type Attached = Arc<[(Routes, BTreeSet<Named>)]>;

/// A virtual host in the making.
#[derive(Default)]
struct Draft {
    port: u16,
    /// In precedence order.
    routes: BTreeSet<Candidate>,
    https_redirect: bool,
}

/// A `VirtualService` that has the host; the older one first, wherever it is attached.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    precision: Reverse<Precision>,
    created: i64,
    object: ObjectKey,
    gateway: GatewayId,
}

/// A server that speaks HTTP.
struct HttpServer<'a> {
    route_config: &'a Arc<str>,
    port: u16,
    gateway: &'a GatewayId,
    hosts: &'a [ServerHost],
    https_redirect: bool,
}

impl Making<'_> {
    /// One socket: its virtual hosts, and its listener if it has anything to listen for.
    fn socket(
        &mut self,
        r: &mut dyn Read,
        address: Arc<str>,
        port: u16,
        parts: &[ServerPart],
    ) -> Option<GatewayListenerKey> {
        let mut streams: Vec<AttachedRoutes> = Vec::new();
        let mut targets: BTreeMap<Host, Target> = BTreeMap::new();
        let mut serves = false;
        for part in parts {
            let Some(spec) = self.server(part) else { continue };
            let hosts = servers::hosts(&spec, &part.gateway);
            let attached = self.attached(r, &part.gateway);
            match part.role.route_config() {
                Some(route_config) => {
                    serves = true;
                    self.route_configs.insert(route_config.clone());
                    let https_redirect = spec.tls.as_ref().is_some_and(|tls| tls.https_redirect)
                        && matches!(part.role, ServerRole::Http { .. });
                    let (gateway, hosts) = (&part.gateway, &hosts);
                    self.http(&HttpServer { route_config, port, gateway, hosts, https_redirect }, &attached);
                }
                None => {
                    for (routes, named) in
                        attached.iter().filter(|(routes, _)| has_streams(routes, &part.role))
                    {
                        if attach::shared_hosts(&hosts, routes, &self.view.domain).is_empty() {
                            continue;
                        }
                        serves = true;
                        let found = self.reached.add(r, named, port);
                        targets.extend(found.into_iter().map(|target| (target.host.clone(), target)));
                        let source =
                            AttachedRoutes { gateway: part.gateway.clone(), object: routes.key.clone() };
                        if !streams.contains(&source) {
                            streams.push(source);
                        }
                    }
                }
            }
        }
        serves.then(|| GatewayListenerKey {
            bind: Bind { address, port, bound: true },
            servers: parts.into(),
            streams: streams.into(),
            targets: targets.into_values().collect(),
            namespace: self.view.namespace.clone(),
            domain: self.view.domain.clone(),
            profile: self.view.profile,
            policy: self.view.policy,
        })
    }

    fn server(&self, part: &ServerPart) -> Option<Server> {
        let (_, gateway) = self.gateways.iter().find(|(id, _)| *id == part.gateway)?;
        gateway.spec.servers.get(part.index).cloned()
    }

    fn attached(&mut self, r: &mut dyn Read, id: &GatewayId) -> Attached {
        if let Some(known) = self.routes.get(id) {
            return known.clone();
        }
        let all = attach::attached(r, self.view, id);
        let with_places: Vec<_> = all
            .into_iter()
            .map(|routes| {
                let named = attach::named(r, &routes, &self.view.domain);
                (routes, named)
            })
            .collect();
        let shared: Arc<[_]> = with_places.into();
        self.routes.insert(id.clone(), shared.clone());
        shared
    }

    fn http(&mut self, server: &HttpServer<'_>, attached: &[(Routes, BTreeSet<Named>)]) {
        if server.https_redirect {
            for host in server.hosts {
                self.draft(server.route_config, host.host(), server.port).https_redirect = true;
            }
        }
        for (routes, _) in attached.iter().filter(|(routes, _)| !routes.spec.http.is_empty()) {
            for (host, precision) in attach::shared_hosts(server.hosts, routes, &self.view.domain) {
                let draft = self.draft(server.route_config, &host, server.port);
                draft.https_redirect |= server.https_redirect;
                if draft.routes.iter().all(|known| known.object != routes.key) {
                    draft.routes.insert(Candidate {
                        precision: Reverse(precision),
                        created: routes.created,
                        object: routes.key.clone(),
                        gateway: server.gateway.clone(),
                    });
                }
            }
        }
    }

    /// The key of a virtual host: an exact host beats wildcards, as in the mesh, and those that name it equally
    /// well are joined.
    fn virtual_host(&mut self, r: &mut dyn Read, host: Host, draft: Draft) -> GatewayVirtualHostKey {
        let best = draft.routes.first().map(|first| first.precision);
        let mut targets: BTreeMap<Host, Target> = BTreeMap::new();
        let mut routes = Vec::new();
        for chosen in draft.routes.into_iter().take_while(|candidate| Some(candidate.precision) == best) {
            let attached = self.attached(r, &chosen.gateway);
            if let Some((_, named)) = attached.iter().find(|(routes, _)| routes.key == chosen.object) {
                let found = self.reached.add(r, named, draft.port);
                targets.extend(found.into_iter().map(|target| (target.host.clone(), target)));
            }
            routes.push(AttachedRoutes { gateway: chosen.gateway, object: chosen.object });
        }
        GatewayVirtualHostKey {
            host,
            port: draft.port,
            routes: routes.into(),
            targets: targets.into_values().collect(),
            https_redirect: draft.https_redirect,
            namespace: self.view.namespace.clone(),
            domain: self.view.domain.clone(),
            profile: self.view.profile,
        }
    }

    fn draft(&mut self, route_config: &Arc<str>, host: &Host, port: u16) -> &mut Draft {
        let draft = self.virtual_hosts.entry((route_config.clone(), host.clone())).or_default();
        draft.port = port;
        draft
    }

    fn finish(
        mut self,
        r: &mut dyn Read,
        mesh: &MeshConfig,
        listeners: Vec<(Arc<str>, GatewayListenerKey)>,
        findings: Vec<lateen_model::Diagnostic>,
    ) -> GatewayEntry {
        let mut virtual_hosts = Vec::new();
        for ((route_config, host), draft) in std::mem::take(&mut self.virtual_hosts) {
            let name = names::virtual_host(&host, draft.port);
            virtual_hosts.push((route_config, name, self.virtual_host(r, host, draft)));
        }
        virtual_hosts.sort_by(|left, right| (&left.0, &left.1).cmp(&(&right.0, &right.1)));
        let mut listeners = listeners;
        listeners.sort_by(|left, right| left.0.cmp(&right.0));
        let clusters: Vec<_> =
            self.reached.clusters.into_iter().map(|(name, key)| (name, Arc::new(key))).collect();
        let endpoints = clusters
            .iter()
            .filter_map(|(name, key)| Some((name.clone(), Arc::new(attach::endpoints(r, mesh, key)?))))
            .collect();
        GatewayEntry {
            listeners,
            route_configs: self.route_configs.into_iter().collect(),
            virtual_hosts,
            clusters,
            endpoints,
            findings,
        }
    }
}

/// Has it routes for a server that does not speak HTTP?
fn has_streams(routes: &Routes, role: &ServerRole) -> bool {
    match role {
        ServerRole::Passthrough => !routes.spec.tls.is_empty(),
        ServerRole::Tcp | ServerRole::TerminatedTls => !routes.spec.tcp.is_empty(),
        ServerRole::Http { .. } | ServerRole::Https { .. } => false,
    }
}
