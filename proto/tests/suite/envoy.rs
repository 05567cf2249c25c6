//! The same documents, judged by Envoy 1.40 and by us.
//!
//! Envoy's answers are recorded here, and checked again by the ignored test where there is an Envoy.

use std::io::Write as _;
use std::process::{Command, Stdio};

use lateen_proto::envoy::config::bootstrap::v3::Bootstrap;
use lateen_proto::json::yaml_to_message;
use lateen_proto::pgv::check_message;

use crate::json::BOOTSTRAP;

/// A change of the bootstrap (what is replaced, by what), the end of what Envoy says of it, what we say.
type Case = (&'static str, &'static str, &'static str, &'static str);

const REFUSED: &[Case] = &[
    (
        "connect_timeout: 1s",
        "connect_timeout: 0s",
        "ClusterValidationError.ConnectTimeout: value must be greater than 0s)",
        "connect_timeout: 0s breaks duration.gt: 0s",
    ),
    (
        "http_status: 503",
        "http_status: 99",
        "FaultAbortValidationError.HttpStatus: value must be inside range [200, 600))",
        "typed_per_filter_config[\"envoy.filters.http.fault\"].abort.http_status: 99 breaks uint32.gte: 200",
    ),
    (
        "http_status: 503",
        "http_status: 600",
        "FaultAbortValidationError.HttpStatus: value must be inside range [200, 600))",
        "typed_per_filter_config[\"envoy.filters.http.fault\"].abort.http_status: 600 breaks uint32.lt: 600",
    ),
    (
        "domains: [\"*\"]",
        "domains: []",
        "VirtualHostValidationError.Domains: value must contain at least 1 item(s))",
        "domains: 0 items breaks repeated.min_items: 1",
    ),
    (
        "- name: all\n",
        "- require_tls: NONE\n",
        "VirtualHostValidationError.Name: value length must be at least 1 characters)",
        "name: \"\" breaks string.min_len: 1",
    ),
    (
        "stat_prefix: ingress",
        "server_name: x",
        "HttpConnectionManagerValidationError.StatPrefix: value length must be at least 1 characters)",
        "stat_prefix: \"\" breaks string.min_len: 1",
    ),
    (
        "port_value: 8080",
        "port_value: 65536",
        "SocketAddressValidationError.PortValue: value must be less than or equal to 65535)",
        "static_resources.listeners[0].address.socket_address.port_value: 65536 breaks uint32.lte: 65535",
    ),
    (
        "- name: xds\n",
        "- lb_policy: ROUND_ROBIN\n",
        "ClusterValidationError.Name: value length must be at least 1 characters)",
        "name: \"\" breaks string.min_len: 1",
    ),
    (
        "type: STATIC",
        "type: STATIC\n    lb_policy: 77",
        "ClusterValidationError.LbPolicy: value must be one of the defined enum values)",
        "lb_policy: 77 breaks enum.defined_only",
    ),
    (
        "type: STATIC",
        "type: STATIC\n    ring_hash_lb_config: { minimum_ring_size: 8388609 }",
        "RingHashLbConfigValidationError.MinimumRingSize: value must be less than or equal to 8388608)",
        "ring_hash_lb_config.minimum_ring_size: 8388609 breaks uint64.lte: 8388608",
    ),
    (
        "type: STATIC",
        "type: STATIC\n    outlier_detection: { max_ejection_percent: 101 }",
        "OutlierDetectionValidationError.MaxEjectionPercent: value must be less than or equal to 100)",
        "outlier_detection.max_ejection_percent: 101 breaks uint32.lte: 100",
    ),
    (
        "type: STATIC",
        "type: STATIC\n    common_lb_config: { healthy_panic_threshold: { value: 101 } }",
        "PercentValidationError.Value: value must be inside range [0, 100])",
        "common_lb_config.healthy_panic_threshold.value: 101 breaks double.lte: 100",
    ),
    (
        "direct_response: { status: 404",
        "direct_response: { status: 601",
        "DirectResponseActionValidationError.Status: value must be inside range [200, 600))",
        "routes[1].direct_response.status: 601 breaks uint32.lt: 600",
    ),
    (
        "match: { safe_regex: { regex: \"/v[0-9]+/.*\" } }",
        "match: {}",
        "field: \"path_specifier\", reason: is required)",
        "routes[0].match.path_specifier: absent breaks oneof.required",
    ),
    (
        "match: { safe_regex: { regex: \"/v[0-9]+/.*\" } }",
        "match: { safe_regex: { regex: \"\" } }",
        "RegexMatcherValidationError.Regex: value length must be at least 1 characters)",
        "routes[0].match.safe_regex.regex: \"\" breaks string.min_len: 1",
    ),
    (
        "match: { safe_regex: { regex: \"/v[0-9]+/.*\" } }",
        "match: { path_separated_prefix: \"/a/\" }",
        "RouteMatchValidationError.PathSeparatedPrefix: value does not match regex pattern \"^[^?#]+[^?#/]$\")",
        "routes[0].match.path_separated_prefix: \"/a/\" breaks string.pattern: ^[^?#]+[^?#/]$",
    ),
    (
        "{ inline_string: \"nothing here\" }",
        "{}",
        "field: \"specifier\", reason: is required)",
        "routes[1].direct_response.body.specifier: absent breaks oneof.required",
    ),
    (
        "route: { cluster: xds,",
        "route: { cluster: \"\",",
        "RouteActionValidationError.Cluster: value length must be at least 1 characters)",
        "routes[0].route.cluster: \"\" breaks string.min_len: 1",
    ),
    (
        "route: { cluster: xds,",
        "request_headers_to_add: [{ header: { key: \"\", value: a } }]\n                route: { cluster: xds,",
        "HeaderValueValidationError.Key: value length must be at least 1 characters)",
        "routes[0].request_headers_to_add[0].header.key: \"\" breaks string.min_len: 1",
    ),
    (
        "route: { cluster: xds,",
        "request_headers_to_add: [{ header: { key: \"a\\nb\", value: a } }]\n                route: { cluster: xds,",
        "HeaderValueValidationError.Key: value does not match regex pattern \"^[^\\x00\\n\\r]*$\")",
        "routes[0].request_headers_to_add[0].header.key: \"a\\nb\" breaks string.well_known_regex: no NUL, CR or LF",
    ),
    (
        "route: { cluster: xds,",
        "request_headers_to_remove: [\"\"]\n                route: { cluster: xds,",
        "RouteValidationError.RequestHeadersToRemove[0]: value length must be at least 1 characters)",
        "routes[0].request_headers_to_remove[0]: \"\" breaks string.min_len: 1",
    ),
    (
        "route: { cluster: xds,",
        "route: { weighted_clusters: { clusters: [] },",
        "WeightedClusterValidationError.Clusters: value must contain at least 1 item(s))",
        "routes[0].route.weighted_clusters.clusters: 0 items breaks repeated.min_items: 1",
    ),
    (
        "- match: { prefix: / }\n",
        "- match: { prefix: / }\n                typed_per_filter_config: { a: { '@type': x/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {} } }\n",
        "field: \"error_type\", reason: is required)",
        "routes[1].typed_per_filter_config[\"a\"].abort.error_type: absent breaks oneof.required",
    ),
    (
        "- endpoint:",
        "- load_balancing_weight: 0\n          endpoint:",
        "LbEndpointValidationError.LoadBalancingWeight: value must be greater than or equal to 1)",
        "load_assignment.endpoints[0].lb_endpoints[0].load_balancing_weight: 0 breaks uint32.gte: 1",
    ),
    (
        "      - lb_endpoints:",
        "      - priority: 129\n        lb_endpoints:",
        "LocalityLbEndpointsValidationError.Priority: value must be less than or equal to 128)",
        "load_assignment.endpoints[0].priority: 129 breaks uint32.lte: 128",
    ),
    (
        "- name: envoy.filters.http.router",
        "- name: \"\"",
        "HttpFilterValidationError.Name: value length must be at least 1 characters)",
        "http_filters[1].name: \"\" breaks string.min_len: 1",
    ),
    (
        "address: 127.0.0.1, port_value: 8080",
        "address: \"\", port_value: 8080",
        "SocketAddressValidationError.Address: value length must be at least 1 characters)",
        "static_resources.listeners[0].address.socket_address.address: \"\" breaks string.min_len: 1",
    ),
    (
        "type: STATIC",
        "type: STATIC\n    health_checks: [{ timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1 }]",
        "field: \"health_checker\", reason: is required)",
        "health_checks[0].health_checker: absent breaks oneof.required",
    ),
    (
        "type: STATIC",
        "type: STATIC\n    health_checks: [{ interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {} }]",
        "HealthCheckValidationError.Timeout: value is required)",
        "health_checks[0].timeout: absent breaks duration.required",
    ),
    (
        "cluster_name: xds\n",
        "cluster_name: \"\"\n",
        "ClusterLoadAssignmentValidationError.ClusterName: value length must be at least 1 characters)",
        "load_assignment.cluster_name: \"\" breaks string.min_len: 1",
    ),
    (
        "transport_api_version: V3",
        "transport_api_version: 9",
        "ApiConfigSourceValidationError.TransportApiVersion: value must be one of the defined enum values)",
        "dynamic_resources.ads_config.transport_api_version: 9 breaks enum.defined_only",
    ),
];

