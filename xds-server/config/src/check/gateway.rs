//! Istio's `Gateway`, and the servers' TLS settings that sidecars have too.

use std::collections::HashSet;

use super::{Check, names, service_entry, values};
use crate::{
    Metadata, codes,
    findings::Findings,
    istio::{Gateway, Server, ServerTls, ServerTlsMode},
    path::Path,
};

impl Check for Gateway {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        if self.servers.is_empty() {
            out.error(codes::MISSING, &at.field("servers"), "a gateway needs servers");
        }
        let mut known = HashSet::new();
        for (index, server) in self.servers.iter().enumerate() {
            let parent = at.field("servers");
            let at = parent.index(index);
            check_server(server, &at, out);
            // Istio's own rule, whatever the numbers of the ports are: "port names in servers must be unique".
            if let Some(port) = server.port.as_ref().filter(|port| !port.name.is_empty())
                && !known.insert(&*port.name)
            {
                let message =
                    format!("another server has the port name \"{}\" already", names::shorten(&port.name));
                out.error(codes::DUPLICATE_PART, &at.field("port").field("name"), message)
                    .hint("the port names of a gateway's servers are unique");
            }
        }
        names::labels(&self.selector, &at.field("selector"), out);
    }
}

fn check_server(server: &Server, at: &Path<'_>, out: &mut Findings) {
    if server.hosts.is_empty() {
        out.error(codes::MISSING, &at.field("hosts"), "a server needs hosts").hint("\"*\" is all of them");
    }
    for (index, host) in server.hosts.iter().enumerate() {
        namespaced_host(host, &at.field("hosts").index(index), out);
        if server.tls.as_ref().is_some_and(|tls| !tls.https_redirect) {
            let host = host.split_once('/').map_or(&**host, |(_, host)| host);
            names::server_name(host, &at.field("hosts").index(index), out);
        }
    }
    bind(&server.bind, &at.field("bind"), out);
    let Some(port) = &server.port else {
        out.error(codes::MISSING, &at.field("port"), "a server needs a port");
        return;
    };
    let port_at = at.field("port");
    if !server.bind.starts_with("unix://") {
        values::port(port.number, &port_at.field("number"), out);
    }
    if port.protocol.is_empty() {
        out.error(codes::MISSING, &port_at.field("protocol"), "the port needs a protocol");
    }
    service_entry::protocol(&port.protocol, &port_at.field("protocol"), out);
    if port.name.is_empty() {
        out.error(codes::MISSING, &port_at.field("name"), "the port needs a name");
    } else {
        service_entry::port_name(&port.name, &port_at.field("name"), out);
    }
    if port.target_port.is_some() {
        out.warn(
            codes::DEPRECATED,
            &port_at.field("targetPort"),
            "targetPort is deprecated and has no effect",
        );
    }
    check_tls_of(server, &port.protocol, at, out);
}

/// <https://istio.io/latest/docs/reference/config/networking/gateway/#Server>
fn check_tls_of(server: &Server, protocol: &str, at: &Path<'_>, out: &mut Findings) {
    let secure = matches!(&*protocol.to_ascii_uppercase(), "HTTPS" | "TLS");
    match &server.tls {
        None if secure => {
            let message = format!("a server with protocol {protocol} needs tls");
            out.error(codes::COMBINATION, &at.field("tls"), message);
        }
        Some(tls) if !secure && !only_redirects(tls) && !protocol.eq_ignore_ascii_case("TCP") => {
            let message = format!("with protocol {protocol}, tls can only be httpsRedirect: true");
            out.error(codes::COMBINATION, &at.field("tls"), message).hint("use protocol HTTPS or TLS");
        }
        Some(tls) if secure => {
            if tls.https_redirect {
                let message = "httpsRedirect is for servers without TLS";
                out.error(codes::COMBINATION, &at.field("tls").field("httpsRedirect"), message);
            }
            server_tls(tls, &at.field("tls"), out);
        }
        Some(tls) if protocol.eq_ignore_ascii_case("TCP") => server_tls(tls, &at.field("tls"), out),
        Some(_) | None => {}
    }
}

