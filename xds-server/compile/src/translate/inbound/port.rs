//! The ports of a workload.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use lateen_config::{
    istio::{CaptureMode, InboundMode, IngressListener, InterceptionMode, MeshConfig, Sidecar},
    path::Path,
};
use lateen_model::{Address, Diagnostic, Endpoint, Host, Namespace, Port, Protocol, Service, Severity};
use lateen_proto::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use lateen_registry::{Fact, FactKey, Sourced};

use crate::translate::{
    Families, InboundView, Read, notes, read,
    server_tls::{ALPN_HTTP, TlsProblem, terminate},
};

/// What a workload listens on.
#[allow(clippy::struct_field_names, reason = "it has ports")]
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// In ascending order, none twice.
    pub ports: Vec<(InboundPort, Bound)>,
    /// Is there a `virtualInbound`?
    pub captures: bool,
    /// What was wrong on the way.
    pub findings: Vec<Diagnostic>,
}

/// The sockets that a port has of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Bound {
    /// None: connections come from `virtualInbound`.
    Captured,
    /// At these addresses; at least one.
    At(Vec<Arc<str>>),
}

/// A port of a workload: all that decides about its chains and its cluster, but for the world. Replicas that listen
/// on the same ports have equal ones.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InboundPort {
    /// The port that connections are made to.
    pub number: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Where the workload is.
    pub target: Target,
    /// Who says that there is such a port.
    pub from: PortSource,
    /// Are connections refused, whatever they carry?
    pub closed: bool,
}

/// Who says that a workload has a port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PortSource {
    /// This ingress listener of its `Sidecar`.
    Ingress(usize),
    /// These services.
    Services(Vec<(Host, Namespace)>),
}

/// Where a workload is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Target {
    /// Where the connection was going.
    Original,
    /// Here; a port of 0 is a Unix socket.
    At(Arc<str>, u16),
}

impl InboundPort {
    /// `inbound|8080||`
    pub(super) fn cluster_name(&self) -> Arc<str> {
        format!("inbound|{}||", self.number).into()
    }
}

/// The ports of the node.
pub(super) fn ports(r: &mut dyn Read, view: &InboundView, mesh: &MeshConfig) -> Ports {
    let never = mesh.default_config.as_ref().is_some_and(|c| c.interception_mode == InterceptionMode::None);
    let sidecar = view.sidecar.as_ref().and_then(|key| read::sidecar(r, key));
    let mut found = Ports::default();
    match &sidecar {
        Some(sidecar) if !sidecar.spec.ingress.is_empty() => {
            of_ingress(sidecar, view, never, &mut found);
        }
        _ => {
            let spec = sidecar.as_ref().map(|found| &*found.spec);
            found.captures = captures_outbound(spec, never);
            if found.captures {
                let ports = of_services(r, view, mesh);
                found.ports = ports.into_iter().map(|port| (port, Bound::Captured)).collect();
            }
        }
    }
    found.ports.sort_by_key(|(port, _)| port.number);
    found
}

/// A `Sidecar` whose egress listeners all have sockets of their own is meant for a workload whose connections
/// nobody redirects: then none come to `virtualInbound` either.
fn captures_outbound(sidecar: Option<&Sidecar>, never: bool) -> bool {
    match sidecar {
        Some(sidecar) if !sidecar.egress.is_empty() => {
            sidecar.egress.iter().any(|e| is_captured(e.capture_mode, never))
        }
        Some(_) | None => !never,
    }
}

