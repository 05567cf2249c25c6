//! TLS of listeners: certificates from files, for gateway servers and for a sidecar's ingress listeners.

use lateen_config::istio::{ServerTls, ServerTlsMode, TlsVersion};
use lateen_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, TlsCertificate, TlsParameters,
    certificate_validation_context::TrustChainVerification, common_tls_context::ValidationContextType,
    tls_parameters::TlsProtocol,
};

use super::transport::{file, subject};

/// What a TLS listener offers by ALPN when it carries HTTP.
pub const ALPN_HTTP: &[&str] = &["h2", "http/1.1"];

/// Why a server cannot terminate TLS.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsProblem {
    /// The mode does not terminate TLS, or needs the mesh's own certificates.
    #[error("TLS mode {0} is not supported here")]
    Mode(&'static str),
    /// Neither files nor a secret.
    #[error("there is no server certificate with private key")]
    NoCertificate,
    /// Client certificates cannot be verified without one.
    #[error("TLS mode {0} needs caCertificates")]
    NoAuthority(&'static str),
    /// Certificates in secrets are not delivered yet.
    #[error("the certificate of credential \"{0}\" is not available; only certificates from files are")]
    Credential(String),
}

/// TLS that ends here as `tls` says, offering `alpn`.
/// <https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings>
pub fn terminate(tls: &ServerTls, alpn: &[&str]) -> Result<DownstreamTlsContext, TlsProblem> {
    let clients = match tls.mode {
        ServerTlsMode::Simple => Clients::NotAsked,
        ServerTlsMode::Mutual => Clients::Required,
        ServerTlsMode::OptionalMutual => Clients::Asked,
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough | ServerTlsMode::IstioMutual => {
            return Err(TlsProblem::Mode(tls.mode.as_str()));
        }
    };
    Ok(DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(parameters(tls)),
            tls_certificates: certificates(tls)?,
            alpn_protocols: alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
            validation_context_type: match clients {
                Clients::NotAsked => None,
                Clients::Asked | Clients::Required => Some(validation(tls)?),
            },
            ..CommonTlsContext::default()
        }),
        require_client_certificate: Some((clients == Clients::Required).into()),
        // A client that resumes a session is not asked for its certificate again; that would outlive a change
        // of the authority.
        disable_stateful_session_resumption: clients != Clients::NotAsked,
        ..DownstreamTlsContext::default()
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    NotAsked,
    Asked,
    Required,
}

fn certificates(tls: &ServerTls) -> Result<Vec<TlsCertificate>, TlsProblem> {
    let pairs: Vec<TlsCertificate> = tls
        .tls_certificates
        .iter()
        .map(|pair| (&pair.server_certificate, &pair.private_key))
        .chain(std::iter::once((&tls.server_certificate, &tls.private_key)))
        .filter(|(certificate, key)| !certificate.is_empty() && !key.is_empty())
        .map(|(certificate, key)| TlsCertificate {
            certificate_chain: Some(file(certificate)),
            private_key: Some(file(key)),
            ..TlsCertificate::default()
        })
        .collect();
    if !pairs.is_empty() {
        return Ok(pairs);
    }
    match tls.credential_names.first().or(Some(&tls.credential_name)) {
        Some(name) if !name.is_empty() => Err(TlsProblem::Credential(name.clone())),
        _ => Err(TlsProblem::NoCertificate),
    }
}

fn validation(tls: &ServerTls) -> Result<ValidationContextType, TlsProblem> {
    let authority = std::iter::once(&tls.ca_certificates)
        .chain(tls.tls_certificates.iter().map(|pair| &pair.ca_certificates))
        .find(|path| !path.is_empty());
    if !tls.ca_cert_credential_name.is_empty() {
        return Err(TlsProblem::Credential(tls.ca_cert_credential_name.clone()));
    }
    let pinned = !tls.verify_certificate_spki.is_empty() || !tls.verify_certificate_hash.is_empty();
    let trusting = tls.insecure_skip_verify == Some(true);
    if authority.is_none() && !pinned && !trusting {
        return Err(TlsProblem::NoAuthority(tls.mode.as_str()));
    }
    Ok(ValidationContextType::ValidationContext(CertificateValidationContext {
        trusted_ca: authority.map(|path| file(path)),
        crl: (!tls.ca_crl.is_empty()).then(|| file(&tls.ca_crl)),
        verify_certificate_spki: tls.verify_certificate_spki.clone(),
        verify_certificate_hash: tls.verify_certificate_hash.clone(),
        match_typed_subject_alt_names: tls.subject_alt_names.iter().flat_map(|name| subject(name)).collect(),
        trust_chain_verification: if trusting {
            TrustChainVerification::AcceptUntrusted.into()
        } else {
            TrustChainVerification::VerifyTrustChain.into()
        },
        ..CertificateValidationContext::default()
    }))
}

fn parameters(tls: &ServerTls) -> TlsParameters {
    TlsParameters {
        tls_minimum_protocol_version: match tls.min_protocol_version {
            // Istio's default is 1.2, Envoy's for servers too; written out, so that it does not move.
            TlsVersion::Auto => TlsProtocol::TlSv12,
            other => protocol(other),
        }
        .into(),
        tls_maximum_protocol_version: protocol(tls.max_protocol_version).into(),
        cipher_suites: tls.cipher_suites.clone(),
        ..TlsParameters::default()
    }
}

fn protocol(version: TlsVersion) -> TlsProtocol {
    match version {
        TlsVersion::Auto => TlsProtocol::TlsAuto,
        TlsVersion::V1_0 => TlsProtocol::TlSv10,
        TlsVersion::V1_1 => TlsProtocol::TlSv11,
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    }
}
