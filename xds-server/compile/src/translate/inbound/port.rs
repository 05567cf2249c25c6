//! The ports of a workload.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use lateen_config::{
    ObjectKey,
    istio::{
        CaptureMode, ConnectionPool, InboundMode, IngressListener, InterceptionMode, MeshConfig, Sidecar,
    },
};
use lateen_model::{Address, Endpoint, Origin, Port, Protocol, Service, diagnostic::Code};
use lateen_proto::envoy::config::core::v3::TransportSocket;

use lateen_registry::{Fact, FactKey};

use crate::translate::{
    InboundView, Read,
    gateway::tls::{ALPN_HTTP, terminate},
    notes, read,
};

/// What a workload listens on.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// In ascending order, none twice.
    pub ports: Vec<InboundPort>,
    /// Is there a `virtualInbound`?
    pub captures: bool,
}

/// A port of a workload.
#[derive(Debug)]
pub(super) struct InboundPort {
    /// The port that connections are made to.
    pub number: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Do connections come from `virtualInbound`?
    pub captured: bool,
    /// The address of a socket of its own.
    pub bind: Arc<str>,
    /// Where the workload is.
    pub target: Target,
    /// TLS that ends here.
    pub tls: Tls,
    /// Limits towards the workload.
    pub pool: Option<ConnectionPool>,
    /// What it was made from.
    pub origins: Vec<Origin>,
    /// What was wrong on the way, with the object it is about.
    pub problems: Vec<(Code, ObjectKey, Origin, String)>,
}

/// TLS of a port.
#[derive(Debug)]
pub(super) enum Tls {
    /// None: what comes is carried on as it is.
    None,
    /// It ends here.
    Ends(TransportSocket),
    /// It should end here and can't.
    Refused,
}

/// Where a workload is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
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
    let mut by_number: BTreeMap<u16, InboundPort> = BTreeMap::new();
    let captures;
    match &sidecar {
        Some(found) if !found.spec.ingress.is_empty() => {
            let pool = found.spec.inbound_connection_pool.as_ref();
            for listener in &found.spec.ingress {
                if let Some(port) = ingress(listener, pool, view, never, (&found.key, &found.origin)) {
                    by_number.entry(port.number).or_insert(port);
                }
            }
            captures = by_number.values().any(|port| port.captured);
        }
        _ => {
            let spec = sidecar.as_ref().map(|found| &*found.spec);
            captures = captures_outbound(spec, never);
            if captures {
                of_services(r, view, mesh, spec, &mut by_number);
            }
        }
    }
    Ports { ports: by_number.into_values().collect(), captures }
}

/// A `Sidecar` whose egress listeners all have sockets of their own is meant for a workload whose connections
/// nobody redirects: then none come to `virtualInbound` either.
fn captures_outbound(sidecar: Option<&Sidecar>, never: bool) -> bool {
    let captured = |mode| match mode {
        CaptureMode::None => false,
        CaptureMode::Default => !never,
        CaptureMode::Iptables => true,
    };
    match sidecar {
        Some(sidecar) if !sidecar.egress.is_empty() => {
            sidecar.egress.iter().any(|e| captured(e.capture_mode))
        }
        Some(_) | None => !never,
    }
}

/// <https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioIngressListener>
fn ingress(
    from: &IngressListener,
    shared_pool: Option<&ConnectionPool>,
    view: &InboundView,
    never: bool,
    about: (&ObjectKey, &Origin),
) -> Option<InboundPort> {
    let port = from.port.as_ref()?;
    let number = u16::try_from(port.number).ok().filter(|number| *number > 0)?;
    let captured = match from.capture_mode {
        CaptureMode::None => false,
        CaptureMode::Default => !never,
        CaptureMode::Iptables => true,
    };
    let mut problems = Vec::new();
    let target = target(&from.default_endpoint, view).unwrap_or_else(|| {
        if captured {
            return Target::Original;
        }
        if !from.default_endpoint.is_empty() {
            let message = format!("defaultEndpoint \"{}\" is no endpoint", from.default_endpoint);
            problems.push((notes::BAD_ENDPOINT, about.0.clone(), about.1.clone(), message));
        }
        // Without an endpoint and without a connection's own destination there is only this guess.
        Target::At("127.0.0.1".into(), number)
    });
    let protocol = Protocol::from_name(&port.protocol).unwrap_or(Protocol::Unknown);
    let offered = if protocol.is_http() || protocol == Protocol::Https { ALPN_HTTP } else { &[] };
    let tls = match from.tls.as_ref().map(|tls| terminate(tls, offered)) {
        None => Tls::None,
        Some(Ok(socket)) => Tls::Ends(socket),
        Some(Err(problem)) => {
            let message = format!("port {number} takes no connections: {problem}");
            problems.push((notes::NOT_TRANSLATED, about.0.clone(), about.1.clone(), message));
            Tls::Refused
        }
    };
    let bind = if from.bind.is_empty() { default_bind(view) } else { from.bind.as_str().into() };
    Some(InboundPort {
        number,
        protocol,
        captured,
        bind,
        target,
        tls,
        pool: from.connection_pool.as_ref().or(shared_pool).cloned(),
        origins: vec![about.1.clone()],
        problems,
    })
}

/// The node's own address, so that other workloads on the machine can have the same port.
fn default_bind(view: &InboundView) -> Arc<str> {
    view.addresses.first().map_or_else(|| "0.0.0.0".into(), |address| address.to_string().into())
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
fn of_services(
    r: &mut dyn Read,
    view: &InboundView,
    mesh: &MeshConfig,
    sidecar: Option<&Sidecar>,
    by_number: &mut BTreeMap<u16, InboundPort>,
) {
    let localhost =
        mesh.inbound_traffic_policy.as_ref().is_some_and(|policy| policy.mode == InboundMode::Localhost);
    for address in &view.addresses {
        let here = r.fact(&FactKey::ServicesAt(*address)).and_then(Fact::services_at);
        for (host, namespace) in here.iter().flat_map(|here| here.iter()) {
            let definitions = read::services(r, host);
            let Some(service) = definitions.iter().find(|s| s.namespace == *namespace && !s.external) else {
                continue;
            };
            let endpoints = read::endpoints(r, host, namespace);
            let own = endpoints.iter().find(|endpoint| endpoint.address == Address::Ip(*address));
            for port in &service.ports {
                let Some(number) = listening_port(service, port, own) else { continue };
                let found = by_number.entry(number).or_insert_with(|| InboundPort {
                    number,
                    protocol: port.protocol,
                    captured: true,
                    bind: "0.0.0.0".into(),
                    target: if localhost { Target::At("127.0.0.1".into(), number) } else { Target::Original },
                    tls: Tls::None,
                    pool: sidecar.and_then(|s| s.inbound_connection_pool.clone()),
                    origins: Vec::new(),
                    problems: Vec::new(),
                });
                // Two services that disagree about the protocol of one port: bytes are bytes in any case.
                if found.protocol.is_http() != port.protocol.is_http() {
                    found.protocol = Protocol::Tcp;
                }
                found.origins.push(service.origin.clone());
            }
        }
    }
}

fn listening_port(service: &Service, port: &Port, own: Option<&Endpoint>) -> Option<u16> {
    if port.protocol == Protocol::Udp {
        return None;
    }
    let by_name = own.and_then(|endpoint| endpoint.ports.get(&port.name).copied());
    let unnamed = own.filter(|_| service.only_port().is_some()).and_then(|e| e.ports.get("").copied());
    by_name.or(unnamed).or(port.target).or(Some(port.number))
}
