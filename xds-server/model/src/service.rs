//! Services and their endpoints, the same for every platform.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{Host, Locality, Namespace, Origin};

/// What a port speaks; decides between an HTTP connection manager and a TCP proxy.
/// <https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// HTTP/1.1 (an upgrade to WebSocket included).
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC, that is HTTP/2.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// TLS that the application terminates, routed by SNI.
    Tls,
    /// HTTPS, to the proxy the same as TLS.
    Https,
    /// Opaque bytes.
    Tcp,
    /// Mongo, Redis and other databases: carried as TCP.
    OpaqueTcp,
    /// UDP: known, not carried.
    Udp,
    /// Not named: HTTP is sniffed where a listener can, TCP otherwise.
    Unknown,
}

impl Protocol {
    /// Is it routed request by request?
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Does the upstream expect HTTP/2 with prior knowledge?
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Is it routed by SNI?
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }

    /// Is it carried by a connection? Ports of UDP are known, but nothing listens or connects on them. A UDP
    /// and a TCP port of one number are two ports.
    pub fn is_carried(self) -> bool {
        self != Self::Udp
    }

    /// From a protocol name as in `appProtocol` or `ServiceEntry.ports[].protocol`, or the prefix of a port
    /// name (`http-web`). `None` when the text names no protocol.
    pub fn from_name(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let lower = lower.strip_prefix("kubernetes.io/").unwrap_or(&lower);
        Some(match lower {
            "http" | "http1" | "ws" => Self::Http,
            "http2" | "h2c" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "tls" => Self::Tls,
            // WebSocket over TLS. <https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol>
            "https" | "wss" => Self::Https,
            "tcp" => Self::Tcp,
            "mongo" | "mysql" | "redis" => Self::OpaqueTcp,
            "udp" => Self::Udp,
            _ => return None,
        })
    }
}

/// A port of a service.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Port {
    /// The number clients call, 1 to 65535.
    pub number: u16,
    /// Its name, unique in the service; may be empty for a single port.
    pub name: Arc<str>,
    /// What it speaks.
    pub protocol: Protocol,
    /// The number the instances listen on, where it is known from the service and differs.
    pub target: Option<u16>,
}

/// How the addresses of a service's instances are found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Resolution {
    /// Endpoints are facts of the mesh, delivered by EDS.
    Static,
    /// The proxy resolves the endpoints' names (`STRICT_DNS`).
    Dns,
    /// As [`Resolution::Dns`], one address at a time (`LOGICAL_DNS`).
    DnsRoundRobin,
    /// The connection goes where the client was going (`ORIGINAL_DST`).
    None,
}

/// Whom a service or a configuration object is visible to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Visibility {
    /// `*`: every namespace; the default.
    All,
    /// Only these (`.` is resolved to the object's own); empty for `~`: nobody.
    Namespaces(Arc<[Namespace]>),
}

impl Visibility {
    /// May `namespace` see it?
    pub fn allows(&self, namespace: &Namespace) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(list) => list.contains(namespace),
        }
    }
}

/// What a definition of a service is of. A platform's own service keeps its name from a `ServiceEntry` that gives
/// itself the same host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DefinedBy {
    /// The platform: a `Service` of Kubernetes, a service of Consul, Nomad or etcd.
    Platform,
    /// A `ServiceEntry`.
    ServiceEntry,
}

/// One definition of a service. A host may have several, from several platforms or namespaces.
#[derive(Clone, PartialEq, Debug)]
pub struct Service {
    /// What clients call it.
    pub host: Host,
    /// Namespace it belongs to.
    pub namespace: Namespace,
    /// Short name where the platform has one (`reviews`), else the host.
    pub name: Arc<str>,
    /// Who defines it.
    pub defined_by: DefinedBy,
    /// Ports in the order given.
    pub ports: Vec<Port>,
    /// Virtual IPs or CIDRs; empty for headless and for most `ServiceEntry` hosts.
    pub addresses: Vec<Arc<str>>,
    /// How instances are found.
    pub resolution: Resolution,
    /// Outside the mesh (`MESH_EXTERNAL`): no mesh TLS, no inbound sidecar.
    pub external: bool,
    /// Who sees it.
    pub export_to: Visibility,
    /// Expected names in the servers' certificates.
    pub subject_alt_names: Vec<Arc<str>>,
    /// Labels of the object.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Where it was read.
    pub origin: Origin,
    /// Seconds since the epoch, 0 where unknown: the older definition wins a conflict.
    pub created: i64,
}

