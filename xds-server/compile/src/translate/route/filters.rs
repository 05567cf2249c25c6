//! Settings of HTTP filters on a route: faults and cross-origin requests.

use std::collections::BTreeMap;

use lateen_config::istio::{CorsPolicy, FaultAbort, FaultDelay, HttpFault, HttpRoute, UnmatchedPreflights};
use lateen_proto::{
    any::pack,
    envoy::extensions::filters::{
        common::fault::v3::{self as common, fault_delay::FaultDelaySecifier},
        http::{
            cors::v3::CorsPolicy as CorsFilterPolicy,
            fault::v3::{self as fault, HttpFault as HttpFaultFilter, fault_abort::ErrorType},
        },
    },
    google::protobuf::Any,
};

use super::super::wire;

/// Name of the filter, and of its settings on routes.
pub(crate) const FAULT: &str = "envoy.filters.http.fault";
/// Name of the filter, and of its settings on routes.
pub(crate) const CORS: &str = "envoy.filters.http.cors";

/// The settings of a route.
pub(super) fn of(http: &HttpRoute) -> BTreeMap<String, Any> {
    let fault = http.fault.as_deref().and_then(fault).map(|config| (FAULT.to_owned(), pack(&config)));
    let cors = http.cors_policy.as_deref().map(|from| (CORS.to_owned(), pack(&cors(from))));
    fault.into_iter().chain(cors).collect()
}

/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPFaultInjection>
fn fault(from: &HttpFault) -> Option<HttpFaultFilter> {
    let delay = from.delay.as_ref().and_then(delay);
    let abort = from.abort.as_ref().and_then(abort);
    (delay.is_some() || abort.is_some()).then(|| HttpFaultFilter { delay, abort, ..Default::default() })
}

fn delay(from: &FaultDelay) -> Option<common::FaultDelay> {
    let duration = from.fixed_delay.filter(|delay| !delay.is_zero())?;
    let percent = match (&from.percentage, from.percent) {
        (Some(percentage), _) => percentage.value,
        (None, Some(percent)) => f64::from(percent),
        // "If left unspecified, no request will be delayed":
        // https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPFaultInjection-Delay
        (None, None) => return None,
    };
    Some(common::FaultDelay {
        percentage: Some(wire::percent(percent)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration.into())),
    })
}

fn abort(from: &FaultAbort) -> Option<fault::FaultAbort> {
    let error = match (from.http_status, &from.grpc_status) {
        (Some(status), _) => ErrorType::HttpStatus(u32::try_from(status).ok()?),
        (None, Some(status)) => ErrorType::GrpcStatus(grpc_status(status)?),
        (None, None) => return None,
    };
    Some(fault::FaultAbort {
        // "If left unspecified, no request will be aborted":
        // https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPFaultInjection-Abort
        percentage: Some(wire::percent(from.percentage.as_ref()?.value)),
        error_type: Some(error),
        ..Default::default()
    })
}

/// <https://grpc.io/docs/guides/status-codes/>
const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn grpc_status(text: &str) -> Option<u32> {
    let by_name = (0..).zip(GRPC_STATUS).find(|(_, name)| name.eq_ignore_ascii_case(text));
    by_name.map(|(number, _)| number).or_else(|| text.parse().ok())
}

/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#CorsPolicy>
fn cors(from: &CorsPolicy) -> CorsFilterPolicy {
    let origins = from.allow_origins.iter().filter_map(wire::string_match);
    let old = from.allow_origin.iter().map(|origin| match origin.as_str() {
        "*" => lateen_proto::envoy::r#type::matcher::v3::StringMatcher {
            match_pattern: wire::string_match(&lateen_config::istio::StringMatch::Regex(".*".into()))
                .and_then(|matcher| matcher.match_pattern),
            ..Default::default()
        },
        text => wire::exact(text),
    });
    CorsFilterPolicy {
        allow_origin_string_match: origins.chain(old).collect(),
        allow_methods: from.allow_methods.join(","),
        allow_headers: from.allow_headers.join(","),
        expose_headers: from.expose_headers.join(","),
        max_age: from.max_age.map(|age| age.as_secs().to_string()).unwrap_or_default(),
        allow_credentials: from.allow_credentials.map(Into::into),
        filter_enabled: Some(wire::runtime_percent(100.0)),
        forward_not_matching_preflights: match from.unmatched_preflights {
            UnmatchedPreflights::Unspecified => None,
            UnmatchedPreflights::Forward => Some(true.into()),
            UnmatchedPreflights::Ignore => Some(false.into()),
        },
        ..Default::default()
    }
}
