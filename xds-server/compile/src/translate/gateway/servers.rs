//! The servers of all gateways of a node, merged by the socket they share.
//! <https://istio.io/latest/docs/reference/config/networking/gateway/#Server>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_config::istio::{Gateway, Server, ServerTlsMode};
use lateen_model::{Diagnostic, Host, Namespace, Protocol, Severity, diagnostic::Code};
use lateen_registry::{GatewayId, Sourced};

use super::{ServerPart, ServerRole};
use crate::translate::{Families, notes, server_tls::terminate};

/// The plan of all sockets of a gateway node.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// By address and port.
    pub sockets: BTreeMap<(Arc<str>, u16), Vec<ServerPart>>,
    /// What was found wrong.
    pub findings: BTreeSet<Diagnostic>,
}

/// A host that a server accepts, and the namespaces whose `VirtualService`s may have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ServerHost {
    namespace: Option<Namespace>,
    host: Host,
}

impl ServerHost {
    /// `host`, `namespace/host`, `./host`, `*/host`.
    pub(super) fn parse(text: &str, own: &Namespace) -> Option<Self> {
        let (namespace, host) = text.split_once('/').unwrap_or(("*", text));
        let namespace = match namespace {
            "*" => None,
            "." => Some(own.clone()),
            "~" => return None,
            name => Some(Namespace::from(name)),
        };
        Some(Self { namespace, host: Host::from(host.to_ascii_lowercase()) })
    }

    /// The host itself.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// What a `VirtualService` of this namespace with this host gets of it: the narrower of the two hosts.
    pub(super) fn meet(&self, namespace: &Namespace, host: &Host) -> Option<Host> {
        if self.namespace.as_ref().is_some_and(|wanted| wanted != namespace) {
            return None;
        }
        narrower(&self.host, host).cloned()
    }
}

/// The narrower of two hosts, where one covers the other.
pub(super) fn narrower<'a>(left: &'a Host, right: &'a Host) -> Option<&'a Host> {
    if left == right || left.covers(right) {
        Some(right)
    } else if right.covers(left) {
        Some(left)
    } else {
        None
    }
}

/// The hosts of a server of this gateway.
pub(super) fn hosts(server: &Server, gateway: &GatewayId) -> Vec<ServerHost> {
    server.hosts.iter().filter_map(|text| ServerHost::parse(text, &gateway.namespace)).collect()
}

/// The number of a server's port, where it is one.
pub(super) fn port(server: &Server) -> Option<u16> {
    u16::try_from(server.port.as_ref()?.number).ok().filter(|number| *number > 0)
}

/// Merges the servers, oldest gateway first: what conflicts with an earlier server is left out and reported.
pub(super) fn merge(gateways: &[(GatewayId, Arc<Sourced<Gateway>>)], families: Families) -> Plan {
    let mut plan = Plan::default();
    for (id, gateway) in gateways {
        for (index, server) in gateway.spec.servers.iter().enumerate() {
            match part(id, index, server) {
                Ok(part) => plan.add(gateway, server, part, gateways, families),
                Err(Refused::Tls(problem)) => drop(plan.findings.insert(closed(gateway, server, &problem))),
                Err(Refused::Other(message)) => plan.report(gateway, server, notes::NOT_TRANSLATED, message),
            }
        }
    }
    plan
}

/// What is closed of the servers of a `Gateway`, whoever it holds for.
pub(crate) fn closed_servers(gateway: &Sourced<Gateway>) -> Vec<Diagnostic> {
    let id = GatewayId::of(&gateway.key);
    let refused = |(index, server)| match part(&id, index, server) {
        Err(Refused::Tls(problem)) => Some(closed(gateway, server, &problem)),
        Err(Refused::Other(_)) | Ok(_) => None,
    };
    gateway.spec.servers.iter().enumerate().filter_map(refused).collect()
}

/// Why a server is not served.
enum Refused {
    /// TLS that can't be had: what it protects is closed.
    Tls(String),
    Other(String),
}

impl Refused {
    fn other(why: &str) -> Self {
        Self::Other(why.to_owned())
    }
}

fn closed(gateway: &Sourced<Gateway>, server: &Server, problem: &str) -> Diagnostic {
    finding(
        gateway,
        server,
        (notes::UNAPPLIED, Severity::Error),
        format!("{problem}, so the server is closed: nothing takes connections to its hosts"),
        Some("give files (serverCertificate, privateKey, caCertificates), or mode PASSTHROUGH".to_owned()),
    )
}

fn finding(
    gateway: &Sourced<Gateway>,
    server: &Server,
    (code, severity): (Code, Severity),
    message: String,
    hint: Option<String>,
) -> Diagnostic {
    let mut origin = gateway.origin.clone();
    if server.span.line != 0 {
        (origin.line, origin.column) = (server.span.line, server.span.column);
    }
    Diagnostic {
        code,
        severity,
        object: Some(gateway.key.to_ref()),
        origin: Some(origin),
        path: String::new(),
        message,
        hint,
    }
}

