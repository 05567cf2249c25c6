//! Endpoints: what EDS delivers, and what proxies resolve themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_config::istio::{Labels, MeshConfig};
use lateen_model::{Address, Endpoint, Health, Locality, Port, Resolution, Service};
use lateen_proto::{envoy::config::core::v3 as core, google::protobuf::UInt32Value};

use super::{
    ClientProfile, ClusterKey, Compiled, EndpointsKey, Families, Read, Vantage, backend_tls, closed,
    load_balancing::{self, Localities},
    locality, names,
    notes::{BAD_ENDPOINT, Notes},
    policy::Policy,
    read,
    wire::{self, eds},
};
use crate::select::Rules;

/// The `ClusterLoadAssignment` of a service's port and subset. `None` when the service or the port is gone; a
/// service without instances has an empty one.
pub fn load_assignment(r: &mut dyn Read, key: &EndpointsKey) -> Option<Compiled> {
    let service = read::services(r, &key.host).iter().find(|s| s.namespace == key.namespace)?.clone();
    let port = service.port(key.port)?.clone();
    let rules = Rules::load(r, key.rules.as_ref());
    let labels = match &key.subset {
        Some(name) => Some(&rules.subset(name)?.labels),
        None => None,
    };
    let mut notes = Notes::default();
    let endpoints = read::endpoints(r, &key.host, &key.namespace);
    let mut chosen = choose(&mut notes, &endpoints, labels, &port);
    // The registry says so of a service whose instances are found by address; one name would have all rejected.
    chosen.retain(|instance| !matches!(instance.endpoint.address, Address::Name(_)));
    retain_reachable(&mut chosen, key.families);
    if key.profile == ClientProfile::Grpc {
        if closed::is_closed(r, key.profile, &rules.policy(key.subset.as_deref(), key.port)) {
            chosen.clear();
        }
        // gRPC rejects an assignment with an address that is none of IP:
        // https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md#eds-proto
        retain_without_sockets(&mut notes, &mut chosen, "is nothing that gRPC clients take");
    }
    let mut groups = grouped(&chosen);
    if let Vantage::From(view) = &key.vantage {
        let mesh = read::mesh(r);
        let policy = rules.policy(key.subset.as_deref(), key.port);
        let outliers = detects_outliers(&mesh, &policy);
        if let Some(setting) = Localities::of(&mesh, policy.load_balancer) {
            groups = locality::arranged(groups, setting, outliers, view);
        }
    }
    let name = names::cluster(key.port, key.subset.as_deref(), key.host.as_str());
    Some(notes.compiled(&assignment(&name, &groups)))
}

/// Does the assignment differ from place to place?
pub(crate) fn vantage(mesh: &MeshConfig, policy: &Policy<'_>) -> Vantage {
    let differs = Localities::of(mesh, policy.load_balancer)
        .is_some_and(|setting| setting.matter(detects_outliers(mesh, policy)));
    if differs { Vantage::Depends } else { Vantage::Anywhere }
}

fn detects_outliers(mesh: &MeshConfig, policy: &Policy<'_>) -> bool {
    let default = mesh.default_traffic_policy.as_ref().and_then(|d| d.outlier_detection.as_ref());
    policy.outlier_detection.or(default).is_some()
}

/// An instance that takes traffic, with the port it listens on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instance<'a> {
    pub endpoint: &'a Endpoint,
    pub port: u16,
    /// Its share of the requests; at least 1.
    pub weight: u32,
}

/// Endpoints of one place and priority.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    pub locality: Locality,
    pub instances: Vec<Instance<'a>>,
    pub weight: u32,
    pub priority: u32,
}

/// The instances that serve a port. Where none is healthy, those that are shutting down still serve, as
/// kube-proxy has it: <https://kubernetes.io/docs/concepts/services-networking/service/#terminating-endpoints>
fn choose<'a>(
    notes: &mut Notes,
    endpoints: &'a [Endpoint],
    labels: Option<&Labels>,
    port: &Port,
) -> Vec<Instance<'a>> {
    let mut seen = BTreeSet::new();
    let mut by_health: BTreeMap<Health, Vec<Instance<'a>>> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| labels.is_none_or(|l| has_labels(endpoint, l))) {
        let Some(number) = port_of(endpoint, port) else { continue };
        // An address that occurs twice is refused by gRPC and counted once by Envoy.
        if seen.insert((&endpoint.address, number)) {
            notes.origin(&endpoint.origin);
            let weight = endpoint.weight.max(1);
            by_health.entry(endpoint.health).or_default().push(Instance { endpoint, port: number, weight });
        }
    }
    let chosen = by_health.remove(&Health::Healthy).or_else(|| by_health.remove(&Health::Draining));
    let mut chosen = chosen.unwrap_or_default();
    bound_weights(notes, &mut chosen);
    chosen
}

