//! `ServiceEntry` and `WorkloadEntry`.

use std::collections::BTreeSet;

use lateen_model::Protocol;

use super::{Check, names, values};
use crate::{
    Metadata, codes,
    findings::Findings,
    istio::{EntryResolution, ServiceEntry, WorkloadEntry},
    path::Path,
};

impl Check for ServiceEntry {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        self.check_hosts(at, out);
        self.check_addresses(&at.field("addresses"), out);
        self.check_ports(&at.field("ports"), out);
        self.check_endpoints(at, out);
        names::export_to(&self.export_to, names::ExportOf::Services, &at.field("exportTo"), out);
        if let Some(selector) = &self.workload_selector {
            names::labels(&selector.labels, &at.field("workloadSelector").field("labels"), out);
        }
    }
}

impl ServiceEntry {
    fn check_hosts(&self, at: &Path<'_>, out: &mut Findings) {
        if self.hosts.is_empty() {
            out.error(codes::MISSING, &at.field("hosts"), "the object has no hosts");
        }
        let mut seen = BTreeSet::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let parent = at.field("hosts");
            let at = parent.index(index);
            if host == "*" {
                out.error(codes::HOST, &at, "the host * would take over every service");
                continue;
            }
            names::wildcard_host(host, &at, out);
            if !seen.insert(host) {
                let message = format!("the host \"{}\" occurs twice", names::shorten(host));
                out.error(codes::DUPLICATE_PART, &at, message);
            }
            let by_name = matches!(self.resolution, EntryResolution::Dns | EntryResolution::DnsRoundRobin);
            if by_name
                && host.starts_with('*')
                && self.endpoints.is_empty()
                && self.workload_selector.is_none()
            {
                out.error(codes::COMBINATION, &at, "a wildcard can't be resolved by DNS")
                    .hint("give endpoints, or resolution NONE or DYNAMIC_DNS");
            }
            if self.resolution == EntryResolution::DynamicDns && !host.starts_with('*') {
                out.error(codes::COMBINATION, &at, "DYNAMIC_DNS is for wildcards").hint("use resolution DNS");
            }
        }
    }

    fn check_addresses(&self, at: &Path<'_>, out: &mut Findings) {
        for (index, address) in self.addresses.iter().enumerate() {
            let at = at.index(index);
            if !names::is_subnet(address) {
                let message = format!("\"{}\" is not an IP address or subnet", names::shorten(address));
                out.error(codes::ADDRESS, &at, message);
            } else if address.contains('/')
                && !matches!(self.resolution, EntryResolution::None | EntryResolution::Static)
            {
                out.error(codes::COMBINATION, &at, "subnets go only with resolution NONE and STATIC");
            }
        }
    }

    fn check_ports(&self, at: &Path<'_>, out: &mut Findings) {
        let (mut numbers, mut port_names) = (BTreeSet::new(), BTreeSet::new());
        for (index, port) in self.ports.iter().enumerate() {
            let at = at.index(index);
            values::port(port.number, &at.field("number"), out);
            values::maybe_port(port.target_port, &at.field("targetPort"), out);
            port_name(&port.name, &at.field("name"), out);
            protocol(&port.protocol, &at.field("protocol"), out);
            if !numbers.insert(port.number) {
                let message = format!("the port {} is defined twice", port.number);
                out.error(codes::DUPLICATE_PART, &at.field("number"), message);
            }
            if !port_names.insert(&*port.name) {
                let message = format!("the port name \"{}\" occurs twice", names::shorten(&port.name));
                out.error(codes::DUPLICATE_PART, &at.field("name"), message);
            }
            if port.target_port.is_some() && self.resolution == EntryResolution::None {
                out.warn(
                    codes::NO_EFFECT,
                    &at.field("targetPort"),
                    "targetPort has no effect, because with resolution NONE the port can't change",
                );
            }
        }
    }

    /// <https://istio.io/latest/docs/reference/config/networking/service-entry/#ServiceEntry-Resolution>
    fn check_endpoints(&self, at: &Path<'_>, out: &mut Findings) {
        let list = at.field("endpoints");
        let some = !self.endpoints.is_empty();
        if some && self.workload_selector.is_some() {
            out.error(codes::EXCLUSIVE, &list, "endpoints and workloadSelector exclude each other");
        }
        if self.resolution == EntryResolution::DynamicDns {
            let message = "DYNAMIC_DNS has no effect beyond NONE, because names are not resolved for clients: connections \
                           go to the address that the client chose";
            out.warn(codes::NO_EFFECT, &at.field("resolution"), message);
        }
        match self.resolution {
            EntryResolution::None | EntryResolution::DynamicDns if some => {
                let mode = self.resolution.as_str();
                out.error(codes::COMBINATION, &list, format!("resolution {mode} takes no endpoints"));
            }
            EntryResolution::Static if !some && self.workload_selector.is_none() => {
                out.error(codes::MISSING, &list, "resolution STATIC needs endpoints or a workloadSelector");
            }
            EntryResolution::DnsRoundRobin if self.endpoints.len() > 1 => {
                out.error(codes::COMBINATION, &list, "resolution DNS_ROUND_ROBIN takes one endpoint");
            }
            EntryResolution::None
            | EntryResolution::Static
            | EntryResolution::Dns
            | EntryResolution::DnsRoundRobin
            | EntryResolution::DynamicDns => {}
        }
        let port_names: BTreeSet<&str> = self.ports.iter().map(|port| &*port.name).collect();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let at = list.index(index);
            workload(endpoint, &at, out);
            let address = &*endpoint.address;
            let fits = match self.resolution {
                EntryResolution::Static => names::is_ip(address) || address.starts_with("unix://"),
                EntryResolution::Dns | EntryResolution::DnsRoundRobin => !address.starts_with("unix://"),
                EntryResolution::None | EntryResolution::DynamicDns => true,
            };
            if !fits && !address.is_empty() {
                let mode = self.resolution.as_str();
                let message = format!("\"{}\" can't be used with resolution {mode}", names::shorten(address));
                let hint =
                    if mode == "STATIC" { "give an IP address, or resolution DNS" } else { "use STATIC" };
                out.error(codes::COMBINATION, &at.field("address"), message).hint(hint);
            }
            for name in endpoint.ports.keys().filter(|name| !port_names.contains(&***name)) {
                let message = format!("the service has no port named \"{}\"", names::shorten(name));
                let near = crate::decode::nearest(name, port_names.iter().copied());
                out.error(codes::REFERENCE, &at.field("ports").key(name), message)
                    .maybe_hint(near.map(|near| format!("did you mean {near}?")));
            }
        }
    }
}

