//! The API's own rules: one good and one bad example of each kind, and what Envoy says of the same documents.

use lateen_proto::google::protobuf::Any;
use lateen_proto::json::yaml_to_any;
use lateen_proto::pgv::{check, unsupported_rules};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::json::BOOTSTRAP;
use crate::pgv_cases::CASES;

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
