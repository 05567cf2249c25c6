//! What several objects claim, of which one counts or one takes from another: hosts of other namespaces, and ports of
//! gateways. Looked at anew where a cell has changed that it depends on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use lateen_config::{
    ConfigObject, Kind, ParsedObject,
    analysis::{foreign_entry, foreign_routes, silences},
    codes::FOREIGN_HOST,
    istio::{self, Carries, ServerHosts},
    path::Path,
    reference,
};
use lateen_model::{
    ByHost, DefinedBy, Diagnostic, Host, Namespace, Service, Severity, diagnostic::Code, service::Visibility,
};

use crate::{
    Fact, FactKey, GatewayId, Sourced, World, codes, entry::Entry, objects::Objects, services::Services,
};

type Routes = Sourced<istio::VirtualService>;

/// What findings are made from.
#[derive(Clone, Copy)]
pub(crate) struct Mesh<'a> {
    pub(crate) world: &'a World,
    pub(crate) domain: &'a str,
    pub(crate) objects: &'a Objects,
    pub(crate) services: &'a Services,
}

/// Findings, by the cell that they are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contested(BTreeMap<FactKey, Vec<Diagnostic>>);

/// The cell whose findings depend on this one.
pub(crate) fn about(fact: &FactKey) -> Option<FactKey> {
    match fact {
        FactKey::Service(host) | FactKey::VirtualServices(host) => Some(FactKey::Service(host.clone())),
        FactKey::GatewayStreams(id) | FactKey::Gateway(id) => Some(FactKey::GatewayStreams(id.clone())),
        _ => None,
    }
}

impl Contested {
    /// Looks anew at these cells.
    pub(crate) fn update(&mut self, mesh: &Mesh<'_>, cells: &BTreeSet<FactKey>) {
        for key in cells {
            let found = match key {
                FactKey::Service(host) => foreign(mesh, host),
                FactKey::GatewayStreams(id) => streams(mesh, id),
                _ => Vec::new(),
            };
            if found.is_empty() {
                self.0.remove(key);
            } else {
                self.0.insert(key.clone(), found);
            }
        }
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.values().flatten()
    }
}

/// Objects that define or route a host of another namespace for others: `docs/selection.md`, "Who may take whose host".
fn foreign(mesh: &Mesh<'_>, host: &Host) -> Vec<Diagnostic> {
    let services = mesh.world.services(host).unwrap_or_default();
    let platforms =
        services.iter().filter(|service: &&Arc<Service>| service.defined_by == DefinedBy::Platform);
    let mut found = Vec::new();
    for key in mesh.services.defined_by(host).filter(|key| key.kind == Kind::ServiceEntry) {
        let own: Namespace = key.namespace.as_str().into();
        if let Some(owner) = platforms.clone().find(|service| service.namespace != own) {
            let (message, hint) = foreign_entry(host, &owner.namespace, &own);
            let entry = mesh.objects.get(&key);
            found.extend(entry.and_then(|entry| foreign_host(entry, host, mesh.domain, message, hint)));
        }
    }
    for routes in mesh.world.virtual_services(host).iter().flat_map(|all| all.iter()) {
        let for_others = match &routes.export_to {
            Visibility::All => true,
            Visibility::Namespaces(named) => named.iter().any(|namespace| *namespace != routes.namespace),
        };
        let mut known = services.iter().filter(|service| service.export_to.allows(&routes.namespace));
        let own = known.clone().any(|service| service.namespace == routes.namespace);
        if let (true, false, Some(owner)) = (for_others, own, known.next()) {
            let (message, hint) = foreign_routes(host, &owner.namespace);
            let entry = mesh.objects.get(&routes.key);
            found.extend(entry.and_then(|entry| foreign_host(entry, host, mesh.domain, message, hint)));
        }
    }
    found
}

/// The finding stands at the host that the object gives.
fn foreign_host(
    entry: &Entry,
    host: &Host,
    domain: &str,
    message: String,
    hint: String,
) -> Option<Diagnostic> {
    let hosts = match &entry.object.spec {
        ConfigObject::ServiceEntry(spec) => &spec.hosts,
        ConfigObject::VirtualService(spec) => &spec.hosts,
        _ => return None,
    };
    let namespace = entry.object.key.namespace.as_str().into();
    let at = hosts.iter().position(|it| Host::resolve(it, &namespace, domain) == *host);
    let spec = Path::ROOT.field("spec");
    let list = spec.field("hosts");
    finding(&entry.object, FOREIGN_HOST, &list.index(at.unwrap_or(0)), message, hint)
}

