//! Decoders of plain values.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lateen_model::{diagnostic::Severity, span::Spanned};

use super::{Decode, expected, found};
use crate::{
    codes,
    findings::Findings,
    path::Path,
    yaml::{Node, Value},
};

impl Decode for bool {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            // kubectl reads YAML 1.1, where these are booleans.
            Value::String(text) if matches!(&**text, "yes" | "Yes" | "on" | "On" | "true") => Some(true),
            Value::String(text) if matches!(&**text, "no" | "No" | "off" | "Off" | "false") => Some(false),
            _ => expected("true or false", node, at, out),
        }
    }
}

impl Decode for String {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::String(text) => Some(text.to_string()),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                let message = format!("expected text, found {}", found(node));
                out.at(Severity::Error, codes::WRONG_TYPE, at, node.span, message)
                    .hint("put the value in quotes");
                None
            }
            Value::Null | Value::Seq(_) | Value::Map(_) => expected("text", node, at, out),
        }
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        T::decode(node, at, out).map(|value| Spanned { value, span: node.span })
    }
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Decode for $type {
            fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
                let value = whole(node, at, out)?;
                let fits = <$type>::try_from(value).ok();
                if fits.is_none() {
                    let message = format!("{value} is not within {}..={}", <$type>::MIN, <$type>::MAX);
                    out.at(Severity::Error, codes::RANGE, at, node.span, message);
                }
                fits
            }
        }
    )*};
}

integer!(u8, u16, u32, u64, i32, i64);

fn whole(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<i64> {
    match &node.value {
        Value::Int(value) => Some(*value),
        // Proto's JSON form allows 5.0 and "5" for a whole number.
        #[allow(clippy::cast_possible_truncation)] // the bounds are checked, the fraction is zero
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
        Value::String(text) => match text.parse() {
            Ok(value) => Some(value),
            Err(_) => expected("a whole number", node, at, out),
        },
        _ => expected("a whole number", node, at, out),
    }
}

impl Decode for f64 {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        let value = match &node.value {
            #[allow(clippy::cast_precision_loss)] // what proto's JSON form does to a large number too
            Value::Int(value) => *value as f64,
            Value::Float(value) => *value,
            Value::String(text) => text.parse().unwrap_or(f64::NAN),
            _ => f64::NAN,
        };
        if value.is_finite() { Some(value) } else { expected("a number", node, at, out) }
    }
}

impl Decode for Duration {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::String(text) => match super::duration(text) {
                Ok(duration) => Some(duration),
                Err(why) => bad_duration(node, why, at, out),
            },
            Value::Int(0) => Some(Duration::ZERO),
            Value::Int(_) | Value::Float(_) => bad_duration(node, "a unit is missing", at, out),
            _ => expected("a duration", node, at, out),
        }
    }
}

fn bad_duration<T>(node: &Node, why: &str, at: &Path<'_>, out: &mut Findings) -> Option<T> {
    let message = format!("{} is not a duration: {why}", found(node));
    out.at(Severity::Error, codes::DURATION, at, node.span, message).hint("write it as \"1s\" or \"100ms\"");
    None
}

/// A duration of the Gateway API, whose form is narrower: at most four whole numbers with units h, m, s, ms.
/// <https://gateway-api.sigs.k8s.io/geps/gep-2257/>
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GatewayDuration(pub Duration);

impl Decode for GatewayDuration {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        let duration = Duration::decode(node, at, out)?;
        let text = node.as_str().unwrap_or_default();
        let numbers: Vec<&str> =
            text.split(char::is_alphabetic).filter(|number| !number.is_empty()).collect();
        let narrow = (1..=4).contains(&numbers.len())
            && !text.contains(['.', '+', 'u', 'n', 'µ', 'μ'])
            && text.ends_with(char::is_alphabetic)
            && numbers.iter().all(|number| number.len() <= 5);
        if narrow {
            return Some(Self(duration));
        }
        let why = "the Gateway API allows at most four whole numbers of up to five digits with h, m, s, ms";
        bad_duration(node, why, at, out)
    }
}

/// Bytes, in base64 in the text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl Decode for Bytes {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        let Some(text) = node.as_str() else { return expected("base64 text", node, at, out) };
        let compact: String = text.split_ascii_whitespace().collect();
        match STANDARD.decode(compact) {
            Ok(bytes) => Some(Self(bytes)),
            Err(error) => {
                // The text itself may be a secret: it is not repeated.
                let message = format!("the text is not base64: {error}");
                out.at(Severity::Error, codes::ENCODING, at, node.span, message);
                None
            }
        }
    }
}

/// Bytes that must not be printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretBytes(pub Vec<u8>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

impl Decode for SecretBytes {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        Bytes::decode(node, at, out).map(|bytes| Self(bytes.0))
    }
}

/// A port's number or name. <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/>
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IntOrString {
    /// The number.
    Int(i64),
    /// The name.
    String(String),
}

impl Decode for IntOrString {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Int(number) => Some(Self::Int(*number)),
            Value::String(text) => Some(Self::String(text.to_string())),
            _ => expected("a number or a name", node, at, out),
        }
    }
}

/// A value that is allowed, and not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ignored;

impl Decode for Ignored {
    fn decode(_: &Node, _: &Path<'_>, _: &mut Findings) -> Option<Self> {
        Some(Self)
    }
}
