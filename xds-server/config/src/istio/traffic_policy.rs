//! `TrafficPolicy` and its parts.
//! <https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy>

use std::{collections::BTreeMap, time::Duration};

use super::common::PortSelector;
use crate::decode::{choice, object};

object! {
    /// Load balancing, connection pools, outlier detection and TLS.
    pub struct TrafficPolicy {
        load_balancer: Option<LoadBalancer> = "loadBalancer",
        connection_pool: Option<ConnectionPool> = "connectionPool",
        outlier_detection: Option<OutlierDetection> = "outlierDetection",
        tls: Option<ClientTls> = "tls",
        port_level_settings: Vec<PortTrafficPolicy> = "portLevelSettings",
        tunnel: Option<Tunnel> = "tunnel",
        proxy_protocol: Option<ProxyProtocol> = "proxyProtocol",
        retry_budget: Option<RetryBudget> = "retryBudget",
    }
}

object! {
    /// The policy of one port, which replaces that of the destination.
    pub struct PortTrafficPolicy {
        port: Option<PortSelector> = "port",
        load_balancer: Option<LoadBalancer> = "loadBalancer",
        connection_pool: Option<ConnectionPool> = "connectionPool",
        outlier_detection: Option<OutlierDetection> = "outlierDetection",
        tls: Option<ClientTls> = "tls",
    }
}

object! {
    /// Tunnels TCP and TLS connections through an HTTP proxy.
    pub struct Tunnel {
        /// `CONNECT` or `POST`; empty is `CONNECT`.
        protocol: String = "protocol",
        target_host: String = "targetHost",
        target_port: u32 = "targetPort",
    }
}

object! {
    /// Sends a PROXY protocol header.
    pub struct ProxyProtocol {
        version: ProxyProtocolVersion = "version",
    }
}

choice! {
    /// Version of the PROXY protocol.
    pub enum ProxyProtocolVersion { V1 = "V1", V2 = "V2" }
}

