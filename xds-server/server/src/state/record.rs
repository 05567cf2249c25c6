//! Objects as bytes: a checksum, then the text of a document as it is, or what an adapter translated as JSON. The
//! types are the file's own, so that the model may change and the file stays what it is.

use std::{collections::BTreeMap, sync::Arc};

use lateen_config::without_secrets;
use lateen_model::{
    Address, DefinedBy, Document, Endpoint, Health, Host, Locality, Namespace, ObjectKind, Origin, Port,
    Protocol, Resolution, Service, Version, event::Object, service::Visibility,
};
use serde::{Deserialize, Serialize};

/// The record of an object. `None` if there is nothing to write: private keys are not for the disk (I-8), so what
/// holds one in a text, or may where it can't be read, is left out.
pub fn encode(name: &str, object: &Object) -> Option<Vec<u8>> {
    let payload = match object {
        Object::Document(document) => without_secrets(&document.body)?.into_owned(),
        Object::Service(service) => json(&ServiceRecord::from(&**service)),
        Object::Endpoints { host, namespace, endpoints } => json(&SetRecord {
            host: host.as_str().to_owned(),
            namespace: namespace.as_str().to_owned(),
            endpoints: endpoints.iter().map(EndpointRecord::from).collect(),
        }),
    };
    let mut record = checksum(name, &payload).to_vec();
    record.extend(payload);
    Some(record)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // The types have string keys only: this can't fail, and a record without payload is never read back.
    serde_json::to_vec(value).unwrap_or_default()
}

fn checksum(name: &str, payload: &[u8]) -> [u8; 8] {
    (Version::of(payload).0 ^ Version::of(name.as_bytes()).0.rotate_left(1)).to_le_bytes()
}

/// The object of a record; none where the record is damaged.
pub fn decode(kind: ObjectKind, name: &str, record: &[u8]) -> Option<Object> {
    let (sum, payload) = record.split_at_checked(8)?;
    if sum != checksum(name, payload) {
        return None;
    }
    Some(match kind {
        ObjectKind::Document => Object::Document(Document { body: payload.into() }),
        ObjectKind::Service => {
            Object::Service(Arc::new(serde_json::from_slice::<ServiceRecord>(payload).ok()?.into()))
        }
        ObjectKind::Endpoints => {
            let SetRecord { host, namespace, endpoints } = serde_json::from_slice(payload).ok()?;
            let endpoints = endpoints.into_iter().map(Endpoint::from).collect();
            Object::Endpoints { host: Host::from(host), namespace: Namespace::from(namespace), endpoints }
        }
    })
}

/// Declares a copy of an enum of the model, with conversions both ways: a value that is added there must be added
/// here, or this does not compile.
macro_rules! mirror {
    ($record:ident, $model:ident: $($value:ident),* $(,)?) => {
        #[derive(Serialize, Deserialize)]
        enum $record { $($value),* }

        impl From<$model> for $record {
            fn from(value: $model) -> Self {
                match value { $($model::$value => Self::$value),* }
            }
        }

        impl From<$record> for $model {
            fn from(value: $record) -> Self {
                match value { $($record::$value => Self::$value),* }
            }
        }
    };
}

mirror!(ProtocolRecord, Protocol: Http, Http2, Grpc, GrpcWeb, Tls, Https, Tcp, OpaqueTcp, Udp, Unknown);
mirror!(ResolutionRecord, Resolution: Static, Dns, DnsRoundRobin, None);
mirror!(HealthRecord, Health: Healthy, Draining, Unhealthy);

#[derive(Serialize, Deserialize)]
struct OriginRecord {
    source: String,
    location: String,
    line: u32,
    column: u32,
}

impl From<&Origin> for OriginRecord {
    fn from(origin: &Origin) -> Self {
        let Origin { source, location, line, column } = origin;
        Self {
            source: (**source).to_owned(),
            location: (**location).to_owned(),
            line: *line,
            column: *column,
        }
    }
}

impl From<OriginRecord> for Origin {
    fn from(record: OriginRecord) -> Self {
        let OriginRecord { source, location, line, column } = record;
        Self { source: source.into(), location: location.into(), line, column }
    }
}

type Map = BTreeMap<String, String>;

