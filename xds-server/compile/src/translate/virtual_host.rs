//! Virtual hosts, and the route configurations around them.

use lateen_config::istio::{Destination, MeshConfig};
use lateen_model::Host;
use lateen_xds::ResourceType;
use prost::{Message, encoding};

use super::{
    ClientProfile, Compiled, Domains, OutboundView, Read, Shell, VirtualHostKey, names,
    notes::Notes,
    read,
    route::{self, Context},
    sidecar_scope::{Scope, Speaks, Unknown},
    wire::{
        self,
        rds::{self, route::Action},
    },
};
use crate::select::Client;

/// Field number of `virtual_hosts` in `RouteConfiguration`.
pub const VIRTUAL_HOSTS_FIELD: u32 = 2;
/// What a direct response may hold, as in Istio.
pub(super) const DIRECT_RESPONSE_BYTES_MAX: u32 = 1024 * 1024;

/// The virtual host of a host. `None` when there is none (any more).
pub fn virtual_host(r: &mut dyn Read, key: &VirtualHostKey) -> Option<Compiled> {
    let mesh = read::mesh(r);
    let mut notes = Notes::default();
    let service = match &key.namespace {
        Some(namespace) => Some(read::service_in(r, &key.host, namespace)?),
        None => None,
    };
    if let Some(service) = &service {
        notes.origin(&service.origin);
    }
    let context = Context {
        mesh: mesh.clone(),
        gateway: "mesh",
        listen_port: key.listen_port,
        port: key.port,
        selectors: &key.selectors,
        source_namespace: key.source_namespace.as_ref(),
        targets: &key.targets,
        domain: &key.domain,
        profile: key.profile,
    };
    let mut routes = Vec::new();
    let all = key.routes_of.as_ref().map(|host| read::virtual_services(r, host)).unwrap_or_default();
    for object in key.routes.iter() {
        if let Some(from) = all.iter().find(|routes| routes.key == *object) {
            routes = route::routes(r, &mut notes, &context, from);
        }
        if !routes.is_empty() {
            break;
        }
    }
    if routes.is_empty() {
        // No entry is for this port or this client: the service is reached as if there were none.
        let service = service.as_ref()?;
        let place = route::own_place(r, &mut notes, &key.targets, service, key.port);
        routes.push(route::default_route(&mesh, key.profile, &place));
    }
    let message = rds::VirtualHost {
        name: names::virtual_host(&key.host, key.listen_port).to_string(),
        domains: domains(key),
        routes,
        include_request_attempt_count: key.profile != ClientProfile::Grpc,
        ..Default::default()
    };
    Some(notes.compiled(&message))
}

/// In the place of a virtual host that can't be used: if it were absent, its requests would go to whoever takes the
/// rest, be it a wildcard's host or the world outside.
pub fn closed_host(host: rds::VirtualHost) -> rds::VirtualHost {
    let refuse = rds::DirectResponseAction { status: 503, ..Default::default() };
    rds::VirtualHost {
        name: host.name,
        domains: host.domains,
        routes: vec![route::everything("closed", Action::DirectResponse(refuse))],
        ..Default::default()
    }
}

/// What the virtual host answers to.
fn domains(key: &VirtualHostKey) -> Vec<String> {
    if key.domains == Domains::Any {
        return vec!["*".into()];
    }
    let mut all = vec![key.host.to_string()];
    all.extend(key.names.iter().map(ToString::to_string));
    match key.domains {
        Domains::Names | Domains::Any => all,
        Domains::NamesWithPort => {
            let with_port: Vec<_> = all.iter().map(|name| format!("{name}:{}", key.listen_port)).collect();
            if key.listen_port == 80 {
                all.extend(with_port);
                all
            } else {
                with_port
            }
        }
    }
}

