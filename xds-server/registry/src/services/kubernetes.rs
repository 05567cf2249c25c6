//! Services, endpoint slices and pods of Kubernetes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lateen_config::{
    ConfigObject, Kind, ObjectKey,
    decode::IntOrString,
    kubernetes::{Pod, Service as KubernetesService, ServiceType, SliceEndpoint, TransportProtocol},
};
use lateen_model::{
    Address, DefinedBy, Endpoint, Health, Host, Locality, Namespace, Port, Protocol, Resolution, Service,
    text,
};

use super::{Contribution, entry::port_number, selection::Selections};
use crate::{
    entry::{Entry, Identity},
    mesh::visibility,
    routing::{Context, shared},
};

/// Names the service of a slice.
/// <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#ownership>
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Whom a service is visible to.
/// <https://istio.io/latest/docs/reference/config/annotations/#NetworkingExportTo>
const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// A workload's own locality, with dots. <https://istio.io/latest/docs/reference/config/labels/>
const LOCALITY: &str = "istio-locality";
/// A workload's network.
const NETWORK: &str = "topology.istio.io/network";
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesioregion>
const REGION: &str = "topology.kubernetes.io/region";

/// `name.namespace.svc.DOMAIN`.
pub(super) fn service_host(key: &ObjectKey, context: Context<'_>) -> Host {
    named_host(&key.name, &key.namespace, context)
}

fn named_host(name: &str, namespace: &str, context: Context<'_>) -> Host {
    Host::from(format!("{name}.{namespace}.svc.{}", context.domain))
}

/// The service, and for an external name its endpoint.
pub(super) fn service(entry: &Entry, context: Context<'_>) -> Contribution {
    let object = &entry.object;
    let ConfigObject::Service(spec) = &object.spec else { return Contribution::default() };
    let namespace = Namespace::from(object.key.namespace.as_str());
    let host = service_host(&object.key, context);
    let export_to: Vec<String> = object
        .meta
        .annotations
        .get(EXPORT_TO)
        .map(|list| {
            list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        })
        .unwrap_or_default();
    let ports = service_ports(spec);
    let external = spec.kind == ServiceType::ExternalName;
    let endpoints = external.then(|| external_endpoint(entry, spec, &ports)).flatten();
    let service = Service {
        host: host.clone(),
        namespace: namespace.clone(),
        name: object.key.name.as_str().into(),
        defined_by: DefinedBy::Platform,
        ports,
        addresses: cluster_ips(spec),
        resolution: if external {
            Resolution::Dns
        } else if spec.cluster_ip == "None" {
            // A client of a headless service has chosen the instance itself.
            Resolution::None
        } else {
            Resolution::Static
        },
        external,
        export_to: visibility(&export_to, &context.defaults.service, &namespace),
        subject_alt_names: Vec::new(),
        labels: shared(&object.meta.labels),
        origin: object.origin.clone(),
        created: entry.precedence.created,
    };
    let endpoints = endpoints.map(|endpoint| (host, namespace, vec![endpoint]));
    Contribution { services: vec![service], endpoints: endpoints.into_iter().collect() }
}

fn cluster_ips(spec: &KubernetesService) -> Vec<Arc<str>> {
    let all = std::iter::once(&spec.cluster_ip).chain(&spec.cluster_ips);
    let mut ips: Vec<Arc<str>> = Vec::new();
    for ip in all.filter(|ip| !ip.is_empty() && *ip != "None") {
        if !ips.iter().any(|known| **known == **ip) {
            ips.push(ip.as_str().into());
        }
    }
    ips
}

fn external_endpoint(entry: &Entry, spec: &KubernetesService, ports: &[Port]) -> Option<Endpoint> {
    let name = spec.external_name.trim_end_matches('.').to_ascii_lowercase();
    let address = (!name.is_empty()).then(|| Address::parse(&name))?;
    Some(Endpoint {
        address,
        ports: Arc::new(ports.iter().map(|port| (port.name.clone(), port.number)).collect()),
        labels: Arc::default(),
        locality: Locality::default(),
        network: Arc::default(),
        weight: 1,
        health: Health::Healthy,
        service_account: Arc::default(),
        origin: entry.object.origin.clone(),
    })
}

