//! What a host contributes to an outbound view.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lateen_config::{ObjectKey, istio::MeshConfig};
use lateen_model::{Address, Host, Namespace, Port, Protocol, Service};
use lateen_registry::Selector;

use super::{
    Aliases, Bind, ClientProfile, ClusterKey, Domains, EndpointsKey, HostEntry, ListenerPart, OutboundView,
    Read, RuleSet, StreamKey, Target, VirtualHostKey,
    called::Called,
    closed, endpoint, grpc, names,
    read::{self, Routes},
    route,
    sidecar_scope::{Egress, EgressPort, Scope, Speaks},
};
use crate::select::{Client, Definition, Held, Rules};

/// The port on which a host is called that only a `VirtualService` has.
pub(crate) const HTTP_PORT: u16 = 80;

/// What `host` contributes to the view: nothing where it is not visible.
pub fn host_entry(r: &mut dyn Read, view: &OutboundView, scope: &Scope, host: &Host) -> HostEntry {
    let mesh = read::mesh(r);
    let client = Client::outbound(view, &mesh, scope);
    let service = client.service(r, host).filter(|definition| definition.imported);
    let service = service.map(|definition| definition.service);
    let mut routes = Vec::new();
    for listener in &scope.listeners {
        let held = client.routes(r, Some(listener), host);
        // Istio refuses `*` for the mesh: it would be everybody's host.
        routes.push(if host.as_str() == "*" { Held::default() } else { held });
    }
    if service.is_none() && routes.iter().all(|held| held.http.is_empty()) {
        return HostEntry::default();
    }
    let mut entry = Entry::new(r, view, &mesh, &client, host, service.clone(), &routes);
    for target in Arc::clone(&entry.targets).iter() {
        entry.clusters(r, &client, target);
    }
    match (&service, view.profile) {
        (Some(service), ClientProfile::Grpc) => {
            entry.hold(routes.iter().find(|held| !held.http.is_empty()));
            entry.grpc(service);
        }
        (Some(service), ClientProfile::Envoy(_) | ClientProfile::Lateen) => {
            let has_port = service.ports.iter().any(|port| port.number == HTTP_PORT);
            // Those of a wildcard are in the virtual host of that.
            let own = read::virtual_services(r, host);
            let is_named =
                |held: &Held| held.http.iter().any(|routes| own.iter().any(|o| o.key == routes.key));
            for (listener, held) in scope.listeners.iter().zip(&routes) {
                let listens = client.listens(r, listener, host);
                entry.hold(Some(held));
                if listens {
                    entry.service(r, scope, listener, service);
                }
                if !(listens && has_port) && is_named(held) {
                    entry.routes_only(scope, Some(listener));
                }
            }
        }
        (None, ClientProfile::Grpc) => {
            entry.hold(routes.iter().find(|held| !held.http.is_empty()));
            entry.routes_only(scope, None);
        }
        (None, ClientProfile::Envoy(_) | ClientProfile::Lateen) => {
            for (listener, held) in scope.listeners.iter().zip(&routes) {
                entry.hold(Some(held));
                entry.routes_only(scope, Some(listener));
            }
        }
    }
    entry.finish()
}

struct Entry<'a> {
    view: &'a OutboundView,
    mesh: &'a Arc<MeshConfig>,
    host: &'a Host,
    namespace: Option<Namespace>,
    aliases: Aliases,
    called: Called,
    /// The `VirtualService`s that hold for the listener in hand.
    held: Held,
    targets: Arc<[Target]>,
    selectors: Arc<BTreeSet<Selector>>,
    source_namespace: Option<Namespace>,
    clusters: BTreeMap<Arc<str>, ClusterKey>,
    endpoints: BTreeMap<Arc<str>, EndpointsKey>,
    virtual_hosts: BTreeMap<(Arc<str>, Arc<str>), VirtualHostKey>,
    listeners: BTreeSet<(Arc<str>, ListenerPart)>,
}

