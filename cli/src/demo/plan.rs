//! Who runs in the demo, and on which loopback addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
};

/// Namespace of everything in the demo.
pub const NAMESPACE: &str = "demo";

/// What a service speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// gRPC.
    Grpc,
    /// HTTP/1.1 that is upgraded to WebSocket.
    WebSocket,
    /// Bytes.
    Tcp,
}

impl Speaks {
    /// The protocol of the service's port, as Istio names it.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Http1 | Self::WebSocket => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::Tcp => "TCP",
        }
    }
}

/// One instance of a service with a sidecar of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// The service it is an instance of.
    pub service: &'static str,
    /// Label of the instance.
    pub version: &'static str,
    /// What it speaks.
    pub speaks: Speaks,
    /// Last byte of its sidecar's addresses.
    number: u8,
}

const fn workload(
    number: u8,
    name: &'static str,
    service: &'static str,
    version: &'static str,
    speaks: Speaks,
) -> Workload {
    Workload { name, service, version, speaks, number }
}

/// The front, which calls all others.
pub const SHOP: Workload = workload(1, "shop", "shop", "v1", Speaks::Http1);
/// All of them, the front first.
pub const WORKLOADS: [Workload; 9] = [
    SHOP,
    workload(2, "catalog-v1", "catalog", "v1", Speaks::Http1),
    workload(3, "catalog-v2", "catalog", "v2", Speaks::Http1),
    workload(4, "reviews", "reviews", "v1", Speaks::Http2),
    workload(5, "cart", "cart", "v1", Speaks::Grpc),
    workload(6, "chat", "chat", "v1", Speaks::WebSocket),
    workload(7, "ledger", "ledger", "v1", Speaks::Tcp),
    workload(8, "flaky-1", "flaky", "v1", Speaks::Http1),
    workload(9, "flaky-2", "flaky", "v1", Speaks::Http1),
];

impl Workload {
    /// Where its calls enter its sidecar.
    pub fn egress(&self) -> IpAddr {
        Ipv4Addr::new(127, 0, 1, self.number).into()
    }

    /// Where calls to it enter its sidecar.
    pub fn ingress(&self) -> IpAddr {
        Ipv4Addr::new(127, 0, 2, self.number).into()
    }
}

/// Full name of a service.
pub fn host(service: &str) -> String {
    format!("{service}.{NAMESPACE}.svc.cluster.local")
}

/// The ports of the mesh's listeners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// All services that speak HTTP.
    pub http: u16,
    /// The one that does not.
    pub tcp: u16,
    /// The ingress gateway, on 127.0.0.1.
    pub ingress: u16,
}

/// First choice for the services' ports.
const HTTP_FIRST: u16 = 8000;
const TCP_FIRST: u16 = 9000;
/// How many ports are tried before giving up.
const ATTEMPTS: u16 = 200;

impl Ports {
    /// Ports on which nothing listens on any of the addresses that the sidecars will bind.
    pub fn choose(ingress: u16) -> io::Result<Self> {
        let all = || WORKLOADS.iter().flat_map(|workload| [workload.egress(), workload.ingress()]);
        let free = |first: u16| {
            let mut candidates = first..first.saturating_add(ATTEMPTS);
            candidates.find(|port| *port != ingress && all().all(|ip| is_free(SocketAddr::new(ip, *port))))
        };
        match (free(HTTP_FIRST), free(TCP_FIRST)) {
            (Some(http), Some(tcp)) => Ok(Self { http, tcp, ingress }),
            _ => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "no port is free on all of 127.0.1.1-9 and 127.0.2.1-9 (this needs Linux, where all of \
                 127.0.0.0/8 is loopback)",
            )),
        }
    }

    /// Port of a service.
    pub fn of(self, speaks: Speaks) -> u16 {
        match speaks {
            Speaks::Tcp => self.tcp,
            Speaks::Http1 | Speaks::Http2 | Speaks::Grpc | Speaks::WebSocket => self.http,
        }
    }
}

/// Is nothing listening there?
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}
