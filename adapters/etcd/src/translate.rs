//! From values to the mesh's own nouns. Pure.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use lateen_model::{
    Address, DefinedBy, Endpoint, Health, Host, Locality, Namespace, Origin, Port, Protocol, Resolution,
    Service, service::Visibility,
};

use crate::{
    config::Hosts,
    wire::{EndpointSpec, HealthSpec, Pool, PortSpec, Ports, ResolutionSpec, ServiceSpec},
};

/// Longest host.
const HOST_MAX: usize = 253;

/// A service from its definition. `id` is `NAMESPACE/NAME`.
pub(crate) fn service(
    id: &str,
    spec: &ServiceSpec,
    hosts: &Hosts,
    origin: Origin,
) -> Result<Service, String> {
    let ServiceSpec { ports, labels, export_to, host, addresses, external, resolution, subject_alt_names } =
        spec;
    let (namespace, name) = split(id);
    let own = Namespace::from(namespace);
    let host = match host {
        None => hosts.of(namespace, name),
        Some(host) => Host::resolve(check_host(host)?, &own, &hosts.domain),
    };
    let strings = labels.iter().flat_map(|(key, value)| [key, value]);
    no_control(strings.chain(export_to).chain(subject_alt_names))?;
    Ok(Service {
        host,
        name: name.into(),
        defined_by: DefinedBy::Platform,
        ports: check_ports(ports)?,
        addresses: addresses.iter().map(|text| virtual_address(text)).collect::<Result<_, _>>()?,
        resolution: match resolution {
            ResolutionSpec::Static => Resolution::Static,
            ResolutionSpec::Dns => Resolution::Dns,
            ResolutionSpec::DnsRoundRobin => Resolution::DnsRoundRobin,
            ResolutionSpec::None => Resolution::None,
        },
        external: *external,
        export_to: visibility(export_to, &own),
        subject_alt_names: subject_alt_names.iter().map(|name| name.as_str().into()).collect(),
        labels: labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
        namespace: own,
        origin,
        created: 0,
    })
}

/// A service that has no definition: its ports are those of its instances, the lowest number where they differ.
pub(crate) fn derived<'a>(
    id: &str,
    instances: impl Iterator<Item = &'a Endpoint>,
    hosts: &Hosts,
    origin: Origin,
) -> Service {
    let (namespace, name) = split(id);
    let mut ports: BTreeMap<Arc<str>, u16> = BTreeMap::new();
    let mut last: Option<&Arc<Ports>> = None;
    for endpoint in instances {
        // Most instances share one map.
        if last.is_some_and(|last| Arc::ptr_eq(last, &endpoint.ports)) {
            continue;
        }
        last = Some(&endpoint.ports);
        for (name, port) in &*endpoint.ports {
            let lowest = ports.entry(name.clone()).or_insert(*port);
            *lowest = (*lowest).min(*port);
        }
    }
    let ports = ports.into_iter().map(|(name, number)| Port {
        protocol: protocol_of(&name),
        number,
        name,
        target: None,
    });
    Service {
        host: hosts.of(namespace, name),
        namespace: namespace.into(),
        name: name.into(),
        defined_by: DefinedBy::Platform,
        ports: ports.collect(),
        addresses: Vec::new(),
        resolution: Resolution::Static,
        external: false,
        export_to: Visibility::All,
        subject_alt_names: Vec::new(),
        labels: BTreeMap::new(),
        origin,
        created: 0,
    }
}

/// An instance.
pub(crate) fn endpoint(spec: &EndpointSpec, pool: &mut Pool, origin: Origin) -> Result<Endpoint, String> {
    let EndpointSpec { address, ports, labels, locality, weight, health, service_account, network } = spec;
    no_control(labels.iter().flat_map(|(key, value)| [key, value]).chain(ports.keys()))?;
    no_control([locality, service_account, network])?;
    if ports.values().any(|port| *port == 0) {
        return Err("a port is 0".to_owned());
    }
    let Locality { region, zone, sub_zone } = Locality::parse(locality);
    Ok(Endpoint {
        address: instance_address(address)?,
        ports: pool.ports(ports),
        labels: pool.labels(labels),
        locality: Locality {
            region: pool.text(&region),
            zone: pool.text(&zone),
            sub_zone: pool.text(&sub_zone),
        },
        network: pool.text(network),
        weight: match weight {
            Some(0) => return Err("weight is 0; an instance that takes no traffic is unhealthy".to_owned()),
            weight => weight.unwrap_or(1),
        },
        health: match health {
            HealthSpec::Healthy => Health::Healthy,
            HealthSpec::Draining => Health::Draining,
            HealthSpec::Unhealthy => Health::Unhealthy,
        },
        service_account: pool.text(service_account),
        origin,
    })
}

