//! Properties of the JSON form.

use std::collections::BTreeMap;

use lateen_proto::any::{pack, unpack};
use lateen_proto::envoy::config::core::v3::{Metadata, TypedExtensionConfig};
use lateen_proto::google::protobuf::value::Kind;
use lateen_proto::google::protobuf::{Any, Duration, ListValue, Struct, Timestamp, Value};
use lateen_proto::json::{any_to_json, json_to_any, json_to_message, message_to_json, yaml_to_any};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// What JSON writes unescaped and YAML does not refuse.
const TEXT: &str = "[ -~äπ…😀\n\t]{0,12}";

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Kind::NullValue(0)),
        any::<bool>().prop_map(Kind::BoolValue),
        any::<f64>().prop_filter("JSON has no NaN", |number| number.is_finite()).prop_map(Kind::NumberValue),
        TEXT.prop_map(Kind::StringValue),
    ]
    .prop_map(|kind| Value { kind: Some(kind) });
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| Kind::ListValue(ListValue { values })),
            btree_map(TEXT, inner, 0..4).prop_map(|fields| Kind::StructValue(Struct { fields })),
        ]
        .prop_map(|kind| Value { kind: Some(kind) })
    })
}

fn structure() -> impl Strategy<Value = Struct> {
    btree_map("@?[a-z]{0,6}", value(), 0..4).prop_map(|fields| Struct { fields })
}

fn any_message() -> impl Strategy<Value = Any> {
    let leaf = prop_oneof![
        structure().prop_map(|structure| pack(&structure)),
        (0..=315_576_000_000_i64, 0..1_000_000_000_i32)
            .prop_map(|(seconds, nanos)| pack(&Duration { seconds, nanos })),
        (-62_135_596_800..=253_402_300_799_i64, 0..1_000_000_000_i32)
            .prop_map(|(seconds, nanos)| pack(&Timestamp { seconds, nanos })),
        ("[a-z./]{0,20}", vec(any::<u8>(), 1..20))
            .prop_map(|(name, value)| Any { type_url: format!("x/{name}"), value: value.into() }),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|any| pack(&any)),
            (TEXT, inner.clone())
                .prop_map(|(name, any)| pack(&TypedExtensionConfig { name, typed_config: Some(any) })),
            (btree_map(TEXT, structure(), 0..3), btree_map(TEXT, inner, 0..3)).prop_map(
                |(filter_metadata, typed_filter_metadata)| pack(&Metadata {
                    filter_metadata,
                    typed_filter_metadata
                })
            ),
        ]
    })
}

proptest! {
    #[test]
    fn a_struct_survives_json(structure in structure()) {
        prop_assert_eq!(&json_to_message::<Struct>(&message_to_json(&structure)).unwrap(), &structure);
    }

    #[test]
    fn an_any_survives_json_and_its_text(message in any_message()) {
        let json = any_to_json(&message);
        prop_assert_eq!(&json_to_any(&json).unwrap(), &message);
        let text = serde_json::to_string_pretty(&json).unwrap();
        prop_assert_eq!(&yaml_to_any(&text).unwrap(), &message, "{}", text);
    }

    #[test]
    fn the_order_of_fields_does_not_matter(fields in btree_map("[a-z]{0,6}", value(), 0..8)) {
        let shuffled: BTreeMap<_, _> = fields.clone().into_iter().rev().collect();
        let forward = message_to_json(&Struct { fields });
        prop_assert_eq!(forward.to_string(), message_to_json(&Struct { fields: shuffled }).to_string());
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        type_name in prop_oneof![
            Just("envoy.config.cluster.v3.Cluster"),
            Just("envoy.config.listener.v3.Listener"),
            Just("envoy.config.route.v3.RouteConfiguration"),
            Just("google.protobuf.Any"),
            Just("google.protobuf.Struct"),
            Just("google.protobuf.Timestamp"),
        ],
        value in vec(any::<u8>(), 0..200),
    ) {
        let any = Any { type_url: format!("x/{type_name}"), value: value.into() };
        // What is shown can be read again, but for out-of-range times and unknown fields.
        let _ = json_to_any(&any_to_json(&any));
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(.|\n){0,80}") {
        let _ = yaml_to_any(&text);
        let _ = yaml_to_any(&format!("'@type': x/envoy.config.cluster.v3.Cluster\n{text}"));
    }

    #[test]
    fn the_typed_and_the_read_encodings_agree(metadata in btree_map("[a-z]{0,6}", structure(), 0..5)) {
        let message = Metadata { filter_metadata: metadata, ..Metadata::default() };
        let any = pack(&message);
        let read = json_to_any(&any_to_json(&any)).unwrap();
        prop_assert_eq!(unpack::<Metadata>(&read).unwrap(), message);
    }
}