impl<'a> Entry<'a> {
    fn new(
        r: &mut dyn Read,
        view: &'a OutboundView,
        mesh: &'a Arc<MeshConfig>,
        client: &Client<'_>,
        host: &'a Host,
        service: Option<Arc<Service>>,
        routes: &[Held],
    ) -> Self {
        let mut needs = route::Needs::default();
        let all: BTreeMap<&ObjectKey, &Routes> = routes
            .iter()
            .flat_map(|held| held.http.iter().chain(&held.streams))
            .map(|routes| (&routes.key, routes))
            .collect();
        for routes in all.into_values() {
            needs.add_all(r, routes, &view.domain);
        }
        let mut hosts = needs.destinations;
        if service.is_some() {
            hosts.insert(host.clone());
        }
        let targets: Vec<_> = hosts.into_iter().map(|host| client.target(r, host)).collect();
        let aliases = names::aliases(host, &view.namespace, &view.domain);
        let called = Called::of(r, client, host, service.as_deref(), &aliases);
        Self {
            view,
            mesh,
            host,
            namespace: service.map(|service| service.namespace.clone()),
            aliases,
            called,
            held: Held::default(),
            targets: targets.into(),
            selectors: if needs.source_labels { view.selectors.clone() } else { Arc::default() },
            source_namespace: needs.source_namespace.then(|| view.namespace.clone()),
            clusters: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            virtual_hosts: BTreeMap::new(),
            listeners: BTreeSet::new(),
        }
    }

    fn hold(&mut self, held: Option<&Held>) {
        self.held = held.cloned().unwrap_or_default();
    }

    fn finish(self) -> HostEntry {
        HostEntry {
            clusters: self.clusters.into_iter().map(|(name, key)| (name, Arc::new(key))).collect(),
            endpoints: self.endpoints.into_iter().map(|(name, key)| (name, Arc::new(key))).collect(),
            virtual_hosts: self
                .virtual_hosts
                .into_iter()
                .map(|((rc, name), key)| (rc, name, Arc::new(key)))
                .collect(),
            listeners: self.listeners.into_iter().collect(),
        }
    }

    /// The clusters of a target: one for each port, and one for each port of each subset. What routes lead to comes
    /// along, even where the `Sidecar` does not name it; other hosts have their own entries.
    /// <https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioEgressListener>
    fn clusters(&mut self, r: &mut dyn Read, client: &Client<'_>, target: &Target) {
        let Some(Definition { service, imported }) = client.service(r, &target.host) else { return };
        if imported && target.host != *self.host {
            return;
        }
        let rules = Rules::load(r, target.rules.as_ref());
        let subsets = rules.subsets().into_iter().map(Some);
        let subsets: Vec<Option<&str>> = std::iter::once(None).chain(subsets).collect();
        for port in service.carried_ports() {
            for name in &subsets {
                let key = self.cluster_key(&service, port, *name, target.rules.clone());
                let policy = rules.policy(*name, port.number);
                let cluster = names::cluster(port.number, *name, service.host.as_str());
                if let Some(key) = endpoint::key_of(r, &service, self.mesh, &policy, &key) {
                    self.endpoints.insert(cluster.clone(), key);
                }
                self.clusters.insert(cluster, key);
            }
        }
    }

    fn cluster_key(
        &self,
        service: &Service,
        port: &Port,
        subset: Option<&str>,
        rules: Option<RuleSet>,
    ) -> ClusterKey {
        ClusterKey {
            host: service.host.clone(),
            namespace: service.namespace.clone(),
            port: port.number,
            subset: subset.map(Into::into),
            rules,
            profile: self.view.profile,
            families: self.view.families,
            gateway: false,
        }
    }