/// Where instances listen that do not say so.
pub(crate) fn default_ports(service: &Service) -> Ports {
    service.ports.iter().map(|port| (port.name.clone(), port.target.unwrap_or(port.number))).collect()
}

/// The ports of an instance under the names of its service: none means the service's, one without a name is that of
/// a service with one port.
pub(crate) fn fitted(ports: &Arc<Ports>, defaults: &Arc<Ports>) -> Arc<Ports> {
    let mut of_service = defaults.keys();
    match (ports.get(""), of_service.next(), of_service.next()) {
        _ if ports.is_empty() => defaults.clone(),
        (Some(port), Some(name), None) if ports.len() == 1 && !name.is_empty() => {
            Arc::new(Ports::from([(name.clone(), *port)]))
        }
        _ => ports.clone(),
    }
}

/// Namespace and name of `NAMESPACE/NAME`.
pub(crate) fn split(id: &str) -> (&str, &str) {
    id.split_once('/').unwrap_or(("default", id))
}

fn check_ports(specs: &[PortSpec]) -> Result<Vec<Port>, String> {
    let mut ports: Vec<Port> = Vec::with_capacity(specs.len());
    for PortSpec { name, number, protocol, target_port } in specs {
        no_control([name])?;
        if *number == 0 || *target_port == Some(0) {
            return Err(format!("port {name:?} is 0"));
        }
        if specs.len() > 1 && name.is_empty() {
            return Err(format!("port {number} has no name, and there are several"));
        }
        let protocol = match protocol {
            None => protocol_of(name),
            Some(text) => Protocol::from_name(text).ok_or_else(|| format!("{text:?} is no protocol"))?,
        };
        let is_same =
            |port: &Port| port.number == *number && port.protocol.is_carried() == protocol.is_carried();
        if ports.iter().any(|port| is_same(port) || *port.name == **name) {
            return Err(format!("port {number} {name:?} is there twice"));
        }
        let target = target_port.filter(|target| target != number);
        ports.push(Port { number: *number, name: name.as_str().into(), protocol, target });
    }
    Ok(ports)
}

/// By the beginning of the port's name, as Istio has it.
/// <https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/#explicit-protocol-selection>
fn protocol_of(name: &str) -> Protocol {
    let prefixes = name.match_indices('-').map(|(at, _)| &name[..at]);
    let longest = prefixes.chain([name]).filter_map(Protocol::from_name).next_back();
    longest.unwrap_or(Protocol::Unknown)
}

fn visibility(export_to: &[String], own: &Namespace) -> Visibility {
    if export_to.is_empty() || export_to.iter().any(|to| to == "*") {
        return Visibility::All;
    }
    let to = export_to.iter().filter(|to| *to != "~");
    Visibility::Namespaces(
        to.map(|to| if to == "." { own.clone() } else { Namespace::from(to.as_str()) }).collect(),
    )
}

fn virtual_address(text: &str) -> Result<Arc<str>, String> {
    let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
    let ip: IpAddr = ip.parse().map_err(|_| format!("{text:?} is no IP address or CIDR"))?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    if bits.is_some_and(|bits| !bits.parse::<u8>().is_ok_and(|bits| bits <= most)) {
        return Err(format!("{text:?} is no CIDR"));
    }
    Ok(text.into())
}

fn instance_address(text: &str) -> Result<Address, String> {
    let address = Address::parse(text);
    match address.fault() {
        None => Ok(address),
        Some(why) => Err(format!("{text:?} is no address of an instance: {why}")),
    }
}

fn check_host(text: &str) -> Result<&str, String> {
    let body = text.strip_prefix("*.").unwrap_or(text);
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if body.is_empty() || text.len() > HOST_MAX || !body.chars().all(letter) {
        return Err(format!("{text:?} is no IP address or host name"));
    }
    Ok(text)
}

