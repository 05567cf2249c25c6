//! `MeshConfig`. <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/>

use std::{collections::BTreeMap, time::Duration};

use super::{
    common::LabelSelector,
    traffic_policy::{ClientTls, ConnectionPool, LocalityLb, OutlierDetection, TcpKeepalive, ZoneAwareLb},
    virtual_service::HttpRetry,
};
use crate::decode::{choice, object};

object! {
    /// What holds for the whole mesh. A field that is not given means Istio's default.
    pub struct MeshConfig {
        proxy_listen_port: Option<u32> = "proxyListenPort",
        proxy_inbound_listen_port: Option<u32> = "proxyInboundListenPort",
        connect_timeout: Option<Duration> = "connectTimeout",
        protocol_detection_timeout: Option<Duration> = "protocolDetectionTimeout",
        tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive",
        ingress_class: String = "ingressClass" without_effect "Ingress objects are not read",
        ingress_service: String = "ingressService" without_effect "Ingress objects are not read",
        ingress_controller_mode: IngressControllerMode = "ingressControllerMode"
            without_effect "Ingress objects are not read",
        ingress_selector: String = "ingressSelector" without_effect "Ingress objects are not read",
        enable_tracing: bool = "enableTracing" without_effect "no spans are made yet",
        access_log_file: String = "accessLogFile",
        access_log_format: String = "accessLogFormat",
        access_log_encoding: AccessLogEncoding = "accessLogEncoding",
        default_config: Option<ProxyConfig> = "defaultConfig",
        outbound_traffic_policy: Option<MeshOutboundTrafficPolicy> = "outboundTrafficPolicy",
        inbound_traffic_policy: Option<InboundTrafficPolicy> = "inboundTrafficPolicy",
        enable_auto_mtls: Option<bool> = "enableAutoMtls" without_effect "proxies have no identities yet",
        trust_domain: String = "trustDomain" without_effect "proxies have no identities yet",
        trust_domain_aliases: Vec<String> = "trustDomainAliases"
            without_effect "proxies have no identities yet",
        default_service_export_to: Vec<String> = "defaultServiceExportTo",
        default_virtual_service_export_to: Vec<String> = "defaultVirtualServiceExportTo",
        default_destination_rule_export_to: Vec<String> = "defaultDestinationRuleExportTo",
        root_namespace: String = "rootNamespace",
        locality_lb_setting: Option<LocalityLb> = "localityLbSetting",
        zone_aware_lb_setting: Option<ZoneAwareLb> = "zoneAwareLbSetting"
            without_effect "zones are weighed by localityLbSetting only",
        dns_refresh_rate: Option<Duration> = "dnsRefreshRate",
        h2_upgrade_policy: MeshH2UpgradePolicy = "h2UpgradePolicy",
        path_normalization: Option<PathNormalization> = "pathNormalization",
        default_http_retry_policy: Option<HttpRetry> = "defaultHttpRetryPolicy",
        default_traffic_policy: Option<DefaultTrafficPolicy> = "defaultTrafficPolicy",
        discovery_selectors: Vec<LabelSelector> = "discoverySelectors"
            without_effect "a source is narrowed by its own settings (namespaces=…)",
        service_settings: Vec<ServiceSettings> = "serviceSettings"
            without_effect "the endpoints of all clusters that are read serve a service",
        inbound_cluster_stat_name: String = "inboundClusterStatName"
            without_effect "inbound clusters keep their own names in statistics",
        outbound_cluster_stat_name: String = "outboundClusterStatName",
        disable_envoy_listener_log: bool = "disableEnvoyListenerLog"
            without_effect "listeners have no log of their own: connections without a chain are not logged",
        /// Our own extension.
        lateen: Option<LateenConfig> = "lateen",
    }
    unsupported ["ca", "caCertificates", "certificates", "meshMTLS"] because "proxies have no identities yet"
    unsupported ["defaultProviders", "extensionProviders", "enableEnvoyAccessLogService", "enablePrometheusMerge"]
        because "providers of telemetry and authorization are not read yet"
    unsupported ["defaultInboundHttpRetryPolicy"]
        because "what a sidecar hands to its own workload is not retried"
    unsupported ["configSources"] because "sources are named to lateen serve with --source"
    unsupported ["hboneIdleTimeout", "serviceScopeConfigs"] because "there is no ambient mode"
    unsupported ["proxyHttpPort"] because "proxies have no listener for HTTP proxy requests"
    unsupported ["serviceEntryVisibility"] because "exportTo and defaultServiceExportTo say who sees a service"
    unsupported ["tlsDefaults", "verifyCertificateAtClient"]
        because "TLS towards services is what their DestinationRules say"
}

object! {
    /// What Lateen has and Istio has not.
    pub struct LateenConfig {
        /// Virtual hosts are sent one by one (VHDS) to clients of the delta protocol.
        vhds: bool = "vhds",
    }
}

choice! {
    /// Which Ingress objects are served.
    pub enum IngressControllerMode {
        Unspecified = "UNSPECIFIED",
        Off = "OFF",
        Default = "DEFAULT",
        Strict = "STRICT",
    }
}

