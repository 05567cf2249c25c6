//! Gateways with one selector: they meet on the proxies that it selects.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{index::Id, selectors::Selectors, shadow::host_covers};
use crate::{
    ParsedObject, codes,
    findings::Findings,
    istio::{Carries, Gateway, Labels, Server},
    kubernetes::Service,
    path::Path,
    precedence::precedes,
};

/// So many different lists of hosts with one certificate are compared with those of a server.
const LISTS_MAX: usize = 100;

/// What a port carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    PlainHttp,
    Tls,
    Tcp,
}

impl Class {
    fn of(server: &Server) -> Self {
        match server.carries() {
            Carries::Http => Self::PlainHttp,
            Carries::Https | Carries::Tls | Carries::Passthrough => Self::Tls,
            Carries::Tcp | Carries::Udp => Self::Tcp,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::PlainHttp => "plain HTTP",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
        }
    }
}

/// The hosts of servers by port, address and what they carry, each with the place of the first that has it.
#[derive(Default)]
pub(super) struct Sockets<'a>(BTreeMap<(u32, &'a str), BTreeMap<Class, Carried<'a>>>);

struct Carried<'a> {
    first: usize,
    hosts: HashMap<&'a str, usize>,
}

impl<'a> Sockets<'a> {
    /// Adds a server of the owner with this place, behind those of lower ones.
    pub(super) fn add(&mut self, server: &'a Server, owner: usize) {
        let Some(port) = &server.port else { return };
        let classes = self.0.entry((port.number, &*server.bind)).or_default();
        let carried = classes
            .entry(Class::of(server))
            .or_insert_with(|| Carried { first: owner, hosts: HashMap::new() });
        for host in &server.hosts {
            carried.hosts.entry(host).or_insert(owner);
        }
    }

    /// Do servers of owners before this one exclude a server on the same port?
    pub(super) fn collide(
        &self,
        server: &Server,
        before: usize,
        whose: &dyn Fn(usize) -> String,
        at: &Path<'_>,
        out: &mut Findings,
    ) {
        let Some(port) = &server.port else { return };
        let Some(classes) = self.0.get(&(port.number, &*server.bind)) else { return };
        let own = Class::of(server);
        for (other, carried) in classes.iter().filter(|(other, it)| **other != own && it.first < before) {
            let (own, other, whose) = (own.as_str(), other.as_str(), whose(carried.first));
            let message = format!("port {} carries {own} here and {other} in {whose}", port.number);
            out.error(codes::SERVER_PROTOCOL, &at.field("port").field("protocol"), message);
        }
        let Some(carried) = classes.get(&own) else { return };
        for (number, host) in server.hosts.iter().enumerate() {
            if let Some(first) = carried.hosts.get(&**host).filter(|first| **first < before) {
                let whose = whose(*first);
                let message = format!("{whose} has the host {host} on port {} already", port.number);
                out.warn(codes::SERVER_TWICE, &at.field("hosts").index(number), message);
            }
        }
    }
}

/// The gateways with one selector, and what they have in common.
pub(super) struct Meeting<'a> {
    /// In the order in which they count.
    gateways: Vec<&'a ParsedObject>,
    places: HashMap<Id<'a>, usize>,
    sockets: Sockets<'a>,
    /// Hosts of servers by certificate, with the place of the first gateway that has them so.
    certificates: HashMap<&'a str, Vec<(usize, &'a [String])>>,
    /// Does the selector match no workload, although there are some?
    pub(super) selects_nothing: bool,
    /// Services of the proxies.
    pub(super) services: BTreeMap<Id<'a>, &'a Service>,
}

/// The gateways by their selectors.
pub(super) fn meetings<'a>(
    gateways: &BTreeMap<Id<'a>, (&'a ParsedObject, &'a Gateway)>,
    selectors: &Selectors<'a>,
) -> HashMap<&'a Labels, Meeting<'a>> {
    let mut by_selector: HashMap<&'a Labels, Vec<_>> = HashMap::new();
    for (&id, &(object, gateway)) in gateways {
        by_selector.entry(&gateway.selector).or_default().push((id, object, gateway));
    }
    by_selector
        .into_iter()
        .map(|(selector, all)| (selector, Meeting::new(selector, all, selectors)))
        .collect()
}

impl<'a> Meeting<'a> {
    fn new(
        selector: &'a Labels,
        mut all: Vec<(Id<'a>, &'a ParsedObject, &'a Gateway)>,
        selectors: &Selectors<'a>,
    ) -> Self {
        all.sort_by(|(_, one, _), (_, other, _)| precedes(other, one).cmp(&precedes(one, other)));
        let mut meeting = Self {
            gateways: Vec::new(),
            places: HashMap::new(),
            sockets: Sockets::default(),
            certificates: HashMap::new(),
            selects_nothing: selectors.knows(None) && selectors.find(None, selector).next().is_none(),
            services: if selector.is_empty() { BTreeMap::new() } else { selectors.services_of(selector) },
        };
        let mut seen = HashSet::new();
        for (place, (id, object, gateway)) in all.into_iter().enumerate() {
            meeting.gateways.push(object);
            meeting.places.insert(id, place);
            let mut own = HashSet::new();
            for server in &gateway.servers {
                meeting.sockets.add(server, place);
                for name in credentials(server).filter(|name| own.insert(*name)) {
                    if seen.insert((name, &server.hosts)) {
                        meeting.certificates.entry(name).or_default().push((place, &server.hosts));
                    }
                }
            }
        }
        meeting
    }

    /// What a server of a gateway has that one which counts more has already.
    pub(super) fn collide(&self, id: Id<'_>, server: &Server, at: &Path<'_>, out: &mut Findings) {
        let Some(&place) = self.places.get(&id) else { return };
        let name = |at: usize| self.gateways.get(at).map(|object| object.key.to_string()).unwrap_or_default();
        self.sockets.collide(server, place, &name, at, out);
        self.shared_certificate(server, place, &name, at, out);
    }

    /// A browser reuses a connection for any host of the certificate; another gateway's routes are not on it.
    /// <https://istio.io/latest/docs/ops/common-problems/network-issues/#404-errors-occur-when-multiple-gateways-configured-with-same-tls-certificate>
    fn shared_certificate(
        &self,
        server: &Server,
        place: usize,
        whose: &dyn Fn(usize) -> String,
        at: &Path<'_>,
        out: &mut Findings,
    ) {
        for name in credentials(server) {
            let all = self.certificates.get(&**name).into_iter().flatten();
            let mut earlier = all.take_while(|(first, _)| *first < place).take(LISTS_MAX);
            let lacks = |hosts: &[String]| {
                !server.hosts.iter().all(|host| hosts.iter().any(|wide| host_covers(wide, host)))
            };
            if let Some((first, _)) = earlier.find(|(_, hosts)| lacks(hosts)) {
                let whose = whose(*first);
                let message = format!("{whose} has the certificate {name} too: reused connections get 404");
                out.warn(codes::SHARED_CERTIFICATE, &at.field("tls").field("credentialName"), message)
                    .hint("put the hosts of one certificate into one gateway");
            }
        }
    }
}

/// The secrets that a server names.
pub(super) fn credentials(server: &Server) -> impl Iterator<Item = &String> {
    let tls = server.tls.iter();
    tls.flat_map(|tls| std::iter::once(&tls.credential_name).chain(&tls.credential_names))
        .filter(|name| !name.is_empty())
}
