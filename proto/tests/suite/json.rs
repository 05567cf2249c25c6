//! JSON and YAML of real resources.

use lateen_proto::Message as _;
use lateen_proto::any::{pack, unpack};
use lateen_proto::envoy::config::bootstrap::v3::Bootstrap;
use lateen_proto::envoy::config::core::v3::{Metadata, TypedExtensionConfig};
use lateen_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use lateen_proto::envoy::config::listener::v3::Listener;
use lateen_proto::envoy::config::route::v3::RouteConfiguration;
use lateen_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use lateen_proto::google::protobuf::{Any, Duration, UInt32Value};
use lateen_proto::json::{
    FieldNames, any_to_json, any_to_json_with, json_to_any, json_to_message, message_to_json, yaml_to_any,
    yaml_to_message,
};
use serde_json::json;

pub const BOOTSTRAP: &str = include_str!("bootstrap.yaml");

#[test]
fn a_bootstrap_with_nested_typed_configs_survives_the_round_trip() {
    let bootstrap: Bootstrap = yaml_to_message(BOOTSTRAP).unwrap();
    let listener = &bootstrap.static_resources.as_ref().unwrap().listeners[0];
    let filter = &listener.filter_chains[0].filters[0];
    let Some(lateen_proto::envoy::config::listener::v3::filter::ConfigType::TypedConfig(config)) =
        &filter.config_type
    else {
        panic!("no typed config: {filter:?}")
    };
    let manager: HttpConnectionManager = unpack(config).unwrap();
    assert_eq!(manager.stat_prefix, "ingress");
    assert_eq!(manager.stream_idle_timeout, Some(Duration { seconds: 0, nanos: 250_000_000 }));
    let Some(RouteSpecifier::RouteConfig(routes)) = &manager.route_specifier else { panic!("no routes") };
    let fault = &routes.virtual_hosts[0].typed_per_filter_config["envoy.filters.http.fault"];
    assert_eq!(fault.type_url, "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault");

    let json = message_to_json(&bootstrap);
    assert_eq!(json_to_message::<Bootstrap>(&json).unwrap(), bootstrap);
    let camel = any_to_json_with(&pack(&bootstrap), FieldNames::Camel);
    assert_eq!(unpack::<Bootstrap>(&json_to_any(&camel).unwrap()).unwrap(), bootstrap);
    assert!(camel["staticResources"]["listeners"][0]["filterChains"].is_array(), "{camel}");
}

#[test]
fn field_names_are_snake_case_and_short_forms_are_used() {
    let yaml = "
'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster
name: a
connectTimeout: 0.25s
lb_policy: RING_HASH
ring_hash_lb_config: { minimum_ring_size: 2048, hash_function: 1 }
per_connection_buffer_limit_bytes: 1024
metadata: { filter_metadata: { a: { n: 1, s: x, l: [true, null, 1.5], m: {} } } }
";
    let json = any_to_json(&yaml_to_any(yaml).unwrap());
    let expected = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "a",
        "connect_timeout": "0.250s",
        "lb_policy": "RING_HASH",
        "ring_hash_lb_config": { "minimum_ring_size": "2048", "hash_function": "MURMUR_HASH_2" },
        "per_connection_buffer_limit_bytes": 1024,
        "metadata": { "filter_metadata": { "a": { "n": 1.0, "s": "x", "l": [true, null, 1.5], "m": {} } } },
    });
    assert_eq!(json, expected);
}

#[test]
fn what_is_read_is_what_the_types_encode() {
    let assignment: ClusterLoadAssignment = yaml_to_message(
        "
cluster_name: a
policy: { drop_overloads: [{ category: x, drop_percentage: { numerator: 5, denominator: TEN_THOUSAND } }] }
endpoints:
- lb_endpoints:
  - load_balancing_weight: 3
    endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 80 } } }
",
    )
    .unwrap();
    assert_eq!(assignment.endpoints[0].lb_endpoints[0].load_balancing_weight, Some(UInt32Value { value: 3 }));
    let any = json_to_any(&any_to_json(&pack(&assignment))).unwrap();
    assert_eq!(any.value.to_vec(), assignment.encode_to_vec());
}