/// A route configuration of a view without its virtual hosts.
pub fn route_shell(r: &mut dyn Read, view: &OutboundView, scope: &Scope, name: &str) -> Option<Shell> {
    let mesh = read::mesh(r);
    let mut notes = Notes::default();
    let own = scope.with_route_config(name);
    let any_port = own.is_some_and(|l| l.port.as_ref().is_some_and(|p| p.speaks == Speaks::AnyPort));
    // A name with a host in it is that of a sniffed port, or of a proxyless client's target: it has one
    // virtual host that answers to everything.
    let alone = own.is_none() && name.contains(':');
    let vhds = view.vhds && view.profile != ClientProfile::Grpc && !alone;
    let mut after = Vec::new();
    if !alone && view.profile != ClientProfile::Grpc {
        let captured = own.is_none_or(|listener| listener.captured);
        let catch_all = catch_all(r, &mut notes, view, &mesh, scope, captured);
        encoding::message::encode(VIRTUAL_HOSTS_FIELD, &catch_all, &mut after);
    }
    if let Some(origin) = &scope.origin {
        notes.origin(origin);
    }
    if vhds {
        notes.reference(r, ResourceType::VirtualHost, name);
    }
    let rest = match view.profile {
        ClientProfile::Grpc => rds::RouteConfiguration::default(),
        ClientProfile::Envoy(_) | ClientProfile::Lateen => rds::RouteConfiguration {
            validate_clusters: Some(false.into()),
            max_direct_response_body_size_bytes: Some(DIRECT_RESPONSE_BYTES_MAX.into()),
            ignore_port_in_host_matching: !any_port,
            vhds: vhds.then(|| rds::Vhds { config_source: Some(wire::config_source(view.profile)) }),
            ..Default::default()
        },
    };
    rest.encode(&mut after).expect("invariant: a Vec grows");
    let before = rds::RouteConfiguration { name: name.to_owned(), ..Default::default() }.encode_to_vec();
    let Compiled { bytes, refs, origins, findings, .. } = notes.encoded(after.into());
    Some(Shell { before: before.into(), after: bytes, vhds, refs, origins, findings })
}

/// For hosts that nobody knows.
/// <https://istio.io/latest/docs/tasks/traffic-management/egress/egress-control/#envoy-passthrough-to-external-services>
fn catch_all(
    r: &mut dyn Read,
    notes: &mut Notes,
    view: &OutboundView,
    mesh: &MeshConfig,
    scope: &Scope,
    captured: bool,
) -> rds::VirtualHost {
    let (name, route) = match &scope.unknown {
        // A connection that was made to the proxy itself has no other destination: passing it on would be a
        // loop.
        Unknown::Allow if captured => {
            notes.cluster(r, names::PASSTHROUGH);
            ("allow_any", route::to_cluster("allow_any", names::PASSTHROUGH))
        }
        Unknown::Proxy(proxy) => {
            let cluster = egress_proxy(r, notes, view, (mesh, scope), proxy);
            ("allow_any", route::to_cluster("allow_any", &cluster))
        }
        Unknown::Allow | Unknown::Block => {
            let refuse = rds::DirectResponseAction { status: 502, ..Default::default() };
            ("block_all", route::everything("block_all", Action::DirectResponse(refuse)))
        }
    };
    rds::VirtualHost {
        name: name.into(),
        domains: vec!["*".into()],
        routes: vec![route],
        include_request_attempt_count: true,
        ..Default::default()
    }
}

/// The cluster of a `Sidecar`'s `egressProxy`.
pub(crate) fn egress_proxy(
    r: &mut dyn Read,
    notes: &mut Notes,
    view: &OutboundView,
    (mesh, scope): (&MeshConfig, &Scope),
    proxy: &Destination,
) -> String {
    let host = Host::resolve(&proxy.host, &view.namespace, &view.domain);
    let service = Client::outbound(view, mesh, scope).service(r, &host).map(|found| found.service);
    let first =
        service.as_ref().and_then(|service| service.carried_ports().next()).map_or(0, |port| port.number);
    let given = proxy.port.as_ref().and_then(|port| u16::try_from(port.number).ok());
    let subset = (!proxy.subset.is_empty()).then_some(proxy.subset.as_str());
    let cluster = names::cluster(given.unwrap_or(first), subset, host.as_str());
    if service.is_some() {
        notes.cluster(r, &cluster);
    }
    cluster.to_string()
}
