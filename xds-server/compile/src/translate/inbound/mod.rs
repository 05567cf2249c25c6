//! Traffic to a workload: the listeners in front of it, and the clusters that lead to it.
//!
//! Captured connections all come to `virtualInbound`, with a filter chain for each port; a `Sidecar`'s ingress
//! listeners of capture mode `NONE` are sockets of their own. Which ports there are is said by the `Sidecar`'s
//! ingress listeners, where it has any, else by the services that have an endpoint at the node's address.

mod chain;
mod cluster;
mod listener;
mod port;

use std::sync::Arc;

use lateen_xds::ResourceType;

use super::{Compiled, InboundView, Read, read};

/// Cluster for connections to ports that nobody described.
const PASSTHROUGH: &str = "InboundPassthroughCluster";
/// Listener that captured inbound connections come to.
const VIRTUAL_INBOUND: &str = "virtualInbound";

/// All inbound resources of a node. The names in them are Istio's: `virtualInbound`, `inbound|8080||`,
/// `InboundPassthroughCluster`; `127.0.0.1_8080` for a socket of its own.
pub fn inbound(r: &mut dyn Read, view: &InboundView) -> Vec<(ResourceType, Arc<str>, Compiled)> {
    let mesh = read::mesh(r);
    let found = port::ports(r, view, &mesh);
    let mut all = Vec::new();
    for port in &found.ports {
        let compiled = cluster::of_port(view, &mesh, port);
        all.push((ResourceType::Cluster, port.cluster_name(), compiled));
        if !port.captured {
            let listener = listener::bound(r, view, &mesh, port);
            all.extend(listener.map(|(name, compiled)| (ResourceType::Listener, name, compiled)));
        }
    }
    if found.captures {
        let (name, compiled) = listener::captured(r, view, &mesh, &found.ports);
        all.push((ResourceType::Listener, name, compiled));
        all.push((ResourceType::Cluster, PASSTHROUGH.into(), cluster::passthrough(view, &mesh)));
    }
    all
}