/// <https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioIngressListener>
fn of_ingress(sidecar: &Sourced<Sidecar>, view: &InboundView, never: bool, found: &mut Ports) {
    for (index, listener) in sidecar.spec.ingress.iter().enumerate() {
        let number = listener.port.as_ref().and_then(|port| u16::try_from(port.number).ok());
        let Some(number) = number.filter(|number| *number > 0) else { continue };
        if found.ports.iter().any(|(port, _)| port.number == number) {
            continue;
        }
        found.findings.extend(refused_tls(sidecar, index, listener, number));
        let captured = is_captured(listener.capture_mode, never);
        let target = target(&listener.default_endpoint, view).unwrap_or_else(|| {
            if captured {
                return Target::Original;
            }
            if !listener.default_endpoint.is_empty() {
                let message = format!("defaultEndpoint \"{}\" is no endpoint", listener.default_endpoint);
                let spec = Path::ROOT.field("spec");
                let ingress = spec.field("ingress");
                let here = ingress.index(index);
                let what = (notes::BAD_ENDPOINT, Severity::Warning);
                found.findings.push(finding(sidecar, what, &here.field("defaultEndpoint"), message, None));
            }
            // Without an endpoint and without a connection's own destination there is only this guess.
            Target::At(loopback(view.families).into(), number)
        });
        let bound = match (captured, listener.bind.as_str()) {
            (true, _) => Bound::Captured,
            (false, "") => Bound::At(own_addresses(view)),
            (false, bind) => Bound::At(vec![bind.into()]),
        };
        found.captures |= captured;
        let port = InboundPort {
            number,
            protocol: protocol(listener),
            target,
            from: PortSource::Ingress(index),
            closed: view.plaintext.is_refused(number),
        };
        found.ports.push((port, bound));
    }
}

/// What there is to say of a port whose TLS should end there and can't.
fn refused_tls(
    sidecar: &Sourced<Sidecar>,
    index: usize,
    listener: &IngressListener,
    number: u16,
) -> Option<Diagnostic> {
    let problem = tls_of(listener)?.err()?;
    let message = format!("port {number} is closed, it takes no connections: {problem}");
    let hint = "give files (serverCertificate, privateKey), or no tls for plain text";
    let spec = Path::ROOT.field("spec");
    let ingress = spec.field("ingress");
    let here = ingress.index(index);
    let what = (notes::UNAPPLIED, Severity::Error);
    Some(finding(sidecar, what, &here.field("tls"), message, Some(hint)))
}

/// What is closed of the ports of a `Sidecar`.
pub(super) fn closed_ports(sidecar: &Sourced<Sidecar>) -> Vec<Diagnostic> {
    let number = |listener: &IngressListener| u16::try_from(listener.port.as_ref()?.number).ok();
    let all = sidecar.spec.ingress.iter().enumerate();
    all.filter_map(|(index, listener)| refused_tls(sidecar, index, listener, number(listener)?)).collect()
}

fn finding(
    sidecar: &Sourced<Sidecar>,
    (code, severity): (lateen_model::diagnostic::Code, Severity),
    at: &Path<'_>,
    message: String,
    hint: Option<&str>,
) -> Diagnostic {
    let mut origin = sidecar.origin.clone();
    if let Some(span) = sidecar.spans.find(at) {
        (origin.line, origin.column) = (span.line, span.column);
    }
    Diagnostic {
        code,
        severity,
        object: Some(sidecar.key.to_ref()),
        origin: Some(origin),
        path: at.to_string(),
        message,
        hint: hint.map(str::to_owned),
    }
}

fn protocol(listener: &IngressListener) -> Protocol {
    let named = listener.port.as_ref().and_then(|port| Protocol::from_name(&port.protocol));
    named.unwrap_or(Protocol::Unknown)
}

/// TLS that ends at an ingress listener, or why it can't. `None` if it should not.
pub(super) fn tls_of(listener: &IngressListener) -> Option<Result<DownstreamTlsContext, TlsProblem>> {
    let protocol = protocol(listener);
    let offered = if protocol.is_http() || protocol == Protocol::Https { ALPN_HTTP } else { &[] };
    listener.tls.as_ref().map(|tls| terminate(tls, offered))
}

fn is_captured(mode: CaptureMode, never: bool) -> bool {
    match mode {
        CaptureMode::None => false,
        CaptureMode::Default => !never,
        CaptureMode::Iptables => true,
    }
}

/// The loopback address that a workload of these families surely has.
fn loopback(families: Families) -> &'static str {
    if families == Families::V6 { "::1" } else { "127.0.0.1" }
}

