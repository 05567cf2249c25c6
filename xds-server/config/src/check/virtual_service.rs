//! `VirtualService`: everything but its HTTP routes.

use std::collections::HashSet;

use super::{
    Check,
    names::{self, HostSet},
    values,
};
use crate::{
    Metadata, codes,
    findings::Findings,
    istio::{L4Match, RouteDestination, TcpRoute, TlsMatch, TlsRoute, VirtualService},
    path::Path,
};

impl Check for VirtualService {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if self.hosts.is_empty() {
            self.check_delegate(at, out);
        } else {
            self.check_hosts(&at.field("hosts"), out);
        }
        names::gateways(&self.gateways, &at.field("gateways"), out);
        names::export_to(&self.export_to, names::ExportOf::Configuration, &at.field("exportTo"), out);
        if self.http.is_empty() && self.tls.is_empty() && self.tcp.is_empty() {
            out.error(codes::MISSING, at, "at least one of http, tls, tcp is needed");
        }
        for (index, route) in self.http.iter().enumerate() {
            super::http_route::check(route, &at.field("http").index(index), out);
        }
        let hosts = if self.tls.is_empty() { HostSet::default() } else { HostSet::of(&self.hosts) };
        for (index, route) in self.tls.iter().enumerate() {
            tls(route, &hosts, &at.field("tls").index(index), out);
        }
        for (index, route) in self.tcp.iter().enumerate() {
            tcp(route, &at.field("tcp").index(index), out);
        }
    }
}

impl VirtualService {
    /// Without hosts it is one that others delegate to.
    /// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate>
    fn check_delegate(&self, at: &Path<'_>, out: &mut Findings) {
        if self.http.is_empty() {
            out.error(codes::MISSING, &at.field("hosts"), "the object has no hosts");
        }
        for (field, given) in [
            ("gateways", &self.gateways.is_empty()),
            ("tls", &self.tls.is_empty()),
            ("tcp", &self.tcp.is_empty()),
        ] {
            if !given {
                let message = format!("{field} has no place where there are no hosts (a delegate)");
                out.error(codes::COMBINATION, &at.field(field), message);
            }
        }
        let nested = self.http.iter().position(|route| route.delegate.is_some());
        if let Some(index) = nested {
            let at = at.field("http");
            out.error(codes::COMBINATION, &at.index(index).field("delegate"), "a delegate can't delegate");
        }
    }

    fn check_hosts(&self, at: &Path<'_>, out: &mut Findings) {
        let in_mesh = self.gateways.is_empty() || self.gateways.iter().any(|name| name == "mesh");
        let mut seen = HashSet::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let at = at.index(index);
            if host == "*" && in_mesh {
                out.error(codes::HOST, &at, "the host * is not allowed for sidecars")
                    .hint("name the hosts, or bind the object to a gateway");
            } else if !names::is_ip(host) {
                names::wildcard_host(host, &at, out);
            }
            if !seen.insert(host.to_ascii_lowercase()) {
                let message = format!("the host \"{}\" occurs twice", names::shorten(host));
                out.error(codes::DUPLICATE_PART, &at, message);
            }
        }
    }
}

fn tls(route: &TlsRoute, hosts: &HostSet, at: &Path<'_>, out: &mut Findings) {
    if route.matches.is_empty() {
        out.error(codes::MISSING, &at.field("match"), "a TLS route needs a match");
    }
    for (index, wanted) in route.matches.iter().enumerate() {
        tls_match(wanted, hosts, &at.field("match").index(index), out);
    }
    destinations(&route.route, at, out);
}

fn tls_match(wanted: &TlsMatch, hosts: &HostSet, at: &Path<'_>, out: &mut Findings) {
    if wanted.sni_hosts.is_empty() {
        out.error(codes::MISSING, &at.field("sniHosts"), "a TLS match needs sniHosts");
    }
    for (index, sni) in wanted.sni_hosts.iter().enumerate() {
        let parent = at.field("sniHosts");
        let at = parent.index(index);
        names::wildcard_host(sni, &at, out);
        names::server_name(sni, &at, out);
        if !hosts.covers(sni) {
            let message = format!("\"{}\" is not among the hosts of the object", names::shorten(sni));
            out.error(codes::HOST, &at, message).hint("add it to spec.hosts");
        }
    }
    subnets(&wanted.destination_subnets, &at.field("destinationSubnets"), out);
    values::maybe_port(wanted.port, &at.field("port"), out);
    names::labels(&wanted.source_labels, &at.field("sourceLabels"), out);
    names::gateways(&wanted.gateways, &at.field("gateways"), out);
}

fn tcp(route: &TcpRoute, at: &Path<'_>, out: &mut Findings) {
    for (index, wanted) in route.matches.iter().enumerate() {
        l4_match(wanted, &at.field("match").index(index), out);
    }
    destinations(&route.route, at, out);
}

fn l4_match(wanted: &L4Match, at: &Path<'_>, out: &mut Findings) {
    subnets(&wanted.destination_subnets, &at.field("destinationSubnets"), out);
    if !wanted.source_subnet.is_empty() {
        subnets(std::slice::from_ref(&wanted.source_subnet), &at.field("sourceSubnet"), out);
    }
    values::maybe_port(wanted.port, &at.field("port"), out);
    names::labels(&wanted.source_labels, &at.field("sourceLabels"), out);
    names::gateways(&wanted.gateways, &at.field("gateways"), out);
}

fn subnets(list: &[String], at: &Path<'_>, out: &mut Findings) {
    for (index, subnet) in list.iter().enumerate() {
        if !names::is_subnet(subnet) {
            let message = format!("\"{}\" is not an IP address or subnet", names::shorten(subnet));
            out.error(codes::ADDRESS, &at.index(index), message);
        }
    }
}

fn destinations(list: &[RouteDestination], at: &Path<'_>, out: &mut Findings) {
    let at = at.field("route");
    if list.is_empty() {
        out.error(codes::ACTION, &at, "the route has no destination");
    }
    for (index, entry) in list.iter().enumerate() {
        values::destination(entry.destination.as_ref(), &at.index(index).field("destination"), out);
    }
    values::weights(&list.iter().map(|entry| entry.weight).collect::<Vec<_>>(), &at, out);
}
