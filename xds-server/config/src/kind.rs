//! The kinds of objects.

use std::fmt;

use lateen_model::diagnostic::ObjectRef;

macro_rules! kinds {
    ($($(#[$meta:meta])* $variant:ident = $group:literal, $kind:literal, $plural:literal, $scope:ident;)*) => {
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
        }
    };
}

/// Where objects of a kind live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// In a namespace.
    Namespace,
    /// In none.
    Cluster,
}

kinds! {
    /// Istio's routes.
    VirtualService = "networking.istio.io", "VirtualService", "virtualservices", Namespace;
    /// Istio's policies of destinations.
    DestinationRule = "networking.istio.io", "DestinationRule", "destinationrules", Namespace;
    /// Istio's services that no platform knows.
    ServiceEntry = "networking.istio.io", "ServiceEntry", "serviceentries", Namespace;
    /// Istio's instances that no platform knows.
    WorkloadEntry = "networking.istio.io", "WorkloadEntry", "workloadentries", Namespace;
    /// Istio's gateways.
    IstioGateway = "networking.istio.io", "Gateway", "gateways", Namespace;
    /// Istio's scopes of sidecars.
    Sidecar = "networking.istio.io", "Sidecar", "sidecars", Namespace;
    /// The mesh's configuration, from a `ConfigMap` named `istio` too.
    MeshConfig = "lateen.io", "MeshConfig", "meshconfigs", Namespace;
    /// Classes of gateways of the Gateway API.
    GatewayClass = "gateway.networking.k8s.io", "GatewayClass", "gatewayclasses", Cluster;
    /// Gateways of the Gateway API.
    Gateway = "gateway.networking.k8s.io", "Gateway", "gateways", Namespace;
    /// HTTP routes of the Gateway API.
    HttpRoute = "gateway.networking.k8s.io", "HTTPRoute", "httproutes", Namespace;
    /// gRPC routes of the Gateway API.
    GrpcRoute = "gateway.networking.k8s.io", "GRPCRoute", "grpcroutes", Namespace;
    /// Permissions to refer to another namespace's objects.
    ReferenceGrant = "gateway.networking.k8s.io", "ReferenceGrant", "referencegrants", Namespace;
    /// Services of Kubernetes.
    Service = "", "Service", "services", Namespace;
    /// Endpoints of services of Kubernetes.
    EndpointSlice = "discovery.k8s.io", "EndpointSlice", "endpointslices", Namespace;
    /// Namespaces of Kubernetes.
    Namespace = "", "Namespace", "namespaces", Cluster;
    /// Pods of Kubernetes.
    Pod = "", "Pod", "pods", Namespace;
    /// Secrets of Kubernetes.
    Secret = "", "Secret", "secrets", Namespace;
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
            "gateway.networking.k8s.io" => &["v1", "v1beta1", "v1alpha2"],
            _ => &["v1"],
        }
    }

    /// Is the kind made by a platform rather than written by users? Of such objects no positions are kept.
    pub fn is_data(self) -> bool {
        matches!(self, Self::EndpointSlice | Self::Namespace | Self::Pod | Self::Secret)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identity of an object.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ObjectKey {
    /// What it is.
    pub kind: Kind,
    /// Empty for kinds without namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
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

/// Kinds of Istio and the Gateway API that exist and are not applied yet.
pub const NOT_APPLIED: &[(&str, &[&str])] = &[
    ("networking.istio.io", &["EnvoyFilter", "ProxyConfig", "WorkloadGroup"]),
    ("security.istio.io", &["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"]),
    ("telemetry.istio.io", &["Telemetry"]),
    ("extensions.istio.io", &["TrafficExtension", "WasmPlugin"]),
    ("gateway.networking.k8s.io", &["BackendTLSPolicy", "ListenerSet", "TCPRoute", "TLSRoute", "UDPRoute"]),
    ("gateway.networking.x-k8s.io", &["XBackend", "XBackendTrafficPolicy", "XListenerSet", "XMesh"]),
];
