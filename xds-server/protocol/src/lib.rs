//! xDS v3 as pure state machines: resource types, names, subscriptions, sessions.
//!
//! No sockets, no clock, no tasks: a session is told what came in, what changed and what time it is, and is
//! asked what to send next. Specification:
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>

pub mod names;
pub mod resource;
pub mod types;

pub use names::{NameId, Names};
pub use resource::{Body, Resource, ResourceRef};
pub use types::ResourceType;