/// Makes weights smaller, in proportion, if all of them together exceed the 32 bits that Envoy has for a sum.
fn bound_weights(notes: &mut Notes, chosen: &mut [Instance<'_>]) {
    let total: u64 = chosen.iter().map(|instance| u64::from(instance.weight)).sum();
    // Each weight is at least 1 again after the division: so many are left over for that.
    let room = u64::from(u32::MAX).saturating_sub(chosen.len() as u64).max(1);
    if u32::try_from(total).is_ok() {
        return;
    }
    let divisor = total.div_ceil(room);
    for instance in chosen.iter_mut() {
        instance.weight = u32::try_from(u64::from(instance.weight) / divisor).unwrap_or(u32::MAX).max(1);
    }
    let text =
        format!("the weights of {} endpoints sum up to {total}: they are divided by {divisor}", chosen.len());
    notes.warn(BAD_ENDPOINT, None, text);
}

fn has_labels(endpoint: &Endpoint, labels: &Labels) -> bool {
    labels.iter().all(|(name, value)| endpoint.labels.get(name.as_str()).is_some_and(|v| **v == **value))
}

/// The port on which an endpoint serves a port of its service.
fn port_of(endpoint: &Endpoint, port: &Port) -> Option<u16> {
    if matches!(endpoint.address, Address::Unix(_)) {
        return Some(0);
    }
    match endpoint.ports.get(&port.name) {
        Some(number) => Some(*number),
        None if endpoint.ports.is_empty() => Some(port.target.unwrap_or(port.number)),
        None => None,
    }
}

/// By locality, in its order, each with the sum of its weights.
fn grouped<'a>(chosen: &[Instance<'a>]) -> Vec<Group<'a>> {
    let mut by_place: BTreeMap<&Locality, Vec<Instance<'a>>> = BTreeMap::new();
    for instance in chosen {
        by_place.entry(&instance.endpoint.locality).or_default().push(*instance);
    }
    let group = |(locality, instances): (&Locality, Vec<Instance<'a>>)| Group {
        locality: locality.clone(),
        weight: weight_of(&instances),
        instances,
        priority: 0,
    };
    by_place.into_iter().map(group).collect()
}

/// The weight of a group. Envoy refuses groups whose weights together exceed 32 bits.
pub(crate) fn weight_of(instances: &[Instance<'_>]) -> u32 {
    let sum: u64 = instances.iter().map(|instance| u64::from(instance.weight)).sum();
    u32::try_from(sum).unwrap_or(u32::MAX).max(1)
}

fn assignment(name: &str, groups: &[Group<'_>]) -> eds::ClusterLoadAssignment {
    let endpoints = groups.iter().map(|group| eds::LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: group.locality.region.to_string(),
            zone: group.locality.zone.to_string(),
            sub_zone: group.locality.sub_zone.to_string(),
        }),
        lb_endpoints: group.instances.iter().map(lb_endpoint).collect(),
        load_balancing_weight: Some(group.weight.into()),
        priority: group.priority,
        ..Default::default()
    });
    eds::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: endpoints.collect(),
        ..Default::default()
    }
}