impl Service {
    /// Returns the port of this number that is carried; `None` if there is none, or only one of UDP.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.carried_ports().find(|port| port.number == number)
    }

    /// Returns the port that is meant when none is named: the only one that is carried; `None` if there are several.
    pub fn only_port(&self) -> Option<&Port> {
        let mut ports = self.carried_ports();
        ports.next().filter(|_| ports.next().is_none())
    }

    /// Returns the ports that are carried, in the order given.
    pub fn carried_ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().filter(|port| port.protocol.is_carried())
    }
}

/// Health of an endpoint as its platform sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Health {
    /// Takes traffic.
    Healthy,
    /// Finishes what it has, takes no new traffic.
    Draining,
    /// Takes no traffic.
    Unhealthy,
}

/// Where an instance listens.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Address {
    /// IP address.
    Ip(std::net::IpAddr),
    /// Name that the proxy resolves.
    Name(Arc<str>),
    /// Path of a Unix socket.
    Unix(Arc<str>),
}

impl Address {
    /// Reads an IP address or `unix://PATH`; whatever else is taken for a name. [`Address::fault`] tells whether it
    /// is one.
    pub fn parse(text: &str) -> Self {
        if let Some(path) = text.strip_prefix("unix://") {
            return Self::Unix(path.into());
        }
        text.parse().map_or_else(|_| Self::Name(text.to_ascii_lowercase().into()), Self::Ip)
    }

    /// Returns why no instance can be reached there, `None` if one can.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Ip(ip) if ip.is_unspecified() => Some("an unspecified address leads nowhere"),
            Self::Ip(ip) if ip.is_multicast() => Some("a multicast address is not an instance's"),
            Self::Ip(_) => None,
            Self::Unix(path) if path.starts_with('/') && !path.contains('\0') => None,
            Self::Unix(_) => Some("the path of a socket must be absolute"),
            Self::Name(name) if name.is_empty() => Some("there is no address"),
            Self::Name(name) if is_name(name) => None,
            Self::Name(_) => Some("this is neither an IP address nor a host name"),
        }
    }
}

/// Is it a host name? One that ends in a number would be an address, and is a malformed one (`010.0.0.1`).
/// <https://www.rfc-editor.org/rfc/rfc1123#page-13>
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=63).contains(&label.len()) && label.chars().all(fits)
    };
    let body = text.strip_suffix('.').unwrap_or(text);
    let last = body.rsplit('.').next().unwrap_or_default();
    body.len() <= 253 && body.split('.').all(is_label) && !last.chars().all(|c| c.is_ascii_digit())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => fmt::Display::fmt(ip, f),
            Self::Name(name) => f.write_str(name),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

/// One instance of a service.
#[derive(Clone, PartialEq, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Its listening port by service port name; the entry under `""` is for ports without a name. 0 stands for a
    /// number that the platform did not give, or gave out of range: nothing is reached there.
    pub ports: Arc<BTreeMap<Arc<str>, u16>>,
    /// Labels that subsets and policies select by.
    pub labels: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    /// Region, zone, sub-zone.
    pub locality: Locality,
    /// Network; empty when there is one network.
    pub network: Arc<str>,
    /// Relative weight, at least 1.
    pub weight: u32,
    /// Health.
    pub health: Health,
    /// Service account, or empty.
    pub service_account: Arc<str>,
    /// Where it was read.
    pub origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_of_an_instance_is_told() {
        for good in ["10.0.0.1", "fd00::6", "db.example.com", "db.", "a_b", "1a", "unix:///run/x"] {
            assert_eq!(Address::parse(good).fault(), None, "{good}");
        }
        for bad in [
            "",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "010.0.0.1",
            "[::1]",
            "a b",
            "10.0.0.1:80",
            "a..b",
            "unix://x",
            "*.a",
        ] {
            assert!(Address::parse(bad).fault().is_some(), "{bad}");
        }
    }

    #[test]
    fn web_sockets_over_tls_are_https() {
        assert_eq!(Protocol::from_name("kubernetes.io/wss"), Some(Protocol::Https));
        assert_eq!(Protocol::from_name("kubernetes.io/ws"), Some(Protocol::Http));
    }
}