object! {
    /// Limits retries to a share of the active requests.
    pub struct RetryBudget {
        percent: Option<f64> = "percent",
        min_retry_concurrency: u32 = "minRetryConcurrency",
        budget_interval: Option<Duration> = "budgetInterval",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#LoadBalancerSettings>
    pub struct LoadBalancer {
        simple: Option<SimpleLb> = "simple",
        consistent_hash: Option<ConsistentHash> = "consistentHash",
        locality_lb_setting: Option<LocalityLb> = "localityLbSetting",
        zone_aware_lb_setting: Option<ZoneAwareLb> = "zoneAwareLbSetting"
            without_effect "zones are weighed by localityLbSetting only",
        /// Deprecated form of `warmup`.
        warmup_duration_secs: Option<Duration> = "warmupDurationSecs",
        warmup: Option<Warmup> = "warmup",
    }
    unsupported ["backendUtilization"] because "the load that back ends report is not weighed yet"
}

choice! {
    /// Load balancing without a key.
    pub enum SimpleLb {
        Unspecified = "UNSPECIFIED",
        LeastConn = "LEAST_CONN",
        Random = "RANDOM",
        Passthrough = "PASSTHROUGH",
        RoundRobin = "ROUND_ROBIN",
        LeastRequest = "LEAST_REQUEST",
    }
}

object! {
    /// Load balancing by the hash of a key.
    pub struct ConsistentHash {
        http_header_name: Option<String> = "httpHeaderName",
        http_cookie: Option<HttpCookie> = "httpCookie",
        use_source_ip: Option<bool> = "useSourceIp",
        http_query_parameter_name: Option<String> = "httpQueryParameterName",
        ring_hash: Option<RingHash> = "ringHash",
        maglev: Option<Maglev> = "maglev",
        /// Deprecated form of `ring_hash`.
        minimum_ring_size: Option<u64> = "minimumRingSize",
    }
}

object! {
    /// A cookie as key, made where it is missing and has a `ttl`.
    pub struct HttpCookie {
        name: String = "name",
        path: String = "path",
        ttl: Option<Duration> = "ttl",
        attributes: Vec<CookieAttribute> = "attributes",
    }
}

object! {
    /// An attribute of the cookie that is made.
    pub struct CookieAttribute {
        name: String = "name",
        value: String = "value",
    }
}

object! {
    /// Ring hash.
    pub struct RingHash {
        minimum_ring_size: Option<u64> = "minimumRingSize",
    }
}

object! {
    /// Maglev.
    pub struct Maglev {
        table_size: Option<u64> = "tableSize",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting>
    pub struct LocalityLb {
        enabled: Option<bool> = "enabled",
        distribute: Vec<Distribute> = "distribute",
        failover: Vec<Failover> = "failover",
        failover_priority: Vec<String> = "failoverPriority",
    }
}

object! {
    /// How traffic from a locality is shared out.
    pub struct Distribute {
        from: String = "from",
        to: BTreeMap<String, u32> = "to",
    }
}

object! {
    /// Where traffic goes when a region is unhealthy.
    pub struct Failover {
        from: String = "from",
        to: String = "to",
    }
}

object! {
    /// Zone-aware load balancing.
    pub struct ZoneAwareLb {
        enabled: Option<bool> = "enabled",
        failover: Vec<Failover> = "failover",
        failover_priority: Vec<String> = "failoverPriority",
    }
    unsupported ["minClusterSize"] because "zones are weighed by localityLbSetting only"
}

object! {
    /// New endpoints get their share step by step.
    pub struct Warmup {
        duration: Option<Duration> = "duration",
        minimum_percent: Option<f64> = "minimumPercent",
        aggression: Option<f64> = "aggression",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#ConnectionPoolSettings>
    pub struct ConnectionPool {
        tcp: Option<TcpSettings> = "tcp",
        http: Option<HttpSettings> = "http",
    }
}

object! {
    /// Limits of TCP connections.
    pub struct TcpSettings {
        max_connections: Option<i32> = "maxConnections",
        connect_timeout: Option<Duration> = "connectTimeout",
        tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive",
        max_connection_duration: Option<Duration> = "maxConnectionDuration",
        idle_timeout: Option<Duration> = "idleTimeout",
    }
}

object! {
    /// Keep-alive probes of TCP.
    pub struct TcpKeepalive {
        probes: Option<u32> = "probes",
        time: Option<Duration> = "time",
        interval: Option<Duration> = "interval",
    }
}

object! {
    /// Limits of HTTP requests.
    pub struct HttpSettings {
        http1_max_pending_requests: Option<i32> = "http1MaxPendingRequests",
        http2_max_requests: Option<i32> = "http2MaxRequests",
        max_requests_per_connection: Option<i32> = "maxRequestsPerConnection",
        max_retries: Option<i32> = "maxRetries",
        idle_timeout: Option<Duration> = "idleTimeout",
        h2_upgrade_policy: H2UpgradePolicy = "h2UpgradePolicy",
        use_client_protocol: bool = "useClientProtocol",
        max_concurrent_streams: Option<i32> = "maxConcurrentStreams",
        http2_keep_alive: Option<Http2KeepAlive> = "http2KeepAlive",
    }
}

choice! {
    /// Are HTTP/1 requests sent as HTTP/2?
    pub enum H2UpgradePolicy {
        Default = "DEFAULT",
        DoNotUpgrade = "DO_NOT_UPGRADE",
        Upgrade = "UPGRADE",
    }
}

object! {
    /// Keep-alive pings of HTTP/2.
    pub struct Http2KeepAlive {
        interval: Option<Duration> = "interval",
        timeout: Option<Duration> = "timeout",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection>
    pub struct OutlierDetection {
        /// 0 switches this condition off.
        consecutive5xx_errors: Option<u32> = "consecutive5xxErrors",
        /// 0 switches this condition off.
        consecutive_gateway_errors: Option<u32> = "consecutiveGatewayErrors",
        consecutive_local_origin_failures: Option<u32> = "consecutiveLocalOriginFailures",
        /// Deprecated form of `consecutive_gateway_errors`.
        consecutive_errors: Option<i32> = "consecutiveErrors",
        split_external_local_origin_errors: bool = "splitExternalLocalOriginErrors",
        interval: Option<Duration> = "interval",
        base_ejection_time: Option<Duration> = "baseEjectionTime",
        max_ejection_percent: Option<i32> = "maxEjectionPercent",
        min_health_percent: Option<i32> = "minHealthPercent",
        outlier_detection_http_error_codes: Vec<u32> = "outlierDetectionHttpErrorCodes",
    }
    unsupported ["failurePercentageThreshold"]
        because "endpoints are ejected for consecutive errors, not for their share of errors"
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#ClientTLSSettings>
    pub struct ClientTls {
        mode: ClientTlsMode = "mode",
        client_certificate: String = "clientCertificate",
        private_key: String = "privateKey",
        ca_certificates: String = "caCertificates",
        ca_crl: String = "caCrl",
        credential_name: String = "credentialName",
        ca_cert_credential_name: String = "caCertCredentialName",
        subject_alt_names: Vec<String> = "subjectAltNames",
        sni: String = "sni",
        insecure_skip_verify: Option<bool> = "insecureSkipVerify",
    }
    made {
        /// Does it stand for a setting that could not be read? No connection is to be made by it.
        unreadable: bool,
    }
}

choice! {
    /// How a client uses TLS.
    pub enum ClientTlsMode {
        Disable = "DISABLE",
        Simple = "SIMPLE",
        Mutual = "MUTUAL",
        IstioMutual = "ISTIO_MUTUAL",
    }
}