fn plain(map: &BTreeMap<Arc<str>, Arc<str>>) -> Map {
    map.iter().map(|(key, value)| ((**key).to_owned(), (**value).to_owned())).collect()
}

fn shared(map: Map) -> BTreeMap<Arc<str>, Arc<str>> {
    map.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

fn texts(list: &[Arc<str>]) -> Vec<String> {
    list.iter().map(|text| (**text).to_owned()).collect()
}

#[derive(Serialize, Deserialize)]
struct PortRecord {
    number: u16,
    name: String,
    protocol: ProtocolRecord,
    target: Option<u16>,
}

#[derive(Serialize, Deserialize)]
struct ServiceRecord {
    host: String,
    namespace: String,
    name: String,
    ports: Vec<PortRecord>,
    addresses: Vec<String>,
    resolution: ResolutionRecord,
    external: bool,
    /// None is everybody.
    export_to: Option<Vec<String>>,
    subject_alt_names: Vec<String>,
    labels: Map,
    origin: OriginRecord,
    created: i64,
}

impl From<&Service> for ServiceRecord {
    fn from(service: &Service) -> Self {
        let Service {
            host,
            namespace,
            name,
            // Only adapters hand services over: what a ServiceEntry defines is kept as the document.
            defined_by: _,
            ports,
            addresses,
            resolution,
            external,
            export_to,
            subject_alt_names,
            labels,
            origin,
            created,
        } = service;
        let port = |port: &Port| PortRecord {
            number: port.number,
            name: (*port.name).to_owned(),
            protocol: port.protocol.into(),
            target: port.target,
        };
        Self {
            host: host.as_str().to_owned(),
            namespace: namespace.as_str().to_owned(),
            name: (**name).to_owned(),
            ports: ports.iter().map(port).collect(),
            addresses: texts(addresses),
            resolution: (*resolution).into(),
            external: *external,
            export_to: match export_to {
                Visibility::All => None,
                Visibility::Namespaces(list) => Some(list.iter().map(|n| n.as_str().to_owned()).collect()),
            },
            subject_alt_names: texts(subject_alt_names),
            labels: plain(labels),
            origin: origin.into(),
            created: *created,
        }
    }
}

impl From<ServiceRecord> for Service {
    fn from(record: ServiceRecord) -> Self {
        let ServiceRecord {
            host,
            namespace,
            name,
            ports,
            addresses,
            resolution,
            external,
            export_to,
            subject_alt_names,
            labels,
            origin,
            created,
        } = record;
        let port = |port: PortRecord| Port {
            number: port.number,
            name: port.name.into(),
            protocol: port.protocol.into(),
            target: port.target,
        };
        Self {
            host: Host::from(host),
            namespace: Namespace::from(namespace),
            name: name.into(),
            defined_by: DefinedBy::Platform,
            ports: ports.into_iter().map(port).collect(),
            addresses: addresses.into_iter().map(Into::into).collect(),
            resolution: resolution.into(),
            external,
            export_to: export_to.map_or(Visibility::All, |list| {
                Visibility::Namespaces(list.into_iter().map(Namespace::from).collect())
            }),
            subject_alt_names: subject_alt_names.into_iter().map(Into::into).collect(),
            labels: shared(labels),
            origin: origin.into(),
            created,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SetRecord {
    host: String,
    namespace: String,
    endpoints: Vec<EndpointRecord>,
}

#[derive(Serialize, Deserialize)]
enum AddressRecord {
    Ip(std::net::IpAddr),
    Name(String),
    Unix(String),
}

#[derive(Serialize, Deserialize)]
struct EndpointRecord {
    address: AddressRecord,
    ports: BTreeMap<String, u16>,
    labels: Map,
    /// Region, zone, sub-zone.
    locality: [String; 3],
    network: String,
    weight: u32,
    health: HealthRecord,
    service_account: String,
    origin: OriginRecord,
}

impl From<&Endpoint> for EndpointRecord {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint {
            address,
            ports,
            labels,
            locality: Locality { region, zone, sub_zone },
            network,
            weight,
            health,
            service_account,
            origin,
        } = endpoint;
        Self {
            address: match address {
                Address::Ip(ip) => AddressRecord::Ip(*ip),
                Address::Name(name) => AddressRecord::Name((**name).to_owned()),
                Address::Unix(path) => AddressRecord::Unix((**path).to_owned()),
            },
            ports: ports.iter().map(|(name, port)| ((**name).to_owned(), *port)).collect(),
            labels: plain(labels),
            locality: [region, zone, sub_zone].map(|part| (**part).to_owned()),
            network: (**network).to_owned(),
            weight: *weight,
            health: (*health).into(),
            service_account: (**service_account).to_owned(),
            origin: origin.into(),
        }
    }
}

impl From<EndpointRecord> for Endpoint {
    fn from(record: EndpointRecord) -> Self {
        let EndpointRecord {
            address,
            ports,
            labels,
            locality: [region, zone, sub_zone],
            network,
            weight,
            health,
            service_account,
            origin,
        } = record;
        Self {
            address: match address {
                AddressRecord::Ip(ip) => Address::Ip(ip),
                AddressRecord::Name(name) => Address::Name(name.into()),
                AddressRecord::Unix(path) => Address::Unix(path.into()),
            },
            ports: Arc::new(ports.into_iter().map(|(name, port)| (name.into(), port)).collect()),
            labels: Arc::new(shared(labels)),
            locality: Locality { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() },
            network: network.into(),
            weight,
            health: health.into(),
            service_account: service_account.into(),
            origin: origin.into(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// One object of each kind, with every field set.
    pub fn samples() -> Vec<(ObjectKind, Object)> {
        let origin = Origin { source: "consul=x".into(), location: "default/a".into(), line: 3, column: 4 };
        let service = Service {
            host: Host::from("a.example"),
            namespace: Namespace::from("default"),
            name: "a".into(),
            defined_by: DefinedBy::Platform,
            ports: vec![Port {
                number: 80,
                name: "http".into(),
                protocol: Protocol::Http2,
                target: Some(8080),
            }],
            addresses: vec!["10.1.1.1".into()],
            resolution: Resolution::DnsRoundRobin,
            external: true,
            export_to: Visibility::Namespaces(Arc::from([Namespace::from("shop")])),
            subject_alt_names: vec!["spiffe://x".into()],
            labels: [("app".into(), "a".into())].into(),
            origin: origin.clone(),
            created: 77,
        };
        let endpoint = |address, health| Endpoint {
            address,
            ports: Arc::new([("http".into(), 8080)].into()),
            labels: Arc::new([("version".into(), "v1".into())].into()),
            locality: Locality::parse("r/z/s"),
            network: "n".into(),
            weight: 7,
            health,
            service_account: "sa".into(),
            origin: origin.clone(),
        };
        let endpoints = vec![
            endpoint(Address::Ip([10, 0, 0, 1].into()), Health::Healthy),
            endpoint(Address::Ip([0xfd00, 0, 0, 0, 0, 0, 0, 1].into()), Health::Unhealthy),
            endpoint(Address::Name("x.example".into()), Health::Draining),
            endpoint(Address::Unix("/run/x".into()), Health::Healthy),
        ];
        let (host, namespace) = (Host::from("a.example"), Namespace::from("default"));
        vec![
            (ObjectKind::Document, Object::Document(Document { body: Arc::from(&b"a: \xff"[..]) })),
            (ObjectKind::Service, Object::Service(Arc::new(service))),
            (ObjectKind::Endpoints, Object::Endpoints { host, namespace, endpoints: endpoints.into() }),
        ]
    }

    #[test]
    fn objects_come_back_as_they_were() {
        for (kind, object) in samples() {
            let record = encode("name", &object).unwrap();
            assert_eq!(decode(kind, "name", &record).as_ref(), Some(&object));
        }
    }

    #[test]
    fn a_damaged_record_is_seen() {
        for (kind, object) in samples() {
            let record = encode("name", &object).unwrap();
            assert_eq!(decode(kind, "another name", &record), None);
            for at in 0..record.len() {
                let mut damaged = record.clone();
                damaged[at] ^= 1;
                assert_eq!(decode(kind, "name", &damaged), None, "byte {at}");
                assert_eq!(decode(kind, "name", &record[..at]), None, "{at} bytes");
            }
        }
    }
}