    fn grpc(&mut self, service: &Service) {
        for port in service.ports.iter().filter(|port| grpc::calls(port.protocol)) {
            let route_config = grpc::route_config(self.host.as_str(), port.number);
            self.virtual_host(&route_config, port.number, port.number, Domains::Any);
            self.listeners.extend(grpc::listeners(
                self.host,
                &self.called.aliases(port.number).collect::<Vec<_>>(),
                port.number,
            ));
        }
    }

    /// What a service contributes through one egress listener.
    fn service(&mut self, r: &mut dyn Read, scope: &Scope, listener: &Egress, service: &Service) {
        match &listener.port {
            None => {
                for port in &service.ports {
                    self.port(r, scope, listener, service, port);
                }
            }
            Some(EgressPort { number, speaks: Speaks::AnyPort, route_config }) => {
                let part = ListenerPart::Http {
                    bind: listener.bind(self.view.families, *number),
                    route_config: route_config.clone(),
                };
                for port in
                    service.ports.iter().filter(|p| p.protocol.is_http() || p.protocol == Protocol::Unknown)
                {
                    self.virtual_host(route_config, port.number, port.number, Domains::NamesWithPort);
                    self.listen(part.clone());
                }
            }
            Some(EgressPort { number, speaks: Speaks::Protocol(protocol), route_config }) => {
                // Of a service with one port it is clear which is meant.
                let port = match (service.port(*number), service.only_port()) {
                    (Some(port), _) => port,
                    (None, Some(port)) if carries(*protocol, port.protocol) => port,
                    (None, _) => return,
                };
                let bind = listener.bind(self.view.families, *number);
                self.own_port(bind, *protocol, route_config, port.number);
            }
        }
    }

    /// A service's port through a listener with a port of its own.
    fn own_port(&mut self, bind: Bind, protocol: Protocol, route_config: &Arc<str>, port: u16) {
        let listen_port = bind.port;
        match kind(protocol) {
            Kind::Http => {
                self.virtual_host(route_config, listen_port, port, Domains::Names);
                self.listen(ListenerPart::Http { bind, route_config: route_config.clone() });
            }
            Kind::Stream { tls } => {
                let stream = self.stream(port, listen_port, Vec::new(), tls);
                self.listen(ListenerPart::Stream { bind, stream });
            }
            Kind::Sniffed => {
                self.virtual_host(route_config, listen_port, port, Domains::Names);
                let stream = self.stream(port, listen_port, Vec::new(), false);
                self.listen(ListenerPart::Sniffed { bind, route_config: route_config.clone(), stream });
            }
            Kind::None => {}
        }
    }

    /// A service's port through the listener for all ports.
    fn port(&mut self, r: &mut dyn Read, scope: &Scope, listener: &Egress, service: &Service, port: &Port) {
        let wildcard = listener.bind(self.view.families, port.number);
        let shared = scope.shared_route_config(port.number);
        let number = port.number;
        let claimed = scope.is_claimed(&wildcard, self.view.families);
        // A socket of one's own has one address; so has a listener that was given one.
        let addressed = listener.captured && listener.bind.is_none();
        let (ips, ranges) = if addressed { addresses(service) } else { (Vec::new(), Vec::new()) };
        let headless = addressed && service.addresses.is_empty() && self.aliases != Aliases::None;
        match kind(port.protocol) {
            Kind::Http if claimed => {}
            Kind::Http => {
                if self.held.http.iter().any(|routes| routes.spec.by_address) {
                    self.by_address(&ips, number);
                }
                self.virtual_host(&shared, number, number, Domains::Names);
                self.listen(ListenerPart::Http { bind: wildcard, route_config: shared });
            }
            Kind::Stream { tls } => {
                for ip in &ips {
                    let stream = self.stream(number, number, Vec::new(), false);
                    self.listen(ListenerPart::Stream { bind: at(ip, number), stream });
                }
                if headless && !tls {
                    self.headless(r, service, number, wildcard);
                } else if (ips.is_empty() || !ranges.is_empty()) && !claimed {
                    let sni = tls && ranges.is_empty();
                    let stream = self.stream(number, number, ranges, sni);
                    self.listen(ListenerPart::Stream { bind: wildcard, stream });
                }
            }
            Kind::Sniffed => {
                let own = names::virtual_host(self.host, number);
                for ip in &ips {
                    self.virtual_host(&own, number, number, Domains::Any);
                    let stream = self.stream(number, number, Vec::new(), false);
                    let bind = at(ip, number);
                    self.listen(ListenerPart::Sniffed { bind, route_config: own.clone(), stream });
                }
                if headless && !claimed && self.is_closed(r, number) {
                    // It may share the listener with others, so that what is not HTTP would be let through.
                    self.virtual_host(&shared, number, number, Domains::Names);
                    self.listen(ListenerPart::Http { bind: wildcard.clone(), route_config: shared });
                    self.headless(r, service, number, wildcard);
                } else if (ips.is_empty() || !ranges.is_empty()) && !claimed {
                    self.virtual_host(&shared, number, number, Domains::Names);
                    let mut stream = self.stream(number, number, ranges, false);
                    Arc::make_mut(&mut stream).keeps_destination = headless;
                    self.listen(ListenerPart::Sniffed { bind: wildcard, route_config: shared, stream });
                }
            }
            Kind::None => {}
        }
    }

