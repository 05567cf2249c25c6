//! TLS towards endpoints, and what wraps it.
//! <https://istio.io/latest/docs/reference/config/networking/destination-rule/#ClientTLSSettings>

use lateen_config::istio::{ClientTls, ClientTlsMode, ProxyProtocol, ProxyProtocolVersion};
use lateen_model::Service;
use lateen_proto::{
    any::pack,
    envoy::{
        config::core::v3::{
            self as core, ProxyProtocolConfig, TransportSocket, data_source, proxy_protocol_config,
        },
        extensions::transport_sockets::{
            proxy_protocol::v3::ProxyProtocolUpstreamTransport,
            raw_buffer::v3::RawBuffer,
            tls::v3::{
                CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, TlsCertificate,
                UpstreamTlsContext, common_tls_context::ValidationContextType,
                subject_alt_name_matcher::SanType,
            },
        },
    },
};

use super::{ClientProfile, wire};

/// Authorities that the client's system trusts: used where a rule asks for TLS and names none, so that
/// nobody is trusted by accident.
pub(crate) const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How a cluster's connections are made.
#[derive(Debug, Default)]
pub(crate) struct Transport {
    /// None is plain text.
    pub socket: Option<TransportSocket>,
    /// The server's name is taken from each request.
    pub auto_sni: bool,
    /// The certificate's names are compared with that name.
    pub auto_san_validation: bool,
}

/// Why TLS can't be had as a rule asks for it; `None` if it can.
pub(crate) fn refusal(tls: &ClientTls, profile: ClientProfile) -> Option<&'static str> {
    match (tls.mode, profile) {
        (ClientTlsMode::Disable, _) => None,
        (ClientTlsMode::IstioMutual, _) if tls.unreadable => Some("the rule can't be read"),
        (ClientTlsMode::IstioMutual, _) => Some("mode ISTIO_MUTUAL needs the mesh's own certificates"),
        // Which authorities a client trusts stands in its own bootstrap, and its credentials decide whether what
        // we send is looked at: https://github.com/grpc/proposal/blob/master/A29-xds-tls-security.md
        (ClientTlsMode::Simple | ClientTlsMode::Mutual, ClientProfile::Grpc) => {
            Some("proxyless gRPC clients are not given TLS settings")
        }
        (ClientTlsMode::Simple | ClientTlsMode::Mutual, ClientProfile::Envoy(_) | ClientProfile::Lateen) => {
            let named =
                [&tls.credential_name, &tls.ca_cert_credential_name].into_iter().any(|name| !name.is_empty());
            named.then_some("certificates of a credentialName are not delivered")
        }
    }
}

/// The transport that a rule asks for, which [`refusal`] lets pass.
pub(crate) fn of(tls: &ClientTls, service: &Service, http2: bool) -> Transport {
    if tls.mode == ClientTlsMode::Disable {
        return Transport::default();
    }
    let verify = tls.insecure_skip_verify != Some(true);
    let auto_sni = tls.sni.is_empty();
    let sans = subject_alt_names(tls, service);
    let auto_san_validation = verify && sans.is_empty() && auto_sni;
    let validation = CertificateValidationContext {
        trusted_ca: verify.then(|| file(authorities(tls))),
        crl: (!tls.ca_crl.is_empty()).then(|| file(&tls.ca_crl)),
        match_typed_subject_alt_names: if verify { sans } else { Vec::new() },
        ..Default::default()
    };
    let mutual = tls.mode == ClientTlsMode::Mutual;
    let certificate = mutual.then(|| TlsCertificate {
        certificate_chain: Some(file(&tls.client_certificate)),
        private_key: Some(file(&tls.private_key)),
        ..Default::default()
    });
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificates: certificate.into_iter().collect(),
            alpn_protocols: if http2 { vec!["h2".into()] } else { Vec::new() },
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            ..Default::default()
        }),
        sni: tls.sni.clone(),
        ..Default::default()
    };
    let socket = Some(wire::transport_socket("envoy.transport_sockets.tls", pack(&context)));
    Transport { socket, auto_sni, auto_san_validation }
}

fn authorities(tls: &ClientTls) -> &str {
    match tls.ca_certificates.as_str() {
        "" | "system" => SYSTEM_AUTHORITIES,
        path => path,
    }
}

/// The names expected in the server's certificate: the rule's, else the service's, else the server name.
fn subject_alt_names(tls: &ClientTls, service: &Service) -> Vec<SubjectAltNameMatcher> {
    let mut names: Vec<&str> = tls.subject_alt_names.iter().map(String::as_str).collect();
    if names.is_empty() {
        names.extend(service.subject_alt_names.iter().map(|name| &**name));
    }
    if names.is_empty() && !tls.sni.is_empty() {
        names.push(&tls.sni);
    }
    names.into_iter().flat_map(subject).collect()
}

/// A name expected in a certificate. Istio's names have no type; Envoy's do, and the matchers are alternatives.
pub(crate) fn subject(name: &str) -> Vec<SubjectAltNameMatcher> {
    let types: &[SanType] = if name.contains("://") {
        &[SanType::Uri]
    } else if name.contains('@') {
        &[SanType::Email]
    } else if name.parse::<std::net::IpAddr>().is_ok() {
        &[SanType::IpAddress]
    } else {
        &[SanType::Dns, SanType::Uri]
    };
    types
        .iter()
        .map(|&san_type| SubjectAltNameMatcher {
            san_type: san_type.into(),
            matcher: Some(wire::exact(name)),
            ..SubjectAltNameMatcher::default()
        })
        .collect()
}

/// Puts a PROXY protocol header before what `inner` sends.
pub(crate) fn with_proxy_protocol(from: &ProxyProtocol, inner: Option<TransportSocket>) -> TransportSocket {
    let version = match from.version {
        ProxyProtocolVersion::V1 => proxy_protocol_config::Version::V1,
        ProxyProtocolVersion::V2 => proxy_protocol_config::Version::V2,
    };
    let plain = || wire::transport_socket("envoy.transport_sockets.raw_buffer", pack(&RawBuffer::default()));
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig { version: version as i32, ..Default::default() }),
        transport_socket: Some(inner.unwrap_or_else(plain)),
        ..Default::default()
    };
    wire::transport_socket("envoy.transport_sockets.upstream_proxy_protocol", pack(&transport))
}

/// A file on the proxy's machine.
pub(crate) fn file(path: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    }
}