/// Changes that Envoy takes.
const TAKEN: &[(&str, &str)] = &[
    ("connect_timeout: 1s", "connect_timeout: 0.000000001s"),
    ("http_status: 503", "http_status: 599"),
    ("- name: all\n", "- name: ä\n"),
    ("type: STATIC", "type: STATIC\n    outlier_detection: { max_ejection_percent: 100 }"),
    ("type: STATIC", "type: STATIC\n    common_lb_config: { healthy_panic_threshold: { value: 100 } }"),
    ("match: { safe_regex: { regex: \"/v[0-9]+/.*\" } }", "match: { path_separated_prefix: \"/a\" }"),
    (
        "route: { cluster: xds,",
        "request_headers_to_add: [{ header: { key: \"a b\", value: a } }]\n                route: { cluster: xds,",
    ),
    ("- endpoint:", "- load_balancing_weight: 1\n          endpoint:"),
    ("  - name: ingress\n", "  - name: \"\"\n"),
    (
        "type: STATIC",
        "type: STATIC\n    lb_subset_config: { fallback_policy: ANY_ENDPOINT, subset_selectors: [{ keys: [a], fallback_policy: NO_FALLBACK }] }",
    ),
];

fn changed(from: &str, to: &str) -> String {
    assert!(BOOTSTRAP.contains(from), "{from}");
    BOOTSTRAP.replacen(from, to, 1)
}