/// What a route of connections matches on one port, whichever way its ranges are ordered; of TLS that ends elsewhere
/// one server name.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Matched<'a> {
    name: Option<Host>,
    destinations: BTreeSet<&'a str>,
    source: &'a str,
    labels: &'a BTreeMap<String, String>,
    namespace: &'a str,
}

/// What a condition asks for.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// Nothing: it is a route without conditions.
    Anything,
    /// Connections.
    Connections(&'a istio::L4Match),
    /// Names in TLS that ends elsewhere.
    Names(&'a istio::TlsMatch),
}

/// One condition of a route of connections: the route's place among those of the object, and its own in the route.
#[derive(Clone, Copy)]
struct Condition<'a> {
    route: usize,
    index: Option<usize>,
    wanted: Wanted<'a>,
}

impl<'a> Condition<'a> {
    /// What it matches, of what a server has.
    fn matched(
        self,
        routes: &Routes,
        hosts: &ServerHosts,
        nothing: &'a BTreeMap<String, String>,
    ) -> Vec<Matched<'a>> {
        match self.wanted {
            Wanted::Anything => vec![Matched {
                name: None,
                destinations: BTreeSet::new(),
                source: "",
                labels: nothing,
                namespace: "",
            }],
            Wanted::Connections(wanted) => vec![Matched {
                name: None,
                destinations: wanted.destination_subnets.iter().map(String::as_str).collect(),
                source: &wanted.source_subnet,
                labels: &wanted.source_labels,
                namespace: &wanted.source_namespace,
            }],
            Wanted::Names(wanted) => {
                let names = wanted.sni_hosts.iter().map(|name| Host::from(name.to_ascii_lowercase()));
                let met: BTreeSet<Host> =
                    names.flat_map(|name| hosts.met(&routes.namespace, &name)).collect();
                let matched = |name| Matched {
                    name: Some(name),
                    destinations: wanted.destination_subnets.iter().map(String::as_str).collect(),
                    source: "",
                    labels: &wanted.source_labels,
                    namespace: &wanted.source_namespace,
                };
                met.into_iter().map(matched).collect()
            }
        }
    }
}

/// Routes of connections of one object, its conditions by the port that they want.
struct Stream<'a> {
    routes: &'a Routes,
    by_port: BTreeMap<Option<u32>, Vec<Condition<'a>>>,
}

impl<'a> Stream<'a> {
    fn of(routes: &'a Routes, id: &GatewayId) -> Self {
        let mut by_port: BTreeMap<Option<u32>, Vec<Condition<'a>>> = BTreeMap::new();
        for (route, tcp) in routes.spec.tcp.iter().enumerate() {
            if tcp.matches.is_empty() {
                let anything = Condition { route, index: None, wanted: Wanted::Anything };
                by_port.entry(None).or_default().push(anything);
            }
            let here = tcp.matches.iter().enumerate().filter(|(_, it)| holds(&it.gateways, id, routes));
            for (index, wanted) in here {
                let condition = Condition { route, index: Some(index), wanted: Wanted::Connections(wanted) };
                by_port.entry(wanted.port).or_default().push(condition);
            }
        }
        for (route, tls) in routes.spec.tls.iter().enumerate() {
            let here = tls.matches.iter().enumerate().filter(|(_, it)| holds(&it.gateways, id, routes));
            for (index, wanted) in here {
                let condition = Condition { route, index: Some(index), wanted: Wanted::Names(wanted) };
                by_port.entry(wanted.port).or_default().push(condition);
            }
        }
        Self { routes, by_port }
    }
}

/// Those of a gateway, found by port and host: each host is read once, however many servers there are.
struct Streams<'a> {
    all: Vec<Stream<'a>>,
    places: HashMap<Option<u32>, ByHost<Vec<usize>>>,
}

