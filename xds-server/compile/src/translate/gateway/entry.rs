//! Everything that a gateway view has, by name.

use std::{
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
    attach::{self, Named, Reached},
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
    /// What is attached to a gateway, with the places it names.
    routes: BTreeMap<GatewayId, Arc<[(Routes, BTreeSet<Named>)]>>,
    reached: Reached<'a>,
    virtual_hosts: BTreeMap<(Arc<str>, Host), Draft>,
    route_configs: BTreeSet<Arc<str>>,
}

/// A virtual host in the making.
#[derive(Default)]
struct Draft {
    port: u16,
    routes: Vec<(i64, ObjectKey, GatewayId)>,
    targets: BTreeMap<Host, Target>,
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
            let Some(server) = self.server(part) else { continue };
            let hosts = servers::hosts(&server, &part.gateway);
            let attached = self.attached(r, &part.gateway);
            match part.role.route_config() {
                Some(route_config) => {
                    serves = true;
                    self.route_configs.insert(route_config.clone());
                    let redirect = server.tls.as_ref().is_some_and(|tls| tls.https_redirect)
                        && matches!(part.role, ServerRole::Http { .. });
                    self.http(r, route_config, port, part, &hosts, &attached, redirect);
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
        })
    }

    fn server(&self, part: &ServerPart) -> Option<Server> {
        let (_, gateway) = self.gateways.iter().find(|(id, _)| *id == part.gateway)?;
        gateway.spec.servers.get(part.index).cloned()
    }

    fn attached(&mut self, r: &mut dyn Read, id: &GatewayId) -> Arc<[(Routes, BTreeSet<Named>)]> {
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

    fn http(
        &mut self,
        r: &mut dyn Read,
        route_config: &Arc<str>,
        port: u16,
        part: &ServerPart,
        hosts: &[ServerHost],
        attached: &[(Routes, BTreeSet<Named>)],
        redirect: bool,
    ) {
        if redirect {
            for host in hosts {
                self.draft(route_config, host.host(), port).https_redirect = true;
            }
        }
        for (routes, named) in attached.iter().filter(|(routes, _)| !routes.spec.http.is_empty()) {
            let shared = attach::shared_hosts(hosts, routes, &self.view.domain);
            if shared.is_empty() {
                continue;
            }
            let targets = self.reached.add(r, named, port);
            for host in &shared {
                let draft = self.draft(route_config, host, port);
                draft.https_redirect |= redirect;
                if draft.routes.iter().all(|(_, object, _)| *object != routes.key) {
                    draft.routes.push((routes.created, routes.key.clone(), part.gateway.clone()));
                }
                draft.targets.extend(targets.iter().map(|target| (target.host.clone(), target.clone())));
            }
        }
    }

    fn draft(&mut self, route_config: &Arc<str>, host: &Host, port: u16) -> &mut Draft {
        let draft = self.virtual_hosts.entry((route_config.clone(), host.clone())).or_default();
        draft.port = port;
        draft
    }

    fn finish(
        self,
        r: &mut dyn Read,
        mesh: &MeshConfig,
        listeners: Vec<(Arc<str>, GatewayListenerKey)>,
        findings: Vec<lateen_model::Diagnostic>,
    ) -> GatewayEntry {
        let view = self.view;
        let virtual_hosts = self.virtual_hosts.into_iter().map(|((route_config, host), mut draft)| {
            // The older one first, wherever it is attached.
            draft.routes.sort();
            let routes = draft.routes.into_iter();
            let key = GatewayVirtualHostKey {
                port: draft.port,
                routes: routes.map(|(_, object, gateway)| AttachedRoutes { gateway, object }).collect(),
                targets: draft.targets.into_values().collect(),
                https_redirect: draft.https_redirect,
                namespace: view.namespace.clone(),
                domain: view.domain.clone(),
                profile: view.profile,
                host: host.clone(),
            };
            (route_config, names::virtual_host(&host, draft.port), key)
        });
        let mut virtual_hosts: Vec<_> = virtual_hosts.collect();
        virtual_hosts.sort_by(|left, right| (&left.0, &left.1).cmp(&(&right.0, &right.1)));
        let mut listeners = listeners;
        listeners.sort_by(|left, right| left.0.cmp(&right.0));
        let clusters: Vec<_> = self.reached.clusters.into_iter().collect();
        let endpoints = clusters
            .iter()
            .filter_map(|(name, key)| Some((name.clone(), attach::endpoints(r, mesh, key)?)))
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
