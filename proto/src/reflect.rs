//! The descriptors of the whole API, also of what has no Rust type here.

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::any::type_name;
use crate::google::protobuf::Any;

/// The `FileDescriptorSet` of Envoy v1.40.0 and of what it imports, dependencies first.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("../descriptors/envoy.binpb");

/// All descriptors. The first call decodes the set, which takes tens of milliseconds.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(FILE_DESCRIPTOR_SET)
            .expect("invariant: the checked-in descriptor set is valid")
    })
}

/// The descriptor of the message with this full name (`envoy.config.cluster.v3.Cluster`).
pub fn message(full_name: &str) -> Option<MessageDescriptor> {
    pool().get_message_by_name(full_name)
}

/// Why an [`Any`] could not be looked into.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReflectError {
    /// The API has no such message.
    #[error("unknown type {type_url:?}")]
    UnknownType {
        /// Type URL found.
        type_url: String,
    },
    /// The bytes are not of that type.
    #[error("decoding {type_name}")]
    Decode {
        /// Full name of the message.
        type_name: String,
        /// What the decoder found.
        #[source]
        source: prost::DecodeError,
    },
}

/// Decodes what `any` holds by its descriptor. Unknown fields are kept.
pub fn decode(any: &Any) -> Result<DynamicMessage, ReflectError> {
    let name = type_name(&any.type_url);
    let descriptor =
        message(name).ok_or_else(|| ReflectError::UnknownType { type_url: any.type_url.clone() })?;
    DynamicMessage::decode(descriptor, any.value.clone())
        .map_err(|source| ReflectError::Decode { type_name: name.to_owned(), source })
}