/// The node's own addresses, the first of each family, so that other workloads on the machine can have the same
/// port.
fn own_addresses(view: &InboundView) -> Vec<Arc<str>> {
    let first = |fits: fn(&IpAddr) -> bool| view.addresses.iter().find(|address| fits(address));
    let mut own: Vec<&IpAddr> = first(IpAddr::is_ipv4).into_iter().chain(first(IpAddr::is_ipv6)).collect();
    own.sort_by_key(|address| view.addresses.first() != Some(address));
    match own.as_slice() {
        [] => vec!["0.0.0.0".into()],
        own => own.iter().map(|address| address.to_string().into()).collect(),
    }
}

/// `127.0.0.1:PORT` and `[::1]:PORT` are the loopback, `0.0.0.0:PORT` and `[::]:PORT` the node's own address,
/// `unix:///path` and `unix://@name` a socket.
fn target(text: &str, view: &InboundView) -> Option<Target> {
    if text.starts_with("unix://") {
        return Some(Target::At(text.into(), 0));
    }
    let address: std::net::SocketAddr = text.parse().ok()?;
    let own = |fits: fn(&IpAddr) -> bool, otherwise: IpAddr| {
        view.addresses.iter().copied().find(fits).unwrap_or(otherwise).to_string().into()
    };
    let host: Arc<str> = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => own(IpAddr::is_ipv4, Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => own(IpAddr::is_ipv6, Ipv6Addr::LOCALHOST.into()),
        ip => ip.to_string().into(),
    };
    Some(Target::At(host, address.port()))
}

/// The ports that services have at the node's addresses.
fn of_services(r: &mut dyn Read, view: &InboundView, mesh: &MeshConfig) -> Vec<InboundPort> {
    let localhost =
        mesh.inbound_traffic_policy.as_ref().is_some_and(|policy| policy.mode == InboundMode::Localhost);
    let mut by_number: BTreeMap<u16, (Protocol, Vec<(Host, Namespace)>)> = BTreeMap::new();
    for address in &view.addresses {
        let here = r.fact(&FactKey::ServicesAt(*address)).and_then(Fact::services_at);
        for (host, namespace) in here.iter().flat_map(|here| here.iter()) {
            let definitions = read::services(r, host);
            let Some(service) = definitions.iter().find(|s| s.namespace == *namespace && !s.external) else {
                continue;
            };
            let endpoints = read::endpoints(r, host, namespace);
            // Several instances can share an address, each with ports of its own.
            let own = endpoints.iter().filter(|endpoint| endpoint.address == Address::Ip(*address));
            let own: Vec<&Endpoint> = own.collect();
            for port in &service.ports {
                let numbers = own.iter().filter_map(|endpoint| listening_port(service, port, endpoint));
                for number in numbers.collect::<BTreeSet<u16>>() {
                    let (protocol, services) =
                        by_number.entry(number).or_insert_with(|| (port.protocol, Vec::new()));
                    *protocol = agreed(*protocol, port.protocol);
                    services.push((host.clone(), namespace.clone()));
                }
            }
        }
    }
    let target = |number| {
        if localhost { Target::At(loopback(view.families).into(), number) } else { Target::Original }
    };
    by_number
        .into_iter()
        .map(|(number, (protocol, mut services))| {
            services.sort();
            services.dedup();
            InboundPort {
                number,
                protocol,
                target: target(number),
                from: PortSource::Services(services),
                closed: view.plaintext.is_refused(number),
            }
        })
        .collect()
}

/// What two services come to that disagree about the protocol of one port: who does not say leaves it to be sniffed
/// whether it is HTTP, and bytes are bytes in any case.
fn agreed(one: Protocol, other: Protocol) -> Protocol {
    match (one, other) {
        (Protocol::Unknown, http) | (http, Protocol::Unknown) if http.is_http() => Protocol::Unknown,
        (one, other) if one.is_http() == other.is_http() => one,
        _ => Protocol::Tcp,
    }
}

fn listening_port(service: &Service, port: &Port, own: &Endpoint) -> Option<u16> {
    if port.protocol == Protocol::Udp {
        return None;
    }
    let by_name = own.ports.get(&port.name).copied();
    let unnamed = own.ports.get("").copied().filter(|_| service.only_port().is_some());
    by_name.or(unnamed).or(port.target).or(Some(port.number))
}
