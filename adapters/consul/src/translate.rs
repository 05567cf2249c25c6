//! Consul's words in ours: no I/O, no state.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use lateen_model::{
    Address, DefinedBy, Diagnostic, Endpoint, Health, Host, Locality, Origin, Port, Protocol, Resolution,
    Service, Severity, diagnostic::Code, service::Visibility,
};

use crate::{
    config::Settings,
    wire::{self, Instance},
};

/// The service has a name that can't be part of a host.
pub(crate) const BAD_NAME: Code = Code("LAT3201");
/// Heaviest weight of an endpoint: sums of thousands of them stay below the 2³² that Envoy allows a locality.
const WEIGHT_MAX: i64 = 65_535;
/// The longest host name. <https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4>
const HOST_BYTES_MAX: usize = 253;
/// Keys of node metadata that name a zone, the first that is there.
const ZONES: &[&str] = &["zone", "topology.zone", "availability-zone", "failure-domain"];
/// Keys that are for us, and are no labels.
const OURS: &str = "lateen-";

/// A service and its instances.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Translated {
    pub(crate) service: Service,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// The service that instances make, `None` where there is none of it: no instance is left, or all are proxies and
/// gateways of Consul's own mesh, whose services are listed by themselves.
pub(crate) fn service(
    settings: &Settings,
    name: &str,
    instances: &[Instance],
) -> Result<Option<Translated>, Box<Diagnostic>> {
    let mut sorted: Vec<&Instance> =
        instances.iter().filter(|instance| instance.service.kind.is_empty()).collect();
    if sorted.is_empty() {
        return Ok(None);
    }
    let key = |instance: &Instance| (instance.node.name.clone(), instance.service.id.clone());
    sorted.sort_by_cached_key(|instance| key(instance));
    let location = format!("service/{name}");
    let host = host(settings, name, &sorted);
    if !is_host(&host) {
        return Err(Box::new(Diagnostic {
            code: BAD_NAME,
            severity: Severity::Error,
            object: None,
            origin: Some(origin(settings, location)),
            path: String::new(),
            message: format!("{host:?} can't be a host"),
            hint: Some("name a host in the metadata of its instances: lateen-host".to_owned()),
        }));
    }
    let (ports, names) = ports(settings, &sorted);
    // What can't be reached is left out by the registry, which says so.
    let mut endpoints: Vec<Endpoint> =
        sorted.iter().map(|instance| endpoint(settings, instance, &names)).collect();
    endpoints.sort_by(|a, b| {
        (&a.address, &a.ports, &a.origin.location).cmp(&(&b.address, &b.ports, &b.origin.location))
    });
    let service = Service {
        host: Host::from(host),
        namespace: settings.namespace.clone(),
        name: name.into(),
        defined_by: DefinedBy::Platform,
        ports,
        addresses: virtual_addresses(&sorted),
        resolution: Resolution::Static,
        external: false,
        export_to: Visibility::All,
        subject_alt_names: Vec::new(),
        labels: BTreeMap::new(),
        origin: origin(settings, location),
        created: 0,
    };
    Ok(Some(Translated { service, endpoints }))
}

fn origin(settings: &Settings, location: String) -> Origin {
    Origin { source: settings.source.0.clone(), location: location.into(), line: 0, column: 0 }
}

/// Instances may disagree while they are replaced: what is said must not depend on which is listed first.
fn said<'a>(sorted: &[&'a Instance], key: &str) -> Option<&'a str> {
    sorted.iter().filter_map(|instance| own(instance, key)).filter(|value| !value.is_empty()).min()
}

/// What an instance says of itself, by metadata or a tag `key=value`.
fn own<'a>(instance: &'a Instance, key: &str) -> Option<&'a str> {
    let tag = |text: &'a String| text.strip_prefix(key)?.strip_prefix('=');
    instance.service.meta.get(key).map(String::as_str).or_else(|| instance.service.tags.iter().find_map(tag))
}

