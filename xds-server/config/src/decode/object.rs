//! Objects and choices: the declarative part of decoding.

use lateen_model::{diagnostic::Severity, span::Span};

use super::{Decode, expected, nearest};
use crate::{
    codes,
    findings::Findings,
    path::Path,
    yaml::{Node, Value, is_field},
};

/// The fields of an object.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Fields that are decoded.
    pub fields: &'static [&'static str],
    /// Fields that exist and have no effect here, which is as it should be.
    pub ignored: &'static [&'static str],
    /// Fields that exist and have no effect here yet, which users must know, each group with the reason.
    pub unsupported: &'static [(&'static [&'static str], &'static str)],
    /// What happens to other fields.
    pub others: Others,
}

/// What happens to fields that are not in the schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Others {
    /// They are errors.
    Rejected,
    /// They are passed over: the object belongs to an API far larger than what is read of it.
    Ignored,
}

/// The fields that are there, under the names of the schema; `null` is not there.
/// Unknown fields and fields written twice (in camel case and in snake case) are findings.
pub fn fields<'n>(
    node: &'n Node,
    schema: &Schema,
    at: &Path<'_>,
    out: &mut Findings,
) -> Option<Vec<(&'static str, &'n Node)>> {
    let Value::Map(entries) = &node.value else { return expected("an object", node, at, out) };
    let mut present: Vec<(&'static str, &Node)> = Vec::with_capacity(entries.len());
    let known = |names: &'static [&'static str], key: &str| names.iter().copied().find(|n| is_field(key, n));
    for entry in entries {
        let key = &*entry.key;
        if let Some(name) = known(schema.fields, key) {
            if present.iter().any(|(other, _)| *other == name) {
                let message = format!("the field {name} is given twice");
                out.at(Severity::Error, codes::DUPLICATE_KEY, &at.field(name), entry.span, message);
            } else if entry.value.value != Value::Null {
                present.push((name, &entry.value));
            }
        } else if let Some((name, why)) =
            schema.unsupported.iter().find_map(|(names, why)| Some((known(names, key)?, why)))
        {
            no_effect(name, why, entry.span, at, out);
        } else if schema.others == Others::Rejected && known(schema.ignored, key).is_none() {
            unknown(key, entry.span, schema, at, out);
        }
    }
    Some(present)
}

/// Adds the finding that a field of the object at `at` has no effect.
pub fn no_effect(field: &str, why: &str, span: Span, at: &Path<'_>, out: &mut Findings) {
    let message = format!("{field} has no effect, because {why}");
    out.at(Severity::Warning, codes::NO_EFFECT, &at.field(field), span, message);
}

fn unknown(key: &str, span: Span, schema: &Schema, at: &Path<'_>, out: &mut Findings) {
    let shown: String = key.chars().take(60).collect();
    let unsupported = schema.unsupported.iter().flat_map(|(names, _)| *names);
    let all = schema.fields.iter().chain(schema.ignored).chain(unsupported).copied();
    let hint = match nearest(key, all) {
        Some(name) => Some(format!("did you mean {name}?")),
        None if schema.fields.len() <= 12 => Some(format!("the fields are {}", schema.fields.join(", "))),
        None => None,
    };
    let severity = out.of_unknown_fields();
    let effect = if severity == Severity::Error { "" } else { ", which has no effect" };
    let message = format!("unknown field \"{}\"{effect}", shown.escape_debug());
    out.at(severity, codes::UNKNOWN_FIELD, &at.field(&shown), span, message).maybe_hint(hint);
}

/// Decodes into a field; where that fails, the field keeps its default and the finding was added.
pub fn set<T: Decode>(slot: &mut T, node: &Node, at: &Path<'_>, out: &mut Findings) {
    if let Some(value) = T::decode(node, at, out) {
        *slot = value;
    }
}

/// Adds the finding that a value is none of those allowed.
pub fn unknown_value<T>(node: &Node, allowed: &[&str], at: &Path<'_>, out: &mut Findings) -> Option<T> {
    let Some(text) = node.as_str() else { return expected("text", node, at, out) };
    let hint = match nearest(text, allowed.iter().copied()) {
        Some(value) => format!("did you mean {value}?"),
        None => format!("the values are {}", allowed.join(", ")),
    };
    let message = format!("unknown value {}", super::found(node).trim_start_matches("the text "));
    out.at(Severity::Error, codes::UNKNOWN_VALUE, at, node.span, message).hint(hint);
    None
}

/// Declares an object of the API and its decoder. Each field gives its type and its name in JSON; `span`, where
/// the object begins, comes by itself. `without_effect "…"` behind a name says why nobody looks at the value yet: a
/// value that is not the default is then a finding. Behind the fields may follow `made {…}` with fields that no
/// text sets and conversions fill in, `ignores […]` with fields that rightly
/// have no effect, `unsupported […] because "…"` with those that are not even decoded, and `others ignored`.
macro_rules! object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident : $type:ty = $json:literal $(without_effect $void:literal)?),* $(,)?
        }
        $(made { $($(#[$made_meta:meta])* $made:ident : $made_type:ty),* $(,)? })?
        $(ignores [$($ignored:literal),* $(,)?])?
        $(unsupported [$($unsupported:literal),* $(,)?] because $why:literal)*
        $(others $others:ident)?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Default)]
        pub struct $name {
            /// Where the object begins in its text.
            pub span: lateen_model::span::Span,
            $($(#[$field_meta])* #[doc = concat!("`", $json, "`")] pub $field: $type,)*
            $($($(#[$made_meta])* pub $made: $made_type,)*)?
        }

        impl $crate::decode::Decode for $name {
            fn decode(
                node: &$crate::yaml::Node,
                at: &$crate::path::Path<'_>,
                out: &mut $crate::findings::Findings,
            ) -> Option<Self> {
                const SCHEMA: $crate::decode::Schema = $crate::decode::Schema {
                    fields: &[$($json),*],
                    ignored: &[$($($ignored),*)?],
                    unsupported: &[$((&[$($unsupported),*], $why)),*],
                    others: $crate::decode::object!(@others $($others)?),
                };
                let mut object = Self { span: node.span, ..Self::default() };
                for (name, value) in $crate::decode::fields(node, &SCHEMA, at, out)? {
                    match name {
                        $($json => {
                            $crate::decode::set(&mut object.$field, value, &at.field(name), out);
                            $(if object.$field != <$type>::default() {
                                $crate::decode::no_effect(name, $void, value.span, at, out);
                            })?
                        })*
                        _ => { let _ = value; }
                    }
                }
                Some(object)
            }
        }
    };
    (@others) => { $crate::decode::Others::Rejected };
    (@others ignored) => { $crate::decode::Others::Ignored };
}

/// Declares an enumeration of the API and its decoder; the first value is the default.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $first:ident = $first_json:literal
            $(, $variant:ident = $json:literal)* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
        pub enum $name {
            #[default]
            #[doc = concat!("`", $first_json, "`")]
            $first,
            $(#[doc = concat!("`", $json, "`")] $variant,)*
        }

        impl $name {
            /// The value as the API writes it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::$first => $first_json,
                    $(Self::$variant => $json,)*
                }
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(
                node: &$crate::yaml::Node,
                at: &$crate::path::Path<'_>,
                out: &mut $crate::findings::Findings,
            ) -> Option<Self> {
                match node.as_str() {
                    Some($first_json) => Some(Self::$first),
                    $(Some($json) => Some(Self::$variant),)*
                    _ => $crate::decode::unknown_value(node, &[$first_json $(, $json)*], at, out),
                }
            }
        }
    };
}

pub(crate) use {choice, object};
