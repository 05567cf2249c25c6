//! Scalars and the well-known types that look like scalars.

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{EnumDescriptor, EnumValueDescriptor, Kind};

use super::error::{ParseError, Problem, nearest};
use super::tree::{Node, Value};

/// The enum whose only value is JSON's null.
pub const NULL_VALUE: &str = "google.protobuf.NullValue";

/// Messages with a JSON form of their own: <https://protobuf.dev/programming-guides/json/#wkt>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WellKnown {
    Any,
    Duration,
    Empty,
    ListValue,
    Struct,
    Timestamp,
    Value,
    Wrapper,
}

impl WellKnown {
    pub fn of(full_name: &str) -> Option<Self> {
        Some(match full_name.strip_prefix("google.protobuf.")? {
            "Any" => Self::Any,
            "Duration" => Self::Duration,
            "Empty" => Self::Empty,
            "ListValue" => Self::ListValue,
            "Struct" => Self::Struct,
            "Timestamp" => Self::Timestamp,
            "Value" => Self::Value,
            "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value"
            | "StringValue" | "UInt32Value" | "UInt64Value" => Self::Wrapper,
            _ => return None,
        })
    }
}

/// A field's value, ready for the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoded {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(Vec<u8>),
}

impl Encoded {
    /// Whether a field without presence leaves it out.
    pub fn is_default(&self) -> bool {
        match self {
            Self::Varint(value) | Self::Fixed64(value) => *value == 0,
            Self::Fixed32(value) => *value == 0,
            Self::Bytes(value) => value.is_empty(),
        }
    }

    /// Appends the field.
    pub fn write(&self, number: u32, out: &mut Vec<u8>) {
        let wire_type = match self {
            Self::Varint(_) => WireType::Varint,
            Self::Fixed32(_) => WireType::ThirtyTwoBit,
            Self::Fixed64(_) => WireType::SixtyFourBit,
            Self::Bytes(_) => WireType::LengthDelimited,
        };
        encode_key(number, wire_type, out);
        if let Self::Bytes(value) = self {
            encode_varint(value.len() as u64, out);
        }
        self.write_packed(out);
    }

    /// Appends the bare value, as in a packed field.
    pub fn write_packed(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => encode_varint(*value, out),
            Self::Fixed32(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Fixed64(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Bytes(value) => out.extend_from_slice(value),
        }
    }
}

/// Encodes a value of any kind but a message; for that kind `None`.
pub fn encode(kind: &Kind, node: &Node) -> Result<Option<Encoded>, ParseError> {
    Ok(Some(match kind {
        Kind::Bool => Encoded::Varint(u64::from(boolean(node)?)),
        Kind::Int32 => varint(i64::from(signed32(node)?)),
        Kind::Int64 => varint(signed64(node)?),
        Kind::Sint32 => zigzag(i64::from(signed32(node)?)),
        Kind::Sint64 => zigzag(signed64(node)?),
        Kind::Uint32 => Encoded::Varint(u64::from(unsigned32(node)?)),
        Kind::Uint64 => Encoded::Varint(unsigned64(node)?),
        Kind::Fixed32 => Encoded::Fixed32(unsigned32(node)?),
        Kind::Fixed64 => Encoded::Fixed64(unsigned64(node)?),
        Kind::Sfixed32 => Encoded::Fixed32(signed32(node)?.cast_unsigned()),
        Kind::Sfixed64 => Encoded::Fixed64(signed64(node)?.cast_unsigned()),
        Kind::Float => Encoded::Fixed32(float32(node)?.to_bits()),
        Kind::Double => Encoded::Fixed64(float64(node)?.to_bits()),
        Kind::String => Encoded::Bytes(string(node)?.as_bytes().to_vec()),
        Kind::Bytes => Encoded::Bytes(base64(node)?),
        Kind::Enum(descriptor) => varint(i64::from(enumeration(descriptor, node)?)),
        Kind::Message(_) => return Ok(None),
    }))
}

fn varint(value: i64) -> Encoded {
    Encoded::Varint(value.cast_unsigned())
}

fn zigzag(value: i64) -> Encoded {
    varint((value << 1) ^ (value >> 63))
}

pub fn string(node: &Node) -> Result<&str, ParseError> {
    match &node.value {
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) => {
            Err(node.expected("a string (quote it)"))
        }
        Value::Null | Value::List(_) | Value::Map(_) => Err(node.expected("a string")),
    }
}

fn boolean(node: &Node) -> Result<bool, ParseError> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        _ => Err(node.expected("true or false")),
    }
}

fn signed32(node: &Node) -> Result<i32, ParseError> {
    integer(node).and_then(|value| i32::try_from(value).ok()).ok_or_else(|| node.expected("a 32-bit integer"))
}

fn unsigned32(node: &Node) -> Result<u32, ParseError> {
    integer(node)
        .and_then(|value| u32::try_from(value).ok())
        .ok_or_else(|| node.expected("an unsigned 32-bit integer"))
}

