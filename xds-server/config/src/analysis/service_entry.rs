//! `ServiceEntry`.

use lateen_model::Protocol;

use super::{
    Analyse, common,
    index::{Index, entry_host},
};
use crate::{
    Kind, ParsedObject, codes,
    findings::Findings,
    istio::{EntryResolution, Location, ServiceEntry},
    path::Path,
    precedence::precedes,
};

impl Analyse for ServiceEntry {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        index.add_entry(object, self);
        if self.location == Location::MeshInternal {
            index.internal.insert((&object.key.namespace, &object.key.name));
        }
    }

    fn look(&self, object: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        look(object, self, index, at, out);
        // Nearly every mesh has many of them: it is said once.
        if index.internal.first() == Some(&(&*object.key.namespace, &*object.key.name)) {
            let message = format!(
                "MESH_INTERNAL has no effect yet, because there is no mutual TLS; {} entries say so",
                index.internal.len()
            );
            out.info(codes::NO_EFFECT, &at.field("location"), message);
        }
    }
}

fn look(object: &ParsedObject, spec: &ServiceEntry, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    common::export_to(&spec.export_to, index, at, out);
    let namespace = &*object.key.namespace;
    for (number, host) in spec.hosts.iter().enumerate() {
        let parent = at.field("hosts");
        let host_at = parent.index(number);
        let full = entry_host(host);
        for known in index.find(&full).unwrap_or_default() {
            let Some(other) = known.object.filter(|other| other.key != object.key) else { continue };
            match other.key.kind {
                Kind::Service if known.namespace.as_str() != namespace => {
                    let (message, hint) = super::foreign_entry(&full, &known.namespace, &namespace.into());
                    out.warn(codes::FOREIGN_HOST, &host_at, message).hint(hint);
                }
                Kind::ServiceEntry if precedes(other, object) => {
                    same_host(spec, known, other, at, &host_at, out);
                }
                _ => {}
            }
        }
    }
    for (number, port) in spec.ports.iter().enumerate() {
        let opaque = matches!(
            Protocol::from_name(&port.protocol),
            None | Some(Protocol::Tcp | Protocol::OpaqueTcp | Protocol::Unknown)
        );
        // With an address of its own, or none that the proxy would have to know, there is nothing to mix up.
        if opaque && spec.addresses.is_empty() && spec.resolution != EntryResolution::None {
            let parent = at.field("ports");
            let message =
                format!("without an address, port {} takes all TCP connections to that port", port.number);
            out.warn(codes::ENTRY_ADDRESS, &parent.index(number).field("protocol"), message)
                .hint("give addresses, or protocol TLS or HTTP, which name their host");
        }
    }
    if let Some(selector) = &spec.workload_selector
        && index.selects_nothing(&selector.labels, Some(namespace))
    {
        let at = at.field("workloadSelector");
        out.warn(codes::ENTRY_SELECTOR, &at, "the selector matches no workload");
    }
}

/// Two entries for one host: their ports must not collide.
fn same_host(
    spec: &ServiceEntry,
    known: &super::index::Known<'_>,
    other: &ParsedObject,
    at: &Path<'_>,
    host_at: &Path<'_>,
    out: &mut Findings,
) {
    for (number, port) in spec.ports.iter().enumerate() {
        let Some((_, protocol)) = known.ports.iter().find(|(same, _)| *same == port.number) else { continue };
        if *protocol == Protocol::from_name(&port.protocol) {
            let message = format!("{} defines port {} of this host already", other.key, port.number);
            out.warn(codes::ENTRY_TWICE, host_at, message);
        } else {
            let parent = at.field("ports");
            let message = format!("{} gives port {} of this host another protocol", other.key, port.number);
            out.warn(codes::ENTRY_PROTOCOL, &parent.index(number).field("protocol"), message);
        }
    }
}