fn host(settings: &Settings, name: &str, sorted: &[&Instance]) -> String {
    let namespace = settings.namespace.as_str();
    let made = || {
        let dc = sorted.first().map_or("", |instance| instance.node.datacenter.as_str());
        settings.host.replace("{name}", name).replace("{namespace}", namespace).replace("{dc}", dc)
    };
    said(sorted, "lateen-host").map_or_else(made, str::to_owned).to_ascii_lowercase()
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_odd = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        !label.is_empty() && label.len() <= 63 && !label.contains(is_odd)
    };
    host.len() <= HOST_BYTES_MAX && host.split('.').all(is_label)
}

/// Addresses that Consul made up for the service itself.
fn virtual_addresses(sorted: &[&Instance]) -> Vec<Arc<str>> {
    let virtuals = sorted.iter().flat_map(|instance| {
        ["consul-virtual", "virtual"].into_iter().filter_map(|tag| instance.service.tagged_addresses.get(tag))
    });
    let addresses: BTreeSet<IpAddr> = virtuals.filter_map(|tagged| tagged.address.parse().ok()).collect();
    addresses.into_iter().map(|address| address.to_string().into()).collect()
}

/// The ports of an instance by Consul's name for them, and which is the usual one. One that has no names has one
/// port, without a name. A number that can't be is 0.
fn listening(instance: &Instance) -> Vec<(&str, u16, bool)> {
    let wire::Service { ports, port, .. } = &instance.service;
    let given = |port: i64| number(port).unwrap_or_default();
    if ports.is_empty() {
        return vec![("", given(*port), true)];
    }
    ports.iter().map(|port| (port.name.as_str(), given(port.number), port.default)).collect()
}

fn number(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// The ports that clients call, and which of the instances' port names lead to which. The usual port is called by
/// the number that the service gives, else by the source's; others by `lateen-port-NAME`, else by the lowest number
/// that an instance listens on.
fn ports<'a>(settings: &Settings, sorted: &[&'a Instance]) -> (Vec<Port>, BTreeSet<&'a str>) {
    let mut by_name: BTreeMap<&str, (u16, bool)> = BTreeMap::new();
    let listening = sorted.iter().flat_map(|instance| listening(instance));
    for (name, port, is_usual) in listening.filter(|(_, port, _)| *port != 0) {
        let (lowest, usual) = by_name.entry(name).or_insert((port, false));
        *lowest = port.min(*lowest);
        *usual |= is_usual;
    }
    // A service without a port number is still there to be called: its instances may be sockets.
    if by_name.is_empty() {
        by_name.insert("", (settings.port, true));
    }
    let given = |key: &str| said(sorted, key)?.parse().ok().and_then(number);
    let protocol = protocol(sorted);
    let mut taken: BTreeMap<(u16, bool), Port> = BTreeMap::new();
    let mut names = BTreeSet::new();
    // The usual one first, so that no other takes its number.
    let mut ordered: Vec<_> = by_name.into_iter().collect();
    ordered.sort_by_key(|(name, (_, is_usual))| (!is_usual, *name));
    for (name, (lowest, is_usual)) in ordered {
        let usual = || if is_usual { given("lateen-port").unwrap_or(settings.port) } else { lowest };
        let number = given(&format!("{OURS}port-{name}")).unwrap_or_else(usual);
        let by_name = Protocol::from_name(name.split('-').next().unwrap_or_default());
        let protocol = by_name.or(protocol).unwrap_or(Protocol::Unknown);
        if let Entry::Vacant(place) = taken.entry((number, protocol.is_carried())) {
            place.insert(Port { number, name: name.into(), protocol, target: None });
            names.insert(name);
        } else {
            tracing::warn!(source = %settings.source, port = name, number, "two ports of a service have one number");
        }
    }
    (taken.into_values().collect(), names)
}

/// What the service speaks: as it says, or as a tag says that is the name of a protocol.
fn protocol(sorted: &[&Instance]) -> Option<Protocol> {
    let named = |key| sorted.iter().filter_map(|i| own(i, key).and_then(Protocol::from_name)).min();
    let tagged =
        || sorted.iter().flat_map(|i| &i.service.tags).filter_map(|tag| Protocol::from_name(tag)).min();
    named("lateen-protocol").or_else(|| named("protocol")).or_else(tagged)
}