fn our_answer(document: &str) -> String {
    let bootstrap: Bootstrap = yaml_to_message(document).unwrap();
    let violations: Vec<String> = check_message(&bootstrap).iter().map(ToString::to_string).collect();
    violations.join("\n")
}

#[test]
fn what_envoy_refuses_is_refused_for_the_same_field() {
    let mut wrong = Vec::new();
    for (from, to, _, ours) in REFUSED {
        let answer = our_answer(&changed(from, to));
        if !answer.ends_with(ours) || answer.lines().count() != 1 {
            wrong.push(format!("{to}: {answer}"));
        }
    }
    for (from, to) in TAKEN {
        let answer = our_answer(&changed(from, to));
        if !answer.is_empty() {
            wrong.push(format!("{to}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs an Envoy 1.40, named by LATEEN_ENVOY"]
fn envoy_says_what_was_recorded() {
    let envoy = std::env::var("LATEEN_ENVOY").expect("LATEEN_ENVOY names the Envoy binary");
    let mut wrong = Vec::new();
    let refused = REFUSED.iter().map(|(from, to, said, _)| (*from, *to, *said));
    for (from, to, said) in refused.chain(TAKEN.iter().map(|(from, to)| (*from, *to, " OK"))) {
        let answer = envoys_answer(&envoy, &changed(from, to));
        if !answer.trim_end().ends_with(said) {
            wrong.push(format!("{to}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The last line that Envoy prints.
fn envoys_answer(envoy: &str, document: &str) -> String {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(document.as_bytes()).unwrap();
    let output = Command::new(envoy)
        .args(["--mode", "validate", "-c"])
        .arg(file.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = [output.stderr, output.stdout].concat();
    let text = String::from_utf8_lossy(&printed).into_owned();
    text.trim_end().lines().last().unwrap_or_default().to_owned()
}
