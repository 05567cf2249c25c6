//! Which `VirtualService`s a server has, for which hosts, and where they lead.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_config::{
    ObjectKey,
    istio::{Destination, Gateway, HttpRoute, MeshConfig, ServerHosts},
};
use lateen_model::Host;
use lateen_registry::{Fact, FactKey, GatewayId, Sourced};

use crate::select::{Client, Rules};
use crate::translate::{
    ClusterKey, EndpointsKey, GatewayView, Read, Target, endpoint, names,
    read::{self, Routes},
};

/// A gateway by its id.
pub(super) fn gateway(r: &mut dyn Read, id: &GatewayId) -> Option<Arc<Sourced<Gateway>>> {
    r.fact(&FactKey::Gateway(id.clone())).and_then(Fact::gateway)
}

/// The `VirtualService`s bound to a gateway with exactly this host that have routes for HTTP, and that proxies in the
/// view's namespace may use.
pub(super) fn routes(r: &mut dyn Read, view: &GatewayView, id: &GatewayId, host: &Host) -> Vec<Routes> {
    usable(r, view, &FactKey::GatewayRoutes(id.clone(), host.clone()))
}

/// Those that have routes for TLS or TCP, whatever their hosts are.
pub(super) fn streams(r: &mut dyn Read, view: &GatewayView, id: &GatewayId) -> Vec<Routes> {
    usable(r, view, &FactKey::GatewayStreams(id.clone()))
}

fn usable(r: &mut dyn Read, view: &GatewayView, cell: &FactKey) -> Vec<Routes> {
    let all = r.fact(cell).and_then(Fact::virtual_services).unwrap_or_default();
    all.iter().filter(|routes| routes.export_to.allows(&view.namespace)).cloned().collect()
}

/// The hosts of a `VirtualService`, written out.
pub(super) fn hosts_of(routes: &Routes, domain: &str) -> Vec<Host> {
    routes.spec.hosts.iter().map(|host| Host::resolve(host, &routes.namespace, domain)).collect()
}

/// Do a server and a `VirtualService` share a host?
pub(super) fn shares(server: &ServerHosts, routes: &Routes, own: &[Host]) -> bool {
    own.iter().any(|own| !server.met(&routes.namespace, own).is_empty())
}

/// How well a host is named: by an exact name best, then by the longest wildcard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Precision {
    exact: bool,
    length: usize,
}

impl Precision {
    /// Of the name itself.
    pub(super) fn of(name: &Host) -> Self {
        Self { exact: !name.is_wildcard(), length: name.as_str().len() }
    }
}

/// A place that a route names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Named {
    pub host: Host,
    pub port: Option<u16>,
    pub subset: Option<Arc<str>>,
}

/// Every place that the routes name, those of delegates and mirrors included.
pub(super) fn named(r: &mut dyn Read, routes: &Routes, domain: &str) -> BTreeSet<Named> {
    let mut all = BTreeSet::new();
    for http in &routes.spec.http {
        add_http(http, routes, domain, &mut all);
        if let Some(delegate) = &http.delegate {
            let namespace =
                if delegate.namespace.is_empty() { &routes.key.namespace } else { &delegate.namespace };
            let key = ObjectKey::new(routes.key.kind, namespace, &delegate.name);
            if let Some(to) = read::virtual_service(r, &key) {
                to.spec.http.iter().for_each(|http| add_http(http, &to, domain, &mut all));
            }
        }
    }
    let tcp = routes.spec.tcp.iter().flat_map(|route| &route.route);
    let tls = routes.spec.tls.iter().flat_map(|route| &route.route);
    for to in tcp.chain(tls).filter_map(|route| route.destination.as_ref()) {
        all.insert(name(to, routes, domain));
    }
    all
}

fn add_http(http: &HttpRoute, of: &Routes, domain: &str, all: &mut BTreeSet<Named>) {
    let routed = http.route.iter().filter_map(|route| route.destination.as_ref());
    let mirrored =
        http.mirror.iter().chain(http.mirrors.iter().filter_map(|mirror| mirror.destination.as_ref()));
    all.extend(routed.chain(mirrored).map(|to| name(to, of, domain)));
}