#[test]
fn equal_documents_give_equal_bytes_whatever_their_order() {
    let keys: Vec<String> = (0..50).map(|index| format!("key-{}", (index * 37) % 50)).collect();
    let forward: Vec<String> = keys.iter().map(|key| format!("{key}: {{a: 1, b: 2}}")).collect();
    let backward: Vec<String> = keys.iter().rev().map(|key| format!("{key}: {{b: 2, a: 1}}")).collect();
    let document = |entries: &[String]| {
        format!("'@type': x/envoy.config.core.v3.Metadata\nfilter_metadata: {{ {} }}\n", entries.join(", "))
    };
    let any = yaml_to_any(&document(&forward)).unwrap();
    assert_eq!(any, yaml_to_any(&document(&backward)).unwrap());
    assert_eq!(unpack::<Metadata>(&any).unwrap().filter_metadata.len(), 50);
    assert_eq!(unpack::<Metadata>(&any).unwrap().encode_to_vec(), any.value.to_vec());
}

fn mystery() -> Any {
    Any { type_url: "type.googleapis.com/acme.Mystery".into(), value: vec![1, 2, 0xff].into() }
}

#[test]
fn an_any_of_unknown_type_is_shown_opaque_and_survives() {
    let shown = json!({ "@type": mystery().type_url, "@opaque": "unknown type", "value": "AQL/" });
    assert_eq!(any_to_json(&mystery()), shown);
    assert_eq!(json_to_any(&shown).unwrap(), mystery());

    // Deep inside: Any in TypedExtensionConfig in Any in Any.
    let extension = TypedExtensionConfig { name: "a".into(), typed_config: Some(mystery()) };
    let nested =
        pack(&TypedExtensionConfig { name: "b".into(), typed_config: Some(pack(&pack(&extension))) });
    let json = any_to_json(&nested);
    assert_eq!(json["typed_config"]["value"]["typed_config"], shown);
    assert_eq!(json_to_any(&json).unwrap(), nested);
}

#[test]
fn malformed_bytes_of_a_known_type_are_shown_opaque_and_survive() {
    let bad = Any { value: vec![0xff].into(), ..pack(&Listener::default()) };
    let json = any_to_json(&bad);
    assert_eq!(json["@opaque"], "malformed");
    assert_eq!(json_to_any(&json).unwrap(), bad);
}

#[test]
fn any_nested_without_end_is_cut_and_survives() {
    let mut any = mystery();
    for _ in 0..2000 {
        any = pack(&any);
    }
    let json = any_to_json(&any);
    let text = json.to_string();
    assert!(text.contains("too deep"), "{}", text.get(..200).unwrap());
    assert_eq!(json_to_any(&json).unwrap(), any);
}

#[test]
fn an_empty_any_is_an_empty_object() {
    assert_eq!(any_to_json(&Any::default()), json!({}));
    assert_eq!(json_to_any(&json!({})).unwrap(), Any::default());
}

#[test]
fn well_known_types_in_an_any_stand_under_value() {
    for (type_name, value) in [
        ("Duration", json!("1.000000001s")),
        ("Duration", json!("-0.500s")),
        ("Timestamp", json!("2026-11-23T01:02:03.500Z")),
        ("StringValue", json!("x")),
        ("UInt64Value", json!("18446744073709551615")),
        ("Int64Value", json!("-9223372036854775808")),
        ("BytesValue", json!("AQID")),
        ("BoolValue", json!(true)),
        ("FloatValue", json!(0.1)),
        ("DoubleValue", json!("-Infinity")),
        ("Struct", json!({ "a": [null, { "b": "c" }] })),
        ("ListValue", json!([1.0, "x"])),
        ("Value", json!(null)),
        ("Empty", json!({})),
    ] {
        let json =
            json!({ "@type": format!("type.googleapis.com/google.protobuf.{type_name}"), "value": value });
        assert_eq!(any_to_json(&json_to_any(&json).unwrap()), json);
    }
}

#[test]
fn numbers_out_of_a_time_types_range_are_still_shown() {
    let json = message_to_json(&Duration { seconds: i64::MAX, nanos: 5 });
    assert_eq!(json, json!({ "seconds": "9223372036854775807", "nanos": 5 }));
}

#[test]
fn null_means_absent() {
    let routes: RouteConfiguration = yaml_to_message("name: a\nvirtual_hosts: null\nvhds: ~\n").unwrap();
    assert_eq!(routes, RouteConfiguration { name: "a".into(), ..RouteConfiguration::default() });
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    let routes: RouteConfiguration = yaml_to_message(
        "
name: a
virtual_hosts:
- &base { name: one, domains: [a.example], include_request_attempt_count: true }
- { <<: *base, name: two }
",
    )
    .unwrap();
    assert_eq!(routes.virtual_hosts[1].name, "two");
    assert_eq!(routes.virtual_hosts[1].domains, ["a.example"]);
}
