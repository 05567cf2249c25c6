//! Message → JSON. Total: nothing it is given makes it fail.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage as _, Value};
use serde_json::{Map, Value as Json, json};

use super::FieldNames;
use super::scalar::{self, WellKnown};
use crate::google::protobuf::Any;
use crate::reflect::{self, ReflectError};

/// Messages nested deeper than this, counted through every `Any`, are shown opaque. The decoder's own limit
/// of 100 starts anew in each `Any`, so without it a few kilobytes could exhaust the stack.
const DEPTH_MAX: usize = 100;

/// The key that marks an object as opaque; its value is the reason.
pub const OPAQUE: &str = "@opaque";

pub fn any(type_url: &str, value: &Bytes, names: FieldNames) -> Json {
    Writer { names }.any(type_url, value, 0)
}

/// The message packed in `any`, without an `@type`.
pub fn message(any: &Any, names: FieldNames) -> Json {
    match reflect::decode(any) {
        Ok(message) => Writer { names }.message(&message, 0),
        Err(error) => opaque(&any.type_url, &any.value, reason(&error)),
    }
}

fn reason(error: &ReflectError) -> &'static str {
    match error {
        ReflectError::UnknownType { .. } => "unknown type",
        ReflectError::Decode { .. } => "malformed",
    }
}

fn opaque(type_url: &str, value: &[u8], reason: &str) -> Json {
    json!({ "@type": type_url, OPAQUE: reason, "value": STANDARD.encode(value) })
}

struct Writer {
    names: FieldNames,
}

impl Writer {
    fn any(&self, type_url: &str, value: &Bytes, depth: usize) -> Json {
        if type_url.is_empty() && value.is_empty() {
            return Json::Object(Map::new());
        }
        if depth > DEPTH_MAX {
            return opaque(type_url, value, "too deep");
        }
        let payload = match reflect::decode(&Any { type_url: type_url.to_owned(), value: value.clone() }) {
            Ok(payload) => payload,
            Err(error) => return opaque(type_url, value, reason(&error)),
        };
        let mut fields = Map::new();
        fields.insert("@type".to_owned(), type_url.into());
        if WellKnown::of(payload.descriptor().full_name()).is_some() {
            fields.insert("value".to_owned(), self.message(&payload, depth + 1));
        } else {
            self.fields(&payload, depth + 1, &mut fields);
        }
        Json::Object(fields)
    }

    fn message(&self, message: &DynamicMessage, depth: usize) -> Json {
        let Some(well_known) = WellKnown::of(message.descriptor().full_name()) else {
            let mut fields = Map::new();
            self.fields(message, depth, &mut fields);
            return Json::Object(fields);
        };
        match well_known {
            WellKnown::Any => self.any(&string(message, 1), &bytes(message, 2), depth),
            WellKnown::Duration => seconds_and_nanos(message, scalar::format_duration),
            WellKnown::Timestamp => seconds_and_nanos(message, scalar::format_timestamp),
            WellKnown::Empty => Json::Object(Map::new()),
            WellKnown::Wrapper | WellKnown::Struct | WellKnown::ListValue => self.only_field(message, depth),
            // Without a kind it says nothing; null comes closest.
            WellKnown::Value => message
                .fields()
                .next()
                .map_or(Json::Null, |(field, value)| self.value(&field.kind(), value, depth + 1)),
        }
    }

    /// A wrapper, struct or list is shown as its one field is.
    fn only_field(&self, message: &DynamicMessage, depth: usize) -> Json {
        let Some(field) = message.descriptor().get_field(1) else { return Json::Null };
        self.value(&field.kind(), &message.get_field(&field), depth + 1)
    }

    fn fields(&self, message: &DynamicMessage, depth: usize, into: &mut Map<String, Json>) {
        for (field, value) in message.fields() {
            let name = match self.names {
                FieldNames::Proto => field.name(),
                FieldNames::Camel => field.json_name(),
            };
            into.insert(name.to_owned(), self.value(&field.kind(), value, depth + 1));
        }
    }

    fn value(&self, kind: &Kind, value: &Value, depth: usize) -> Json {
        match value {
            Value::Bool(value) => (*value).into(),
            Value::I32(value) => (*value).into(),
            Value::U32(value) => (*value).into(),
            // JSON numbers are doubles to many readers.
            Value::I64(value) => value.to_string().into(),
            Value::U64(value) => value.to_string().into(),
            Value::F32(value) => float32(*value),
            Value::F64(value) => float64(*value),
            Value::String(value) => value.as_str().into(),
            Value::Bytes(value) => STANDARD.encode(value).into(),
            Value::EnumNumber(number) => enumeration(kind, *number),
            Value::Message(message) => self.message(message, depth),
            Value::List(items) => items.iter().map(|item| self.value(kind, item, depth)).collect(),
            Value::Map(entries) => {
                let value_kind = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
                let mut sorted: Vec<(&MapKey, &Value)> = entries.iter().collect();
                sorted.sort_by_key(|(key, _)| *key);
                let entry = |(key, value): (&MapKey, &Value)| {
                    (map_key(key), self.value(value_kind.as_ref().unwrap_or(kind), value, depth))
                };
                Json::Object(sorted.into_iter().map(entry).collect())
            }
        }
    }
}

fn string(message: &DynamicMessage, number: u32) -> String {
    message
        .get_field_by_number(number)
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn bytes(message: &DynamicMessage, number: u32) -> Bytes {
    message.get_field_by_number(number).and_then(|value| value.as_bytes().cloned()).unwrap_or_default()
}

/// What `format` says, or the bare numbers where they are out of its range.
fn seconds_and_nanos(message: &DynamicMessage, format: fn(i64, i32) -> Option<String>) -> Json {
    let seconds = message.get_field_by_number(1).and_then(|value| value.as_i64()).unwrap_or_default();
    let nanos = message.get_field_by_number(2).and_then(|value| value.as_i32()).unwrap_or_default();
    format(seconds, nanos)
        .map_or_else(|| json!({ "seconds": seconds.to_string(), "nanos": nanos }), Json::String)
}

fn enumeration(kind: &Kind, number: i32) -> Json {
    let Some(enumeration) = kind.as_enum() else { return number.into() };
    if enumeration.full_name() == scalar::NULL_VALUE {
        return Json::Null;
    }
    enumeration.get_value(number).map_or_else(|| number.into(), |value| value.name().into())
}

fn float32(value: f32) -> Json {
    // Through text, so that 0.1 stays 0.1 and does not become 0.10000000149011612.
    float64(value.to_string().parse().unwrap_or_else(|_| f64::from(value)))
}

fn float64(value: f64) -> Json {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        value.into()
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