fn only_redirects(tls: &ServerTls) -> bool {
    *tls == ServerTls { span: tls.span, https_redirect: true, ..ServerTls::default() }
}

pub(crate) fn server_tls(tls: &ServerTls, at: &Path<'_>, out: &mut Findings) {
    let named = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
    let own = [
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ];
    let given = own.iter().find(|(_, is)| *is).map(|(name, _)| *name);
    match tls.mode {
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            certificate_sources(tls, named, at, out);
        }
        ServerTlsMode::IstioMutual | ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
            if let Some(name) = given {
                let message = format!("{name} has no place with mode {}", tls.mode.as_str());
                out.error(codes::COMBINATION, &at.field(name), message);
            }
        }
    }
    let needs_ca = matches!(tls.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    let ca = !tls.ca_certificates.is_empty()
        || !tls.ca_cert_credential_name.is_empty()
        || tls.tls_certificates.iter().any(|pair| !pair.ca_certificates.is_empty());
    if needs_ca && !ca && !named {
        let message = format!("mode {} needs caCertificates or a credentialName", tls.mode.as_str());
        out.error(codes::MISSING, &at.field("caCertificates"), message);
    }
    let (min, max) = (tls.min_protocol_version, tls.max_protocol_version);
    let auto = crate::istio::TlsVersion::Auto;
    if min != auto && max != auto && min > max {
        out.error(codes::COMBINATION, &at.field("maxProtocolVersion"), "the maximum is below the minimum");
    }
}

/// Where the certificate comes from: exactly one source.
fn certificate_sources(tls: &ServerTls, named: bool, at: &Path<'_>, out: &mut Findings) {
    let files = !tls.server_certificate.is_empty() || !tls.private_key.is_empty();
    let sources = [
        ("serverCertificate", files),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ];
    values::at_most_one(&sources, at, out);
    if !named && !files && tls.tls_certificates.is_empty() {
        let message = format!("mode {} needs a certificate", tls.mode.as_str());
        out.error(codes::MISSING, at, message)
            .hint("give credentialName, or serverCertificate and privateKey");
    }
    let mut pair = |certificate: &str, key: &str, at: &Path<'_>| {
        for (name, value) in [("serverCertificate", certificate), ("privateKey", key)] {
            if value.is_empty() {
                out.error(codes::MISSING, &at.field(name), format!("{name} is missing"));
            }
        }
    };
    if files {
        pair(&tls.server_certificate, &tls.private_key, at);
    }
    for (index, entry) in tls.tls_certificates.iter().enumerate() {
        pair(&entry.server_certificate, &entry.private_key, &at.field("tlsCertificates").index(index));
    }
}

/// `host` or `namespace/host`.
fn namespaced_host(text: &str, at: &Path<'_>, out: &mut Findings) {
    let host = match text.split_once('/') {
        Some((namespace, host)) => {
            if !matches!(namespace, "." | "*") && !names::is_dns_label(namespace) {
                let message = format!("\"{}\" is not a namespace", names::shorten(namespace));
                out.error(codes::REFERENCE, at, message)
                    .hint("write namespace/host, ./host, */host, or host");
            }
            host
        }
        None => text,
    };
    if !names::is_ip(host) {
        names::wildcard_host(host, at, out);
    }
}

/// An IP address or a Unix socket.
pub(super) fn bind(text: &str, at: &Path<'_>, out: &mut Findings) {
    let socket = text.strip_prefix("unix://").is_some_and(|path| path.starts_with(['/', '@']));
    if !text.is_empty() && !names::is_ip(text) && !socket {
        let message = format!("\"{}\" is not an IP address or Unix socket", names::shorten(text));
        out.error(codes::ADDRESS, at, message);
    }
}
