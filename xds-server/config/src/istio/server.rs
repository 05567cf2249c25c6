//! What the servers of a `Gateway` say: what connections carry, and for which hosts they come.

use std::collections::HashMap;

use lateen_model::{Host, Namespace, Protocol};

use super::{Server, ServerTlsMode};

/// What the connections to a server carry, and who ends their TLS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Carries {
    /// HTTP in the clear.
    Http,
    /// HTTP in TLS that ends here.
    Https,
    /// Bytes in the clear.
    Tcp,
    /// Bytes in TLS that ends here.
    Tls,
    /// TLS that ends elsewhere.
    Passthrough,
    /// No connections.
    Udp,
}

impl Carries {
    /// Is it TLS that clients speak?
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls | Self::Passthrough)
    }
}

impl Server {
    /// By the protocol of the port, and by `tls` whatever the protocol is: only a server of plain HTTP has none, since
    /// all that it may say is `httpsRedirect`.
    /// <https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings-TLSmode>
    pub fn carries(&self) -> Carries {
        let protocol = self.port.as_ref().and_then(|port| Protocol::from_name(&port.protocol));
        match (protocol.unwrap_or(Protocol::Tcp), self.tls.as_ref().map(|tls| tls.mode)) {
            (protocol, _) if protocol.is_http() => Carries::Http,
            (Protocol::Udp, _) => Carries::Udp,
            (_, Some(ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough)) => Carries::Passthrough,
            (Protocol::Https, _) => Carries::Https,
            (Protocol::Tls, _) | (_, Some(_)) => Carries::Tls,
            (_, None) => Carries::Tcp,
        }
    }
}

/// A host that a server accepts, and the namespace whose `VirtualService`s may have it.
/// <https://istio.io/latest/docs/reference/config/networking/gateway/#Server>
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerHost {
    /// `None`: any.
    pub namespace: Option<Namespace>,
    /// The host, perhaps a wildcard.
    pub host: Host,
}

impl ServerHost {
    /// `host`, `namespace/host`, `./host`, `*/host`, of a gateway in the namespace `own`.
    pub fn parse(text: &str, own: &Namespace) -> Option<Self> {
        let (namespace, host) = text.split_once('/').unwrap_or(("*", text));
        let namespace = match namespace {
            "*" => None,
            "." => Some(own.clone()),
            "~" => return None,
            name => Some(Namespace::from(name)),
        };
        Some(Self { namespace, host: Host::from(host.to_ascii_lowercase()) })
    }

    /// May a `VirtualService` of this namespace have it?
    pub fn allows(&self, namespace: &Namespace) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
    }

    /// What a `VirtualService` of this namespace with this host gets of it: the narrower of the two hosts.
    pub fn meet(&self, namespace: &Namespace, host: &Host) -> Option<Host> {
        let met = if self.host == *host || self.host.covers(host) {
            host
        } else if host.covers(&self.host) {
            &self.host
        } else {
            return None;
        };
        self.allows(namespace).then(|| met.clone())
    }
}

/// The hosts of a server, to be asked for: the answer for a name is a few look-ups, however many hosts there are.
#[derive(Debug, Default)]
pub struct ServerHosts {
    all: Vec<ServerHost>,
    by_host: HashMap<Host, Vec<usize>>,
    /// Wildcards that end within a label.
    odd: Vec<usize>,
}

impl ServerHosts {
    /// Those of a server of a gateway in the namespace `own`.
    pub fn of(server: &Server, own: &Namespace) -> Self {
        let mut hosts = Self::default();
        for host in server.hosts.iter().filter_map(|text| ServerHost::parse(text, own)) {
            let index = hosts.all.len();
            let text = host.host.as_str();
            if text.starts_with('*') && text != "*" && !text.starts_with("*.") {
                hosts.odd.push(index);
            }
            hosts.by_host.entry(host.host.clone()).or_default().push(index);
            hosts.all.push(host);
        }
        hosts
    }

    /// All of them, as they are written.
    pub fn iter(&self) -> impl Iterator<Item = &ServerHost> {
        self.all.iter()
    }

    /// Is this one of them, as it is written?
    pub fn has(&self, host: &Host) -> bool {
        self.by_host.contains_key(host)
    }

    /// What a `VirtualService` of this namespace with this host gets: each once, as [`ServerHost::meet`] says.
    pub fn met(&self, namespace: &Namespace, host: &Host) -> Vec<Host> {
        let allows = |index: &usize| self.all.get(*index).is_some_and(|own| own.allows(namespace));
        let covering = std::iter::once(host.clone()).chain(host.wildcards());
        let mut covering = covering.filter_map(|pattern| self.by_host.get(&pattern)).flatten();
        let is_odd = |index: &usize| {
            self.all.get(*index).is_some_and(|own| own.host.covers(host) && own.allows(namespace))
        };
        let mut met: Vec<Host> = Vec::new();
        if covering.any(allows) || self.odd.iter().any(is_odd) {
            met.push(host.clone());
        }
        if host.is_wildcard() {
            let below = self
                .by_host
                .iter()
                .filter(|(own, of)| *own != host && host.covers(own) && of.iter().any(allows));
            met.extend(below.map(|(own, _)| own.clone()));
            met.sort();
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::{GatewayPort, ServerTls};

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

    #[test]
    fn hosts_that_are_looked_up_meet_as_those_that_are_compared() {
        let texts =
            ["*.example.com", "*-a.example.com", "./b.example.org", "a/*.org", "x.y", "a/x.y", "~/z.z"];
        let own = Namespace::from("infra");
        let server = Server { hosts: texts.map(str::to_owned).to_vec(), ..Server::default() };
        let hosts = ServerHosts::of(&server, &own);
        for namespace in ["infra", "a", "b"].map(Namespace::from) {
            for asked in
                ["*", "*.org", "*.com", "b.example.org", "x-a.example.com", "*.y", "x.y", "z.z", "*m"]
            {
                let asked = Host::from(asked);
                let mut wanted: Vec<Host> =
                    hosts.iter().filter_map(|host| host.meet(&namespace, &asked)).collect();
                wanted.sort();
                wanted.dedup();
                assert_eq!(hosts.met(&namespace, &asked), wanted, "{asked} in {namespace}");
            }
        }
    }

    #[test]
    fn tls_counts_whatever_the_protocol_is() {
        let carries = |protocol: &str, mode: Option<ServerTlsMode>| {
            let port = GatewayPort { protocol: protocol.to_owned(), ..GatewayPort::default() };
            let tls = mode.map(|mode| ServerTls { mode, ..ServerTls::default() });
            Server { port: Some(port), tls, ..Server::default() }.carries()
        };
        for protocol in ["TCP", "TLS", "HTTPS", "MONGO"] {
            assert_eq!(
                carries(protocol, Some(ServerTlsMode::Passthrough)),
                Carries::Passthrough,
                "{protocol}"
            );
        }
        assert_eq!(carries("TCP", Some(ServerTlsMode::Simple)), Carries::Tls);
        assert_eq!(carries("TCP", None), Carries::Tcp);
        assert_eq!(carries("HTTPS", Some(ServerTlsMode::Mutual)), Carries::Https);
        assert_eq!(carries("GRPC", Some(ServerTlsMode::Passthrough)), Carries::Http);
    }
}
