//! Encoded values → numbers.

use prost_reflect::Kind;

use super::wire::{Fields, Malformed, Value};

/// A varint holds a negative number in ten bytes; the upper half says nothing more.
#[allow(clippy::cast_possible_truncation, reason = "decoders take the lower half, too")]
pub fn int32(varint: u64) -> i32 {
    (varint as u32).cast_signed()
}

#[allow(clippy::cast_possible_truncation, reason = "decoders take the lower half, too")]
pub fn integer(kind: &Kind, value: Value<'_>) -> Result<i128, Malformed> {
    let unzigzag = |value: u64| (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
    Ok(match (kind, value) {
        (Kind::Int32, Value::Varint(value)) => i128::from(int32(value)),
        (Kind::Uint32, Value::Varint(value)) => i128::from(value as u32),
        (Kind::Sint32 | Kind::Sint64, Value::Varint(value)) => i128::from(unzigzag(value)),
        (Kind::Int64, Value::Varint(value)) | (Kind::Sfixed64, Value::Fixed64(value)) => {
            i128::from(value.cast_signed())
        }
        (Kind::Uint64, Value::Varint(value)) | (Kind::Fixed64, Value::Fixed64(value)) => i128::from(value),
        (Kind::Fixed32, Value::Fixed32(value)) => i128::from(value),
        (Kind::Sfixed32, Value::Fixed32(value)) => i128::from(value.cast_signed()),
        _ => return Err(Malformed),
    })
}

pub fn float(kind: &Kind, value: Value<'_>) -> Result<f64, Malformed> {
    match (kind, value) {
        (Kind::Float, Value::Fixed32(bits)) => Ok(f64::from(f32::from_bits(bits))),
        (Kind::Double, Value::Fixed64(bits)) => Ok(f64::from_bits(bits)),
        _ => Err(Malformed),
    }
}

/// Nanoseconds of an encoded duration.
pub fn duration(bytes: &[u8]) -> Result<i128, Malformed> {
    let part = |number| match Fields::new(bytes).find(number)? {
        Some(Value::Varint(value)) => Ok(value),
        Some(_) => Err(Malformed),
        None => Ok(0),
    };
    Ok(i128::from(part(1)?.cast_signed()) * 1_000_000_000 + i128::from(int32(part(2)?)))
}

/// `1500000000` → `1.5s`.
pub fn seconds(nanoseconds: &i128) -> String {
    let (whole, rest) =
        (nanoseconds.unsigned_abs() / 1_000_000_000, nanoseconds.unsigned_abs() % 1_000_000_000);
    let sign = if *nanoseconds < 0 { "-" } else { "" };
    let text = format!("{sign}{whole}.{rest:09}");
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}