impl<'a> Streams<'a> {
    fn of(streams: &'a [Arc<Routes>], id: &GatewayId, domain: &str) -> Self {
        let mut found = Self { all: Vec::with_capacity(streams.len()), places: HashMap::new() };
        for (place, routes) in streams.iter().enumerate() {
            let stream = Stream::of(routes, id);
            let resolve = |host: &String| Host::resolve(host, &routes.namespace, domain);
            let hosts: BTreeSet<Host> = routes.spec.hosts.iter().map(resolve).collect();
            for port in stream.by_port.keys() {
                let places = found.places.entry(*port).or_default();
                for host in &hosts {
                    places.of(host.as_str()).push(place);
                }
            }
            found.all.push(stream);
        }
        found
    }

    /// The conditions that a server puts connections of its port to, in order: those about names, or the others.
    fn at(
        &self,
        server: &istio::Server,
        port: u32,
        id: &GatewayId,
        about_names: bool,
    ) -> Vec<(&'a Routes, Condition<'a>)> {
        let ports = [Some(port), None];
        let mut places: BTreeSet<usize> = BTreeSet::new();
        for text in &server.hosts {
            let (scope, host) = text.split_once('/').unwrap_or(("*", text));
            let scope = if scope == "." { id.namespace.as_str() } else { scope };
            let host = host.to_ascii_lowercase();
            let met = ports.iter().filter_map(|port| self.places.get(port)).flat_map(|at| at.meeting(&host));
            let is_visible = |stream: &Stream<'_>| scope == "*" || stream.routes.namespace.as_str() == scope;
            places.extend(met.flatten().filter(|place| self.all.get(**place).is_some_and(is_visible)));
        }
        let mut all = Vec::new();
        for stream in places.into_iter().filter_map(|place| self.all.get(place)) {
            let conditions = ports.iter().filter_map(|port| stream.by_port.get(port)).flatten().copied();
            let is_asked = |it: &Condition<'_>| matches!(it.wanted, Wanted::Names(_)) == about_names;
            let mut conditions: Vec<Condition<'a>> = conditions.filter(is_asked).collect();
            conditions.sort_by_key(|it| (it.route, it.index));
            all.extend(conditions.into_iter().map(|condition| (stream.routes, condition)));
        }
        all
    }
}

/// Routes of connections of a gateway that match what one before them matches on the same port.
fn streams(mesh: &Mesh<'_>, id: &GatewayId) -> Vec<Diagnostic> {
    let gateway = mesh.world.get(&FactKey::Gateway(id.clone())).cloned().and_then(Fact::gateway);
    let routes =
        mesh.world.get(&FactKey::GatewayStreams(id.clone())).cloned().and_then(Fact::virtual_services);
    let (Some(gateway), Some(routes)) = (gateway, routes) else { return Vec::new() };
    let streams = Streams::of(&routes, id, mesh.domain);
    let (nothing, mut found, mut known) = (BTreeMap::new(), Vec::new(), HashSet::new());
    for server in &gateway.spec.servers {
        let Some(port) = server.port.as_ref().map(|port| port.number) else { continue };
        let about_names = match server.carries() {
            Carries::Tcp | Carries::Tls => false,
            Carries::Passthrough => true,
            Carries::Http | Carries::Https | Carries::Udp => continue,
        };
        let hosts = ServerHosts::of(server, &id.namespace);
        let mut taken: HashMap<Matched<'_>, &Routes> = HashMap::new();
        for (routes, condition) in streams.at(server, port, id, about_names) {
            for wanted in condition.matched(routes, &hosts, &nothing) {
                // A name that somebody has for all destinations is theirs, whatever others match beside it.
                let name = wanted.name.clone();
                let whole = Matched { destinations: BTreeSet::new(), ..wanted.clone() };
                let first = name.as_ref().and_then(|_| taken.get(&whole).copied());
                let first = first.unwrap_or_else(|| *taken.entry(wanted).or_insert(routes));
                if first.key == routes.key {
                    continue;
                }
                // Servers of one port say the same once.
                let entry = mesh.objects.get(&routes.key);
                let finding =
                    entry.and_then(|entry| taken_by(first, entry, name.as_ref(), (port, id), condition));
                found.extend(finding.filter(|finding| known.insert(finding.clone())));
            }
        }
    }
    found
}

