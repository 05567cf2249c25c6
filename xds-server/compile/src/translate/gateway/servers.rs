//! The servers of all gateways of a node, merged by the socket they share.
//! <https://istio.io/latest/docs/reference/config/networking/gateway/#Server>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use lateen_config::istio::{Carries, Gateway, Server, ServerHost, ServerHosts, ServerTlsMode};
use lateen_model::{Diagnostic, Host, Severity, diagnostic::Code};
use lateen_registry::{GatewayId, Sourced};

use super::{ServerPart, ServerRole, plan::Socket};
use crate::translate::{Families, notes, server_tls::terminate};

/// The plan of all sockets of a gateway node.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// By address and port.
    pub sockets: BTreeMap<Socket, Merged>,
    /// What was found wrong.
    pub findings: BTreeSet<Diagnostic>,
    /// Names of route configurations that one server has for itself.
    taken: BTreeSet<Arc<str>>,
}

/// The servers that share a socket.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// In precedence order.
    pub parts: Vec<ServerPart>,
    /// Which of them was the first in the clear.
    plain: Option<usize>,
    /// Which of them has a host in TLS.
    owners: HashMap<Host, usize>,
    /// Was the address left to us?
    is_any: bool,
    /// Another address to listen on.
    pub also: Option<Arc<str>>,
}

/// The hosts of a server of this gateway.
pub(super) fn hosts<'a>(server: &'a Server, gateway: &'a GatewayId) -> impl Iterator<Item = ServerHost> + 'a {
    server.hosts.iter().filter_map(|text| ServerHost::parse(text, &gateway.namespace))
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
            let role = match role(id, server) {
                Ok(role) => role,
                Err(Refused::Tls(problem)) => {
                    if let Some(problem) = problem {
                        plan.findings.insert(closed(gateway, server, &problem));
                    }
                    ServerRole::Closed { hosts: Arc::default() }
                }
                Err(Refused::Other(message)) => {
                    plan.report(gateway, server, notes::NOT_TRANSLATED, message);
                    continue;
                }
            };
            plan.add(gateway, server, ServerPart { gateway: id.clone(), index, role }, families);
        }
    }
    let also: Vec<_> = plan.sockets.keys().map(|socket| plan.also(socket, families)).collect();
    plan.sockets.values_mut().zip(also).for_each(|(merged, also)| merged.also = also);
    plan.drop_closed();
    plan
}

/// What is closed of the servers of a `Gateway`, whoever it holds for.
pub(crate) fn closed_servers(gateway: &Sourced<Gateway>) -> Vec<Diagnostic> {
    let id = GatewayId::of(&gateway.key);
    let refused = |server| match role(&id, server) {
        Err(Refused::Tls(Some(problem))) => Some(closed(gateway, server, &problem)),
        Err(Refused::Tls(None) | Refused::Other(_)) | Ok(_) => None,
    };
    gateway.spec.servers.iter().filter_map(refused).collect()
}

/// Why a server is not served.
enum Refused {
    /// TLS that can't be had: what it protects is closed. Why, if nobody said so yet.
    Tls(Option<String>),
    Other(String),
}

impl Refused {
    fn tls(why: &str) -> Self {
        Self::Tls(Some(why.to_owned()))
    }

    fn other(why: &str) -> Self {
        Self::Other(why.to_owned())
    }
}