fn name(to: &Destination, of: &Routes, domain: &str) -> Named {
    Named {
        host: Host::resolve(&to.host, &of.namespace, domain),
        port: to.port.as_ref().and_then(|port| u16::try_from(port.number).ok()),
        subset: (!to.subset.is_empty()).then(|| to.subset.as_str().into()),
    }
}

/// The places that a view's routes lead to, looked up once each.
pub(super) struct Reached<'a> {
    view: &'a GatewayView,
    mesh: &'a MeshConfig,
    client: Client<'a>,
    targets: BTreeMap<Host, Target>,
    /// The clusters of those places that exist.
    clusters: BTreeMap<Arc<str>, ClusterKey>,
}

/// Clusters by name, and their endpoints, where EDS delivers them.
type Clusters = (Vec<(Arc<str>, Arc<ClusterKey>)>, Vec<(Arc<str>, Arc<EndpointsKey>)>);

impl<'a> Reached<'a> {
    /// Nothing yet.
    pub(super) fn new(view: &'a GatewayView, mesh: &'a MeshConfig) -> Self {
        let client = Client::gateway(view, mesh);
        Self { view, mesh, client, targets: BTreeMap::new(), clusters: BTreeMap::new() }
    }

    /// Adds what the routes lead to, from a server on this port.
    pub(super) fn add(&mut self, r: &mut dyn Read, named: &BTreeSet<Named>, port: u16) -> Vec<Target> {
        let mut targets = BTreeMap::new();
        for to in named {
            let target = self.target(r, &to.host);
            self.add_cluster(r, to, &target, port);
            targets.insert(to.host.clone(), target);
        }
        targets.into_values().collect()
    }

    /// Everything that was reached.
    pub(super) fn finish(self, r: &mut dyn Read) -> Clusters {
        let clusters: Vec<_> = self.clusters.into_iter().map(|(name, key)| (name, Arc::new(key))).collect();
        let endpoints = clusters
            .iter()
            .filter_map(|(name, key)| Some((name.clone(), Arc::new(endpoints(r, self.mesh, key)?))))
            .collect();
        (clusters, endpoints)
    }

    fn target(&mut self, r: &mut dyn Read, host: &Host) -> Target {
        if let Some(known) = self.targets.get(host) {
            return known.clone();
        }
        let target = self.client.target(r, host.clone());
        self.targets.insert(host.clone(), target.clone());
        target
    }

    fn add_cluster(&mut self, r: &mut dyn Read, to: &Named, target: &Target, server_port: u16) {
        let Some(namespace) = &target.namespace else { return };
        let Some(service) = read::service_in(r, &to.host, namespace) else { return };
        // As the routes themselves read it: a service's only port needs no name.
        let port = to.port.or_else(|| service.only_port().map(|only| only.number)).unwrap_or(server_port);
        if service.port(port).is_none() {
            return;
        }
        if let Some(subset) = &to.subset
            && Rules::load(r, target.rules.as_ref()).subset(subset).is_none()
        {
            return;
        }
        let key = ClusterKey {
            host: to.host.clone(),
            namespace: namespace.clone(),
            port,
            subset: to.subset.clone(),
            rules: target.rules.clone(),
            profile: self.view.profile,
            families: self.view.families,
            gateway: ClusterKey::of_gateway(r, &service, port),
        };
        self.clusters.insert(names::cluster(port, to.subset.as_deref(), to.host.as_str()), key);
    }
}

/// The endpoints of a cluster, where EDS delivers them.
fn endpoints(r: &mut dyn Read, mesh: &MeshConfig, key: &ClusterKey) -> Option<EndpointsKey> {
    let service = read::service_in(r, &key.host, &key.namespace)?;
    let rules = Rules::load(r, key.rules.as_ref());
    endpoint::key_of(r, &service, mesh, &rules.policy(key.subset.as_deref(), key.port), key)
}
