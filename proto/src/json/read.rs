//! Tree → message, as wire bytes in a fixed order.

use std::collections::BTreeMap;

use prost::{Message, Name};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::error::{ParseError, Problem, nearest};
use super::scalar::{self, Encoded, NULL_VALUE, WellKnown};
use super::tree::{Entry, Node, Value};
use super::write::OPAQUE;
use crate::any::type_name;
use crate::google::protobuf::Any;
use crate::reflect;

pub fn any(node: &Node) -> Result<Any, ParseError> {
    let (type_url, value) = any_parts(node)?;
    Ok(Any { type_url, value: value.into() })
}

pub fn message<M: Message + Name + Default>(node: &Node) -> Result<M, ParseError> {
    let descriptor = descriptor(&M::type_url(), node)?;
    let bytes = encode_message(&descriptor, node)?;
    M::decode(bytes.as_slice()).map_err(|error| node.error(Problem::Decode(error.to_string())))
}

fn descriptor(type_url: &str, node: &Node) -> Result<MessageDescriptor, ParseError> {
    let name = type_name(type_url);
    reflect::message(name).ok_or_else(|| {
        let known: Vec<_> = reflect::pool().all_messages().collect();
        let nearest = nearest(name, known.iter().map(MessageDescriptor::full_name));
        node.error(Problem::UnknownType { type_url: type_url.to_owned(), nearest })
    })
}

fn encode_message(descriptor: &MessageDescriptor, node: &Node) -> Result<Vec<u8>, ParseError> {
    match WellKnown::of(descriptor.full_name()) {
        Some(well_known) => encode_well_known(well_known, descriptor, node),
        None => encode_fields(descriptor, node.entries("a map")?.iter()),
    }
}

fn encode_fields<'a>(
    descriptor: &MessageDescriptor,
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<Vec<u8>, ParseError> {
    let mut fields: BTreeMap<u32, (FieldDescriptor, &Entry)> = BTreeMap::new();
    for entry in entries {
        let field = find_field(descriptor, entry)?;
        // "null is an accepted value for all field types and treated as the default value of the
        // corresponding field": https://protobuf.dev/programming-guides/json/#null-values
        if entry.value.value == Value::Null && !holds_null(&field) {
            continue;
        }
        let name = field.name().to_owned();
        if fields.insert(field.number(), (field, entry)).is_some() {
            return Err(ParseError::new(entry.position, Problem::Duplicate(name)));
        }
    }
    check_oneofs(&fields)?;
    let mut out = Vec::new();
    for (field, entry) in fields.values() {
        encode_field(field, &entry.value, &mut out).map_err(|error| error.within(&entry.key))?;
    }
    Ok(out)
}

fn find_field(descriptor: &MessageDescriptor, entry: &Entry) -> Result<FieldDescriptor, ParseError> {
    let found = descriptor.get_field_by_name(&entry.key);
    found.or_else(|| descriptor.get_field_by_json_name(&entry.key)).ok_or_else(|| {
        let fields: Vec<_> = descriptor.fields().collect();
        let names = fields.iter().flat_map(|field| [field.name(), field.json_name()]);
        let problem = Problem::UnknownField {
            message: descriptor.full_name().to_owned(),
            name: entry.key.clone(),
            nearest: nearest(&entry.key, names),
        };
        ParseError::new(entry.position, problem)
    })
}

fn holds_null(field: &FieldDescriptor) -> bool {
    !field.is_list()
        && !field.is_map()
        && match field.kind() {
            Kind::Message(message) => message.full_name() == "google.protobuf.Value",
            Kind::Enum(enumeration) => enumeration.full_name() == NULL_VALUE,
            _ => false,
        }
}

fn check_oneofs(fields: &BTreeMap<u32, (FieldDescriptor, &Entry)>) -> Result<(), ParseError> {
    let mut chosen: BTreeMap<String, &FieldDescriptor> = BTreeMap::new();
    for (field, entry) in fields.values() {
        let Some(oneof) = field.containing_oneof() else { continue };
        if let Some(first) = chosen.insert(oneof.name().to_owned(), field) {
            let problem = Problem::Oneof { first: first.name().to_owned(), second: field.name().to_owned() };
            return Err(ParseError::new(entry.position, problem));
        }
    }
    Ok(())
}

