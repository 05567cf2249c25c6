//! The kinds of objects.

use std::{fmt, sync::Arc};

use lateen_model::diagnostic::ObjectRef;

/// The one list of kinds. A row gives the kind's name here, the type of its objects, group, name and plural of the
/// API, where its objects live, what of an object is read ([`Form`]), and which part of the registry takes it
/// ([`Role`]). Everything else follows from the row and from the type's traits: `Decode`, `Check`, `Analyse`.
macro_rules! table {
    ($then:ident) => {
        $then! {
            /// Istio's routes.
            VirtualService(istio::VirtualService) =
                "networking.istio.io", "VirtualService", "virtualservices", Namespace, Spec, Routing;
            /// Istio's policies of destinations.
            DestinationRule(istio::DestinationRule) =
                "networking.istio.io", "DestinationRule", "destinationrules", Namespace, Spec, Routing;
            /// Istio's services that no platform knows.
            ServiceEntry(istio::ServiceEntry) =
                "networking.istio.io", "ServiceEntry", "serviceentries", Namespace, Spec, Services;
            /// Istio's instances that no platform knows.
            WorkloadEntry(istio::WorkloadEntry) =
                "networking.istio.io", "WorkloadEntry", "workloadentries", Namespace, Spec, Services;
            /// Istio's gateways.
            IstioGateway(istio::Gateway) =
                "networking.istio.io", "Gateway", "gateways", Namespace, Spec, Routing;
            /// Istio's scopes of sidecars.
            Sidecar(istio::Sidecar) =
                "networking.istio.io", "Sidecar", "sidecars", Namespace, Spec, Routing;
            /// Istio's rules of who may call what.
            AuthorizationPolicy(istio::AuthorizationPolicy) =
                "security.istio.io", "AuthorizationPolicy", "authorizationpolicies", Namespace, Spec, Policy;
            /// Istio's rules of how connections are secured.
            PeerAuthentication(istio::PeerAuthentication) =
                "security.istio.io", "PeerAuthentication", "peerauthentications", Namespace, Spec, Policy;
            /// Istio's rules of the tokens of requests.
            RequestAuthentication(istio::RequestAuthentication) =
                "security.istio.io", "RequestAuthentication", "requestauthentications", Namespace, Spec, Policy;
            /// What Istio's workloads tell about their traffic.
            Telemetry(istio::Telemetry) =
                "telemetry.istio.io", "Telemetry", "telemetries", Namespace, Spec, Policy;
            /// Istio's patches of what proxies are given.
            EnvoyFilter(istio::EnvoyFilter) =
                "networking.istio.io", "EnvoyFilter", "envoyfilters", Namespace, Spec, Policy;
            /// Istio's filters in Wasm.
            WasmPlugin(istio::WasmPlugin) =
                "extensions.istio.io", "WasmPlugin", "wasmplugins", Namespace, Spec, Policy;
            /// Istio's filters in Wasm or Lua.
            TrafficExtension(istio::TrafficExtension) =
                "extensions.istio.io", "TrafficExtension", "trafficextensions", Namespace, Spec, Policy;
            /// Istio's settings of proxies.
            ProxyConfig(istio::WorkloadProxyConfig) =
                "networking.istio.io", "ProxyConfig", "proxyconfigs", Namespace, Spec, Policy;
            /// Istio's templates of instances.
            WorkloadGroup(istio::WorkloadGroup) =
                "networking.istio.io", "WorkloadGroup", "workloadgroups", Namespace, Spec, Policy;
            /// The mesh's configuration, from a `ConfigMap` named `istio` too.
            MeshConfig(istio::MeshConfig) =
                "lateen.io", "MeshConfig", "meshconfigs", Namespace, Spec, Mesh;
            /// Classes of gateways of the Gateway API.
            GatewayClass(gateway_api::GatewayClass) =
                "gateway.networking.k8s.io", "GatewayClass", "gatewayclasses", Cluster, Spec, GatewayApi;
            /// Gateways of the Gateway API.
            Gateway(gateway_api::Gateway) =
                "gateway.networking.k8s.io", "Gateway", "gateways", Namespace, Spec, GatewayApi;
            /// HTTP routes of the Gateway API.
            HttpRoute(gateway_api::HttpRoute) =
                "gateway.networking.k8s.io", "HTTPRoute", "httproutes", Namespace, Spec, GatewayApi;
            /// gRPC routes of the Gateway API.
            GrpcRoute(gateway_api::GrpcRoute) =
                "gateway.networking.k8s.io", "GRPCRoute", "grpcroutes", Namespace, Spec, GatewayApi;
            /// Permissions to refer to another namespace's objects.
            ReferenceGrant(gateway_api::ReferenceGrant) =
                "gateway.networking.k8s.io", "ReferenceGrant", "referencegrants", Namespace, Spec, GatewayApi;
            /// How gateways of the Gateway API connect to backends.
            BackendTlsPolicy(gateway_api::BackendTlsPolicy) =
                "gateway.networking.k8s.io", "BackendTLSPolicy", "backendtlspolicies", Namespace, Spec, Policy;
            /// Services of Kubernetes.
            Service(kubernetes::Service) = "", "Service", "services", Namespace, Spec, Services;
            /// Endpoints of services of Kubernetes.
            EndpointSlice(kubernetes::EndpointSlice) =
                "discovery.k8s.io", "EndpointSlice", "endpointslices", Namespace, Whole, Services;
            /// Namespaces of Kubernetes.
            Namespace(kubernetes::Namespace) = "", "Namespace", "namespaces", Cluster, Whole, Namespaces;
            /// Pods of Kubernetes.
            Pod(kubernetes::Pod) = "", "Pod", "pods", Namespace, Whole, Services;
            /// Secrets of Kubernetes.
            Secret(kubernetes::Secret) = "", "Secret", "secrets", Namespace, Whole, Routing;
        }
    };
}
pub(crate) use table;

