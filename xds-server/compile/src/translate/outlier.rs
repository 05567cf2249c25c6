//! Outlier detection.
//! <https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection>

use lateen_config::istio::OutlierDetection;
use lateen_proto::{
    envoy::{
        config::{
            common::matcher::v3::{
                HttpHeadersMatch, MatchPredicate,
                match_predicate::{MatchSet, Rule},
            },
            route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
        },
        extensions::upstreams::http::v3::http_protocol_options,
        r#type::v3::Percent,
    },
    google::protobuf::UInt32Value,
};

use super::wire::{self, cds};

/// Sets the cluster's detection, and its panic threshold: a platform's services are small, so that Envoy's
/// default of 50 % would switch the detection off when it is needed.
pub(crate) fn apply(cluster: &mut cds::Cluster, from: &OutlierDetection) {
    let never = Some(UInt32Value::from(0));
    let enforced = |threshold: Option<u32>| threshold.map(|v| UInt32Value::from(if v > 0 { 100 } else { 0 }));
    let gateway = from
        .consecutive_gateway_errors
        .or_else(|| from.consecutive_errors.and_then(|v| u32::try_from(v).ok()));
    let mut to = cds::OutlierDetection {
        consecutive_5xx: from.consecutive5xx_errors.map(Into::into),
        enforcing_consecutive_5xx: enforced(from.consecutive5xx_errors),
        consecutive_gateway_failure: gateway.map(Into::into),
        enforcing_consecutive_gateway_failure: enforced(gateway),
        // Success rates are compared with those of other endpoints, which users of Istio don't expect.
        enforcing_success_rate: never,
        interval: wire::duration(from.interval),
        base_ejection_time: wire::duration(from.base_ejection_time),
        max_ejection_percent: from
            .max_ejection_percent
            .filter(|percent| *percent > 0)
            .and_then(|percent| wire::unsigned(Some(percent.min(100)))),
        // Envoy no longer ejects the first endpoint of a small cluster regardless of the percentage, which is
        // what Istio's default of 10 % relies on.
        always_eject_one_host: Some(true.into()),
        ..Default::default()
    };
    if from.split_external_local_origin_errors {
        to.split_external_local_origin_errors = true;
        let local = from.consecutive_local_origin_failures.filter(|v| *v > 0);
        to.consecutive_local_origin_failure = local.map(Into::into);
        to.enforcing_consecutive_local_origin_failure = enforced(local);
        to.enforcing_local_origin_success_rate = never;
    }
    cluster.outlier_detection = Some(to);
    let threshold = f64::from(from.min_health_percent.unwrap_or(0).clamp(0, 100));
    cluster.common_lb_config.get_or_insert_default().healthy_panic_threshold =
        Some(Percent { value: threshold });
}

/// Which responses are errors, where not the server errors are.
pub(crate) fn error_matcher(from: &OutlierDetection) -> Option<http_protocol_options::OutlierDetection> {
    let of_status = |code: &u32| MatchPredicate {
        rule: Some(Rule::HttpResponseHeadersMatch(HttpHeadersMatch {
            headers: vec![HeaderMatcher {
                name: ":status".into(),
                header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(wire::exact(
                    &code.to_string(),
                ))),
                ..Default::default()
            }],
        })),
    };
    let mut rules: Vec<_> = from.outlier_detection_http_error_codes.iter().map(of_status).collect();
    // An or of fewer than two is refused.
    let error_matcher = match rules.len() {
        0 => return None,
        1 => rules.pop(),
        _ => Some(MatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) }),
    };
    Some(http_protocol_options::OutlierDetection { error_matcher })
}
