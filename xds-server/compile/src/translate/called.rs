//! What a host is called beside its own name, and which of these names are somebody else's for the client.

use std::{net::IpAddr, sync::Arc};

use lateen_model::{Host, Resolution, Service};
use lateen_registry::{Fact, FactKey};

use super::{Aliases, Read};
use crate::select::Client;

/// The names of a host. A name that is somebody else's host for the client is theirs, on the ports on which the client
/// calls them: Envoy refuses a route configuration in which a name stands twice. Objects that the client does not see
/// take nothing from it.
#[derive(Debug, Default)]
pub(super) struct Called(Vec<Name>);

#[derive(Debug)]
struct Name {
    text: Arc<str>,
    /// Is it a short name, that other kinds of clients call the host by as well?
    is_alias: bool,
    taken: Taken,
}

/// The ports on which a name is theirs, for each of the others; empty for all ports.
type Taken = Vec<Vec<u16>>;

fn is_free(taken: &Taken, port: u16) -> bool {
    taken.iter().all(|ports| !ports.is_empty() && !ports.contains(&port))
}

impl Called {
    /// The names of a host.
    pub(super) fn of(
        r: &mut dyn Read,
        client: &Client<'_>,
        host: &Host,
        service: Option<&Service>,
        aliases: &Aliases,
    ) -> Self {
        let calls = |r: &mut dyn Read, name: &str| client.calls(r, &Host::from(name));
        let mut names: Vec<Name> = Vec::new();
        for text in aliases.names() {
            let taken = calls(r, &text).into_iter().collect();
            names.push(Name { text: text.into(), is_alias: true, taken });
        }
        let Some(service) = service else { return Self(names) };
        if service.resolution == Resolution::None && *aliases != Aliases::None {
            // The pods of a headless service have names below all of its own.
            // https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-hostname-and-subdomain-fields
            let above = names.iter().map(|name| (&*name.text, name.taken.clone()));
            let above = std::iter::once((host.as_str(), Vec::new())).chain(above);
            let below: Vec<_> = above.map(|(name, taken)| (format!("*.{name}"), taken)).collect();
            for (text, mut taken) in below {
                taken.extend(calls(r, &text));
                names.push(Name { text: text.into(), is_alias: false, taken });
            }
        }
        for ip in service.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
            let Some(mut taken) = before(r, client, service, ip) else { continue };
            taken.extend(calls(r, &ip.to_string()));
            // As it stands in a `Host` header: https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2
            let text = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            names.push(Name { text: text.into(), is_alias: false, taken });
        }
        Self(names)
    }

    /// The short names on a port.
    pub(super) fn aliases(&self, port: u16) -> impl Iterator<Item = Arc<str>> {
        let free = self.0.iter().filter(move |name| name.is_alias && is_free(&name.taken, port));
        free.map(|name| name.text.clone())
    }

    /// All names on a port.
    pub(super) fn names(&self, port: u16) -> impl Iterator<Item = Arc<str>> {
        let free = self.0.iter().filter(move |name| is_free(&name.taken, port));
        free.map(|name| name.text.clone())
    }
}

/// The ports of those definitions with this address that the client sees and that come before this one: the first has
/// it. `None` if it is not an address of this one.
fn before(r: &mut dyn Read, client: &Client<'_>, service: &Service, ip: IpAddr) -> Option<Taken> {
    let all = r.fact(&FactKey::AddressOf(ip)).and_then(Fact::services_at)?;
    let mut taken = Taken::new();
    for (host, namespace) in all.iter() {
        if *host == service.host && *namespace == service.namespace {
            return Some(taken);
        }
        taken.extend(client.calls_by_address(r, host, namespace));
        if !service.ports.iter().any(|port| is_free(&taken, port.number)) {
            return None;
        }
    }
    None
}
