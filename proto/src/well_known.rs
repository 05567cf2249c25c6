//! Conversions to and from the well-known types.

use std::collections::BTreeMap;
use std::time::Duration as StdDuration;

use crate::google::protobuf::{
    BoolValue, DoubleValue, Duration, FloatValue, Int32Value, Int64Value, ListValue, StringValue, Struct,
    UInt32Value, UInt64Value, Value, value::Kind,
};

macro_rules! wrapper {
    ($($inner:ty => $wrapper:ty),* $(,)?) => {$(
        impl From<$inner> for $wrapper {
            fn from(value: $inner) -> Self {
                Self { value }
            }
        }
    )*};
}

wrapper! {
    bool => BoolValue,
    f32 => FloatValue,
    f64 => DoubleValue,
    i32 => Int32Value,
    i64 => Int64Value,
    u32 => UInt32Value,
    u64 => UInt64Value,
    String => StringValue,
}

impl From<&str> for StringValue {
    fn from(value: &str) -> Self {
        Self { value: value.to_owned() }
    }
}

/// Saturates at the largest number of seconds that protobuf's type holds.
impl From<StdDuration> for Duration {
    fn from(value: StdDuration) -> Self {
        let nanos = i32::try_from(value.subsec_nanos()).unwrap_or(0);
        Self { seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX), nanos }
    }
}

/// A negative duration, or one whose nanoseconds are out of range, has no counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{seconds} s and {nanos} ns is not a positive duration")]
pub struct DurationError {
    /// Seconds found.
    pub seconds: i64,
    /// Nanoseconds found.
    pub nanos: i32,
}

impl TryFrom<Duration> for StdDuration {
    type Error = DurationError;

    fn try_from(Duration { seconds, nanos }: Duration) -> Result<Self, Self::Error> {
        match (u64::try_from(seconds), u32::try_from(nanos)) {
            (Ok(whole), Ok(rest)) if rest < 1_000_000_000 => Ok(Self::new(whole, rest)),
            _ => Err(DurationError { seconds, nanos }),
        }
    }
}

impl From<Kind> for Value {
    fn from(kind: Kind) -> Self {
        Self { kind: Some(kind) }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Kind::BoolValue(value).into()
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Kind::NumberValue(value).into()
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Kind::StringValue(value).into()
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

impl From<Struct> for Value {
    fn from(value: Struct) -> Self {
        Kind::StructValue(value).into()
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Self {
        Kind::ListValue(ListValue { values }).into()
    }
}

impl From<BTreeMap<String, Value>> for Struct {
    fn from(fields: BTreeMap<String, Value>) -> Self {
        Self { fields }
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Struct {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        Self { fields: fields.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }
}
