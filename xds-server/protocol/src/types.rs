//! The resource types, in push order.

/// Every xDS resource type that the server speaks. The order of the variants is the push order: make before
/// break wants clusters and endpoints before the listeners and routes that name them.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ResourceType {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoints,
    /// SDS.
    Secret,
    /// ECDS.
    ExtensionConfig,
    /// LDS.
    Listener,
    /// RDS.
    RouteConfiguration,
    /// SRDS.
    ScopedRoute,
    /// VHDS.
    VirtualHost,
    /// RTDS.
    Runtime,
}

/// What is fixed for a type.
#[derive(Debug)]
pub struct TypeInfo {
    /// The short name operators use.
    pub short: &'static str,
    /// Type URL of the resources.
    pub url: &'static str,
    /// The type's own gRPC service.
    pub service: &'static str,
    /// Its state-of-the-world method, if it has one (VHDS has none).
    pub stream: Option<&'static str>,
    /// Its delta method.
    pub delta: &'static str,
    /// Does an empty first subscription mean wildcard, and must a state-of-the-world response be complete?
    /// We read it so for LDS, CDS and SRDS only.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return>
    pub wildcard: bool,
}

impl ResourceType {
    /// All types in push order.
    pub const ALL: [Self; 9] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Secret,
        Self::ExtensionConfig,
        Self::Listener,
        Self::RouteConfiguration,
        Self::ScopedRoute,
        Self::VirtualHost,
        Self::Runtime,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Position in [`ResourceType::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The type of a type URL.
    pub fn from_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.info().url == url)
    }

    /// What is fixed for the type.
    pub const fn info(self) -> &'static TypeInfo {
        match self {
            Self::Cluster => &CLUSTER,
            Self::Endpoints => &ENDPOINTS,
            Self::Secret => &SECRET,
            Self::ExtensionConfig => &EXTENSION_CONFIG,
            Self::Listener => &LISTENER,
            Self::RouteConfiguration => &ROUTE_CONFIGURATION,
            Self::ScopedRoute => &SCOPED_ROUTE,
            Self::VirtualHost => &VIRTUAL_HOST,
            Self::Runtime => &RUNTIME,
        }
    }
}

impl std::fmt::Display for ResourceType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.info().short)
    }
}

macro_rules! info {
    ($const:ident, $short:literal, $url:literal, $service:literal, $stream:expr, $delta:literal, $wildcard:literal) => {
        static $const: TypeInfo = TypeInfo {
            short: $short,
            url: concat!("type.googleapis.com/", $url),
            service: $service,
            stream: $stream,
            delta: $delta,
            wildcard: $wildcard,
        };
    };
}

info!(
    CLUSTER,
    "CDS",
    "envoy.config.cluster.v3.Cluster",
    "envoy.service.cluster.v3.ClusterDiscoveryService",
    Some("StreamClusters"),
    "DeltaClusters",
    true
);
info!(
    ENDPOINTS,
    "EDS",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.service.endpoint.v3.EndpointDiscoveryService",
    Some("StreamEndpoints"),
    "DeltaEndpoints",
    false
);
info!(
    SECRET,
    "SDS",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.service.secret.v3.SecretDiscoveryService",
    Some("StreamSecrets"),
    "DeltaSecrets",
    false
);
info!(
    EXTENSION_CONFIG,
    "ECDS",
    "envoy.config.core.v3.TypedExtensionConfig",
    "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
    Some("StreamExtensionConfigs"),
    "DeltaExtensionConfigs",
    false
);
info!(
    LISTENER,
    "LDS",
    "envoy.config.listener.v3.Listener",
    "envoy.service.listener.v3.ListenerDiscoveryService",
    Some("StreamListeners"),
    "DeltaListeners",
    true
);
info!(
    ROUTE_CONFIGURATION,
    "RDS",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.service.route.v3.RouteDiscoveryService",
    Some("StreamRoutes"),
    "DeltaRoutes",
    false
);
info!(
    SCOPED_ROUTE,
    "SRDS",
    "envoy.config.route.v3.ScopedRouteConfiguration",
    "envoy.service.route.v3.ScopedRoutesDiscoveryService",
    Some("StreamScopedRoutes"),
    "DeltaScopedRoutes",
    true
);
info!(
    VIRTUAL_HOST,
    "VHDS",
    "envoy.config.route.v3.VirtualHost",
    "envoy.service.route.v3.VirtualHostDiscoveryService",
    None,
    "DeltaVirtualHosts",
    false
);
info!(
    RUNTIME,
    "RTDS",
    "envoy.service.runtime.v3.Runtime",
    "envoy.service.runtime.v3.RuntimeDiscoveryService",
    Some("StreamRuntime"),
    "DeltaRuntime",
    false
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_all_is_the_push_order() {
        for (index, t) in ResourceType::ALL.into_iter().enumerate() {
            assert_eq!(t.index(), index);
            assert_eq!(ResourceType::from_url(t.info().url), Some(t));
        }
        assert!(ResourceType::Cluster < ResourceType::Endpoints);
        assert!(ResourceType::Endpoints < ResourceType::Listener);
        assert!(ResourceType::Listener < ResourceType::RouteConfiguration);
    }
}