fn signed64(node: &Node) -> Result<i64, ParseError> {
    integer(node).and_then(|value| i64::try_from(value).ok()).ok_or_else(|| node.expected("a 64-bit integer"))
}

fn unsigned64(node: &Node) -> Result<u64, ParseError> {
    integer(node)
        .and_then(|value| u64::try_from(value).ok())
        .ok_or_else(|| node.expected("an unsigned 64-bit integer"))
}

/// Integers may be written as strings, and as floats without a fraction.
fn integer(node: &Node) -> Option<i128> {
    match &node.value {
        Value::Unsigned(value) => Some(i128::from(*value)),
        Value::Signed(value) => Some(i128::from(*value)),
        Value::Float(value) => whole(*value),
        Value::String(text) => text.parse().ok().or_else(|| text.parse().ok().and_then(whole)),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
    }
}

fn whole(value: f64) -> Option<i128> {
    #[allow(clippy::cast_possible_truncation, reason = "a whole number below 2^65 fits an i128")]
    (value.fract() == 0.0 && value.abs() < 3.7e19).then_some(value as i128)
}

pub fn float64(node: &Node) -> Result<f64, ParseError> {
    #[allow(clippy::cast_precision_loss, reason = "a JSON number is a double")]
    match &node.value {
        Value::Float(value) => Ok(*value),
        Value::Unsigned(value) => Ok(*value as f64),
        Value::Signed(value) => Ok(*value as f64),
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => text
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite())
                .ok_or_else(|| node.expected("a number")),
        },
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => Err(node.expected("a number")),
    }
}

fn float32(node: &Node) -> Result<f32, ParseError> {
    let value = float64(node)?;
    #[allow(clippy::cast_possible_truncation, reason = "the check on the next line refuses what overflows")]
    let narrow = value as f32;
    if narrow.is_finite() == value.is_finite() {
        Ok(narrow)
    } else {
        Err(node.expected("a 32-bit floating point number"))
    }
}

/// Both alphabets are read, with padding or without.
pub fn base64(node: &Node) -> Result<Vec<u8>, ParseError> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
    let text = string(node)?;
    let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    engine.decode(text).map_err(|_| node.expected("bytes in base64"))
}

fn enumeration(descriptor: &EnumDescriptor, node: &Node) -> Result<i32, ParseError> {
    let is_null = descriptor.full_name() == NULL_VALUE;
    match &node.value {
        Value::Null if is_null => Ok(0),
        Value::String(name) => {
            descriptor.get_value_by_name(name).map(|value| value.number()).ok_or_else(|| {
                let names: Vec<_> = descriptor.values().collect();
                node.error(Problem::UnknownEnumValue {
                    enumeration: descriptor.full_name().to_owned(),
                    value: name.clone(),
                    nearest: nearest(name, names.iter().map(EnumValueDescriptor::name)),
                })
            })
        }
        Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) => signed32(node),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
            Err(node.expected("the name of an enum value"))
        }
    }
}

const NANOS_PER_SECOND: u32 = 1_000_000_000;
/// About ten thousand years: <https://protobuf.dev/reference/protobuf/google.protobuf/#duration>
const DURATION_SECONDS_MAX: u64 = 315_576_000_000;
/// 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// `None` when it is out of the range of the type.
pub fn format_duration(seconds: i64, nanos: i32) -> Option<String> {
    let in_range = seconds.unsigned_abs() <= DURATION_SECONDS_MAX && nanos.unsigned_abs() < NANOS_PER_SECOND;
    if !in_range || (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0) {
        return None;
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (seconds.unsigned_abs(), nanos.unsigned_abs());
    Some(match nanos {
        0 => format!("{sign}{seconds}s"),
        _ if nanos.is_multiple_of(1_000_000) => format!("{sign}{seconds}.{:03}s", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => format!("{sign}{seconds}.{:06}s", nanos / 1_000),
        _ => format!("{sign}{seconds}.{nanos:09}s"),
    })
}

/// Seconds and nanoseconds of `1.5s`.
pub fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let seconds =
        whole.parse().ok().filter(|seconds: &i64| seconds.unsigned_abs() <= DURATION_SECONDS_MAX)?;
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    Some(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// `None` when it is out of the range of the type.
pub fn format_timestamp(seconds: i64, nanos: i32) -> Option<String> {
    let in_range = TIMESTAMP_SECONDS.contains(&seconds) && (0..1_000_000_000).contains(&nanos);
    in_range.then(|| prost_types::Timestamp { seconds, nanos }.to_string())
}

/// Seconds since 1970 and nanoseconds of an RFC 3339 time.
pub fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    // The parser takes dates without a time, too.
    let has_time = text.contains(['T', 't']);
    let timestamp: prost_types::Timestamp = text.parse().ok().filter(|_| has_time)?;
    TIMESTAMP_SECONDS.contains(&timestamp.seconds).then_some((timestamp.seconds, timestamp.nanos))
}
