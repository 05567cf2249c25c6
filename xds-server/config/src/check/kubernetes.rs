//! Kubernetes' own objects.

use std::collections::BTreeSet;

use super::{Check, names, service_entry, values};
use crate::{
    Metadata, codes,
    decode::IntOrString,
    findings::Findings,
    kubernetes::{AddressType, EndpointSlice, Namespace, Pod, Secret, Service, ServiceType},
    path::Path,
};

impl Check for Service {
    fn check(&self, meta: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if !names::is_dns_label(&meta.name) {
            let name = Path::ROOT.field("metadata");
            out.error(codes::METADATA, &name.field("name"), "the name of a service must be a DNS label");
        }
        if self.kind == ServiceType::ExternalName {
            if !names::is_host(&self.external_name) && !names::is_ip(&self.external_name) {
                out.error(codes::HOST, &at.field("externalName"), "an ExternalName service needs a host");
            }
        } else if self.ports.is_empty() && self.cluster_ip != "None" {
            out.error(codes::MISSING, &at.field("ports"), "a service needs ports");
        }
        let cluster_ips =
            std::iter::once(&self.cluster_ip).chain(&self.cluster_ips).chain(&self.external_ips);
        for ip in cluster_ips.filter(|ip| !ip.is_empty() && *ip != "None" && !names::is_ip(ip)) {
            let message = format!("\"{}\" is not an IP address", names::shorten(ip));
            out.error(codes::ADDRESS, &at.field("clusterIP"), message);
        }
        self.check_ports(&at.field("ports"), out);
        self.check_effects(at, out);
    }
}

impl Service {
    /// What kube-proxy does and proxies of the mesh don't.
    fn check_effects(&self, at: &Path<'_>, out: &mut Findings) {
        let mut idle = |field: &str, why: &str| {
            let message = format!("{field} has no effect in the mesh, because {why}");
            out.warn(codes::NO_EFFECT, &at.field(field), message);
        };
        // The API server fills in `Cluster` and `None`.
        if self.internal_traffic_policy == "Local" {
            idle("internalTrafficPolicy", "clients don't tell on which node they are");
        }
        if !self.traffic_distribution.is_empty() {
            idle(
                "trafficDistribution",
                "localities are weighed by the localityLbSetting of a DestinationRule",
            );
        }
        if self.session_affinity == "ClientIP" {
            idle("sessionAffinity", "affinity is asked for with consistentHash in a DestinationRule");
        }
    }

    fn check_ports(&self, at: &Path<'_>, out: &mut Findings) {
        let (mut numbers, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for (index, port) in self.ports.iter().enumerate() {
            let at = at.index(index);
            values::port(port.port, &at.field("port"), out);
            if port.name.is_empty() && self.ports.len() > 1 {
                out.error(codes::MISSING, &at.field("name"), "with several ports, each needs a name");
            } else if !port.name.is_empty() {
                service_entry::port_name(&port.name, &at.field("name"), out);
                if !seen.insert(&*port.name) {
                    let message = format!("the port name {} occurs twice", port.name);
                    out.error(codes::DUPLICATE_PART, &at.field("name"), message);
                }
            }
            if !numbers.insert((port.port, port.protocol)) {
                let message = format!("the port {} is defined twice", port.port);
                out.error(codes::DUPLICATE_PART, &at.field("port"), message);
            }
            let target = &at.field("targetPort");
            match &port.target_port {
                Some(IntOrString::Int(number)) => {
                    values::port(u32::try_from(*number).unwrap_or_default(), target, out);
                }
                Some(IntOrString::String(name)) => service_entry::port_name(name, target, out),
                None => {}
            }
        }
    }
}

impl Check for EndpointSlice {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            for address in &endpoint.addresses {
                let ip = address.parse::<std::net::IpAddr>();
                let fits = match self.address_type {
                    AddressType::Ipv4 => ip.is_ok_and(|ip| ip.is_ipv4()),
                    AddressType::Ipv6 => ip.is_ok_and(|ip| ip.is_ipv6()),
                    AddressType::Fqdn => names::is_host(address),
                };
                if !fits {
                    let kind = self.address_type.as_str();
                    let message = format!("\"{}\" is not an address of type {kind}", names::shorten(address));
                    let parent = at.field("endpoints");
                    out.error(codes::ADDRESS, &parent.index(index).field("addresses"), message);
                }
            }
        }
        for (index, port) in self.ports.iter().enumerate() {
            values::maybe_port(port.port, &at.field("ports").index(index).field("port"), out);
        }
    }
}

impl Check for Namespace {
    fn check(&self, _: &Metadata, _: &Path<'_>, _: &mut Findings) {}
}

impl Check for Pod {
    fn check(&self, _: &Metadata, _: &Path<'_>, _: &mut Findings) {}
}

impl Check for Secret {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if self.kind != "kubernetes.io/tls" {
            return;
        }
        for (key, label) in [("tls.crt", "CERTIFICATE"), ("tls.key", "PRIVATE KEY")] {
            let at = at.field("data");
            match self.get(key) {
                None | Some([]) => {
                    out.error(codes::MISSING, &at.key(key), format!("a TLS secret needs {key}"));
                }
                Some(bytes) if !is_pem(bytes, label) => {
                    out.error(codes::ENCODING, &at.key(key), format!("{key} holds no {label} in PEM form"));
                }
                Some(_) => {}
            }
        }
    }
}

fn is_pem(bytes: &[u8], label: &str) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        text.lines()
            .any(|line| line.starts_with("-----BEGIN ") && line.trim_end_matches('-').ends_with(label))
    })
}
