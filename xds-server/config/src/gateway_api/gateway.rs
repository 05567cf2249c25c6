//! `Gateway`. <https://gateway-api.sigs.k8s.io/reference/spec/#gateway>

use std::collections::BTreeMap;

use super::common::{LocalObjectRef, ObjectReference, SecretObjectRef};
use crate::{
    decode::{choice, object},
    istio::LabelSelector,
};

object! {
    /// Listeners at the edge of the mesh.
    pub struct Gateway {
        gateway_class_name: String = "gatewayClassName",
        listeners: Vec<Listener> = "listeners",
        addresses: Vec<GatewayAddress> = "addresses"
            without_effect "a gateway's addresses are those of its proxies",
        infrastructure: Option<GatewayInfrastructure> = "infrastructure"
            without_effect "nothing is deployed for a gateway: its proxies are there already",
        tls: Option<GatewayTls> = "tls",
    }
    unsupported ["allowedListeners"] because "ListenerSets are not read"
    unsupported ["defaultScope"] because "a route attaches to the parents that it names"
}

object! {
    /// One listener.
    pub struct Listener {
        name: String = "name",
        /// None is every host.
        hostname: Option<String> = "hostname",
        port: u32 = "port",
        /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP`, or an implementation's own with a domain.
        protocol: String = "protocol",
        tls: Option<ListenerTls> = "tls",
        allowed_routes: Option<AllowedRoutes> = "allowedRoutes",
    }
}

object! {
    /// TLS of a listener.
    pub struct ListenerTls {
        mode: ListenerTlsMode = "mode",
        certificate_refs: Vec<SecretObjectRef> = "certificateRefs",
        options: BTreeMap<String, String> = "options",
    }
}

choice! {
    /// Who ends TLS.
    pub enum ListenerTlsMode { Terminate = "Terminate", Passthrough = "Passthrough" }
}

object! {
    /// Which routes may attach to a listener.
    pub struct AllowedRoutes {
        namespaces: Option<RouteNamespaces> = "namespaces",
        kinds: Vec<RouteGroupKind> = "kinds",
    }
}

object! {
    /// From which namespaces routes may attach.
    pub struct RouteNamespaces {
        from: FromNamespaces = "from",
        selector: Option<LabelSelector> = "selector",
    }
}

choice! {
    /// From which namespaces routes may attach.
    pub enum FromNamespaces {
        Same = "Same",
        All = "All",
        Selector = "Selector",
        None = "None",
    }
}

object! {
    /// A kind of route.
    pub struct RouteGroupKind {
        /// None is `gateway.networking.k8s.io`.
        group: Option<String> = "group",
        kind: String = "kind",
    }
}

object! {
    /// An address that is asked for.
    pub struct GatewayAddress {
        /// `IPAddress`, `Hostname`, or an implementation's own with a domain. None is `IPAddress`.
        kind: Option<String> = "type",
        value: String = "value",
    }
}

object! {
    /// What the objects made for the gateway carry.
    pub struct GatewayInfrastructure {
        labels: BTreeMap<String, String> = "labels",
        annotations: BTreeMap<String, String> = "annotations",
        parameters_ref: Option<LocalObjectRef> = "parametersRef",
    }
}

object! {
    /// TLS of the whole gateway.
    pub struct GatewayTls {
        backend: Option<GatewayBackendTls> = "backend"
            without_effect "there is no TLS to backends that it could be the client certificate of",
        frontend: Option<FrontendTls> = "frontend"
            without_effect "certificates of clients are checked by the option lateen.io/ca-certificates of a listener: \
                            HTTPS listeners that this is for are not served",
    }
}

object! {
    /// The gateway's own certificate towards backends.
    pub struct GatewayBackendTls {
        client_certificate_ref: Option<SecretObjectRef> = "clientCertificateRef",
    }
}

object! {
    /// How clients' certificates are checked.
    pub struct FrontendTls {
        default: Option<FrontendTlsConfig> = "default",
        per_port: Vec<TlsPortConfig> = "perPort",
    }
}

object! {
    /// How clients' certificates are checked on one port.
    pub struct TlsPortConfig {
        port: u32 = "port",
        tls: Option<FrontendTlsConfig> = "tls",
    }
}

object! {
    /// How clients' certificates are checked.
    pub struct FrontendTlsConfig {
        validation: Option<FrontendTlsValidation> = "validation",
    }
}

object! {
    /// Which certificates are trusted.
    pub struct FrontendTlsValidation {
        ca_certificate_refs: Vec<ObjectReference> = "caCertificateRefs",
        mode: FrontendValidationMode = "mode",
    }
}

choice! {
    /// Are clients without a valid certificate let in?
    pub enum FrontendValidationMode {
        AllowValidOnly = "AllowValidOnly",
        AllowInsecureFallback = "AllowInsecureFallback",
    }
}