impl Check for WorkloadEntry {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        workload(self, at, out);
    }
}

fn workload(entry: &WorkloadEntry, at: &Path<'_>, out: &mut Findings) {
    let address = &*entry.address;
    if let Some(path) = address.strip_prefix("unix://") {
        if !path.starts_with(['/', '@']) || path.len() > 107 {
            out.error(codes::ADDRESS, &at.field("address"), "a Unix socket needs an absolute path");
        }
        if !entry.ports.is_empty() {
            out.error(codes::COMBINATION, &at.field("ports"), "a Unix socket has no ports");
        }
    } else if address.is_empty() {
        if entry.network.is_empty() {
            out.error(codes::MISSING, &at.field("address"), "an address is needed");
        }
    } else if !names::is_ip(address) && !names::is_host(address) {
        let message = format!("\"{}\" is not an IP address or host", names::shorten(address));
        out.error(codes::ADDRESS, &at.field("address"), message);
    }
    for (name, port) in &entry.ports {
        port_name(name, &at.field("ports").key(name), out);
        values::port(*port, &at.field("ports").key(name), out);
    }
    names::labels(&entry.labels, &at.field("labels"), out);
    let parts: Vec<_> = entry.locality.split('/').collect();
    if parts.len() > 3 || !entry.locality.is_empty() && parts.iter().any(|part| part.is_empty()) {
        out.error(codes::NAME, &at.field("locality"), "a locality is region/zone/subzone");
    }
}

/// The name of a port.
pub(super) fn port_name(name: &str, at: &Path<'_>, out: &mut Findings) {
    if !names::is_dns_label(&name.to_ascii_lowercase()) {
        let message = format!("\"{}\" is not the name of a port", names::shorten(name));
        out.error(codes::NAME, at, message);
    }
}

/// The protocol of a port; Istio treats none as TCP.
pub(super) fn protocol(name: &str, at: &Path<'_>, out: &mut Findings) {
    // These are no protocols of the model, only of Istio's API:
    // https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
    let known = Protocol::from_name(name).is_some() || name.eq_ignore_ascii_case("hbone") || name.is_empty();
    if !known {
        const PROTOCOLS: [&str; 11] =
            ["HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS", "UDP"];
        let hint = match crate::decode::nearest(name, PROTOCOLS) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the protocols are {}", PROTOCOLS.join(", ")),
        };
        let message = format!("unknown protocol \"{}\"", names::shorten(name));
        out.error(codes::UNKNOWN_VALUE, at, message).hint(hint);
    }
}