macro_rules! kinds {
    ($($(#[$meta:meta])* $variant:ident($type:ty) =
        $group:literal, $kind:literal, $plural:literal, $scope:ident, $form:ident, $role:ident;)*) => {
        /// A kind of object that is read.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Kind {
            $($(#[$meta])* $variant,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),*];

            /// The name, as in `kind:`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $kind),* }
            }

            /// The group, as in `apiVersion:` before the slash; empty for the core group.
            pub const fn group(self) -> &'static str {
                match self { $(Self::$variant => $group),* }
            }

            /// The plural in lower case, as in URLs.
            pub const fn plural(self) -> &'static str {
                match self { $(Self::$variant => $plural),* }
            }

            /// Where objects of the kind live.
            pub const fn scope(self) -> Scope {
                match self { $(Self::$variant => Scope::$scope),* }
            }

            /// What of an object of the kind is read.
            pub const fn form(self) -> Form {
                match self { $(Self::$variant => Form::$form),* }
            }

            /// Which part of the registry takes objects of the kind.
            pub const fn role(self) -> Role {
                match self { $(Self::$variant => Role::$role),* }
            }
        }
    };
}

table!(kinds);

/// Where objects of a kind live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// In a namespace.
    Namespace,
    /// In none.
    Cluster,
}

/// What of an object is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// What users wrote, below `spec`.
    Spec,
    /// All of what a platform made.
    Whole,
}

/// What objects of a kind are for: the part of the registry that takes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// They configure the whole mesh.
    Mesh,
    /// They are namespaces.
    Namespaces,
    /// They say where requests go, and are looked up by host, gateway or name.
    Routing,
    /// They define services and their endpoints.
    Services,
    /// They are converted to Istio's objects.
    GatewayApi,
    /// They hold for workloads, and are looked up by kind and namespace.
    Policy,
}

impl Kind {
    /// The kind of a group and a name.
    pub fn find(group: &str, kind: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == kind && known.group() == group)
    }

    /// Versions of the kind's API that are read.
    pub fn versions(self) -> &'static [&'static str] {
        match self.group() {
            "networking.istio.io" => &["v1", "v1beta1", "v1alpha3"],
            "gateway.networking.k8s.io" if self == Self::BackendTlsPolicy => &["v1", "v1alpha3"],
            "security.istio.io" => &["v1", "v1beta1"],
            "telemetry.istio.io" => &["v1", "v1alpha1"],
            "extensions.istio.io" => &["v1alpha1"],
            "gateway.networking.k8s.io" => &["v1", "v1beta1", "v1alpha2"],
            _ => &["v1"],
        }
    }

    /// Is the kind made by a platform rather than written by users? Of such objects no positions are kept.
    pub fn is_data(self) -> bool {
        self.form() == Form::Whole
    }

    /// Is it a kind of Kubernetes itself? Its objects may have fields that a later version added: those are passed
    /// over, while an unknown field of configuration is an error.
    pub fn is_of_kubernetes(self) -> bool {
        matches!(self.group(), "" | "discovery.k8s.io")
    }

    /// May objects of the kind refuse requests or connections? Where such a one was never readable, nobody knows which.
    pub fn may_refuse(self) -> bool {
        matches!(
            self,
            Self::AuthorizationPolicy
                | Self::PeerAuthentication
                | Self::RequestAuthentication
                | Self::WasmPlugin
                | Self::TrafficExtension
                | Self::BackendTlsPolicy
        )
    }

    /// Does each source have objects of its own, even where their keys are equal? So it is with what describes the
    /// instances of a cluster: two clusters that have a service of one name both have instances of it.
    pub fn is_per_source(self) -> bool {
        matches!(self, Self::Service | Self::EndpointSlice | Self::Pod)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identity of an object. Many indices hold it, so it is shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<ObjectName>);

/// What an object is known by.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ObjectName {
    /// What it is.
    pub kind: Kind,
    /// Empty for kinds without namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::ops::Deref for ObjectKey {
    type Target = ObjectName;

    fn deref(&self) -> &ObjectName {
        &self.0
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl ObjectKey {
    /// Of an object of this kind, namespace and name.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self(Arc::new(ObjectName { kind, namespace: namespace.into(), name: name.into() }))
    }

    /// As findings name it.
    pub fn to_ref(&self) -> ObjectRef {
        ObjectRef {
            kind: self.kind.as_str().into(),
            namespace: self.namespace.as_str().into(),
            name: self.name.as_str().into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// Kinds of the Gateway API that exist and are not read yet. Those of Istio are read, and say themselves that they
/// are not applied.
pub const NOT_APPLIED: &[(&str, &[&str])] = &[
    ("gateway.networking.k8s.io", &["ListenerSet", "TCPRoute", "TLSRoute", "UDPRoute"]),
    ("gateway.networking.x-k8s.io", &["XBackend", "XBackendTrafficPolicy", "XListenerSet", "XMesh"]),
];