    /// Is the service's own cluster closed?
    fn is_closed(&self, r: &mut dyn Read, port: u16) -> bool {
        let target = self.targets.iter().find(|target| target.host == *self.host);
        let rules = target.and_then(|target| target.rules.clone());
        let rules = Rules::load(r, rules.as_ref());
        closed::is_closed(r, self.view.profile, &rules.policy(None, port))
    }

    /// HTTP at the addresses of the service, whatever host it names.
    fn by_address(&mut self, ips: &[Arc<str>], port: u16) {
        let route_config = names::virtual_host(self.host, port);
        for ip in ips {
            self.virtual_host(&route_config, port, port, Domains::Any);
            let bind = at(ip, port);
            self.listen(ListenerPart::Http { bind, route_config: route_config.clone() });
        }
    }

    /// A service without an address of its own: connections to its instances are let through.
    fn headless(&mut self, r: &mut dyn Read, service: &Service, port: u16, bind: Bind) {
        let instances = read::endpoints(r, &service.host, &service.namespace);
        let ips = instances.iter().filter_map(|endpoint| match &endpoint.address {
            Address::Ip(ip) => Some(ip.to_string().into()),
            Address::Name(_) | Address::Unix(_) => None,
        });
        let ips: BTreeSet<Arc<str>> = ips.collect();
        if !ips.is_empty() {
            let mut stream = self.stream(port, port, ips.into_iter().collect(), false);
            Arc::make_mut(&mut stream).keeps_destination = true;
            self.listen(ListenerPart::Stream { bind, stream });
        }
    }

    /// A host that no service has on port 80, but a `VirtualService`: it is called on that port, as in Istio, and by
    /// no short name. A proxyless client has no listener.
    fn routes_only(&mut self, scope: &Scope, listener: Option<&Egress>) {
        if self.held.http.iter().all(|routes| routes.spec.http.is_empty()) {
            return;
        }
        let Some(listener) = listener else {
            let route_config = grpc::route_config(self.host.as_str(), HTTP_PORT);
            self.routed_host(&route_config, Domains::Any);
            self.listeners.extend(grpc::listeners(self.host, &[], HTTP_PORT));
            return;
        };
        let bind = listener.bind(self.view.families, HTTP_PORT);
        match &listener.port {
            None if scope.is_claimed(&bind, self.view.families) => {}
            None => self.routed_host(&scope.shared_route_config(HTTP_PORT), Domains::Names),
            Some(EgressPort { number: HTTP_PORT, speaks: Speaks::Protocol(protocol), route_config })
                if matches!(kind(*protocol), Kind::Http | Kind::Sniffed) =>
            {
                self.routed_host(route_config, Domains::Names);
                self.listen(ListenerPart::Http { bind, route_config: route_config.clone() });
            }
            Some(_) => {}
        }
    }