pub(super) fn service_ports(spec: &KubernetesService) -> Vec<Port> {
    let ports = spec.ports.iter().filter_map(|port| {
        let number = port_number(port.port)?;
        Some(Port {
            number,
            name: port.name.as_str().into(),
            protocol: protocol(port.protocol, port.app_protocol.as_deref(), &port.name, number),
            target: match &port.target_port {
                Some(IntOrString::Int(target)) => u32::try_from(*target).ok().and_then(port_number),
                Some(IntOrString::String(_)) | None => None,
            },
        })
    });
    ports.collect()
}

/// `appProtocol`, else the port name up to its first dash, else sniffed, but for ports on which the server speaks
/// first. <https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>
fn protocol(transport: TransportProtocol, application: Option<&str>, name: &str, number: u16) -> Protocol {
    const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];
    match transport {
        TransportProtocol::Udp | TransportProtocol::Sctp => return Protocol::Udp,
        TransportProtocol::Tcp => {}
    }
    let by_name = || {
        let lower = name.to_ascii_lowercase();
        if lower == "grpc-web" || lower.starts_with("grpc-web-") {
            return Some(Protocol::GrpcWeb);
        }
        Protocol::from_name(lower.split('-').next().unwrap_or_default())
    };
    let unknown = if SERVER_FIRST.contains(&number) { Protocol::Tcp } else { Protocol::Unknown };
    application.and_then(Protocol::from_name).or_else(by_name).unwrap_or(unknown)
}

/// The pods behind a slice.
pub(super) fn pods_of(entry: &Entry) -> BTreeSet<Identity> {
    let ConfigObject::EndpointSlice(slice) = &entry.object.spec else { return BTreeSet::new() };
    slice.endpoints.iter().filter_map(|endpoint| pod_of(entry, endpoint)).collect()
}

/// The pod is of the slice's own cluster.
fn pod_of(slice: &Entry, endpoint: &SliceEndpoint) -> Option<Identity> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod")?;
    let namespace = if target.namespace.is_empty() { &slice.object.key.namespace } else { &target.namespace };
    let key = ObjectKey::new(Kind::Pod, namespace, &target.name);
    Some(Identity::new(slice.precedence.rank, key))
}

/// The endpoints of a slice.
pub(super) fn endpoint_slice(entry: &Entry, selections: &Selections, context: Context<'_>) -> Contribution {
    let object = &entry.object;
    let (ConfigObject::EndpointSlice(slice), Some(name)) =
        (&object.spec, object.meta.labels.get(SERVICE_NAME))
    else {
        return Contribution::default();
    };
    // A service's slice must give numbers; without one there is nothing to connect to, least of all the service's
    // own number. https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
    let carried = slice.ports.iter().filter(|port| port.protocol == TransportProtocol::Tcp);
    let mut ports: BTreeMap<Arc<str>, u16> = carried
        .map(|port| (port.name.as_str().into(), port.port.and_then(port_number).unwrap_or_default()))
        .collect();
    if slice.ports.is_empty() {
        ports.insert("".into(), 0);
    } else if ports.is_empty() {
        return Contribution::default();
    }
    let ports = Arc::new(ports);
    let own_labels = Arc::new(shared(&own_labels(&object.meta.labels)));
    let mut endpoints = Vec::new();
    for endpoint in &slice.endpoints {
        let pod = pod_of(entry, endpoint).and_then(|pod| selections.workload(&pod));
        let template = slice_endpoint(entry, endpoint, pod.map(AsRef::as_ref), &ports, &own_labels);
        let addresses = endpoint.addresses.iter().map(|text| Address::parse(text));
        endpoints.extend(addresses.map(|address| Endpoint { address, ..template.clone() }));
    }
    if endpoints.is_empty() {
        return Contribution::default();
    }
    let host = named_host(name, &object.key.namespace, context);
    let namespace = Namespace::from(object.key.namespace.as_str());
    Contribution { services: Vec::new(), endpoints: vec![(host, namespace, endpoints)] }
}

