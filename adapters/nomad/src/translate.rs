//! Nomad's words in ours: no I/O, no state.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use lateen_model::{
    Address, DefinedBy, Endpoint, Health, Host, Locality, Namespace, Origin, Port, Protocol, Resolution,
    Service, service::Visibility,
};

use crate::{
    config::Hosts,
    wire::{Alloc, Node, Registration},
};

/// Heaviest weight of an endpoint: sums of thousands of them stay below the 2³² that Envoy allows a locality.
const WEIGHT_MAX: u32 = 65_535;

/// Keys of node metadata and attributes that name a zone, the first that is there.
const ZONES: &[&str] = &[
    "zone",
    "topology.zone",
    "platform.aws.placement.availability-zone",
    "platform.gce.zone",
    "platform.azure.zone",
];

/// What is the same for all services of a source.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) source: Arc<str>,
    pub(crate) hosts: Hosts,
    pub(crate) port: u16,
}

/// What is known about the place and state of an instance.
pub(crate) trait Facts {
    /// Its allocation; `None` when nothing is known.
    fn alloc(&self, id: &str) -> Option<&Alloc>;
    /// Zone of a node, perhaps empty.
    fn zone(&self, node: &str) -> Arc<str>;
}

/// A service and its instances.
pub(crate) fn service(
    rules: &Rules,
    (namespace, name): (&str, &str),
    registrations: &[Registration],
    facts: &impl Facts,
) -> (Service, Vec<Endpoint>) {
    let mut sorted: Vec<(&Registration, String)> = registrations
        .iter()
        .map(|registration| (registration, port_label(registration, facts.alloc(&registration.alloc_id))))
        .collect();
    sorted.sort_by(|(a, _), (b, _)| (&a.address, a.port, &a.id).cmp(&(&b.address, b.port, &b.id)));
    let ports = ports(rules, &sorted);
    let host = sorted
        .iter()
        .filter_map(|(registration, _)| tag(registration, "lateen-host"))
        .filter(|host| !host.is_empty())
        .min()
        .map_or_else(|| rules.hosts.of(namespace, name), str::to_ascii_lowercase);
    let service = Service {
        host: Host::from(host),
        namespace: Namespace::from(namespace),
        name: name.into(),
        defined_by: DefinedBy::Platform,
        addresses: Vec::new(),
        resolution: Resolution::Static,
        external: false,
        export_to: Visibility::All,
        subject_alt_names: Vec::new(),
        labels: BTreeMap::new(),
        origin: Origin {
            source: rules.source.clone(),
            location: format!("service/{namespace}/{name}").into(),
            line: 0,
            column: 0,
        },
        created: 0,
        ports,
    };
    (service, endpoints(rules, &sorted, facts))
}

/// The ports that clients call, one for each port label of the job. A label that is the service's only one, or
/// that is called `http`, has the usual number when no tag says it; others are called by the number that the tag
/// `lateen-port` gives.
fn ports(rules: &Rules, sorted: &[(&Registration, String)]) -> Vec<Port> {
    let mut by_label: BTreeMap<&str, (Option<u16>, Option<Protocol>)> = BTreeMap::new();
    // What can't be reached is left out by the registry, which says so; it makes no port of the service.
    for (registration, label) in sorted.iter().filter(|(registration, _)| port_of(registration).is_some()) {
        let number = tag(registration, "lateen-port").and_then(|text| text.parse().ok()).filter(|n| *n != 0);
        let protocol = protocol(registration);
        let (known, speaks) = by_label.entry(label).or_default();
        // Instances may disagree while a job is updated: the answer must not depend on which is listed first.
        *known = [*known, number].into_iter().flatten().min();
        *speaks = speaks.or(protocol);
    }
    let usual = match by_label.len() {
        1 => by_label.keys().next().copied(),
        _ => by_label.keys().find(|label| **label == "http").copied(),
    };
    let mut taken: BTreeMap<(u16, bool), Port> = BTreeMap::new();
    for (label, (number, protocol)) in &by_label {
        let literal = label.parse::<u16>().ok().filter(|number| *number != 0);
        let given = number.or(literal).or_else(|| (usual == Some(*label)).then_some(rules.port));
        let Some(given) = given else {
            tracing::warn!(service = %rules.source, port = label, "port has no number to call it by: tag lateen-port");
            continue;
        };
        let prefix = label.split('-').next().unwrap_or_default();
        let protocol = protocol.or_else(|| Protocol::from_name(prefix)).unwrap_or(Protocol::Unknown);
        let port = Port { number: given, name: (*label).into(), protocol, target: None };
        if let Entry::Vacant(place) = taken.entry((given, protocol.is_carried())) {
            place.insert(port);
        }
    }
    taken.into_values().collect()
}

fn protocol(registration: &Registration) -> Option<Protocol> {
    ["lateen-protocol", "protocol"]
        .into_iter()
        .find_map(|key| tag(registration, key))
        .and_then(Protocol::from_name)
}

