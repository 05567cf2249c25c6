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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::config::listener::v3::Listener;

    #[test]
    fn what_was_packed_is_unpacked() {
        let cluster = Cluster { name: "a".into(), ..Cluster::default() };
        let any = pack(&cluster);
        assert_eq!(any.type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
        assert_eq!(unpack::<Cluster>(&any).unwrap(), cluster);
    }

    #[test]
    fn another_type_and_bad_bytes_are_errors() {
        let any = pack(&Cluster::default());
        assert!(matches!(unpack::<Listener>(&any), Err(AnyError::Type { .. })));
        let bad = Any { value: vec![0xff].into(), ..any };
        assert!(matches!(unpack::<Cluster>(&bad), Err(AnyError::Decode { .. })));
    }
}