fn encode_field(field: &FieldDescriptor, node: &Node, out: &mut Vec<u8>) -> Result<(), ParseError> {
    if field.is_map() {
        return encode_map(field, node, out);
    }
    if field.is_list() {
        return encode_list(field, node, out);
    }
    let value = encode_value(&field.kind(), node)?;
    if field.supports_presence() || !value.is_default() {
        value.write(field.number(), out);
    }
    Ok(())
}

fn encode_value(kind: &Kind, node: &Node) -> Result<Encoded, ParseError> {
    if let Kind::Message(descriptor) = kind {
        return Ok(Encoded::Bytes(encode_message(descriptor, node)?));
    }
    Ok(scalar::encode(kind, node)?.unwrap_or(Encoded::Bytes(Vec::new())))
}

fn encode_list(field: &FieldDescriptor, node: &Node, out: &mut Vec<u8>) -> Result<(), ParseError> {
    let Value::List(items) = &node.value else { return Err(node.expected("a list")) };
    let kind = field.kind();
    let mut packed = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let value = encode_value(&kind, item).map_err(|error| error.within(&format!("[{index}]")))?;
        if field.is_packed() {
            value.write_packed(&mut packed);
        } else {
            value.write(field.number(), out);
        }
    }
    if !packed.is_empty() {
        Encoded::Bytes(packed).write(field.number(), out);
    }
    Ok(())
}

/// Keys order as their types do, which is the order of the generated types' maps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Bool(bool),
    Number(i128),
    String(&'a str),
}

fn encode_map(field: &FieldDescriptor, node: &Node, out: &mut Vec<u8>) -> Result<(), ParseError> {
    let Kind::Message(entry_type) = field.kind() else { return Ok(()) };
    let (key_field, value_field) = (entry_type.map_entry_key_field(), entry_type.map_entry_value_field());
    let mut sorted = BTreeMap::new();
    for entry in node.entries("a map")? {
        let in_map = |error: ParseError| error.within(&format!("[{:?}]", entry.key));
        let (order, key) = encode_key(&key_field.kind(), entry).map_err(in_map)?;
        let value = encode_value(&value_field.kind(), &entry.value).map_err(in_map)?;
        let mut bytes = Vec::new();
        // Default keys and values are left out, as the generated types do.
        for (number, part) in [(1, key), (2, value)] {
            if !part.is_default() {
                part.write(number, &mut bytes);
            }
        }
        if sorted.insert(order, Encoded::Bytes(bytes)).is_some() {
            return Err(ParseError::new(entry.position, Problem::Duplicate(entry.key.clone())));
        }
    }
    for entry in sorted.values() {
        entry.write(field.number(), out);
    }
    Ok(())
}

fn encode_key<'a>(kind: &Kind, entry: &'a Entry) -> Result<(Key<'a>, Encoded), ParseError> {
    let node = |value| Node { position: entry.position, value };
    let order = match (kind, entry.key.as_str()) {
        (Kind::String, key) => Key::String(key),
        (Kind::Bool, "true") => Key::Bool(true),
        (Kind::Bool, "false") => Key::Bool(false),
        (_, key) => Key::Number(key.parse().unwrap_or_default()),
    };
    let value = match order {
        Key::Bool(value) => Value::Bool(value),
        Key::Number(_) | Key::String(_) => Value::String(entry.key.clone()),
    };
    Ok((order, encode_value(kind, &node(value))?))
}

