//! Rules in the descriptors → plans.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::plan::{Element, FieldPlan, MessagePlan, Packing, PlanId, Shape};
use super::rules::{Bound, BytesRules, EnumRules, HeaderText, Pattern, Range, StringRules};

pub struct Compiler<'a> {
    pub by_name: &'a HashMap<String, PlanId>,
    /// `validate.rules` of fields.
    pub rules: ExtensionDescriptor,
    /// `validate.required` of oneofs.
    pub required: ExtensionDescriptor,
    /// Rules met that are not implemented.
    pub unsupported: Vec<String>,
}

impl Compiler<'_> {
    pub fn message(&mut self, message: &MessageDescriptor) -> MessagePlan {
        let is_required =
            |options: DynamicMessage| options.get_extension(&self.required).as_bool().unwrap_or_default();
        let oneofs: Vec<String> = message
            .oneofs()
            .filter(|oneof| is_required(oneof.options()))
            .map(|oneof| oneof.name().to_owned())
            .collect();
        let mut fields: Vec<FieldPlan> = message
            .fields()
            .map(|field| {
                let oneof = field
                    .containing_oneof()
                    .and_then(|oneof| oneofs.iter().position(|name| name == oneof.name()));
                let shape = self.shape(&field);
                FieldPlan { number: field.number(), name: field.name().to_owned(), oneof, shape }
            })
            .collect();
        fields.sort_by_key(|field| field.number);
        MessagePlan { fields, oneofs, afterwards: Vec::new() }
    }

    fn shape(&mut self, field: &FieldDescriptor) -> Shape {
        let options = field.options();
        let rules = options.get_extension(&self.rules);
        let rules = Rules { at: field.full_name(), message: rules.as_message() };
        if field.is_map() {
            return self.map(field, &rules);
        }
        if !field.is_list() {
            let element = self.element(&field.kind(), &rules);
            // An alternative of a oneof is looked at only if it is the one given.
            let required = rules.required(&field.kind()).filter(|_| field.containing_oneof().is_none());
            return Shape::Single { element, required, presence: field.supports_presence() };
        }
        let list = rules.inner("repeated");
        self.refuse_others(&rules, &["repeated"]);
        self.refuse_others(&list, &["min_items", "max_items", "unique", "items"]);
        Shape::Repeated {
            element: self.element(&field.kind(), &list.inner("items")),
            packing: packing(&field.kind()),
            min_items: list.unsigned("min_items").unwrap_or_default(),
            max_items: list.unsigned("max_items"),
            unique: list.flag("unique"),
        }
    }

    fn map(&mut self, field: &FieldDescriptor, rules: &Rules<'_>) -> Shape {
        let map = rules.inner("map");
        self.refuse_others(rules, &["map"]);
        self.refuse_others(&map, &["min_pairs", "keys", "values"]);
        let min_pairs = map.unsigned("min_pairs").unwrap_or_default();
        let Kind::Message(entry) = field.kind() else {
            return Shape::Map { key: Element::Free, value: Element::Free, min_pairs };
        };
        let key = self.element(&entry.map_entry_key_field().kind(), &map.inner("keys"));
        let value = self.element(&entry.map_entry_value_field().kind(), &map.inner("values"));
        Shape::Map { key, value, min_pairs }
    }

    fn element(&mut self, kind: &Kind, rules: &Rules<'_>) -> Element {
        match kind {
            Kind::Message(message) => self.message_element(message, rules),
            _ => self.scalar_element(kind, rules),
        }
    }

    fn message_element(&mut self, message: &MessageDescriptor, rules: &Rules<'_>) -> Element {
        let about_message = rules.inner("message");
        self.refuse_others(&about_message, &["required", "skip"]);
        match message.full_name() {
            "google.protobuf.Any" => {
                self.refuse_others(rules, &["message", "any"]);
                self.refuse_others(&rules.inner("any"), &["required"]);
                return Element::Any;
            }
            "google.protobuf.Duration" => {
                let duration = rules.inner("duration");
                self.refuse_others(rules, &["message", "duration"]);
                self.refuse_others(&duration, &["required", "gt", "gte", "lt", "lte"]);
                let range = duration.range(nanoseconds);
                return if range == Range::default() { Element::Free } else { Element::Duration(range) };
            }
            _ => {}
        }
        if let Some(value) = wrapped(message) {
            return match self.scalar_element(&value.kind(), rules) {
                Element::Free => Element::Free,
                element => Element::Wrapper(Box::new(element)),
            };
        }
        // `ExtensionConfigSource.config_source` has an `any` rule, which is of no effect.
        self.refuse_others(rules, &["message", "any"]);
        match self.by_name.get(message.full_name()) {
            Some(id) if !about_message.flag("skip") => Element::Message(*id),
            _ => Element::Free,
        }
    }

    fn scalar_element(&mut self, kind: &Kind, rules: &Rules<'_>) -> Element {
        let name = match kind {
            Kind::Double => "double",
            Kind::Float => "float",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Uint32 => "uint32",
            Kind::Uint64 => "uint64",
            Kind::Sint32 => "sint32",
            Kind::Sint64 => "sint64",
            Kind::Fixed32 => "fixed32",
            Kind::Fixed64 => "fixed64",
            Kind::Sfixed32 => "sfixed32",
            Kind::Sfixed64 => "sfixed64",
            Kind::Bool => "bool",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Enum(_) => "enum",
            Kind::Message(_) => return Element::Free,
        };
        self.refuse_others(rules, &["message", name]);
        let rules = rules.inner(name);
        if rules.message.is_none() {
            return Element::Free;
        }
        match kind {
            Kind::Bool => {
                self.refuse_others(&rules, &["const"]);
                rules.get("const").and_then(Value::as_bool).map_or(Element::Free, Element::BoolConst)
            }
            Kind::String => self.string(&rules),
            Kind::Bytes => {
                self.refuse_others(&rules, &["min_len", "max_len"]);
                let min_len = rules.unsigned("min_len").unwrap_or_default();
                Element::Bytes(BytesRules { min_len, max_len: rules.unsigned("max_len") })
            }
            Kind::Enum(enumeration) => {
                self.refuse_others(&rules, &["defined_only", "not_in"]);
                let mut defined: Vec<i32> = enumeration.values().map(|value| value.number()).collect();
                defined.sort_unstable();
                Element::Enum(EnumRules {
                    defined_only: rules.flag("defined_only").then_some(defined),
                    not_in: rules.list("not_in").iter().filter_map(Value::as_i32).collect(),
                })
            }
            Kind::Float | Kind::Double => {
                self.refuse_others(&rules, &["gt", "gte", "lt", "lte", "ignore_empty"]);
                Element::Float { kind: kind.clone(), name, rules: rules.range(float) }
            }
            _ => {
                self.refuse_others(&rules, &["gt", "gte", "lt", "lte", "ignore_empty"]);
                Element::Integer { kind: kind.clone(), name, rules: rules.range(integer) }
            }
        }
    }

    fn string(&mut self, rules: &Rules<'_>) -> Element {
        const KNOWN: &[&str] = &[
            "min_len",
            "max_len",
            "min_bytes",
            "max_bytes",
            "prefix",
            "suffix",
            "in",
            "pattern",
            "well_known_regex",
            "strict",
            "ignore_empty",
        ];
        self.refuse_others(rules, KNOWN);
        let strict = rules.get("strict").and_then(Value::as_bool).unwrap_or(true);
        let header = match rules.get("well_known_regex").and_then(Value::as_enum_number) {
            Some(1 | 2) if !strict => Some(HeaderText::Loose),
            Some(1) => Some(HeaderText::Name),
            Some(2) => Some(HeaderText::Value),
            _ => None,
        };
        let texts = rules.list("in").iter().filter_map(Value::as_str);
        Element::String(StringRules {
            min_len: rules.unsigned("min_len").unwrap_or_default(),
            max_len: rules.unsigned("max_len"),
            min_bytes: rules.unsigned("min_bytes").unwrap_or_default(),
            max_bytes: rules.unsigned("max_bytes"),
            prefix: rules.text("prefix").unwrap_or_default().to_owned(),
            suffix: rules.text("suffix").unwrap_or_default().to_owned(),
            one_of: texts.map(str::to_owned).collect(),
            pattern: rules.text("pattern").map(Pattern::new),
            header,
            ignore_empty: rules.flag("ignore_empty"),
        })
    }

    /// Notes the rules that are not among the `known` ones.
    fn refuse_others(&mut self, rules: &Rules<'_>, known: &[&str]) {
        let Some(message) = rules.message else { return };
        for (field, _) in message.fields() {
            if !known.contains(&field.name()) {
                self.unsupported.push(format!("{}: {}", rules.at, field.full_name()));
            }
        }
    }
}