fn endpoint(settings: &Settings, instance: &Instance, names: &BTreeSet<&str>) -> Endpoint {
    let location = format!("{}/{}", instance.node.name, instance.service.id);
    let (address, tagged_port) = address(settings, instance);
    let listening =
        listening(instance).into_iter().filter(|(name, number, _)| *number == 0 || names.contains(name));
    let mut ports: BTreeMap<Arc<str>, u16> = listening
        .map(|(name, port, is_usual)| (name.into(), tagged_port.filter(|_| is_usual).unwrap_or(port)))
        .collect();
    if ports.values().all(|number| *number == 0) {
        // A socket has no port; the entry says that it serves the service's one.
        let number = if matches!(address, Address::Unix(_)) { settings.port } else { 0 };
        ports.insert("".into(), number);
    }
    let (health, weight) = health(instance);
    Endpoint {
        address,
        ports: Arc::new(ports),
        labels: Arc::new(labels(instance)),
        locality: locality(instance),
        network: own(instance, "lateen-network").unwrap_or_default().into(),
        weight,
        health,
        service_account: own(instance, "lateen-service-account").unwrap_or_default().into(),
        origin: origin(settings, location),
    }
}

/// Where an instance is reached, and the port there if it is another one.
fn address(settings: &Settings, instance: &Instance) -> (Address, Option<u16>) {
    let Instance { node, service, .. } = instance;
    if let Some(tag) = &settings.tagged_address {
        if let Some(tagged) = service.tagged_addresses.get(tag) {
            return (Address::parse(&tagged.address), number(tagged.port));
        }
        if let Some(address) = node.tagged_addresses.get(tag).filter(|_| service.address.is_empty()) {
            return (Address::parse(address), None);
        }
    }
    if service.socket_path.starts_with('/') {
        return (Address::Unix(service.socket_path.as_str().into()), None);
    }
    // A service without an address is at its node's.
    let own = if service.address.is_empty() { &node.address } else { &service.address };
    (Address::parse(own), None)
}

/// Health, and the weight that goes with it. The worst check of the instance or its node decides; maintenance is a
/// failing check with a name of its own.
/// <https://developer.hashicorp.com/consul/docs/register/health-check/vm>
fn health(instance: &Instance) -> (Health, u32) {
    let is_maintenance = |id: &str| id == "_node_maintenance" || id.starts_with("_service_maintenance");
    let failing = || instance.checks.iter().filter(|check| check.status == "critical");
    let has = |status: &str| instance.checks.iter().any(|check| check.status == status);
    let wire::Weights { passing, warning } = instance.service.weights;
    let weight = |given: i64| u32::try_from(given.clamp(1, WEIGHT_MAX)).unwrap_or(1);
    if failing().any(|check| is_maintenance(&check.check_id)) {
        (Health::Draining, weight(passing))
    } else if failing().next().is_some() {
        (Health::Unhealthy, weight(passing))
    } else if has("warning") {
        // Without weight it is to get nothing new.
        (if warning <= 0 { Health::Draining } else { Health::Healthy }, weight(warning))
    } else {
        (Health::Healthy, weight(passing))
    }
}

fn labels(instance: &Instance) -> BTreeMap<Arc<str>, Arc<str>> {
    let tags = instance.service.tags.iter().map(|tag| tag.split_once('=').unwrap_or((tag, "")));
    let meta = instance.service.meta.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    // Metadata is said on purpose, and comes last.
    let all = tags.chain(meta).filter(|(key, _)| !key.is_empty() && !key.starts_with(OURS));
    all.map(|(key, value)| (key.into(), value.into())).collect()
}

fn locality(instance: &Instance) -> Locality {
    let Instance { node, service, .. } = instance;
    let given = service.locality.as_ref().or(node.locality.as_ref());
    let or = |text: Option<&str>, other: &str| match text {
        Some(text) if !text.is_empty() => Arc::from(text),
        _ => Arc::from(other),
    };
    let named = ZONES.iter().find_map(|key| node.meta.get(*key)).map_or("", String::as_str);
    Locality {
        region: or(given.map(|locality| locality.region.as_str()), &node.datacenter),
        zone: or(given.map(|locality| locality.zone.as_str()), named),
        sub_zone: own(instance, "lateen-sub-zone").unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod tests;