/// Ports of one allocation at one address are one endpoint, as long as their labels differ.
fn endpoints(rules: &Rules, sorted: &[(&Registration, String)], facts: &impl Facts) -> Vec<Endpoint> {
    let mut groups: BTreeMap<(&str, &str), Vec<(&Registration, &str)>> = BTreeMap::new();
    for (registration, label) in sorted {
        let group = groups.entry((&registration.address, &registration.alloc_id)).or_default();
        group.push((registration, label));
    }
    let mut endpoints = Vec::with_capacity(sorted.len());
    for group in groups.into_values() {
        let mut rest = group;
        while !rest.is_empty() {
            let mut ports = BTreeMap::new();
            let mut taken = Vec::new();
            rest.retain(|(registration, label)| {
                let free = !ports.contains_key(*label);
                if free {
                    ports.insert(Arc::from(*label), port_of(registration).unwrap_or_default());
                    taken.push(*registration);
                }
                !free
            });
            endpoints.extend(endpoint(rules, &taken, ports, facts));
        }
    }
    endpoints
}

fn endpoint(
    rules: &Rules,
    registrations: &[&Registration],
    ports: BTreeMap<Arc<str>, u16>,
    facts: &impl Facts,
) -> Option<Endpoint> {
    let first = *registrations.first()?;
    let mut labels: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    if !first.job_id.is_empty() {
        labels.insert("nomad-job".into(), first.job_id.as_str().into());
    }
    for text in registrations.iter().flat_map(|registration| &registration.tags) {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if !key.is_empty() {
            labels.insert(key.into(), value.into());
        }
    }
    let weight = tag(first, "lateen-weight").and_then(|text| text.parse::<u32>().ok()).unwrap_or(1);
    Some(Endpoint {
        address: Address::parse(&first.address),
        ports: Arc::new(ports),
        labels: Arc::new(labels),
        locality: Locality {
            region: first.datacenter.as_str().into(),
            zone: facts.zone(&first.node_id),
            sub_zone: "".into(),
        },
        network: tag(first, "lateen-network").unwrap_or_default().into(),
        weight: weight.clamp(1, WEIGHT_MAX),
        health: facts.alloc(&first.alloc_id).map_or(Health::Healthy, health),
        service_account: tag(first, "lateen-service-account").unwrap_or_default().into(),
        origin: Origin {
            source: rules.source.clone(),
            location: first.id.as_str().into(),
            line: 0,
            column: 0,
        },
    })
}

/// Health of an allocation. Nomad takes a service's registration back only when it stops the allocation; until
/// then, what Nomad knows of the allocation is what is known of the instance.
/// <https://developer.hashicorp.com/nomad/docs/concepts/scheduling/scheduling>
pub(crate) fn health(alloc: &Alloc) -> Health {
    let leaves = alloc.desired_status != "run" && !alloc.desired_status.is_empty();
    match alloc.client_status.as_str() {
        "running" if leaves || alloc.desired_transition.migrate == Some(true) => Health::Draining,
        "running" if alloc.deployment_status.healthy == Some(false) || is_new_in_deployment(alloc) => {
            Health::Unhealthy
        }
        "running" => Health::Healthy,
        // Not started, or ended, or on a node that is gone.
        _ => Health::Unhealthy,
    }
}

/// Was it made by a deployment that has not found it healthy yet? An allocation that a later deployment only took
/// over has no verdict yet either, but was changed by a server after it was made: it goes on taking traffic.
pub(crate) fn is_new_in_deployment(alloc: &Alloc) -> bool {
    alloc.deployment_status.healthy.is_none()
        && alloc.deployment_id.as_ref().is_some_and(|id| !id.is_empty())
        && alloc.server_modify_index == Some(alloc.create_index)
}

/// Does a listed allocation have to be read by itself, because the list leaves out what its health depends on?
pub(crate) fn is_undecided(alloc: &Alloc) -> bool {
    alloc.client_status == "running"
        && alloc.deployment_status.healthy.is_none()
        && alloc.server_modify_index.is_none()
}

/// Will it never run (again)?
pub(crate) fn is_over(alloc: &Alloc) -> bool {
    matches!(alloc.client_status.as_str(), "complete" | "failed" | "lost")
}

/// Zone of a node, empty when it names none.
pub(crate) fn zone(node: &Node) -> Arc<str> {
    let named = ZONES.iter().find_map(|key| node.meta.get(*key).or_else(|| node.attributes.get(*key)));
    named.map(String::as_str).unwrap_or_default().into()
}

fn tag<'a>(registration: &'a Registration, key: &str) -> Option<&'a str> {
    registration.tags.iter().find_map(|text| text.strip_prefix(key)?.strip_prefix('='))
}

fn port_of(registration: &Registration) -> Option<u16> {
    u16::try_from(registration.port).ok().filter(|port| *port != 0)
}

/// The label of the registration's port, which stands only at the end of its id:
/// `_nomad-task-ALLOC-(group-GROUP|TASK)-SERVICE-LABEL`.
fn port_label(registration: &Registration, alloc: Option<&Alloc>) -> String {
    let Registration { id, alloc_id, service_name, .. } = registration;
    let rest = id.strip_prefix("_nomad-task-").and_then(|rest| rest.strip_prefix(alloc_id.as_str()));
    let Some(rest) = rest else { return String::new() };
    let exact = alloc
        .and_then(|alloc| {
            rest.strip_prefix("-group-")?.strip_prefix(alloc.task_group.as_str())?.strip_prefix('-')
        })
        .and_then(|rest| rest.strip_prefix(service_name.as_str())?.strip_prefix('-'));
    let middle = format!("-{service_name}-");
    let label = exact.or_else(|| rest.rfind(&middle).and_then(|at| rest.get(at + middle.len()..)));
    label.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
