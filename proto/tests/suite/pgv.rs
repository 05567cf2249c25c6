//! The API's own rules: one good and one bad example of each kind, and what Envoy says of the same documents.

use lateen_proto::google::protobuf::Any;
use lateen_proto::json::yaml_to_any;
use lateen_proto::pgv::{check, unsupported_rules};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::json::BOOTSTRAP;

fn of(type_name: &str, yaml: &str) -> Any {
    let header = format!("'@type': type.googleapis.com/{type_name}");
    let document = match yaml.strip_prefix('{') {
        Some(rest) => format!("{{ {header}, {rest}"),
        None => format!("{header}\n{yaml}"),
    };
    yaml_to_any(&document).unwrap_or_else(|error| panic!("{error}\n{document}"))
}

fn broken(type_name: &str, yaml: &str) -> Vec<String> {
    check(&of(type_name, yaml)).iter().map(ToString::to_string).collect()
}

#[test]
fn every_rule_of_the_api_is_implemented() {
    assert_eq!(unsupported_rules(), &[] as &[String]);
}

#[test]
fn a_valid_bootstrap_breaks_nothing() {
    assert_eq!(broken("envoy.config.bootstrap.v3.Bootstrap", BOOTSTRAP), [] as [&str; 0]);
}

/// Type, good document, bad document, what is said of the bad one.
const CASES: &[(&str, &str, &str, &str)] = &[
    (
        "envoy.extensions.filters.http.health_check.v3.HealthCheck",
        "pass_through_mode: false",
        "{}",
        "pass_through_mode: absent breaks message.required",
    ),
    (
        "xds.core.v3.TypedExtensionConfig",
        "{name: a, typed_config: {'@type': x/envoy.config.core.v3.Node}}",
        "name: a",
        "typed_config: absent breaks any.required",
    ),
    (
        "envoy.config.core.v3.HealthCheck",
        "{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}",
        "{interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}",
        "timeout: absent breaks duration.required",
    ),
    (
        "envoy.config.core.v3.HealthCheck",
        "{timeout: 0.000000001s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}",
        "{timeout: 0s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}",
        "timeout: 0s breaks duration.gt: 0s",
    ),
    (
        "envoy.config.core.v3.GrpcService.EnvoyGrpc",
        "cluster_name: a",
        "{}",
        "cluster_name: \"\" breaks string.min_len: 1",
    ),
    (
        "envoy.config.core.v3.HeaderValue",
        "{key: a, raw_value: YQ==}",
        "{key: ''}",
        "key: \"\" breaks string.min_len: 1",
    ),
    (
        "envoy.config.core.v3.HeaderValue",
        "key: aä~",
        "key: \"a\\nb\"",
        "key: \"a\\nb\" breaks string.well_known_regex: no NUL, CR or LF",
    ),
    ("envoy.config.core.v3.DataSource", "inline_string: a", "{}", "specifier: absent breaks oneof.required"),
    (
        "envoy.config.core.v3.SocketAddress",
        "{address: a, port_value: 65535}",
        "{address: a, port_value: 65536}",
        "port_value: 65536 breaks uint32.lte: 65535",
    ),
    (
        "envoy.config.endpoint.v3.LocalityLbEndpoints",
        "priority: 128",
        "priority: 129",
        "priority: 129 breaks uint32.lte: 128",
    ),
    (
        "envoy.config.endpoint.v3.LbEndpoint",
        "load_balancing_weight: 1",
        "load_balancing_weight: 0",
        "load_balancing_weight: 0 breaks uint32.gte: 1",
    ),
    ("envoy.type.v3.HttpStatus", "code: 200", "{}", "code: 0 breaks enum.not_in: [0]"),
    ("envoy.type.v3.HttpStatus", "code: 404", "code: 299", "code: 299 breaks enum.defined_only"),
    (
        "envoy.config.cluster.v3.Cluster",
        "{name: a, lb_policy: MAGLEV}",
        "{name: a, lb_policy: 99}",
        "lb_policy: 99 breaks enum.defined_only",
    ),
    (
        "envoy.config.cluster.v3.Cluster",
        "{name: a, ring_hash_lb_config: {minimum_ring_size: 8388608}}",
        "{name: a, ring_hash_lb_config: {minimum_ring_size: 8388609}}",
        "ring_hash_lb_config.minimum_ring_size: 8388609 breaks uint64.lte: 8388608",
    ),
    (
        "envoy.config.core.v3.UdpSocketConfig",
        "max_rx_datagram_size: 65535",
        "max_rx_datagram_size: 65536",
        "max_rx_datagram_size: 65536 breaks uint64.lt: 65536",
    ),
    (
        "envoy.config.core.v3.UdpSocketConfig",
        "max_rx_datagram_size: 1",
        "max_rx_datagram_size: 0",
        "max_rx_datagram_size: 0 breaks uint64.gt: 0",
    ),
    (
        "envoy.config.core.v3.RateLimitSettings",
        "fill_rate: 0.5",
        "fill_rate: 0",
        "fill_rate: 0 breaks double.gt: 0",
    ),
    (
        "xds.data.orca.v3.OrcaLoadReport",
        "mem_utilization: 1",
        "mem_utilization: 1.5",
        "mem_utilization: 1.5 breaks double.lte: 1",
    ),
    (
        "xds.data.orca.v3.OrcaLoadReport",
        "mem_utilization: 0",
        "mem_utilization: -0.5",
        "mem_utilization: -0.5 breaks double.gte: 0",
    ),
    (
        "xds.data.orca.v3.OrcaLoadReport",
        "utilization: {a: 1}",
        "utilization: {a: 2}",
        "utilization[\"a\"]: 2 breaks double.lte: 1",
    ),
    (
        "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
        "error_utilization_penalty: 0",
        "error_utilization_penalty: -1",
        "error_utilization_penalty: -1 breaks float.gte: 0",
    ),
    (
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        "update_frequency: 1",
        "{}",
        "update_frequency: 0 breaks int32.gt: 0",
    ),
    (
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections: 1",
        "max_active_downstream_connections: -1",
        "max_active_downstream_connections: -1 breaks int64.gt: 0",
    ),
    (
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.Rule",
        "tlv_type: 255",
        "tlv_type: 256",
        "tlv_type: 256 breaks uint32.lt: 256",
    ),
    (
        "envoy.config.route.v3.RouteMatch",
        "{prefix: /, headers: [{name: a, present_match: true}]}",
        "{prefix: /, headers: [{name: a}, {name: ''}]}",
        "headers[1].name: \"\" breaks string.min_len: 1",
    ),
    (
        "envoy.config.route.v3.VirtualHost",
        "{name: a, domains: [a]}",
        "{name: a}",
        "domains: 0 items breaks repeated.min_items: 1",
    ),
    (
        "envoy.config.route.v3.VirtualHost",
        "{name: a, domains: [a]}",
        "{name: a, domains: [a], require_tls: 7}",
        "require_tls: 7 breaks enum.defined_only",
    ),
    (
        "envoy.config.route.v3.RedirectAction",
        "prefix_rewrite: /a",
        "prefix_rewrite: \"a\\rb\"",
        "prefix_rewrite: \"a\\rb\" breaks string.well_known_regex: no NUL, CR or LF",
    ),
    (
        "envoy.config.core.v3.KeepaliveSettings",
        "{timeout: 1s, interval: 0.001s}",
        "{timeout: 1s, interval: -1.5s}",
        "interval: -1.5s breaks duration.gte: 0.001s",
    ),
    // The bounds cross: what lies between them is refused.
    (
        "envoy.config.core.v3.QuicKeepAliveSettings",
        "initial_interval: 0s",
        "initial_interval: 0.0005s",
        "initial_interval: 0.0005s breaks duration.lte: 0s",
    ),
    (
        "envoy.config.core.v3.QuicKeepAliveSettings",
        "initial_interval: 1s",
        "initial_interval: 0.000000001s",
        "initial_interval: 0.000000001s breaks duration.lte: 0s",
    ),
    (
        "envoy.config.core.v3.AlternateProtocolsCacheOptions.AlternateProtocolsCacheEntry",
        "{port: 1, hostname: ''}",
        "{port: 1, hostname: 'a b'}",
        "hostname: \"a b\" breaks string.well_known_regex: HTTP_HEADER_NAME",
    ),
    (
        "envoy.config.core.v3.AlternateProtocolsCacheOptions.AlternateProtocolsCacheEntry",
        "{port: 65534, hostname: \":a+,`'\"}",
        "{hostname: a}",
        "port: 0 breaks uint32.gt: 0",
    ),
    (
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
        "path: \"/ä\\t\"",
        "path: \"/\\x01\"",
        "path: \"/\\u{1}\" breaks string.well_known_regex: HTTP_HEADER_VALUE",
    ),
    (
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
        "{path: /, request_headers_to_remove: [a]}",
        "{path: /, request_headers_to_remove: [\"a\\0\"]}",
        "request_headers_to_remove[0]: \"a\\0\" breaks string.well_known_regex: no NUL, CR or LF",
    ),
    ("envoy.config.rbac.v3.Permission", "any: true", "any: false", "any: false breaks bool.const: true"),
    (
        "envoy.config.tap.v3.HttpGenericBodyMatch.GenericTextMatch",
        "binary_match: YQ==",
        "binary_match: ''",
        "binary_match: 0 bytes breaks bytes.min_len: 1",
    ),
    (
        "envoy.config.core.v3.HealthStatusSet",
        "statuses: [HEALTHY]",
        "statuses: [HEALTHY, 55]",
        "statuses[1]: 55 breaks enum.defined_only",
    ),
    (
        "envoy.config.route.v3.RateLimit.HitsAddend",
        "format: ''",
        "format: 'a%'",
        "format: \"a%\" breaks string.prefix: \"%\"",
    ),
    (
        "envoy.config.route.v3.RateLimit.HitsAddend",
        "format: '%a%'",
        "format: '%a'",
        "format: \"%a\" breaks string.suffix: \"%\"",
    ),
    (
        "envoy.config.route.v3.RateLimit.HitsAddend",
        "number: 1000000000",
        "number: 1000000001",
        "number: 1000000001 breaks uint64.lte: 1000000000",
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.ShadowDecision",
        "status_code: 0",
        "status_code: 99",
        "status_code: 99 breaks uint32.gte: 100",
    ),
    (
        "envoy.config.route.v3.RouteMatch",
        "path_separated_prefix: /a",
        "path_separated_prefix: /a/",
        "path_separated_prefix: \"/a/\" breaks string.pattern: ^[^?#]+[^?#/]$",
    ),
    // Whole value, not a part of it; and `$` does not match before a final newline.
    (
        "xds.core.v3.CollectionEntry.InlineEntry",
        "name: a",
        "name: \"a\\n\"",
        "name: \"a\\n\" breaks string.pattern",
    ),
    // The entry's own rules are switched off.
    (
        "envoy.config.core.v3.KeyValueAppend",
        "entry: {key: ''}",
        "{action: 9}",
        "action: 9 breaks enum.defined_only",
    ),
    (
        "envoy.extensions.filters.network.thrift_proxy.filters.payload_to_metadata.v3.PayloadToMetadata.FieldSelector",
        "{name: a, id: -32768}",
        "{name: a, id: -32769}",
        "id: -32769 breaks int32.gte: -32768",
    ),
    (
        "envoy.extensions.filters.network.thrift_proxy.filters.payload_to_metadata.v3.PayloadToMetadata.FieldSelector",
        "{name: a, id: 32767}",
        "{name: a, id: 32768}",
        "id: 32768 breaks int32.lte: 32767",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "session_timeout: 4294967295.999s",
        "session_timeout: 4294967296s",
        "session_timeout: 4294967296s breaks duration.lt: 4294967296s",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
        "verify_certificate_spki: [NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=]",
        "verify_certificate_spki: [abc]",
        "verify_certificate_spki[0]: \"abc\" breaks string.min_len: 44",
    ),
    (
        "envoy.extensions.filters.http.router.v3.Router",
        "strict_check_headers: [x-envoy-max-retries]",
        "strict_check_headers: [x-envoy-max-retries, a]",
        "strict_check_headers[1]: \"a\" breaks string.in: [\"x-envoy-upstream-rq-timeout-ms\"",
    ),
    (
        "envoy.config.metrics.v3.HistogramBucketSettings",
        "{match: {prefix: a}, buckets: [1, 2]}",
        "{match: {prefix: a}, buckets: [1, 0]}",
        "buckets[1]: 0 breaks double.gt: 0",
    ),
    (
        "envoy.extensions.filters.http.compressor.v3.Compressor.ResponseDirectionConfig",
        "uncompressible_response_codes: [200, 201]",
        "uncompressible_response_codes: [200, 201, 200]",
        "uncompressible_response_codes: a duplicate breaks repeated.unique",
    ),
    (
        "envoy.extensions.filters.http.compressor.v3.Compressor.ResponseDirectionConfig",
        "uncompressible_response_codes: [200, 599]",
        "uncompressible_response_codes: [599, 600]",
        "uncompressible_response_codes[1]: 600 breaks uint32.lt: 600",
    ),
    (
        "envoy.config.listener.v3.FilterChainMatch",
        "source_ports: [1, 65535]",
        "source_ports: [1, 65536]",
        "source_ports[1]: 65536 breaks uint32.lte: 65535",
    ),
    (
        "envoy.service.rate_limit_quota.v3.BucketId",
        "bucket: {a: b}",
        "bucket: {}",
        "bucket: 0 pairs breaks map.min_pairs: 1",
    ),
    (
        "envoy.service.rate_limit_quota.v3.BucketId",
        "bucket: {a: b}",
        "bucket: {a: b, '': b}",
        "bucket[]: \"\" breaks string.min_len: 1",
    ),
    (
        "envoy.service.rate_limit_quota.v3.BucketId",
        "bucket: {a: b}",
        "bucket: {a: ''}",
        "bucket[\"a\"]: \"\" breaks string.min_len: 1",
    ),
    (
        "envoy.extensions.filters.http.file_server.v3.FileServerConfig",
        "{manager_config: {thread_pool: {}}, content_types: {a-b: c}}",
        "{manager_config: {thread_pool: {}}, content_types: {A: c}}",
        "content_types[\"A\"]: \"A\" breaks string.pattern: ^[a-z0-9_\\-]*$",
    ),
];