choice! {
    /// Form of the access log.
    pub enum AccessLogEncoding { Text = "TEXT", Json = "JSON" }
}

object! {
    /// What happens to traffic to unknown hosts.
    pub struct MeshOutboundTrafficPolicy {
        mode: Option<MeshOutboundMode> = "mode",
        tls: Option<ClientTls> = "tls"
            without_effect "what goes to unknown hosts is forwarded as it is",
    }
}

choice! {
    /// Are unknown hosts reachable?
    pub enum MeshOutboundMode {
        RegistryOnly = "REGISTRY_ONLY",
        AllowAny = "ALLOW_ANY",
        AllowAnyDynamicDns = "ALLOW_ANY_DYNAMIC_DNS",
    }
}

object! {
    /// Where inbound traffic is forwarded to.
    pub struct InboundTrafficPolicy {
        mode: InboundMode = "mode",
    }
}

choice! {
    /// Is the original destination kept?
    pub enum InboundMode { Passthrough = "PASSTHROUGH", Localhost = "LOCALHOST" }
}

choice! {
    /// Are HTTP/1 requests sent as HTTP/2?
    pub enum MeshH2UpgradePolicy { DoNotUpgrade = "DO_NOT_UPGRADE", Upgrade = "UPGRADE" }
}

object! {
    /// How paths are normalized before they are matched.
    pub struct PathNormalization {
        normalization: NormalizationType = "normalization",
    }
}

choice! {
    /// How far paths are normalized.
    pub enum NormalizationType {
        Default = "DEFAULT",
        None = "NONE",
        Base = "BASE",
        MergeSlashes = "MERGE_SLASHES",
        DecodeAndMergeSlashes = "DECODE_AND_MERGE_SLASHES",
    }
}

object! {
    /// The policy of destinations without their own.
    pub struct DefaultTrafficPolicy {
        connection_pool: Option<ConnectionPool> = "connectionPool",
        outlier_detection: Option<OutlierDetection> = "outlierDetection",
    }
}

object! {
    /// Settings of services by host.
    pub struct ServiceSettings {
        settings: Option<ServiceSetting> = "settings",
        hosts: Vec<String> = "hosts",
    }
}

object! {
    /// Settings of a service.
    pub struct ServiceSetting {
        cluster_local: bool = "clusterLocal",
    }
}

object! {
    /// What proxies are given unless they say otherwise.
    pub struct ProxyConfig {
        concurrency: Option<i32> = "concurrency"
            without_effect "the bootstrap of proxies is not made from it",
        drain_duration: Option<Duration> = "drainDuration"
            without_effect "the bootstrap of proxies is not made from it",
        termination_drain_duration: Option<Duration> = "terminationDrainDuration"
            without_effect "the bootstrap of proxies is not made from it",
        discovery_address: String = "discoveryAddress"
            without_effect "the bootstrap of proxies is not made from it",
        proxy_admin_port: Option<u32> = "proxyAdminPort"
            without_effect "the bootstrap of proxies is not made from it",
        status_port: Option<u32> = "statusPort"
            without_effect "the bootstrap of proxies is not made from it",
        stat_name_length: Option<i32> = "statNameLength"
            without_effect "the bootstrap of proxies is not made from it",
        interception_mode: InterceptionMode = "interceptionMode",
        proxy_metadata: BTreeMap<String, String> = "proxyMetadata"
            without_effect "the bootstrap of proxies is not made from it",
        hold_application_until_proxy_starts: Option<bool> = "holdApplicationUntilProxyStarts"
            without_effect "the bootstrap of proxies is not made from it",
        service_cluster: String = "serviceCluster"
            without_effect "the bootstrap of proxies is not made from it",
        mesh_id: String = "meshId"
            without_effect "the bootstrap of proxies is not made from it",
        gateway_topology: Option<Topology> = "gatewayTopology",
    }
    unsupported [
        "availabilityZone", "binaryPath", "caCertificatesPem", "configPath", "connectionSettings",
        "controlPlaneAuthPolicy", "customConfigFile", "discoveryRefreshDelay", "envoyAccessLogService",
        "envoyMetricsService", "envoyMetricsServiceAddress", "extraStatTags", "fileFlushInterval",
        "fileFlushMinSizeKb", "image", "privateKeyProvider", "proxyBootstrapTemplatePath", "proxyHeaders",
        "proxyStatsMatcher", "readinessProbe", "runtimeValues", "sds", "statsCompression", "statsdUdpAddress",
        "tracing", "tracingServiceName", "zipkinAddress",
    ] because "the bootstrap of proxies is not made from it"
}

choice! {
    /// How traffic is brought to the proxy.
    pub enum InterceptionMode { Redirect = "REDIRECT", Tproxy = "TPROXY", None = "NONE" }
}

object! {
    /// What stands in front of gateways.
    pub struct Topology {
        num_trusted_proxies: Option<u32> = "numTrustedProxies",
    }
    unsupported ["forwardClientCertDetails", "proxyProtocol"]
        because "gateways take only the number of trusted proxies from it yet"
}
