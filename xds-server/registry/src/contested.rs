//! What several objects claim, of which one counts or one takes from another: hosts of other namespaces, and ports of
//! gateways. Looked at anew where a cell has changed that it depends on.

use std::collections::{BTreeMap, BTreeSet};

use lateen_config::{
    ObjectKey,
    analysis::{foreign_entry, foreign_routes},
    codes::FOREIGN_HOST,
    istio,
    path::Path,
    reference,
};
use lateen_model::{
    DefinedBy, Diagnostic, Host, Origin, Protocol, Service, Severity, diagnostic::Code, service::Visibility,
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

/// What a route of connections matches on one port, whichever way its ranges are ordered.
type Matched = (BTreeSet<String>, String, BTreeMap<String, String>, String);

/// Routes of connections of a gateway that match what one before them matches on the same port.
fn streams(world: &World, domain: &str, id: &GatewayId) -> Vec<(Option<ObjectKey>, Diagnostic)> {
    let gateway = world.get(&FactKey::Gateway(id.clone())).cloned().and_then(Fact::gateway);
    let streams = world.get(&FactKey::GatewayStreams(id.clone())).cloned().and_then(Fact::virtual_services);
    let (Some(gateway), Some(streams)) = (gateway, streams) else { return Vec::new() };
    let anything = [istio::L4Match::default()];
    let mut found = Vec::new();
    for server in gateway.spec.servers.iter().filter(|server| carries_streams(server)) {
        let Some(port) = server.port.as_ref().map(|port| port.number) else { continue };
        let mut taken: BTreeMap<Matched, &Routes> = BTreeMap::new();
        for routes in streams.iter().filter(|routes| attaches(server, id, routes, domain)) {
            for (number, tcp) in routes.spec.tcp.iter().enumerate() {
                let matches = if tcp.matches.is_empty() { &anything[..] } else { &tcp.matches[..] };
                for (index, wanted) in matches.iter().enumerate() {
                    if !holds(wanted, id, routes, port) {
                        continue;
                    }
                    let connections = (
                        wanted.destination_subnets.iter().cloned().collect(),
                        wanted.source_subnet.clone(),
                        wanted.source_labels.clone(),
                        wanted.source_namespace.clone(),
                    );
                    let first = *taken.entry(connections).or_insert(routes);
                    if first.key != routes.key {
                        let message = format!(
                            "connections to port {port} of Gateway {id} go where {} routes them: this has no effect there",
                            first.key
                        );
                        let hint =
                            "match other ports or subnets in one of the two, or bind it to another gateway";
                        let spec = Path::ROOT.field("spec");
                        let list = spec.field("tcp");
                        let route = list.index(number);
                        let matches = route.field("match");
                        let at = if tcp.matches.is_empty() { route } else { matches.index(index) };
                        found.push(about(routes, codes::STREAM_TAKEN, &at, message, hint.to_owned()));
                    }
                }
            }
        }
    }
    found.dedup();
    found
}

/// Are its connections routed by `tcp`?
fn carries_streams(server: &istio::Server) -> bool {
    let protocol = server.port.as_ref().and_then(|port| Protocol::from_name(&port.protocol));
    match protocol {
        Some(protocol) if protocol.is_http() || protocol == Protocol::Https => false,
        Some(protocol) if protocol.is_tls() => {
            server.tls.as_ref().is_some_and(|tls| tls.mode != istio::ServerTlsMode::Passthrough)
        }
        Some(Protocol::Udp) => false,
        Some(_) | None => true,
    }
}

/// Has the server one of the hosts?
fn attaches(server: &istio::Server, id: &GatewayId, routes: &Routes, domain: &str) -> bool {
    server.hosts.iter().any(|text| {
        let (scope, host) = text.split_once('/').unwrap_or(("*", text));
        let is_visible = match scope {
            "*" => true,
            "." => routes.namespace == id.namespace,
            named => routes.namespace.as_str() == named,
        };
        let own = Host::from(host.to_ascii_lowercase());
        is_visible
            && routes.spec.hosts.iter().any(|host| {
                let host = Host::resolve(host, &routes.namespace, domain);
                host == own || host.covers(&own) || own.covers(&host)
            })
    })
}

fn holds(wanted: &istio::L4Match, id: &GatewayId, routes: &Routes, port: u32) -> bool {
    let own = (id.namespace.as_str(), &*id.name);
    let is_own = |text: &String| reference::gateway(text, routes.namespace.as_str()) == own;
    wanted.port.is_none_or(|wanted| wanted == port)
        && (wanted.gateways.is_empty() || wanted.gateways.iter().any(is_own))
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
