//! What several objects claim, of which one counts or one takes from another: hosts of other namespaces, and ports of
//! gateways. Looked at anew where a cell has changed that it depends on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lateen_config::{
    ObjectKey,
    analysis::{foreign_entry, foreign_routes},
    codes::FOREIGN_HOST,
    istio::{self, Carries, ServerHosts},
    path::Path,
    reference,
};
use lateen_model::{
    DefinedBy, Diagnostic, Host, Origin, Service, Severity, diagnostic::Code, service::Visibility,
};

use crate::{Fact, FactKey, GatewayId, Sourced, World, codes};

type Routes = Sourced<istio::VirtualService>;

/// Findings, by the cell that they are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contested(BTreeMap<FactKey, Vec<Diagnostic>>);

impl Contested {
    /// Looks anew at what changed. `is_silenced` says whether an object wants to hear of a code.
    pub(crate) fn update(
        &mut self,
        world: &World,
        domain: &str,
        changed: &BTreeSet<FactKey>,
        is_silenced: impl Fn(&ObjectKey, Code) -> bool,
    ) {
        let about = |fact: &FactKey| match fact {
            FactKey::Service(host) | FactKey::VirtualServices(host) => Some(FactKey::Service(host.clone())),
            FactKey::GatewayStreams(id) | FactKey::Gateway(id) => Some(FactKey::GatewayStreams(id.clone())),
            _ => None,
        };
        for key in changed.iter().filter_map(about).collect::<BTreeSet<_>>() {
            let mut found: Vec<(Option<ObjectKey>, Diagnostic)> = match &key {
                FactKey::Service(host) => foreign(world, domain, host),
                FactKey::GatewayStreams(id) => streams(world, domain, id),
                _ => Vec::new(),
            };
            found.retain(|(object, finding)| {
                object.as_ref().is_none_or(|object| !is_silenced(object, finding.code))
            });
            if found.is_empty() {
                self.0.remove(&key);
            } else {
                self.0.insert(key, found.into_iter().map(|(_, finding)| finding).collect());
            }
        }
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.values().flatten()
    }
}

/// Objects that define or route a host of another namespace for others: `docs/selection.md`, "Who may take whose host".
fn foreign(world: &World, domain: &str, host: &Host) -> Vec<(Option<ObjectKey>, Diagnostic)> {
    let services = world.services(host).unwrap_or_default();
    let is_platforms = |service: &Service| service.defined_by == DefinedBy::Platform;
    let mut found = Vec::new();
    for entry in services.iter().filter(|service| !is_platforms(service)) {
        let platforms = services.iter().find(|it| is_platforms(it) && it.namespace != entry.namespace);
        if let Some(platforms) = platforms {
            let (message, hint) = foreign_entry(host, &platforms.namespace, &entry.namespace);
            let origin = entry.origin.clone();
            found.push((None, finding(FOREIGN_HOST, None, origin, String::new(), message, hint)));
        }
    }
    for routes in world.virtual_services(host).iter().flat_map(|all| all.iter()) {
        let for_others = match &routes.export_to {
            Visibility::All => true,
            Visibility::Namespaces(named) => named.iter().any(|namespace| *namespace != routes.namespace),
        };
        let mut known = services.iter().filter(|service| service.export_to.allows(&routes.namespace));
        let own = known.clone().any(|service| service.namespace == routes.namespace);
        if let (true, false, Some(owner)) = (for_others, own, known.next()) {
            let at =
                routes.spec.hosts.iter().position(|it| Host::resolve(it, &routes.namespace, domain) == *host);
            let spec = Path::ROOT.field("spec");
            let hosts = spec.field("hosts");
            let at = hosts.index(at.unwrap_or(0));
            let (message, hint) = foreign_routes(host, &owner.namespace);
            found.push(about(routes, FOREIGN_HOST, &at, message, hint));
        }
    }
    found
}

/// What a route of connections matches on one port, whichever way its ranges are ordered; of TLS that ends elsewhere
/// one server name.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Matched {
    name: Option<Host>,
    destinations: BTreeSet<String>,
    source: String,
    labels: BTreeMap<String, String>,
    namespace: String,
}