fn packing(kind: &Kind) -> Option<Packing> {
    match kind {
        Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => Some(Packing::Fixed32),
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => Some(Packing::Fixed64),
        Kind::String | Kind::Bytes | Kind::Message(_) => None,
        _ => Some(Packing::Varint),
    }
}

/// The field in a wrapper message.
fn wrapped(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    let is_wrapper = matches!(
        message.full_name().strip_prefix("google.protobuf.")?,
        "BoolValue"
            | "BytesValue"
            | "DoubleValue"
            | "FloatValue"
            | "Int32Value"
            | "Int64Value"
            | "StringValue"
            | "UInt32Value"
            | "UInt64Value"
    );
    message.get_field(1).filter(|_| is_wrapper)
}

/// A rules message, if there is one.
struct Rules<'a> {
    /// The field they are about.
    at: &'a str,
    message: Option<&'a DynamicMessage>,
}

impl<'a> Rules<'a> {
    /// A field of the rules, if it is given.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.message?.fields().find(|(field, _)| field.name() == name).map(|(_, value)| value)
    }

    fn inner(&self, name: &str) -> Rules<'a> {
        Rules { at: self.at, message: self.get(name).and_then(Value::as_message) }
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn unsigned(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(Value::as_u64)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(Value::as_str)
    }

    fn list(&self, name: &str) -> &'a [Value] {
        self.get(name).and_then(Value::as_list).unwrap_or_default()
    }

    /// The rule that a field of this kind be given. A rule of another kind's name is of no effect.
    fn required(&self, kind: &Kind) -> Option<&'static str> {
        let (name, rule) = match kind.as_message()?.full_name() {
            "google.protobuf.Any" => ("any", "any.required"),
            "google.protobuf.Duration" => ("duration", "duration.required"),
            _ => ("message", "message.required"),
        };
        self.inner(name).flag("required").then_some(rule)
    }

    fn range<T>(&self, read: fn(&Value) -> Option<T>) -> Range<T> {
        let bound = |exclusive: &str, inclusive: &str| {
            let exclusive = self.get(exclusive).and_then(read).map(|value| Bound { value, inclusive: false });
            exclusive
                .or_else(|| self.get(inclusive).and_then(read).map(|value| Bound { value, inclusive: true }))
        };
        Range {
            lower: bound("gt", "gte"),
            upper: bound("lt", "lte"),
            ignore_empty: self.flag("ignore_empty"),
        }
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::I32(value) => Some(i128::from(*value)),
        Value::I64(value) => Some(i128::from(*value)),
        Value::U32(value) => Some(i128::from(*value)),
        Value::U64(value) => Some(i128::from(*value)),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::F32(value) => Some(f64::from(*value)),
        Value::F64(value) => Some(*value),
        _ => None,
    }
}

fn nanoseconds(value: &Value) -> Option<i128> {
    let duration = value.as_message()?;
    let part =
        |number| duration.get_field_by_number(number).and_then(|value| integer(&value)).unwrap_or_default();
    Some(part(1) * 1_000_000_000 + part(2))
}