fn no_control(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), String> {
    match texts.into_iter().find(|text| text.as_ref().chars().any(char::is_control)) {
        None => Ok(()),
        Some(text) => Err(format!("{:?} has control characters", text.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Settings, wire::parse};

    fn origin() -> Origin {
        Origin { source: "etcd".into(), location: "k".into(), line: 0, column: 0 }
    }

    fn hosts() -> Hosts {
        Settings::parse("a:1").unwrap().hosts
    }

    fn defined(text: &str) -> Result<Service, String> {
        service("shop/cart", &parse(text.as_bytes()).unwrap(), &hosts(), origin())
    }

    fn instance(text: &str) -> Result<Endpoint, String> {
        endpoint(&parse(text.as_bytes()).unwrap(), &mut Pool::default(), origin())
    }

    #[test]
    fn a_definition_is_a_service() {
        let service = defined(
            "{ports: [{name: grpc-web-x, number: 80}, {name: db, number: 3306, protocol: mysql, targetPort: 33}], \
             exportTo: ['.', other], addresses: [10.0.0.1, 'fd00::/64'], external: true, host: Cart.Example.com}",
        )
        .unwrap();
        assert_eq!(service.host.as_str(), "cart.example.com");
        assert_eq!(service.ports[0].protocol, Protocol::GrpcWeb);
        assert_eq!((service.ports[1].protocol, service.ports[1].target), (Protocol::OpaqueTcp, Some(33)));
        assert!(service.external && service.export_to.allows(&"shop".into()));
        assert!(!service.export_to.allows(&"third".into()));
        assert_eq!(defined("{}").unwrap().host.as_str(), "cart.shop.svc.cluster.local");
        assert_eq!(defined("{exportTo: ['~']}").unwrap().export_to, Visibility::Namespaces([].into()));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let wrong = |text: &str, about: &str| {
            let why = defined(text).unwrap_err();
            assert!(why.contains(about), "{text}: {why}");
        };
        wrong("{ports: [{number: 0}]}", "0");
        wrong("{ports: [{number: 1}, {number: 2}]}", "no name");
        wrong("{ports: [{name: a, number: 1}, {name: a, number: 2}]}", "twice");
        wrong("{ports: [{name: a, number: 1, protocol: smtp}]}", "smtp");
        wrong("{addresses: [10.0.0.1/33]}", "CIDR");
        wrong("{host: 'a b'}", "host");
        wrong("{labels: {a: \"\\u0007\"}}", "control");
        for text in [
            "{address: ''}",
            "{address: 0.0.0.0}",
            "{address: 'unix://relative'}",
            "{address: a, weight: 0}",
            "{address: a, ports: 0}",
            "{address: a, locality: \"\\u0000\"}",
        ] {
            assert!(instance(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_service_without_definition_has_the_ports_of_its_instances() {
        let all = [
            instance("{address: 10.0.0.1, ports: {http: 8081, grpc: 90}}").unwrap(),
            instance("{address: 10.0.0.2, ports: {http: 8080}}").unwrap(),
        ];
        let service = derived("shop/cart", all.iter(), &hosts(), origin());
        let ports: Vec<_> =
            service.ports.iter().map(|port| (&*port.name, port.number, port.protocol)).collect();
        assert_eq!(ports, [("grpc", 90, Protocol::Grpc), ("http", 8080, Protocol::Http)]);
    }

    #[test]
    fn ports_of_instances_fit_their_service() {
        let defaults = Arc::new(default_ports(
            &defined("{ports: [{name: http, number: 80, targetPort: 8080}]}").unwrap(),
        ));
        let fit = |text: &str| {
            fitted(&instance(text).unwrap().ports, &defaults).iter().next().map(|(n, p)| (n.to_string(), *p))
        };
        assert_eq!(fit("{address: a}"), Some(("http".to_owned(), 8080)));
        assert_eq!(fit("{address: a, ports: 9}"), Some(("http".to_owned(), 9)));
        assert_eq!(fit("{address: a, ports: {grpc: 7}}"), Some(("grpc".to_owned(), 7)));
    }

    #[test]
    fn an_instance_is_an_endpoint() {
        let endpoint =
            instance("{address: 'unix:///run/x', locality: eu/a/1, weight: 3, health: draining, network: n}")
                .unwrap();
        assert_eq!(endpoint.address, Address::Unix("/run/x".into()));
        assert_eq!((endpoint.weight, endpoint.health), (3, Health::Draining));
        assert_eq!(endpoint.locality.to_string(), "eu/a/1");
        assert_eq!(
            instance("{address: db.example.com}").unwrap().address,
            Address::Name("db.example.com".into())
        );
    }
}
