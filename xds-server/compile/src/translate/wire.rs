//! Envoy's modules under short names, and the small values that many of its messages hold.

use std::time::Duration;

use lateen_config::istio;
use lateen_proto::{
    envoy::{
        config::core::v3::{self as core, config_source::ConfigSourceSpecifier},
        r#type::{
            matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
            v3::{FractionalPercent, fractional_percent::DenominatorType},
        },
    },
    google::protobuf::{self, Any},
};

pub(crate) use lateen_proto::envoy::config::{
    cluster::v3 as cds, endpoint::v3 as eds, listener::v3 as lds, route::v3 as rds,
};

use lateen_model::Streams;

use super::ClientProfile;

/// The cluster of the control plane in the bootstrap of a node with a stream for each type.
const XDS_CLUSTER: &str = "xds-grpc";

/// Configuration comes over the stream that this came over, and is waited for as long as it takes: Envoy's
/// default is to give up after 15 s and to serve with nothing.
pub(crate) fn config_source(profile: ClientProfile) -> core::ConfigSource {
    let separate = |api_type: core::api_config_source::ApiType| {
        ConfigSourceSpecifier::ApiConfigSource(core::ApiConfigSource {
            api_type: api_type as i32,
            transport_api_version: core::ApiVersion::V3 as i32,
            set_node_on_first_message_only: true,
            grpc_services: vec![core::GrpcService {
                target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
                    core::grpc_service::EnvoyGrpc {
                        cluster_name: XDS_CLUSTER.to_owned(),
                        ..Default::default()
                    },
                )),
                ..Default::default()
            }],
            ..Default::default()
        })
    };
    let specifier = match profile {
        ClientProfile::Envoy(Streams::SeparateSotw) => separate(core::api_config_source::ApiType::Grpc),
        ClientProfile::Envoy(Streams::SeparateDelta) => separate(core::api_config_source::ApiType::DeltaGrpc),
        ClientProfile::Envoy(Streams::Aggregated) | ClientProfile::Grpc | ClientProfile::Lateen => {
            ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})
        }
    };
    core::ConfigSource {
        config_source_specifier: Some(specifier),
        initial_fetch_timeout: Some(protobuf::Duration::default()),
        resource_api_version: core::ApiVersion::V3 as i32,
        ..Default::default()
    }
}

/// A duration; `None` stays `None`.
pub(crate) fn duration(value: Option<Duration>) -> Option<protobuf::Duration> {
    value.map(protobuf::Duration::from)
}

/// A wrapped number, from a configuration that allows a sign and means none.
pub(crate) fn unsigned(value: Option<i32>) -> Option<protobuf::UInt32Value> {
    value.and_then(|v| u32::try_from(v).ok()).map(protobuf::UInt32Value::from)
}

/// A transport socket.
pub(crate) fn transport_socket(name: &str, config: Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

/// An address: an IP address or a name and a port, or `unix://PATH`.
pub(crate) fn address(host: &str, port: u16) -> core::Address {
    let address = match host.strip_prefix("unix://") {
        Some(path) => {
            core::address::Address::Pipe(core::Pipe { path: path.to_owned(), ..Default::default() })
        }
        None => core::address::Address::SocketAddress(core::SocketAddress {
            address: host.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(port))),
            ..Default::default()
        }),
    };
    core::Address { address: Some(address) }
}

/// `10.0.0.0/8`, or a single address. `None` where it is neither.
pub(crate) fn cidr(text: &str) -> Option<core::CidrRange> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let ip: std::net::IpAddr = address.parse().ok()?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(whole);
    // Envoy ignores what is beyond the length, and refuses filter chains that are the same then.
    let beyond = whole.checked_sub(length)?;
    let prefix: std::net::IpAddr = match ip {
        std::net::IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(beyond).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        std::net::IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(beyond).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    };
    Some(core::CidrRange { address_prefix: prefix.to_string(), prefix_len: Some(length.into()) })
}

/// A share of 100, exact to a millionth.
pub(crate) fn percent(value: f64) -> FractionalPercent {
    let clamped = value.clamp(0.0, 100.0);
    // Istio's own precision; the value was clamped, so it fits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
    let millionths = (clamped * 10_000.0).round() as u32;
    if millionths.is_multiple_of(10_000) {
        FractionalPercent { numerator: millionths / 10_000, denominator: DenominatorType::Hundred as i32 }
    } else {
        FractionalPercent { numerator: millionths, denominator: DenominatorType::Million as i32 }
    }
}

/// The same, as a share that a runtime key could override.
pub(crate) fn runtime_percent(value: f64) -> core::RuntimeFractionalPercent {
    core::RuntimeFractionalPercent { default_value: Some(percent(value)), runtime_key: String::new() }
}

/// RE2, Envoy's default engine.
pub(crate) fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned(), ..Default::default() }
}

/// A string match; `None` for [`istio::StringMatch::Present`], which each message writes in its own way.
pub(crate) fn string_match(from: &istio::StringMatch) -> Option<StringMatcher> {
    let pattern = match from {
        istio::StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        istio::StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        istio::StringMatch::Regex(text) => MatchPattern::SafeRegex(regex(text)),
        istio::StringMatch::Present => return None,
    };
    Some(StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}

/// Exactly this text.
pub(crate) fn exact(text: &str) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Exact(text.to_owned())), ..Default::default() }
}

/// Limits of keep-alive probes.
pub(crate) fn keepalive(from: &istio::TcpKeepalive) -> core::TcpKeepalive {
    let istio::TcpKeepalive { probes, time, interval, .. } = from;
    let seconds = |value: &Option<Duration>| {
        value.map(|v| protobuf::UInt32Value::from(u32::try_from(v.as_secs()).unwrap_or(u32::MAX)))
    };
    core::TcpKeepalive {
        keepalive_probes: probes.map(Into::into),
        keepalive_time: seconds(time),
        keepalive_interval: seconds(interval),
    }
}
