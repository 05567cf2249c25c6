//! xDS v3 as pure state machines: resource types, names, subscriptions, sessions.
//!
//! No sockets, no clock, no tasks: a session is told what came in, what changed and what time it is, and is
//! asked what to send next. Specification:
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>

mod channel;
mod client;
mod encode;
pub mod faults;
mod flight;
mod held;
mod kept;
mod lists;
pub mod names;
mod outcome;
mod refusal;
mod request;
pub mod resource;
pub mod session;
mod subscription;
mod suspects;
pub mod types;
mod view;
pub mod xdstp;

pub use client::{ClientProfile, Limits, SessionOptions, Variant};
pub use lists::Lists;
pub use names::{NameId, Names};
pub use outcome::{Acked, Guilty, Nack, Outcome, Response};
pub use refusal::Refusal;
pub use request::{Change, Request};
pub use resource::{Body, Resource, ResourceRef};
pub use session::{HeldResource, HeldState, Session, TypeState, TypeStatus};
pub use types::ResourceType;
pub use view::{Obstacle, Spelling, View};
