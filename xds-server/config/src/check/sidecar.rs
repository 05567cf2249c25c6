//! `Sidecar`.

use std::collections::BTreeSet;

use super::{Check, gateway, names, service_entry, traffic_policy, values};
use crate::{
    Metadata, codes,
    findings::Findings,
    istio::{EgressListener, IngressListener, OutboundMode, Sidecar, SidecarPort},
    path::Path,
};

impl Check for Sidecar {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if let Some(selector) = &self.workload_selector {
            names::labels(&selector.labels, &at.field("workloadSelector").field("labels"), out);
        }
        let empty = self.ingress.is_empty() && self.egress.is_empty();
        if empty && self.outbound_traffic_policy.is_none() && self.inbound_connection_pool.is_none() {
            out.error(codes::MISSING, at, "the object says nothing").hint("give egress, or ingress");
        }
        let mut ports = BTreeSet::new();
        for (index, listener) in self.ingress.iter().enumerate() {
            let parent = at.field("ingress");
            let at = parent.index(index);
            ingress(listener, &at, out);
            let port = listener.port.as_ref().map(|port| port.number);
            if port.is_some_and(|port| !ports.insert(port)) {
                out.error(
                    codes::DUPLICATE_PART,
                    &at.field("port"),
                    "the port has an ingress listener already",
                );
            }
        }
        self.check_egress(&at.field("egress"), out);
        if let Some(pool) = &self.inbound_connection_pool {
            traffic_policy::connection_pool(pool, &at.field("inboundConnectionPool"), out);
        }
        if let Some(policy) = &self.outbound_traffic_policy {
            let at = at.field("outboundTrafficPolicy");
            if let Some(proxy) = &policy.egress_proxy {
                values::destination(Some(proxy), &at.field("egressProxy"), out);
                if policy.mode != Some(OutboundMode::AllowAny) {
                    out.error(codes::COMBINATION, &at.field("egressProxy"), "this needs mode ALLOW_ANY");
                }
            }
            if policy.mode.is_none() {
                // Proto's default is the first value, not the mesh's mode, which surprises.
                out.warn(codes::MISSING, &at, "without a mode, unknown hosts are blocked (REGISTRY_ONLY)");
            }
        }
    }
}

impl Sidecar {
    fn check_egress(&self, at: &Path<'_>, out: &mut Findings) {
        let mut binds = BTreeSet::new();
        for (index, listener) in self.egress.iter().enumerate() {
            let at = at.index(index);
            egress(listener, &at, out);
            if listener.port.is_none() && index + 1 < self.egress.len() {
                let message = "only the last egress listener may be without a port";
                out.error(codes::COMBINATION, &at, message);
            }
            let number = listener.port.as_ref().map(|port| port.number);
            if !binds.insert((&*listener.bind, number)) {
                out.error(codes::DUPLICATE_PART, &at, "there is an egress listener on this port already");
            }
        }
    }
}

fn ingress(listener: &IngressListener, at: &Path<'_>, out: &mut Findings) {
    match &listener.port {
        None => drop(out.error(codes::MISSING, &at.field("port"), "an ingress listener needs a port")),
        Some(listener_port) => port(listener_port, &listener.bind, &at.field("port"), out),
    }
    gateway::bind(&listener.bind, &at.field("bind"), out);
    if !listener.default_endpoint.is_empty() && !is_endpoint(&listener.default_endpoint) {
        let message = format!("\"{}\" is not an endpoint", names::shorten(&listener.default_endpoint));
        out.error(codes::ADDRESS, &at.field("defaultEndpoint"), message)
            .hint("write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix://PATH");
    }
    if let Some(tls) = &listener.tls {
        gateway::server_tls(tls, &at.field("tls"), out);
    }
    if let Some(pool) = &listener.connection_pool {
        traffic_policy::connection_pool(pool, &at.field("connectionPool"), out);
    }
}

/// <https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioIngressListener>
fn is_endpoint(text: &str) -> bool {
    if let Some(path) = text.strip_prefix("unix://") {
        return path.starts_with(['/', '@']);
    }
    text.parse::<std::net::SocketAddr>().is_ok_and(|address| {
        address.port() > 0 && (address.ip().is_loopback() || address.ip().is_unspecified())
    })
}

fn port(port: &SidecarPort, bind: &str, at: &Path<'_>, out: &mut Findings) {
    if !(bind.starts_with("unix://") && port.number == 0) {
        values::port(port.number, &at.field("number"), out);
    }
    service_entry::protocol(&port.protocol, &at.field("protocol"), out);
    if !port.name.is_empty() {
        service_entry::port_name(&port.name, &at.field("name"), out);
    }
    if port.target_port.is_some() {
        out.warn(codes::DEPRECATED, &at.field("targetPort"), "targetPort is deprecated and has no effect");
    }
}

fn egress(listener: &EgressListener, at: &Path<'_>, out: &mut Findings) {
    gateway::bind(&listener.bind, &at.field("bind"), out);
    match &listener.port {
        Some(listener_port) => port(listener_port, &listener.bind, &at.field("port"), out),
        None if listener.bind.starts_with("unix://") => {
            out.error(codes::COMBINATION, &at.field("bind"), "a Unix socket needs a port for its protocol");
        }
        None => {}
    }
    if listener.hosts.is_empty() {
        out.error(codes::MISSING, &at.field("hosts"), "an egress listener needs hosts")
            .hint("\"*/*\" is all");
    }
    for (index, host) in listener.hosts.iter().enumerate() {
        egress_host(host, &at.field("hosts").index(index), out);
    }
}

/// `namespace/host`, perhaps with `~` (or `!`) before it, which excludes: `~/host` does in all namespaces.
fn egress_host(text: &str, at: &Path<'_>, out: &mut Findings) {
    let Some((namespace, host)) = text.strip_prefix(['~', '!']).unwrap_or(text).split_once('/') else {
        let message = format!("\"{}\" has no namespace", names::shorten(text));
        out.error(codes::REFERENCE, at, message).hint("write namespace/host, ./host, or */host");
        return;
    };
    let all = namespace.is_empty() && text.starts_with('~');
    if !matches!(namespace, "." | "*") && !all && !names::is_dns_label(namespace) {
        let message = format!("\"{}\" is not a namespace", names::shorten(namespace));
        out.error(codes::REFERENCE, at, message);
    }
    names::wildcard_host(host, at, out);
}
