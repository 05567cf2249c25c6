//! From trees to typed values, strictly: whatever the type does not foresee is a finding.
//!
//! `object!`, `choice!` declare the types and derive their decoders. The leniencies are those of proto's JSON
//! form, which Istio's API is defined in: a field may be written in camel case or in snake case, `null` is the
//! same as absent, a number may be written as text. <https://protobuf.dev/programming-guides/json/>

mod duration;
mod nearest;
mod object;
mod scalars;

use lateen_model::diagnostic::Severity;

pub use duration::{duration, format_duration};
pub use nearest::nearest;
pub use object::{Others, Schema, fields, no_effect, set, unknown_value};
pub(crate) use object::{choice, object};
pub use scalars::{Bytes, GatewayDuration, Ignored, IntOrString, SecretBytes};

use crate::{
    codes,
    findings::Findings,
    path::Path,
    yaml::{Node, Value},
};

/// A type that can be read from a tree.
pub trait Decode: Sized {
    /// Reads the value. `None` says that a finding was added.
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self>;
}

/// Adds the finding that something else was expected here.
pub fn expected<T>(what: &str, node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<T> {
    let message = format!("expected {what}, found {}", found(node));
    out.at(Severity::Error, codes::WRONG_TYPE, at, node.span, message);
    None
}

/// What stands there, in words.
pub fn found(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Int(value) => format!("the number {value}"),
        Value::Float(value) => format!("the number {value}"),
        Value::String(text) if text.chars().count() > 40 => {
            format!("the text \"{}…\"", text.chars().take(40).collect::<String>().escape_debug())
        }
        Value::String(text) => format!("the text \"{}\"", text.escape_debug()),
        Value::Seq(_) => "a list".to_owned(),
        Value::Map(_) => "an object".to_owned(),
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        T::decode(node, at, out).map(Some)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        T::decode(node, at, out).map(Box::new)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        let Value::Seq(items) = &node.value else { return expected("a list", node, at, out) };
        // All items are looked at, so that all their findings come at once.
        let decoded: Vec<_> =
            items.iter().enumerate().map(|(index, item)| T::decode(item, &at.index(index), out)).collect();
        decoded.into_iter().collect()
    }
}

impl<T: Decode> Decode for std::collections::BTreeMap<String, T> {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return expected("an object", node, at, out) };
        let decoded: Vec<_> = entries
            .iter()
            .map(|entry| Some((entry.key.to_string(), T::decode(&entry.value, &at.key(&entry.key), out)?)))
            .collect();
        decoded.into_iter().collect()
    }
}
