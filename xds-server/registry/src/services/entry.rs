//! `ServiceEntry` and `WorkloadEntry`.
//! <https://istio.io/latest/docs/reference/config/networking/service-entry/>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_config::{
    ConfigObject,
    istio::{EntryResolution, Location, ServiceEntry, WorkloadEntry},
};
use lateen_model::{
    Address, DefinedBy, Endpoint, Health, Host, Locality, Namespace, Origin, Port, Protocol, Resolution,
    Service, text,
};

use super::{
    Contribution,
    kubernetes::{pod_endpoints, service_host, service_ports},
    selection::labels,
};
use crate::{
    entry::Entry,
    mesh::visibility,
    routing::{Context, shared},
};

/// The services of a `ServiceEntry`, one for each host, with the endpoints that it names itself.
pub(super) fn service_entry(entry: &Entry, context: Context<'_>) -> Contribution {
    let ConfigObject::ServiceEntry(spec) = &entry.object.spec else { return Contribution::default() };
    let namespace = Namespace::from(entry.object.key.namespace.as_str());
    let export_to = visibility(&spec.export_to, &context.defaults.service, &namespace);
    let ports = ports(spec);
    let mut contribution = Contribution::default();
    for host in hosts(spec) {
        let endpoints = endpoints(spec, &host, &ports, &entry.object.origin);
        if !endpoints.is_empty() {
            contribution.endpoints.push((host.clone(), namespace.clone(), endpoints));
        }
        contribution.services.push(Service {
            name: host.as_str().into(),
            defined_by: DefinedBy::ServiceEntry,
            resolution: resolution(spec.resolution, &host),
            host,
            namespace: namespace.clone(),
            ports: ports.clone(),
            addresses: spec.addresses.iter().map(|address| address.as_str().into()).collect(),
            external: spec.location == Location::MeshExternal,
            export_to: export_to.clone(),
            subject_alt_names: spec.subject_alt_names.iter().map(|name| name.as_str().into()).collect(),
            labels: shared(&entry.object.meta.labels),
            origin: entry.object.origin.clone(),
            created: entry.precedence.created,
        });
    }
    contribution
}

fn hosts(spec: &ServiceEntry) -> BTreeSet<Host> {
    spec.hosts.iter().map(|host| Host::from(host.trim_end_matches('.').to_ascii_lowercase())).collect()
}

fn resolution(given: EntryResolution, host: &Host) -> Resolution {
    match given {
        EntryResolution::None => Resolution::None,
        EntryResolution::Static => Resolution::Static,
        EntryResolution::DnsRoundRobin => Resolution::DnsRoundRobin,
        // A wildcard has no name to resolve: the connection goes where the client was going.
        EntryResolution::DynamicDns if host.is_wildcard() => Resolution::None,
        EntryResolution::Dns | EntryResolution::DynamicDns => Resolution::Dns,
    }
}

fn ports(spec: &ServiceEntry) -> Vec<Port> {
    let ports = spec.ports.iter().filter_map(|port| {
        Some(Port {
            number: port_number(port.number)?,
            name: port.name.as_str().into(),
            protocol: Protocol::from_name(&port.protocol).unwrap_or(Protocol::Unknown),
            target: port.target_port.and_then(port_number),
        })
    });
    ports.collect()
}

/// The port, unless it is none.
pub(super) fn port_number(number: u32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

/// Endpoints that the entry lists, or for DNS the host itself.
/// <https://istio.io/latest/docs/reference/config/networking/service-entry/#ServiceEntry-Resolution>
fn endpoints(spec: &ServiceEntry, host: &Host, ports: &[Port], origin: &Origin) -> Vec<Endpoint> {
    let listed: Vec<Endpoint> = spec
        .endpoints
        .iter()
        .filter_map(|workload| endpoint(workload, &workload.labels, ports, origin))
        .collect();
    let by_name = matches!(resolution(spec.resolution, host), Resolution::Dns | Resolution::DnsRoundRobin);
    if !listed.is_empty() || !by_name || host.is_wildcard() || spec.workload_selector.is_some() {
        return listed;
    }
    let itself = WorkloadEntry { address: host.as_str().to_owned(), ..WorkloadEntry::default() };
    endpoint(&itself, &itself.labels, ports, origin).into_iter().collect()
}

/// The endpoints that a workload adds to the services that select it.
pub(super) fn selected(
    selecting: &Entry,
    selected: &Entry,
    context: Context<'_>,
) -> Vec<(Host, Namespace, Vec<Endpoint>)> {
    let namespace = Namespace::from(selecting.object.key.namespace.as_str());
    let (hosts, ports) = match &selecting.object.spec {
        ConfigObject::ServiceEntry(spec) => (hosts(spec), ports(spec)),
        ConfigObject::Service(spec) => {
            (BTreeSet::from([service_host(&selecting.object.key, context)]), service_ports(spec))
        }
        _ => return Vec::new(),
    };
    let endpoints: Vec<Endpoint> = match &selected.object.spec {
        ConfigObject::WorkloadEntry(workload) => {
            endpoint(workload, &labels(selected), &ports, &selected.object.origin).into_iter().collect()
        }
        ConfigObject::Pod(pod) => pod_endpoints(selected, pod, &ports),
        _ => Vec::new(),
    };
    if endpoints.is_empty() {
        return Vec::new();
    }
    hosts.into_iter().map(|host| (host, namespace.clone(), endpoints.clone())).collect()
}

/// None where the entry names no address: it stands for a whole network behind a gateway.
fn endpoint(
    workload: &WorkloadEntry,
    labels: &BTreeMap<String, String>,
    ports: &[Port],
    origin: &Origin,
) -> Option<Endpoint> {
    let given = |port: &Port| workload.ports.get(&*port.name).copied().and_then(port_number);
    let listening =
        ports.iter().map(|port| (port.name.clone(), given(port).or(port.target).unwrap_or(port.number)));
    Some(Endpoint {
        address: (!workload.address.is_empty()).then(|| Address::parse(&workload.address))?,
        ports: Arc::new(listening.collect()),
        labels: Arc::new(shared(labels)),
        locality: Locality::parse(&workload.locality),
        network: text::shared(&workload.network),
        weight: workload.weight.unwrap_or(1).max(1),
        health: Health::Healthy,
        service_account: text::shared(&workload.service_account),
        origin: Origin {
            line: if workload.span.line == 0 { origin.line } else { workload.span.line },
            column: if workload.span.line == 0 { origin.column } else { workload.span.column },
            ..origin.clone()
        },
    })
}
