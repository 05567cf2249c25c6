//! `Gateway`. <https://istio.io/latest/docs/reference/config/networking/gateway/>

use super::common::Labels;
use crate::decode::{choice, object};

object! {
    /// Listeners at the edge of the mesh.
    pub struct Gateway {
        servers: Vec<Server> = "servers",
        /// Labels of the proxies that it configures.
        selector: Labels = "selector",
    }
}

object! {
    /// One listener, or a part of one.
    pub struct Server {
        port: Option<GatewayPort> = "port",
        bind: String = "bind",
        /// `host`, `namespace/host`, `./host`, `*/host`
        hosts: Vec<String> = "hosts",
        tls: Option<ServerTls> = "tls",
        name: String = "name",
    }
    made {
        /// Hosts that other servers of the port have. Routes may answer for them, connections don't come for them.
        misdirected: Vec<String>,
        /// Connections to its hosts end: it asks for something that can't be had, as is said elsewhere.
        closed: bool,
    }
    unsupported ["defaultEndpoint"] because "Envoy forwards to clusters only; Istio ignores it too"
}

object! {
    /// The port of a server.
    pub struct GatewayPort {
        number: u32 = "number",
        /// `HTTP`, `HTTPS`, `GRPC`, `GRPC-WEB`, `HTTP2`, `MONGO`, `TCP`, `TLS`, …
        protocol: String = "protocol",
        name: String = "name",
        /// Deprecated, and without effect in Istio too.
        target_port: Option<u32> = "targetPort",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings>
    pub struct ServerTls {
        https_redirect: bool = "httpsRedirect",
        mode: ServerTlsMode = "mode",
        server_certificate: String = "serverCertificate",
        private_key: String = "privateKey",
        ca_certificates: String = "caCertificates",
        ca_crl: String = "caCrl",
        credential_name: String = "credentialName",
        credential_names: Vec<String> = "credentialNames",
        ca_cert_credential_name: String = "caCertCredentialName",
        tls_certificates: Vec<TlsCertificate> = "tlsCertificates",
        subject_alt_names: Vec<String> = "subjectAltNames",
        verify_certificate_spki: Vec<String> = "verifyCertificateSpki",
        verify_certificate_hash: Vec<String> = "verifyCertificateHash",
        min_protocol_version: TlsVersion = "minProtocolVersion",
        max_protocol_version: TlsVersion = "maxProtocolVersion",
        cipher_suites: Vec<String> = "cipherSuites",
        insecure_skip_verify: Option<bool> = "insecureSkipVerify",
    }
    unsupported ["alpnProtocols"] because "a listener offers the protocols that it can carry"
    unsupported ["ecdhCurves"] because "the curves are Envoy's defaults"
}

object! {
    /// Files of one certificate.
    pub struct TlsCertificate {
        server_certificate: String = "serverCertificate",
        private_key: String = "privateKey",
        ca_certificates: String = "caCertificates",
    }
}

choice! {
    /// How a server uses TLS.
    pub enum ServerTlsMode {
        Passthrough = "PASSTHROUGH",
        Simple = "SIMPLE",
        Mutual = "MUTUAL",
        AutoPassthrough = "AUTO_PASSTHROUGH",
        IstioMutual = "ISTIO_MUTUAL",
        OptionalMutual = "OPTIONAL_MUTUAL",
    }
}

choice! {
    /// Version of TLS.
    pub enum TlsVersion {
        Auto = "TLS_AUTO",
        V1_0 = "TLSV1_0",
        V1_1 = "TLSV1_1",
        V1_2 = "TLSV1_2",
        V1_3 = "TLSV1_3",
    }
}