/// Labels of a slice that Kubernetes did not put there itself. They stand for the pod's where no pod is known, as
/// in a folder of files.
fn own_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = labels.iter().filter(|(name, _)| {
        let prefix = name.split_once('/').map_or("", |(prefix, _)| prefix);
        prefix != "kubernetes.io" && !prefix.ends_with(".kubernetes.io")
    });
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn slice_endpoint(
    entry: &Entry,
    endpoint: &SliceEndpoint,
    pod: Option<&Entry>,
    ports: &Arc<BTreeMap<Arc<str>, u16>>,
    own_labels: &Arc<BTreeMap<Arc<str>, Arc<str>>>,
) -> Endpoint {
    let of_pod = pod.map(|pod| &pod.object.meta.labels);
    let zone = endpoint.zone.as_deref().unwrap_or_default();
    let region = endpoint.deprecated_topology.get(REGION).map_or("", String::as_str);
    let origin = &entry.object.origin;
    Endpoint {
        address: Address::Ip(IpAddr::from([0, 0, 0, 0])),
        ports: ports.clone(),
        labels: of_pod.map_or_else(|| own_labels.clone(), |labels| Arc::new(shared(labels))),
        locality: locality(of_pod, region, zone),
        network: text::shared(of_pod.and_then(|labels| labels.get(NETWORK)).map_or("", String::as_str)),
        weight: 1,
        health: health(endpoint),
        service_account: text::shared(pod.map_or("", service_account)),
        origin: origin.clone(),
    }
}

/// <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions>: no condition is ready,
/// and what terminates while it still serves takes no new requests.
fn health(endpoint: &SliceEndpoint) -> Health {
    let Some(conditions) = &endpoint.conditions else { return Health::Healthy };
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    if ready {
        Health::Healthy
    } else if conditions.terminating == Some(true) && serving {
        Health::Draining
    } else {
        Health::Unhealthy
    }
}

fn locality(labels: Option<&BTreeMap<String, String>>, region: &str, zone: &str) -> Locality {
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
    if let Some(own) = label(LOCALITY) {
        return Locality::parse(&own.replace('.', "/"));
    }
    let region = label(REGION).unwrap_or(region);
    Locality { region: text::shared(region), zone: text::shared(zone), sub_zone: Arc::default() }
}

fn service_account(pod: &Entry) -> &str {
    match &pod.object.spec {
        ConfigObject::Pod(pod) => &pod.spec.service_account_name,
        _ => "",
    }
}

/// The endpoints of a pod that a `ServiceEntry` selects.
pub(super) fn pod_endpoints(entry: &Entry, pod: &Pod, ports: &[Port]) -> Vec<Endpoint> {
    if pod.status.phase != "Running" {
        return Vec::new();
    }
    let labels = &entry.object.meta.labels;
    let ips: BTreeSet<IpAddr> = std::iter::once(&pod.status.pod_ip)
        .chain(pod.status.pod_ips.iter().map(|ip| &ip.ip))
        .filter_map(|ip| ip.parse().ok())
        .collect();
    let template = Endpoint {
        address: Address::Ip(IpAddr::from([0, 0, 0, 0])),
        ports: Arc::new(
            ports.iter().map(|port| (port.name.clone(), port.target.unwrap_or(port.number))).collect(),
        ),
        labels: Arc::new(shared(labels)),
        locality: locality(Some(labels), "", ""),
        network: text::shared(labels.get(NETWORK).map_or("", String::as_str)),
        weight: 1,
        health: Health::Healthy,
        service_account: text::shared(&pod.spec.service_account_name),
        origin: entry.object.origin.clone(),
    };
    ips.into_iter().map(|ip| Endpoint { address: Address::Ip(ip), ..template.clone() }).collect()
}