fn lb_endpoint(instance: &Instance<'_>) -> eds::LbEndpoint {
    let endpoint = eds::Endpoint {
        address: Some(wire::address(&instance.endpoint.address.to_string(), instance.port)),
        ..Default::default()
    };
    let weight = instance.weight;
    eds::LbEndpoint {
        host_identifier: Some(eds::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        // One is the default.
        load_balancing_weight: (weight > 1).then(|| UInt32Value::from(weight)),
        ..Default::default()
    }
}

/// The endpoints of a cluster whose names the proxy resolves; `single` is for clusters that take one only.
pub(crate) fn resolved_by_proxy(
    r: &mut dyn Read,
    notes: &mut Notes,
    key: &ClusterKey,
    service: &Arc<Service>,
    single: bool,
) -> eds::ClusterLoadAssignment {
    let name = names::cluster(key.port, key.subset.as_deref(), key.host.as_str());
    let Some(port) = service.port(key.port) else {
        return assignment(&name, &[]);
    };
    let rules = Rules::load(r, key.rules.as_ref());
    let subset = key.subset.as_deref().and_then(|subset| rules.subset(subset));
    let endpoints = read::endpoints(r, &key.host, &key.namespace);
    let mut chosen = choose(notes, &endpoints, subset.map(|s| &s.labels), port);
    retain_without_sockets(notes, &mut chosen, "can't be resolved by DNS");
    if single && chosen.len() > 1 {
        let text = format!("{name}: this way of DNS resolution takes one endpoint, the first is used");
        notes.warn(BAD_ENDPOINT, None, text);
        chosen.truncate(1);
    }
    if single && chosen.is_empty() {
        // A cluster of this type without an endpoint is rejected; the host is known by its own name.
        return named(&name, key.host.as_str(), port);
    }
    assignment(&name, &grouped(&chosen))
}

/// An assignment of a host by its name.
fn named(cluster: &str, host: &str, port: &Port) -> eds::ClusterLoadAssignment {
    let number = port.target.unwrap_or(port.number);
    let endpoint = eds::Endpoint { address: Some(wire::address(host, number)), ..Default::default() };
    let endpoint = eds::LbEndpoint {
        host_identifier: Some(eds::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    };
    let group = eds::LocalityLbEndpoints {
        locality: Some(core::Locality::default()),
        lb_endpoints: vec![endpoint],
        load_balancing_weight: Some(1.into()),
        ..Default::default()
    };
    eds::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![group],
        ..Default::default()
    }
}

/// Leaves out addresses of a family that the client can't reach, where it can reach others: a request that is sent
/// there fails. <https://istio.io/latest/docs/setup/additional-setup/dual-stack/>
fn retain_reachable(chosen: &mut Vec<Instance<'_>>, families: Families) {
    let is_reachable = |instance: &Instance<'_>| match (&instance.endpoint.address, families) {
        (Address::Ip(ip), Families::V4) => ip.is_ipv4(),
        (Address::Ip(ip), Families::V6) => ip.is_ipv6(),
        (Address::Ip(_), Families::Dual) | (Address::Name(_) | Address::Unix(_), _) => true,
    };
    if chosen.iter().any(is_reachable) {
        chosen.retain(is_reachable);
    }
}

/// Leaves out Unix sockets, and says so.
fn retain_without_sockets(notes: &mut Notes, chosen: &mut Vec<Instance<'_>>, why: &str) {
    chosen.retain(|instance| {
        let is_socket = matches!(instance.endpoint.address, Address::Unix(_));
        if is_socket {
            let text = format!("{}: a Unix socket {why}", instance.endpoint.address);
            notes.warn(BAD_ENDPOINT, None, text);
        }
        !is_socket
    });
}

/// Do requests go where they were meant to go? gRPC clients have no such thing.
pub(crate) fn passes_through(policy: &Policy<'_>, profile: ClientProfile) -> bool {
    profile != ClientProfile::Grpc && policy.load_balancer.is_some_and(load_balancing::is_passthrough)
}

/// Name and key of the assignment of a cluster, where it is delivered by EDS.
pub(crate) fn key_of(
    r: &mut dyn Read,
    service: &Service,
    mesh: &MeshConfig,
    policy: &Policy<'_>,
    cluster: &ClusterKey,
) -> Option<EndpointsKey> {
    if cluster.profile != ClientProfile::Grpc && closed::is_closed(r, cluster.profile, policy)
        || cluster.gateway && backend_tls::closes(r, service, cluster.port)
    {
        return None;
    }
    let listed = match service.resolution {
        Resolution::Static => true,
        Resolution::None => cluster.gateway,
        Resolution::Dns | Resolution::DnsRoundRobin => false,
    };
    let by_eds = listed && !passes_through(policy, cluster.profile);
    by_eds.then(|| EndpointsKey {
        host: cluster.host.clone(),
        namespace: cluster.namespace.clone(),
        port: cluster.port,
        subset: cluster.subset.clone(),
        rules: cluster.rules.clone(),
        profile: cluster.profile,
        families: cluster.families,
        vantage: vantage(mesh, policy),
    })
}