#[test]
fn each_kind_of_rule_takes_the_good_and_names_the_bad() {
    let mut wrong = Vec::new();
    for (type_name, good, bad, said) in CASES.iter().filter(|case| !case.3.is_empty()) {
        let of_good = broken(type_name, good);
        if !of_good.is_empty() {
            wrong.push(format!("{type_name} {good}: {of_good:?}"));
        }
        let of_bad = broken(type_name, bad);
        if of_bad.len() != 1 || !of_bad[0].starts_with(said) {
            wrong.push(format!("{type_name} {bad}: {of_bad:?}, not {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lengths_and_numbers_of_items_are_bounded() {
    let list = |count: usize, item: &str| vec![item; count].join(", ");
    let value = |length: usize| "ä".repeat(length / 2);
    let cases = [
        ("envoy.config.core.v3.HeaderValue", format!("{{key: a, value: {}}}", value(16384)), String::new()),
        (
            "envoy.config.core.v3.HeaderValue",
            format!("{{key: a, value: {}}}", value(16386)),
            "string.max_bytes: 16384".into(),
        ),
        (
            "envoy.config.core.v3.HeaderValue",
            format!("{{key: a, raw_value: {}}}", "A".repeat(21844)),
            String::new(),
        ),
        (
            "envoy.config.core.v3.HeaderValue",
            format!("{{key: a, raw_value: {}}}", "A".repeat(21848)),
            "bytes.max_len: 16384".into(),
        ),
        // In characters, of two bytes each.
        (
            "envoy.extensions.router.route_specifiers.dynamic_modules.v3.DynamicModuleRouteSpecifier",
            format!(
                "{{dynamic_module_config: {{name: a}}, stat_prefix: a, specifier_instance_id: {}}}",
                value(512)
            ),
            String::new(),
        ),
        (
            "envoy.extensions.router.route_specifiers.dynamic_modules.v3.DynamicModuleRouteSpecifier",
            format!(
                "{{dynamic_module_config: {{name: a}}, stat_prefix: a, specifier_instance_id: {}}}",
                value(514)
            ),
            "string.max_len: 256".into(),
        ),
        (
            "envoy.config.route.v3.VirtualHost",
            format!(
                "{{name: a, domains: [a], request_headers_to_add: [{}]}}",
                list(1000, "{header: {key: a}}")
            ),
            String::new(),
        ),
        (
            "envoy.config.route.v3.VirtualHost",
            format!(
                "{{name: a, domains: [a], request_headers_to_add: [{}]}}",
                list(1001, "{header: {key: a}}")
            ),
            "repeated.max_items: 1000".into(),
        ),
    ];
    for (type_name, document, rule) in cases {
        let rules: Vec<String> =
            check(&of(type_name, &document)).into_iter().map(|violation| violation.rule).collect();
        assert_eq!(rules.join(", "), rule, "{type_name}");
    }
}

#[test]
fn rules_hold_deep_inside_any() {
    let bad = BOOTSTRAP
        .replace("domains: [\"*\"]", "domains: []")
        .replace("http_status: 503", "http_status: 99")
        .replace("connect_timeout: 1s", "connect_timeout: 0s");
    assert_eq!(
        broken("envoy.config.bootstrap.v3.Bootstrap", &bad),
        [
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0]\
             .typed_per_filter_config[\"envoy.filters.http.fault\"].abort.http_status: 99 breaks uint32.gte: 200",
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0]\
             .domains: 0 items breaks repeated.min_items: 1",
            "static_resources.clusters[0].connect_timeout: 0s breaks duration.gt: 0s",
        ]
    );
}

#[test]
fn unknown_types_and_malformed_bytes_are_told_apart() {
    let any = |type_url: &str, value: &[u8]| Any { type_url: type_url.into(), value: value.to_vec().into() };
    assert_eq!(check(&any("x/acme.Mystery", &[0xff])), []);
    let violations = check(&any("x/envoy.config.cluster.v3.Cluster", &[0xff]));
    assert_eq!(violations[0].rule, "encoding");
}

#[test]
fn violations_are_bounded() {
    let names = "{domains: [a]}, ".repeat(1000);
    let any = of("envoy.config.route.v3.RouteConfiguration", &format!("virtual_hosts: [{names}]"));
    assert_eq!(check(&any).len(), lateen_proto::pgv::VIOLATIONS_MAX);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        type_name in prop_oneof![
            Just("envoy.config.cluster.v3.Cluster"),
            Just("envoy.config.listener.v3.Listener"),
            Just("envoy.config.route.v3.RouteConfiguration"),
            Just("envoy.config.core.v3.Metadata"),
            Just("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        ],
        value in vec(any::<u8>(), 0..300),
    ) {
        let _ = check(&Any { type_url: format!("x/{type_name}"), value: value.into() });
    }

    #[test]
    fn damaged_resources_never_panic(position in 0..2000_usize, byte in any::<u8>(), cut in 0..2000_usize) {
        let any = of("envoy.config.bootstrap.v3.Bootstrap", BOOTSTRAP);
        let mut value = any.value.to_vec();
        let length = value.len();
        value[position % length] = byte;
        value.truncate(length - cut % length);
        let damaged = Any { value: value.into(), ..any };
        let _ = check(&damaged);
        let _ = lateen_proto::json::any_to_json(&damaged);
    }
}
