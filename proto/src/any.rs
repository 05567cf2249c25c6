//! Packing typed messages into `google.protobuf.Any` and back.

use prost::{Message, Name};

use crate::google::protobuf::Any;

/// Why an [`Any`] could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum AnyError {
    /// The `Any` holds another type than the one asked for.
    #[error("expected {expected}, found {found:?}")]
    Type {
        /// Full name of the message asked for.
        expected: String,
        /// Type URL found.
        found: String,
    },
    /// The type is right, its bytes are not.
    #[error("decoding {type_name}")]
    Decode {
        /// Full name of the message.
        type_name: String,
        /// What the decoder found.
        #[source]
        source: prost::DecodeError,
    },
}

/// Encodes `message`; the type URL is `type.googleapis.com/` and its full name.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec().into() }
}

/// Decodes what `any` holds, if it is an `M`. The host part of the type URL is not looked at.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, AnyError> {
    let expected = M::full_name();
    if type_name(&any.type_url) != expected {
        return Err(AnyError::Type { expected, found: any.type_url.clone() });
    }
    M::decode(any.value.clone()).map_err(|source| AnyError::Decode { type_name: expected, source })
}

/// The full message name in a type URL: what follows the last slash.
/// <https://protobuf.dev/reference/protobuf/google.protobuf/#any>
pub fn type_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}
