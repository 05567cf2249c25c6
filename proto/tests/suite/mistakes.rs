//! What is said about documents with mistakes.

use lateen_proto::envoy::config::listener::v3::Listener;
use lateen_proto::json::{json_to_any, yaml_to_any, yaml_to_message};
use serde_json::json;

/// What `document` is answered with; it is a listener with `body` in its connection manager.
fn said_of_manager(body: &str) -> String {
    let document = format!(
        "name: a
filter_chains:
- filters:
  - name: http
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      {body}
"
    );
    yaml_to_message::<Listener>(&document).unwrap_err().to_string()
}

const AT: &str = "filter_chains[0].filters[0].typed_config";

#[test]
fn a_mistake_inside_an_any_has_its_exact_line_and_column() {
    assert_eq!(
        said_of_manager("stat_prefx: b"),
        format!(
            "7:7: {AT}: envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager \
             has no field \"stat_prefx\"; did you mean \"stat_prefix\"?"
        )
    );
    assert_eq!(
        said_of_manager("codec_type: HTTTP1"),
        format!(
            "7:19: {AT}.codec_type: envoy.extensions.filters.network.http_connection_manager.v3.\
             HttpConnectionManager.CodecType has no value \"HTTTP1\"; did you mean \"HTTP1\"?"
        )
    );
    assert_eq!(
        said_of_manager("http_filters: [{ name: x, typed_config: { '@type': a/envoy.Nope } }]"),
        format!("7:58: {AT}.http_filters[0].typed_config: unknown type \"a/envoy.Nope\"")
    );
}

#[test]
fn each_kind_of_mistake_is_named() {
    for (body, said) in [
        ("stat_prefix: 5", "7:20: {}.stat_prefix: expected a string (quote it), found 5"),
        ("stat_prefix: [a]", "7:20: {}.stat_prefix: expected a string, found a list"),
        ("add_user_agent: x", "7:23: {}.add_user_agent: expected true or false, found \"x\""),
        (
            "xff_num_trusted_hops: -1",
            "7:29: {}.xff_num_trusted_hops: expected an unsigned 32-bit integer, found -1",
        ),
        (
            "xff_num_trusted_hops: 4294967296",
            "7:29: {}.xff_num_trusted_hops: expected an unsigned 32-bit integer, found 4294967296",
        ),
        (
            "xff_num_trusted_hops: 1.5",
            "7:29: {}.xff_num_trusted_hops: expected an unsigned 32-bit integer, found 1.5",
        ),
        ("drain_timeout: 5", "7:22: {}.drain_timeout: expected a string (quote it), found 5"),
        ("drain_timeout: 5m", "7:22: {}.drain_timeout: expected a duration such as \"1.5s\", found \"5m\""),
        ("http_filters: {}", "7:21: {}.http_filters: expected a list, found a map"),
        ("http_filters: [null]", "7:22: {}.http_filters[0]: expected a map, found null"),
        ("route_config: []", "7:21: {}.route_config: expected a map, found a list"),
        ("rds: {}\n      route_config: {}", "8:7: {}: only one of \"rds\" and \"route_config\" may be given"),
        ("statPrefix: a\n      stat_prefix: b", "8:7: {}: field \"stat_prefix\" is given twice"),
    ] {
        assert_eq!(said_of_manager(body), said.replace("{}", AT), "{body}");
    }
}

#[test]
fn text_that_is_not_yaml_has_a_position() {
    let error = yaml_to_any("a: [1, 2\nb: }").unwrap_err();
    assert!(error.position.is_some(), "{error}");
    let error = yaml_to_any("a: 1\nb: 2\na: 3\n").unwrap_err();
    assert_eq!(error.position.map(|position| position.line), Some(3), "{error}");
    assert!(error.to_string().contains("duplicate"), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}

#[test]
fn an_any_needs_a_type() {
    assert_eq!(yaml_to_any("name: a").unwrap_err().to_string(), "1:1: an Any needs an \"@type\" string");
    assert_eq!(
        json_to_any(&json!({ "@type": "x/envoy.config.cluster.v3.Clutser" })).unwrap_err().to_string(),
        "unknown type \"x/envoy.config.cluster.v3.Clutser\"; did you mean \"envoy.config.cluster.v3.Cluster\"?"
    );
}

#[test]
fn deep_documents_are_refused() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(yaml_to_any(&deep).is_err());
    let mut value = json!(1);
    for _ in 0..500 {
        value = serde_json::Value::Array(vec![value]);
    }
    let said = json_to_any(&value).unwrap_err().to_string();
    assert_eq!(said, "nested deeper than 128 levels");
}

#[test]
fn a_yaml_bomb_is_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = format!("*a{}", level - 1);
        let list = vec![below; 10].join(", ");
        let line = format!("a{level}: &a{level} [{list}]\n");
        bomb += &line;
    }
    assert!(yaml_to_any(&bomb).is_err());
}
