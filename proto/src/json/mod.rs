//! The JSON form of messages (<https://protobuf.dev/programming-guides/json/>), by reflection.
//!
//! Writing never fails: what can't be shown as JSON, such as an `Any` of an unknown type, is shown as an
//! opaque object that reading turns back into the same bytes. Reading is strict, accepts field names in both
//! spellings, names the place of a mistake (path, and line and column for YAML), and gives equal bytes for
//! equal input: fields by number, maps by key.

mod error;
mod read;
mod scalar;
mod tree;
mod write;
mod yaml;

use prost::{Message, Name};

use crate::any;
use crate::google::protobuf::Any;

pub use error::{ParseError, Position, Problem};

/// Which spelling of field names is written. Both are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldNames {
    /// `type_url`, as in the .proto files and in Envoy's own dumps.
    #[default]
    Proto,
    /// `typeUrl`, the canonical spelling.
    Camel,
}

/// The message in `any` as a JSON object with an `@type`, and proto field names.
pub fn any_to_json(any: &Any) -> serde_json::Value {
    any_to_json_with(any, FieldNames::default())
}

/// As [`any_to_json`], with the spelling of field names chosen.
pub fn any_to_json_with(any: &Any, names: FieldNames) -> serde_json::Value {
    write::any(&any.type_url, &any.value, names)
}

/// The message as JSON, with proto field names. A type that the API does not have is shown opaque.
pub fn message_to_json<M: Message + Name>(message: &M) -> serde_json::Value {
    message_to_json_with(message, FieldNames::default())
}

/// As [`message_to_json`], with the spelling of field names chosen.
pub fn message_to_json_with<M: Message + Name>(message: &M, names: FieldNames) -> serde_json::Value {
    write::message(&any::pack(message), names)
}

/// Reads an object with an `@type` into the `Any` it describes.
pub fn json_to_any(json: &serde_json::Value) -> Result<Any, ParseError> {
    read::any(&tree::from_json(json)?)
}

/// Reads the JSON form of an `M`.
pub fn json_to_message<M: Message + Name + Default>(json: &serde_json::Value) -> Result<M, ParseError> {
    read::message(&tree::from_json(json)?)
}

/// Reads one YAML (or JSON) document with an `@type` into the `Any` it describes.
pub fn yaml_to_any(text: &str) -> Result<Any, ParseError> {
    read::any(&yaml::parse(text)?)
}

/// Reads one YAML (or JSON) document as an `M`.
pub fn yaml_to_message<M: Message + Name + Default>(text: &str) -> Result<M, ParseError> {
    read::message(&yaml::parse(text)?)
}
