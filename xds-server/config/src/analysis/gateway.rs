//! Istio's `Gateway`.

use super::{Analyse, index::Index, shadow::host_covers};
use crate::{
    ParsedObject, codes,
    findings::Findings,
    istio::{Gateway, Server},
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
    for (number, server) in spec.servers.iter().enumerate() {
        let parent = at.field("servers");
        let at = parent.index(number);
        for earlier in spec.servers.iter().take(number) {
            collide(server, earlier, "another server of this gateway", &at, out);
        }
        for (other, gateway) in index.gateways.values() {
            // Gateways meet on the proxies that both select.
            let meets =
                gateway.selector == spec.selector && other.key != object.key && precedes(other, object);
            if meets {
                let name = other.key.to_string();
                gateway.servers.iter().for_each(|earlier| collide(server, earlier, &name, &at, out));
                shared_certificate(server, gateway, &name, &at, out);
            }
        }
        secrets(server, namespace, index, &at, out);
    }
}

/// Do two servers on one port exclude each other?
fn collide(server: &Server, earlier: &Server, whose: &str, at: &Path<'_>, out: &mut Findings) {
    let (Some(port), Some(earlier_port)) = (&server.port, &earlier.port) else { return };
    if port.number != earlier_port.number || server.bind != earlier.bind {
        return;
    }
    let class = |protocol: &str| match &*protocol.to_ascii_uppercase() {
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => "plain HTTP",
        "HTTPS" | "TLS" => "TLS",
        _ => "TCP",
    };
    let (own, other) = (class(&port.protocol), class(&earlier_port.protocol));
    if own != other {
        let message = format!("port {} carries {own} here and {other} in {whose}", port.number);
        out.error(codes::SERVER_PROTOCOL, &at.field("port").field("protocol"), message);
        return;
    }
    for (number, host) in server.hosts.iter().enumerate() {
        if earlier.hosts.contains(host) {
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
