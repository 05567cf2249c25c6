//! Proxyless gRPC clients: an API listener for each target.
//! <https://grpc.github.io/grpc/core/md_doc_grpc_xds_features.html>

use std::sync::Arc;

use lateen_model::{Host, Protocol};
use lateen_xds::ResourceType;

use super::{Bind, ClientProfile, Compiled, ListenerPart, Read, names, notes::Notes, read};
use crate::plan::{Http, Site, api_listener, rds};

/// The route configuration of a target: it has the name of the target's cluster, as in Istio.
pub(crate) fn route_config(host: &str, port: u16) -> Arc<str> {
    names::cluster(port, None, host)
}

/// The targets under which a service's port is known: `xds:///HOST:PORT`.
pub(crate) fn listeners(host: &Host, aliases: &[Arc<str>], port: u16) -> Vec<(Arc<str>, ListenerPart)> {
    let route_config = route_config(host.as_str(), port);
    let names = std::iter::once(host.to_string()).chain(aliases.iter().map(ToString::to_string));
    let listener = |name: String| {
        let bind = Bind { address: "".into(), port, bound: false };
        (format!("{name}:{port}").into(), ListenerPart::Http { bind, route_config: route_config.clone() })
    };
    names.map(listener).collect()
}

/// Can a gRPC client call such a port?
pub(crate) fn calls(protocol: Protocol) -> bool {
    protocol != Protocol::Udp
}

/// The listener of a target.
pub(crate) fn listener(r: &mut dyn Read, name: &str, parts: &[ListenerPart]) -> Option<Compiled> {
    let Some(ListenerPart::Http { route_config, .. }) = parts.first() else { return None };
    let mesh = read::mesh(r);
    let mut notes = Notes::default();
    notes.reference(r, ResourceType::RouteConfiguration, route_config);
    let site = Site::outbound(&mesh, ClientProfile::Grpc);
    let http = Http::new(&site, "grpc".to_owned(), rds(ClientProfile::Grpc, route_config));
    Some(notes.compiled(&api_listener(name, http)))
}
