//! The objects of Kubernetes itself that a mesh reads.
//!
//! These are read for what they say about services; fields without meaning here are passed over, where the
//! object is small they are known by name, so that a typo is found.

mod endpoint_slice;
mod pod;
mod secret;
mod service;

pub use endpoint_slice::*;
pub use pod::*;
pub use secret::*;
pub use service::*;