    fn routed_host(&mut self, route_config: &Arc<str>, domains: Domains) {
        let mut key = self.virtual_host_key(HTTP_PORT, HTTP_PORT, domains);
        (key.namespace, key.names) = (None, Arc::default());
        self.virtual_hosts.insert((route_config.clone(), names::virtual_host(self.host, HTTP_PORT)), key);
    }

    fn virtual_host(&mut self, route_config: &Arc<str>, listen_port: u16, port: u16, domains: Domains) {
        let key = self.virtual_host_key(listen_port, port, domains);
        self.virtual_hosts.insert((route_config.clone(), names::virtual_host(self.host, listen_port)), key);
    }

    fn virtual_host_key(&self, listen_port: u16, port: u16, domains: Domains) -> VirtualHostKey {
        VirtualHostKey {
            host: self.host.clone(),
            namespace: self.namespace.clone(),
            listen_port,
            port,
            domains,
            names: match domains {
                Domains::Any => Arc::default(),
                Domains::Names | Domains::NamesWithPort => self.called.names(listen_port).collect(),
            },
            domain: self.view.domain.clone(),
            routes: keys(&self.held.http),
            routes_of: self.held.http_of.clone(),
            targets: self.targets.clone(),
            selectors: self.selectors.clone(),
            source_namespace: self.source_namespace.clone(),
            profile: self.view.profile,
        }
    }

    fn stream(&self, port: u16, listen_port: u16, destinations: Vec<Arc<str>>, sni: bool) -> Arc<StreamKey> {
        Arc::new(StreamKey {
            host: self.host.clone(),
            namespace: self.namespace.clone(),
            port,
            listen_port,
            destinations: destinations.into(),
            sni,
            keeps_destination: false,
            domain: self.view.domain.clone(),
            routes: keys(&self.held.streams),
            targets: self.targets.clone(),
            selectors: self.selectors.clone(),
            source_namespace: self.source_namespace.clone(),
        })
    }

    fn listen(&mut self, part: ListenerPart) {
        let name = names::listener(part.bind());
        self.listeners.insert((name, part));
    }
}

fn keys(all: &[Routes]) -> Arc<[ObjectKey]> {
    all.iter().map(|routes| routes.key.clone()).collect()
}

/// How a port is carried.
enum Kind {
    Http,
    Stream { tls: bool },
    Sniffed,
    None,
}

fn kind(protocol: Protocol) -> Kind {
    match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => Kind::Http,
        Protocol::Tls | Protocol::Https => Kind::Stream { tls: true },
        Protocol::Tcp | Protocol::OpaqueTcp => Kind::Stream { tls: false },
        Protocol::Unknown => Kind::Sniffed,
        Protocol::Udp => Kind::None,
    }
}

/// Can a listener that speaks `outer` be meant for a port that speaks `inner`?
fn carries(outer: Protocol, inner: Protocol) -> bool {
    match (kind(outer), kind(inner)) {
        (Kind::Http, Kind::Http | Kind::Sniffed)
        | (Kind::Stream { tls: true }, Kind::Stream { tls: true }) => true,
        (Kind::Stream { tls: false } | Kind::Sniffed, inner) => !matches!(inner, Kind::None),
        _ => false,
    }
}

/// The addresses of a service, and its ranges of more than one.
fn addresses(service: &Service) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
    let (ips, rest): (Vec<_>, Vec<_>) =
        service.addresses.iter().cloned().partition(|text| text.parse::<IpAddr>().is_ok());
    let ips = ips.into_iter().filter(|text| text.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified()));
    (ips.collect(), rest.into_iter().filter(|text| super::wire::cidr(text).is_some()).collect())
}

fn at(ip: &Arc<str>, port: u16) -> Bind {
    Bind { address: ip.clone(), port, bound: false }
}
