//! The objects of Kubernetes itself that a mesh reads.
//!
//! These are read for what they say about services. Fields that are not known are passed over: a later version of
//! Kubernetes may have added them, and must not make objects invalid that it wrote.

mod endpoint_slice;
mod pod;
mod secret;
mod service;

pub use endpoint_slice::*;
pub use pod::*;
pub use secret::*;
pub use service::*;
