//! Istio's `Gateway`.

use std::collections::{BTreeMap, HashSet};

use super::{
    Analyse,
    index::{Id, Index},
    kubernetes::target,
    shadow::host_covers,
};
use crate::{
    ParsedObject, codes,
    decode::IntOrString,
    findings::Findings,
    istio::{Carries, Gateway, Server},
    kubernetes,
    path::Path,
    precedence::precedes,
};

impl Analyse for Gateway {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        let id = (&*object.key.namespace, &*object.key.name);
        index.gateways.insert(id, (object, self));
    }

    fn look(&self, object: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        look(object, self, index, at, out);
    }
}

fn look(object: &ParsedObject, spec: &Gateway, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    let namespace = &*object.key.namespace;
    // Where the proxies of no gateway are among the workloads, those of this one are just not listed.
    if index.knows_gateways && index.selects_nothing(&spec.selector, None) {
        out.warn(codes::GATEWAY_SELECTOR, &at.field("selector"), "the selector matches no workload");
    }
    if !index.bound_gateways.contains(&(namespace, &*object.key.name)) {
        out.info(codes::GATEWAY_UNUSED, at, "no VirtualService is bound to the gateway");
    }
    let services = if spec.selector.is_empty() { Vec::new() } else { index.services_of(&spec.selector) };
    // Gateways meet on the proxies that both select.
    let met: Vec<_> = index
        .gateways
        .values()
        .filter(|(other, gateway)| {
            gateway.selector == spec.selector && other.key != object.key && precedes(other, object)
        })
        .map(|(other, gateway)| {
            let mut sockets = Sockets::default();
            gateway.servers.iter().for_each(|server| sockets.add(server));
            (other.key.to_string(), sockets, *gateway)
        })
        .collect();
    let mut earlier = Sockets::default();
    for (number, server) in spec.servers.iter().enumerate() {
        let parent = at.field("servers");
        let at = parent.index(number);
        earlier.collide(server, "another server of this gateway", &at, out);
        earlier.add(server);
        for (name, sockets, gateway) in &met {
            sockets.collide(server, name, &at, out);
            shared_certificate(server, gateway, name, &at, out);
        }
        secrets(server, namespace, index, &at, out);
        reached(server, &services, &at, out);
    }
}

/// Does a service of the gateway's proxies lead to the port? Without a service they are reached some other way.
fn reached(server: &Server, services: &[(Id<'_>, &kubernetes::Service)], at: &Path<'_>, out: &mut Findings) {
    let Some(port) = &server.port else { return };
    let targets = || services.iter().flat_map(|(_, service)| &service.ports).map(target);
    // What a name stands for only the pods say.
    let may_be = |target: IntOrString| match target {
        IntOrString::Int(number) => number == i64::from(port.number),
        IntOrString::String(_) => true,
    };
    if let ([((namespace, name), _), ..], false) = (services, targets().any(may_be)) {
        let message = format!(
            "the service {namespace}/{name} of the gateway's proxies has no port that leads to {}",
            port.number
        );
        out.warn(codes::SERVER_PORT, &at.field("port").field("number"), message)
            .hint("add a port with this targetPort to the service");
    }
}

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

/// The hosts of servers by port, address and what they carry.
#[derive(Default)]
struct Sockets<'a>(BTreeMap<(u32, &'a str), BTreeMap<Class, HashSet<&'a str>>>);

impl<'a> Sockets<'a> {
    fn add(&mut self, server: &'a Server) {
        let Some(port) = &server.port else { return };
        let classes = self.0.entry((port.number, &*server.bind)).or_default();
        classes.entry(Class::of(server)).or_default().extend(server.hosts.iter().map(|host| &**host));
    }

    /// Do these exclude a server on the same port?
    fn collide(&self, server: &Server, whose: &str, at: &Path<'_>, out: &mut Findings) {
        let Some(port) = &server.port else { return };
        let Some(classes) = self.0.get(&(port.number, &*server.bind)) else { return };
        let own = Class::of(server);
        for other in classes.keys().filter(|other| **other != own) {
            let (own, other) = (own.as_str(), other.as_str());
            let message = format!("port {} carries {own} here and {other} in {whose}", port.number);
            out.error(codes::SERVER_PROTOCOL, &at.field("port").field("protocol"), message);
        }
        let Some(hosts) = classes.get(&own) else { return };
        for (number, host) in server.hosts.iter().enumerate().filter(|(_, host)| hosts.contains(&***host)) {
            let message = format!("{whose} has the host {host} on port {} already", port.number);
            out.warn(codes::SERVER_TWICE, &at.field("hosts").index(number), message);
        }
    }
}

fn credentials(server: &Server) -> impl Iterator<Item = &String> {
    let tls = server.tls.iter();
    tls.flat_map(|tls| std::iter::once(&tls.credential_name).chain(&tls.credential_names))
        .filter(|name| !name.is_empty())
}

/// A browser reuses a connection for any host of the certificate; another gateway's routes are not on it.
/// <https://istio.io/latest/docs/ops/common-problems/network-issues/#404-errors-occur-when-multiple-gateways-configured-with-same-tls-certificate>
fn shared_certificate(server: &Server, gateway: &Gateway, whose: &str, at: &Path<'_>, out: &mut Findings) {
    for name in credentials(server) {
        let earlier = gateway.servers.iter().find(|earlier| credentials(earlier).any(|other| other == name));
        let Some(earlier) = earlier else { continue };
        let within = |host: &String| earlier.hosts.iter().any(|wide| host_covers(wide, host));
        if !server.hosts.iter().all(within) {
            let message = format!("{whose} has the certificate {name} too: reused connections get 404");
            out.warn(codes::SHARED_CERTIFICATE, &at.field("tls").field("credentialName"), message)
                .hint("put the hosts of one certificate into one gateway");
        }
    }
}

fn secrets(server: &Server, namespace: &str, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    let Some(secrets) = &index.secrets else { return };
    for name in credentials(server) {
        // A name with a scheme is not a secret's.
        let known =
            secrets.contains(&(namespace, &**name)) || secrets.contains(&(index.root_namespace, &**name));
        if !known && !name.contains("://") {
            let near = secrets.iter().filter(|(of, _)| *of == namespace).map(|(_, name)| *name);
            let near = crate::decode::nearest(name, near);
            let message = format!("the secret {namespace}/{name} is unknown");
            out.warn(codes::SECRET_UNKNOWN, &at.field("tls").field("credentialName"), message)
                .maybe_hint(near.map(|near| format!("did you mean {near}?")));
        }
    }
}