fn taken_by(
    first: &Routes,
    entry: &Entry,
    name: Option<&Host>,
    (port, id): (u32, &GatewayId),
    condition: Condition<'_>,
) -> Option<Diagnostic> {
    let of = name.map(|name| format!(" for {name}")).unwrap_or_default();
    let message = format!(
        "connections{of} to port {port} of Gateway {id} go where {} routes them: this has no effect there",
        first.key
    );
    let hint = match name {
        Some(_) => "match other names in one of the two, or bind it to another gateway",
        None => "match other ports or subnets in one of the two, or bind it to another gateway",
    };
    let spec = Path::ROOT.field("spec");
    let list = spec.field(if matches!(condition.wanted, Wanted::Names(_)) { "tls" } else { "tcp" });
    let route = list.index(condition.route);
    let matches = route.field("match");
    let at = match condition.index {
        Some(index) => matches.index(index),
        None => list.index(condition.route),
    };
    finding(&entry.object, codes::STREAM_TAKEN, &at, message, hint.to_owned())
}

/// Is a condition that names these gateways for connections to this one?
fn holds(gateways: &[String], id: &GatewayId, routes: &Routes) -> bool {
    let own = (id.namespace.as_str(), &*id.name);
    let is_own = |text: &String| reference::gateway(text, routes.namespace.as_str()) == own;
    gateways.is_empty() || gateways.iter().any(is_own)
}

/// The finding, at this place of the object; none where the object wants to hear nothing of it.
fn finding(
    object: &ParsedObject,
    code: Code,
    at: &Path<'_>,
    message: String,
    hint: String,
) -> Option<Diagnostic> {
    if silences(&object.meta.annotations, code) {
        return None;
    }
    let mut origin = object.origin.clone();
    if let Some(span) = object.spans.find(at) {
        (origin.line, origin.column) = (span.line, span.column);
    }
    Some(Diagnostic {
        code,
        severity: Severity::Warning,
        object: Some(object.key.to_ref()),
        origin: Some(origin),
        path: at.to_string(),
        message,
        hint: Some(hint),
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use lateen_model::{Document, ObjectId, ObjectKind, SourceEvent, SourceId, event::Object};

    use super::*;
    use crate::Registry;

    /// A gateway of so many servers with a `VirtualService` for each.
    fn registry(count: usize) -> Registry {
        let mut text = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: a}\nspec:\n  servers:\n".to_owned();
        for number in 0..count {
            let port = 2_000 + number;
            writeln!(
                text,
                "  - {{port: {{number: {port}, name: p{port}, protocol: TCP}}, hosts: [h{number}.test]}}"
            )
            .unwrap();
        }
        for number in 0..count {
            // Every other one is found by its port, the others by their host.
            let port = 2_000 + number;
            let (host, wanted) = match number % 2 {
                0 => ("'*.test'".to_owned(), format!("port: {port}")),
                _ => (format!("h{number}.test"), "destinationSubnets: [10.0.0.0/8]".to_owned()),
            };
            write!(
                text,
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{number}, namespace: a}}\nspec: \
                 {{hosts: [{host}], gateways: [edge], tcp: [{{match: [{{{wanted}}}], route: [{{destination: {{host: x}}}}]}}]}}\n"
            )
            .unwrap();
        }
        let source = SourceId("test".into());
        let mut registry = Registry::new(std::slice::from_ref(&source));
        let id = ObjectId { kind: ObjectKind::Document, name: "all.yaml".into() };
        let object = Object::Document(Document { body: text.into_bytes().into() });
        registry.apply(&source, SourceEvent::Upsert { id, object }, 0);
        assert_eq!(registry.diagnostics().count(), 0, "{:?}", registry.diagnostics().next());
        registry
    }

    #[test]
    fn a_server_looks_at_the_routes_of_its_port_and_host_however_many_there_are() {
        for count in [20, 80] {
            let registry = registry(count);
            let id = GatewayId { namespace: "a".into(), name: "edge".into() };
            let gateway =
                registry.world().get(&FactKey::Gateway(id.clone())).cloned().and_then(Fact::gateway);
            let routes = registry.world().get(&FactKey::GatewayStreams(id.clone())).cloned();
            let (gateway, routes) = (gateway.unwrap(), routes.and_then(Fact::virtual_services).unwrap());
            let streams = Streams::of(&routes, &id, "cluster.local");
            for server in &gateway.spec.servers {
                let port = server.port.as_ref().unwrap().number;
                assert_eq!(streams.at(server, port, &id, false).len(), 1, "{count}: {port}");
            }
        }
    }
}
