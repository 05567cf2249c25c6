//! Connection pools: limits, timeouts, and the HTTP version spoken to endpoints.
//! <https://istio.io/latest/docs/reference/config/networking/destination-rule/#ConnectionPoolSettings>

use std::time::Duration;

use lateen_config::istio::{H2UpgradePolicy, HttpSettings, MeshConfig, MeshH2UpgradePolicy, RetryBudget};
use lateen_model::Protocol;
use lateen_proto::{
    any::pack,
    envoy::{
        config::{
            cluster::v3::{
                CircuitBreakers, Cluster, UpstreamConnectionOptions,
                circuit_breakers::{Thresholds, thresholds},
            },
            core::v3::{
                Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings,
                UpstreamHttpProtocolOptions,
            },
        },
        extensions::upstreams::{
            http::v3::{
                HttpProtocolOptions as UpstreamHttp,
                http_protocol_options::{
                    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
                    explicit_http_config::ProtocolConfig,
                },
            },
            tcp::v3::TcpProtocolOptions,
        },
        r#type::v3::Percent,
    },
    google::protobuf::{self, UInt32Value},
};

use super::{outlier, policy::Policy, transport::Transport, wire};

/// <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig>
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const TCP_OPTIONS: &str = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions";

/// What is spoken to endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speech {
    /// HTTP/1.1, or no HTTP at all.
    Http1,
    /// HTTP/2.
    Http2,
    /// What the client speaks.
    Downstream,
}

/// The version that a port's protocol and the policies come to.
pub(crate) fn speech(protocol: Protocol, mesh: &MeshConfig, http: Option<&HttpSettings>) -> Speech {
    if http.is_some_and(|h| h.use_client_protocol) {
        return Speech::Downstream;
    }
    let upgrade = match http.map(|h| h.h2_upgrade_policy).unwrap_or_default() {
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        H2UpgradePolicy::Default => mesh.h2_upgrade_policy == MeshH2UpgradePolicy::Upgrade,
    };
    match protocol {
        Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => Speech::Http2,
        Protocol::Http if upgrade => Speech::Http2,
        Protocol::Unknown => Speech::Downstream,
        Protocol::Http
        | Protocol::Tls
        | Protocol::Https
        | Protocol::Tcp
        | Protocol::OpaqueTcp
        | Protocol::Udp => Speech::Http1,
    }
}

/// Sets timeouts, limits and protocol options.
pub(crate) fn apply(
    cluster: &mut Cluster,
    mesh: &MeshConfig,
    policy: &Policy<'_>,
    speech: Speech,
    transport: &Transport,
) {
    let tcp = policy.tcp();
    let timeout = tcp.and_then(|t| t.connect_timeout).or(mesh.connect_timeout).unwrap_or(CONNECT_TIMEOUT);
    cluster.connect_timeout = Some(timeout.into());
    if let Some(keepalive) = tcp.and_then(|t| t.tcp_keepalive.as_ref()).or(mesh.tcp_keepalive.as_ref()) {
        cluster.upstream_connection_options = Some(UpstreamConnectionOptions {
            tcp_keepalive: Some(wire::keepalive(keepalive)),
            ..Default::default()
        });
    }
    cluster.circuit_breakers = Some(circuit_breakers(policy));
    let mut options = http_options(policy);
    if transport.auto_sni {
        options.upstream_http_protocol_options = Some(UpstreamHttpProtocolOptions {
            auto_sni: true,
            auto_san_validation: transport.auto_san_validation,
            ..Default::default()
        });
    }
    // Nothing said is HTTP/1.1; as soon as anything is said, Envoy wants the version named.
    if speech != Speech::Http1 || options != UpstreamHttp::default() {
        options.upstream_protocol_options = Some(upstream_protocol(policy.http(), speech));
        cluster.typed_extension_protocol_options.insert(HTTP_OPTIONS.into(), pack(&options));
    }
    if let Some(idle) = tcp.and_then(|t| t.idle_timeout) {
        let options = TcpProtocolOptions { idle_timeout: Some(idle.into()) };
        cluster.typed_extension_protocol_options.insert(TCP_OPTIONS.into(), pack(&options));
    }
}

fn http_options(policy: &Policy<'_>) -> UpstreamHttp {
    let http = policy.http();
    let idle_timeout = wire::duration(http.and_then(|h| h.idle_timeout));
    let requests = http.and_then(|h| h.max_requests_per_connection).filter(|v| *v > 0);
    let lifetime = wire::duration(policy.tcp().and_then(|t| t.max_connection_duration));
    let common = HttpProtocolOptions {
        idle_timeout,
        max_requests_per_connection: wire::unsigned(requests),
        max_connection_duration: lifetime,
        ..Default::default()
    };
    UpstreamHttp {
        common_http_protocol_options: (common != HttpProtocolOptions::default()).then_some(common),
        outlier_detection: policy.outlier_detection.and_then(outlier::error_matcher),
        ..Default::default()
    }
}

fn upstream_protocol(http: Option<&HttpSettings>, speech: Speech) -> UpstreamProtocolOptions {
    let explicit = |config| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
    };
    match speech {
        Speech::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())),
        Speech::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(http2(http))),
        Speech::Downstream => UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
            http_protocol_options: Some(Http1ProtocolOptions::default()),
            http2_protocol_options: Some(http2(http)),
            ..Default::default()
        }),
    }
}

fn http2(http: Option<&HttpSettings>) -> Http2ProtocolOptions {
    let Some(http) = http else { return Http2ProtocolOptions::default() };
    let streams = http.max_concurrent_streams.filter(|v| *v > 0);
    let keepalive = http.http2_keep_alive.as_ref().and_then(|keepalive| {
        // Envoy requires a timeout; this is the default that Istio documents for the interval's answer.
        let timeout = keepalive.timeout.unwrap_or(Duration::from_secs(20));
        keepalive.interval.map(|interval| KeepaliveSettings {
            interval: Some(interval.into()),
            timeout: Some(timeout.into()),
            ..Default::default()
        })
    });
    Http2ProtocolOptions {
        max_concurrent_streams: wire::unsigned(streams),
        connection_keepalive: keepalive,
        ..Default::default()
    }
}

/// Limits that are not given are as good as infinite: the limits Envoy would use are surprising in a mesh.
fn circuit_breakers(policy: &Policy<'_>) -> CircuitBreakers {
    let limit = |value: Option<i32>| {
        let given = value.filter(|v| *v > 0).and_then(|v| u32::try_from(v).ok());
        Some(UInt32Value::from(given.unwrap_or(u32::MAX)))
    };
    let http = policy.http();
    let budget = policy.retry_budget.map(retry_budget);
    // A limit of zero retries is meaningful, unlike the other zeros.
    let retries = http.and_then(|h| h.max_retries).and_then(|v| u32::try_from(v).ok());
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limit(policy.tcp().and_then(|t| t.max_connections)),
            max_pending_requests: limit(http.and_then(|h| h.http1_max_pending_requests)),
            max_requests: limit(http.and_then(|h| h.http2_max_requests)),
            max_retries: if budget.is_some() { None } else { Some(retries.unwrap_or(u32::MAX).into()) },
            retry_budget: budget,
            track_remaining: true,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn retry_budget(from: &RetryBudget) -> thresholds::RetryBudget {
    thresholds::RetryBudget {
        budget_percent: from.percent.map(|value| Percent { value: value.clamp(0.0, 100.0) }),
        budget_interval: from.budget_interval.map(protobuf::Duration::from),
        min_retry_concurrency: (from.min_retry_concurrency > 0).then(|| from.min_retry_concurrency.into()),
    }
}
