//! Istio's `Gateway`.

use std::collections::BTreeMap;

use super::{
    Analyse,
    index::{Id, Index},
    kubernetes::target,
    meeting::{Sockets, credentials},
};
use crate::{
    ParsedObject, codes,
    decode::IntOrString,
    findings::Findings,
    istio::{Gateway, Server},
    kubernetes,
    path::Path,
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
    let id = (namespace, &*object.key.name);
    let meeting = index.meetings.get(&spec.selector);
    // Where the proxies of no gateway are among the workloads, those of this one are just not listed.
    if index.knows_gateways && meeting.is_some_and(|meeting| meeting.selects_nothing) {
        out.warn(codes::GATEWAY_SELECTOR, &at.field("selector"), "the selector matches no workload");
    }
    if !index.bound_gateways.contains(&id) {
        out.info(codes::GATEWAY_UNUSED, at, "no VirtualService is bound to the gateway");
    }
    let own = |_: usize| "another server of this gateway".to_owned();
    let mut earlier = Sockets::default();
    for (number, server) in spec.servers.iter().enumerate() {
        let parent = at.field("servers");
        let at = parent.index(number);
        earlier.collide(server, 1, &own, &at, out);
        earlier.add(server, 0);
        if let Some(meeting) = meeting {
            meeting.collide(id, server, &at, out);
            reached(server, &meeting.services, &at, out);
        }
        secrets(server, namespace, index, &at, out);
    }
}

/// Does a service of the gateway's proxies lead to the port? Without a service they are reached some other way.
fn reached(
    server: &Server,
    services: &BTreeMap<Id<'_>, &kubernetes::Service>,
    at: &Path<'_>,
    out: &mut Findings,
) {
    let Some(port) = &server.port else { return };
    let targets = || services.values().flat_map(|service| &service.ports).map(target);
    // What a name stands for only the pods say.
    let may_be = |target: IntOrString| match target {
        IntOrString::Int(number) => number == i64::from(port.number),
        IntOrString::String(_) => true,
    };
    if let (Some(((namespace, name), _)), false) = (services.first_key_value(), targets().any(may_be)) {
        let message = format!(
            "the service {namespace}/{name} of the gateway's proxies has no port that leads to {}",
            port.number
        );
        out.warn(codes::SERVER_PORT, &at.field("port").field("number"), message)
            .hint("add a port with this targetPort to the service");
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