fn closed(gateway: &Sourced<Gateway>, server: &Server, problem: &str) -> Diagnostic {
    finding(
        gateway,
        server,
        (notes::UNAPPLIED, Severity::Error),
        format!("{problem}, so the server is closed: connections to its hosts end"),
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
    fn add(&mut self, gateway: &Sourced<Gateway>, server: &Server, part: ServerPart, families: Families) {
        let address: Arc<str> = match (server.bind.as_str(), families) {
            ("", Families::V4 | Families::Dual) => "0.0.0.0".into(),
            ("", Families::V6) => "::".into(),
            (bind, _) => bind.into(),
        };
        let Some(number) = port(server) else { return };
        let socket = self.sockets.entry((address, number)).or_default();
        let conflicts = if part.role.is_tls() {
            let hosts = ServerHosts::of(server, &part.gateway.namespace);
            socket.add_tls(&mut self.taken, part, &hosts)
        } else {
            socket.add_plain(part).err().into_iter().collect()
        };
        socket.is_any |= server.bind.is_empty();
        for message in conflicts {
            self.report(gateway, server, notes::CONFLICT, message);
        }
    }

    /// Nobody listens where all servers are closed, unless a wider socket would take their connections.
    fn drop_closed(&mut self) {
        let is_wide = |address: &str| address.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
        let is_open = |merged: &Merged| merged.parts.iter().any(|part| !part.role.is_closed());
        let all = self.sockets.iter();
        let wide: BTreeSet<u16> = all
            .filter(|((address, _), merged)| is_wide(address) && is_open(merged))
            .map(|((_, port), _)| *port)
            .collect();
        self.sockets.retain(|(address, port), merged| {
            is_open(merged) || (wide.contains(port) && !is_wide(address) && !merged.parts.is_empty())
        });
    }

    /// Where else a socket listens: on the addresses of the other family, where a server leaves them to us, and no
    /// server asks for them by name.
    fn also(&self, (address, port): &Socket, families: Families) -> Option<Arc<str>> {
        let other: Socket = ("::".into(), *port);
        let is_any = self.sockets.get(&(address.clone(), *port)).is_some_and(|merged| merged.is_any);
        let wanted = families == Families::Dual && &**address == "0.0.0.0" && is_any;
        (wanted && !self.sockets.contains_key(&other)).then_some(other.0)
    }

    fn report(&mut self, gateway: &Sourced<Gateway>, server: &Server, code: Code, message: String) {
        self.findings.insert(finding(gateway, server, (code, Severity::Warning), message, None));
    }
}

impl Merged {
    /// Servers in the clear share one route configuration, or there is only one.
    fn add_plain(&mut self, mut part: ServerPart) -> Result<(), String> {
        match self.plain.and_then(|first| self.parts.get(first)) {
            None => self.plain = Some(self.parts.len()),
            Some(first) => match (&first.role, &mut part.role) {
                (ServerRole::Http { route_config: shared }, ServerRole::Http { route_config }) => {
                    *route_config = shared.clone();
                }
                (role, _) => {
                    return Err(format!("the port is {} in {} already", role.as_str(), first.gateway));
                }
            },
        }
        self.parts.push(part);
        Ok(())
    }

    /// A server of TLS has the hosts that no earlier one of the socket has: a look-up for each, however many servers
    /// there are. Returns what is taken already.
    fn add_tls(
        &mut self,
        taken: &mut BTreeSet<Arc<str>>,
        mut part: ServerPart,
        hosts: &ServerHosts,
    ) -> Vec<String> {
        let mut free: Vec<Host> = Vec::new();
        let mut conflicts = Vec::new();
        for own in hosts.iter() {
            match self.owners.get(&own.host).and_then(|owner| self.parts.get(*owner)) {
                None => free.push(own.host.clone()),
                Some(other) => {
                    conflicts.push(format!("host {} of this port is in {} already", own.host, other.gateway));
                }
            }
        }
        if free.is_empty() {
            return conflicts;
        }
        free.sort();
        free.dedup();
        let index = self.parts.len();
        self.owners.extend(free.iter().map(|host| (host.clone(), index)));
        match &mut part.role {
            ServerRole::Closed { hosts } => *hosts = free.into(),
            ServerRole::Https { route_config } => {
                // Two names of gateways and ports can come to the same text.
                let wanted = route_config.clone();
                let mut number = 2;
                while !taken.insert(route_config.clone()) {
                    *route_config = format!("{wanted}~{number}").into();
                    number += 1;
                }
            }
            _ => {}
        }
        self.parts.push(part);
        conflicts
    }
}

/// What a server is.
fn role(id: &GatewayId, server: &Server) -> Result<ServerRole, Refused> {
    let (Some(number), Some(port)) = (port(server), &server.port) else {
        return Err(Refused::other("the server has no port"));
    };
    if server.closed {
        return Err(Refused::Tls(None));
    }
    let carries = server.carries();
    match (carries, server.tls.as_ref().map(|tls| tls.mode)) {
        // The only setting of TLS that a server of plain HTTP has is httpsRedirect.
        (Carries::Http, _) => {}
        (_, Some(ServerTlsMode::AutoPassthrough)) => {
            return Err(Refused::tls("TLS mode AUTO_PASSTHROUGH is not supported"));
        }
        (_, Some(ServerTlsMode::IstioMutual)) => {
            return Err(Refused::tls("TLS mode ISTIO_MUTUAL needs the mesh's own certificates"));
        }
        _ => {}
    }
    if let Carries::Https | Carries::Tls = carries {
        // Found out here, so that nothing else is made for a server that can't listen.
        let Some(tls) = &server.tls else { return Err(Refused::tls("a TLS server needs tls")) };
        terminate(tls, &[]).map_err(|problem| Refused::tls(&problem.to_string()))?;
    }
    let bind = if server.bind.is_empty() { String::new() } else { format!(".{}", server.bind) };
    Ok(match carries {
        Carries::Http => ServerRole::Http { route_config: format!("http.{number}{bind}").into() },
        Carries::Https => {
            let name = format!("https.{number}.{}.{}.{}{bind}", port.name, id.name, id.namespace);
            ServerRole::Https { route_config: name.into() }
        }
        Carries::Tls => ServerRole::TerminatedTls,
        Carries::Passthrough => ServerRole::Passthrough,
        Carries::Tcp => ServerRole::Tcp,
        Carries::Udp => return Err(Refused::other("UDP is not supported")),
    })
}