impl Plan {
    fn add(
        &mut self,
        gateway: &Sourced<Gateway>,
        server: &Server,
        part: ServerPart,
        gateways: &[(GatewayId, Arc<Sourced<Gateway>>)],
        families: Families,
    ) {
        let address: Arc<str> = match (server.bind.as_str(), families) {
            ("", Families::V4 | Families::Dual) => "0.0.0.0".into(),
            ("", Families::V6) => "::".into(),
            (bind, _) => bind.into(),
        };
        let Some(number) = port(server) else { return };
        let socket = self.sockets.entry((address, number)).or_default();
        let (mut conflicts, mut refused) = (Vec::new(), false);
        let mut free = hosts(server, &part.gateway);
        for other in socket.iter() {
            match (other.role.is_tls(), part.role.is_tls()) {
                (false, false) if is_http(&other.role) && is_http(&part.role) => {}
                (false, false) => {
                    refused = true;
                    let kind = other.role.as_str();
                    conflicts.push(format!("the port is {kind} in {} already", other.gateway));
                    break;
                }
                // Told apart by the first bytes.
                (true, false) | (false, true) => {}
                (true, true) => {
                    let taken = hosts_of(other, gateways);
                    let (twice, rest) =
                        free.into_iter().partition(|mine| taken.iter().any(|t| t.host == mine.host));
                    let twice: Vec<ServerHost> = twice;
                    free = rest;
                    let message = |host: &ServerHost| {
                        format!("host {} of this port is in {} already", host.host, other.gateway)
                    };
                    conflicts.extend(twice.iter().map(message));
                    refused |= free.is_empty();
                }
            }
        }
        if !refused {
            socket.push(part);
        }
        for message in conflicts {
            self.report(gateway, server, notes::CONFLICT, message);
        }
    }

    fn report(&mut self, gateway: &Sourced<Gateway>, server: &Server, code: Code, message: String) {
        self.findings.insert(finding(gateway, server, (code, Severity::Warning), message, None));
    }
}

/// What a server is.
fn part(id: &GatewayId, index: usize, server: &Server) -> Result<ServerPart, Refused> {
    let (Some(number), Some(port)) = (port(server), &server.port) else {
        return Err(Refused::other("the server has no port"));
    };
    let protocol = Protocol::from_name(&port.protocol).unwrap_or(Protocol::Tcp);
    let route_config = |kind: &str| -> Arc<str> {
        let bind = if server.bind.is_empty() { String::new() } else { format!(".{}", server.bind) };
        match kind {
            "http" => format!("http.{number}{bind}").into(),
            _ => format!("https.{number}.{}.{}.{}{bind}", port.name, id.name, id.namespace).into(),
        }
    };
    let role = match (protocol, server.tls.as_ref().map(|tls| tls.mode)) {
        // The only setting of TLS that a server of plain HTTP has is httpsRedirect.
        (protocol, _) if protocol.is_http() => ServerRole::Http { route_config: route_config("http") },
        (Protocol::Tls | Protocol::Https, Some(ServerTlsMode::Passthrough)) => ServerRole::Passthrough,
        (_, Some(ServerTlsMode::AutoPassthrough)) => {
            return Err(Refused::Tls("TLS mode AUTO_PASSTHROUGH is not supported".to_owned()));
        }
        (_, Some(ServerTlsMode::IstioMutual)) => {
            return Err(Refused::Tls("TLS mode ISTIO_MUTUAL needs the mesh's own certificates".to_owned()));
        }
        (Protocol::Tls | Protocol::Https, None) => {
            return Err(Refused::Tls("a TLS server needs tls".to_owned()));
        }
        (Protocol::Https, Some(_)) => ServerRole::Https { route_config: route_config("https") },
        (Protocol::Udp, _) => return Err(Refused::other("UDP is not supported")),
        (_, Some(ServerTlsMode::Passthrough) | None) => ServerRole::Tcp,
        (_, Some(_)) => ServerRole::TerminatedTls,
    };
    if let (ServerRole::Https { .. } | ServerRole::TerminatedTls, Some(tls)) = (&role, &server.tls) {
        // Found out here, so that nothing else is made for a server that can't listen.
        terminate(tls, &[]).map_err(|problem| Refused::Tls(problem.to_string()))?;
    }
    Ok(ServerPart { gateway: id.clone(), index, role })
}

fn is_http(role: &ServerRole) -> bool {
    matches!(role, ServerRole::Http { .. })
}

fn hosts_of(part: &ServerPart, gateways: &[(GatewayId, Arc<Sourced<Gateway>>)]) -> Vec<ServerHost> {
    let gateway = gateways.iter().find(|(id, _)| *id == part.gateway);
    let server = gateway.and_then(|(_, gateway)| gateway.spec.servers.get(part.index));
    server.map(|server| hosts(server, &part.gateway)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gets_the_narrower_host() {
        let own = Namespace::from("infra");
        let meet = |server: &str, namespace: &str, host: &str| {
            let server = ServerHost::parse(server, &own)?;
            server.meet(&Namespace::from(namespace), &Host::from(host)).map(|host| host.to_string())
        };
        assert_eq!(meet("*", "a", "shop.example.com").as_deref(), Some("shop.example.com"));
        assert_eq!(meet("*.example.com", "a", "shop.example.com").as_deref(), Some("shop.example.com"));
        assert_eq!(meet("shop.example.com", "a", "*.example.com").as_deref(), Some("shop.example.com"));
        assert_eq!(meet("./*", "a", "x.y"), None);
        assert_eq!(meet("./*", "infra", "x.y").as_deref(), Some("x.y"));
        assert_eq!(meet("a/*", "a", "*").as_deref(), Some("*"));
        assert_eq!(meet("~/*", "a", "*"), None);
        assert_eq!(meet("shop.example.com", "a", "other.example.com"), None);
    }
}