/// Where in an object a match stands: the list, the route, and the match, if it is not everything.
type Place = (&'static str, usize, Option<usize>);

/// Routes of connections of a gateway that match what one before them matches on the same port.
fn streams(world: &World, domain: &str, id: &GatewayId) -> Vec<(Option<ObjectKey>, Diagnostic)> {
    let gateway = world.get(&FactKey::Gateway(id.clone())).cloned().and_then(Fact::gateway);
    let streams = world.get(&FactKey::GatewayStreams(id.clone())).cloned().and_then(Fact::virtual_services);
    let (Some(gateway), Some(streams)) = (gateway, streams) else { return Vec::new() };
    let mut found = Vec::new();
    for server in &gateway.spec.servers {
        let Some(port) = server.port.as_ref().map(|port| port.number) else { continue };
        let matched = match server.carries() {
            Carries::Tcp | Carries::Tls => connections,
            Carries::Passthrough => names,
            Carries::Http | Carries::Https | Carries::Udp => continue,
        };
        let hosts = ServerHosts::of(server, &id.namespace);
        let mut taken: HashMap<Matched, &Routes> = HashMap::new();
        for routes in streams.iter().filter(|routes| attaches(&hosts, routes, domain)) {
            for (place, all) in matched(routes, &hosts, id, port) {
                for wanted in all {
                    // A name that somebody has for all destinations is theirs, whatever others match beside it.
                    let name = wanted.name.clone();
                    let whole = Matched { destinations: BTreeSet::new(), ..wanted.clone() };
                    let first = name.as_ref().and_then(|_| taken.get(&whole).copied());
                    let first = first.unwrap_or_else(|| *taken.entry(wanted).or_insert(routes));
                    if first.key != routes.key {
                        found.push(taken_by(first, routes, &place, name.as_ref(), (port, id)));
                    }
                }
            }
        }
    }
    found.dedup();
    found
}

/// What the `tcp` routes of an object match.
fn connections(routes: &Routes, _: &ServerHosts, id: &GatewayId, port: u32) -> Vec<(Place, Vec<Matched>)> {
    let anything = [istio::L4Match::default()];
    let mut found = Vec::new();
    for (number, tcp) in routes.spec.tcp.iter().enumerate() {
        let matches = if tcp.matches.is_empty() { &anything[..] } else { &tcp.matches[..] };
        let here = |wanted: &istio::L4Match| holds(wanted.port, &wanted.gateways, id, routes, port);
        for (index, wanted) in matches.iter().enumerate().filter(|(_, wanted)| here(wanted)) {
            let matched = Matched {
                name: None,
                destinations: wanted.destination_subnets.iter().cloned().collect(),
                source: wanted.source_subnet.clone(),
                labels: wanted.source_labels.clone(),
                namespace: wanted.source_namespace.clone(),
            };
            found.push((("tcp", number, (!tcp.matches.is_empty()).then_some(index)), vec![matched]));
        }
    }
    found
}

/// What the `tls` routes of an object match, of what the server has.
fn names(routes: &Routes, hosts: &ServerHosts, id: &GatewayId, port: u32) -> Vec<(Place, Vec<Matched>)> {
    let mut found = Vec::new();
    for (number, tls) in routes.spec.tls.iter().enumerate() {
        let here = |wanted: &istio::TlsMatch| holds(wanted.port, &wanted.gateways, id, routes, port);
        for (index, wanted) in tls.matches.iter().enumerate().filter(|(_, wanted)| here(wanted)) {
            let names = wanted.sni_hosts.iter().map(|name| Host::from(name.to_ascii_lowercase()));
            let met: BTreeSet<Host> = names.flat_map(|name| hosts.met(&routes.namespace, &name)).collect();
            let matched = |name| Matched {
                name: Some(name),
                destinations: wanted.destination_subnets.iter().cloned().collect(),
                source: String::new(),
                labels: wanted.source_labels.clone(),
                namespace: wanted.source_namespace.clone(),
            };
            found.push((("tls", number, Some(index)), met.into_iter().map(matched).collect()));
        }
    }
    found
}

fn taken_by(
    first: &Routes,
    routes: &Routes,
    &(list, number, index): &Place,
    name: Option<&Host>,
    (port, id): (u32, &GatewayId),
) -> (Option<ObjectKey>, Diagnostic) {
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
    let list = spec.field(list);
    let route = list.index(number);
    let matches = route.field("match");
    let at = index.map_or(route, |index| matches.index(index));
    about(routes, codes::STREAM_TAKEN, &at, message, hint.to_owned())
}

/// Has the server one of the hosts?
fn attaches(server: &ServerHosts, routes: &Routes, domain: &str) -> bool {
    let mut own = routes.spec.hosts.iter().map(|host| Host::resolve(host, &routes.namespace, domain));
    own.any(|host| !server.met(&routes.namespace, &host).is_empty())
}

fn holds(wanted: Option<u32>, gateways: &[String], id: &GatewayId, routes: &Routes, port: u32) -> bool {
    let own = (id.namespace.as_str(), &*id.name);
    let is_own = |text: &String| reference::gateway(text, routes.namespace.as_str()) == own;
    wanted.is_none_or(|wanted| wanted == port) && (gateways.is_empty() || gateways.iter().any(is_own))
}

fn about(
    routes: &Routes,
    code: Code,
    at: &Path<'_>,
    message: String,
    hint: String,
) -> (Option<ObjectKey>, Diagnostic) {
    let mut origin = routes.origin.clone();
    if let Some(span) = routes.spans.find(at) {
        (origin.line, origin.column) = (span.line, span.column);
    }
    (Some(routes.key.clone()), finding(code, Some(&routes.key), origin, at.to_string(), message, hint))
}

fn finding(
    code: Code,
    object: Option<&ObjectKey>,
    origin: Origin,
    path: String,
    message: String,
    hint: String,
) -> Diagnostic {
    Diagnostic {
        code,
        severity: Severity::Warning,
        object: object.map(ObjectKey::to_ref),
        origin: Some(origin),
        path,
        message,
        hint: Some(hint),
    }
}