fn encode_well_known(
    well_known: WellKnown,
    descriptor: &MessageDescriptor,
    node: &Node,
) -> Result<Vec<u8>, ParseError> {
    let mut out = Vec::new();
    match well_known {
        WellKnown::Any => {
            let (type_url, value) = any_parts(node)?;
            for (number, bytes) in [(1, type_url.into_bytes()), (2, value)] {
                if !bytes.is_empty() {
                    Encoded::Bytes(bytes).write(number, &mut out);
                }
            }
        }
        WellKnown::Duration => {
            let parsed = scalar::parse_duration(scalar::string(node)?);
            write_seconds(parsed.ok_or_else(|| node.expected("a duration such as \"1.5s\""))?, &mut out);
        }
        WellKnown::Timestamp => {
            let parsed = scalar::parse_timestamp(scalar::string(node)?);
            write_seconds(
                parsed.ok_or_else(|| node.expected("a time such as \"2030-01-31T23:59:59Z\""))?,
                &mut out,
            );
        }
        WellKnown::Empty => {
            if let Some(entry) = node.entries("an empty map")?.first() {
                find_field(descriptor, entry)?;
            }
        }
        WellKnown::Wrapper | WellKnown::Struct | WellKnown::ListValue => {
            if let Some(field) = descriptor.get_field(1) {
                encode_field(&field, node, &mut out)?;
            }
        }
        WellKnown::Value => encode_dynamic(descriptor, node, &mut out)?,
    }
    Ok(out)
}

fn write_seconds((seconds, nanos): (i64, i32), out: &mut Vec<u8>) {
    for (number, value) in [(1, seconds), (2, i64::from(nanos))] {
        if value != 0 {
            Encoded::Varint(value.cast_unsigned()).write(number, out);
        }
    }
}

/// A `google.protobuf.Value`: one field of its oneof, by the kind of JSON value.
fn encode_dynamic(descriptor: &MessageDescriptor, node: &Node, out: &mut Vec<u8>) -> Result<(), ParseError> {
    match &node.value {
        Value::Null => Encoded::Varint(0).write(1, out),
        Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) => {
            Encoded::Fixed64(scalar::float64(node)?.to_bits()).write(2, out);
        }
        Value::String(text) => Encoded::Bytes(text.clone().into_bytes()).write(3, out),
        Value::Bool(value) => Encoded::Varint(u64::from(*value)).write(4, out),
        Value::Map(_) | Value::List(_) => {
            let number = if matches!(node.value, Value::Map(_)) { 5 } else { 6 };
            if let Some(field) = descriptor.get_field(number) {
                encode_value(&field.kind(), node)?.write(number, out);
            }
        }
    }
    Ok(())
}

/// Type URL and bytes of an `Any`.
fn any_parts(node: &Node) -> Result<(String, Vec<u8>), ParseError> {
    let entries = node.entries("a map with an \"@type\"")?;
    if entries.is_empty() {
        return Ok((String::new(), Vec::new()));
    }
    let type_node = node.get("@type").ok_or_else(|| node.error(Problem::MissingType))?;
    let Value::String(type_url) = &type_node.value else { return Err(type_node.error(Problem::MissingType)) };
    let payload = if node.get(OPAQUE).is_some() {
        node.get("value").map(scalar::base64).transpose()?.unwrap_or_default()
    } else {
        let descriptor = descriptor(type_url, type_node)?;
        let others = entries.iter().filter(|entry| entry.key != "@type");
        match WellKnown::of(descriptor.full_name()) {
            None => encode_fields(&descriptor, others)?,
            Some(well_known) => any_value(well_known, &descriptor, node, others)?,
        }
    };
    Ok((type_url.clone(), payload))
}

/// A well-known type in an `Any` is its JSON form under the key `value`, and nothing else.
fn any_value<'a>(
    well_known: WellKnown,
    descriptor: &MessageDescriptor,
    node: &Node,
    mut others: impl Iterator<Item = &'a Entry>,
) -> Result<Vec<u8>, ParseError> {
    if let Some(other) = others.find(|entry| entry.key != "value") {
        let message = descriptor.full_name().to_owned();
        let problem =
            Problem::UnknownField { message, name: other.key.clone(), nearest: Some("value".into()) };
        return Err(ParseError::new(other.position, problem));
    }
    match node.get("value") {
        Some(value) => {
            encode_well_known(well_known, descriptor, value).map_err(|error| error.within("value"))
        }
        None if well_known == WellKnown::Empty => Ok(Vec::new()),
        None => Err(node.expected("a \"value\" beside the \"@type\"")),
    }
}
