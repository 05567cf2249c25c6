//! The nouns of the mesh: identifiers, services, endpoints, nodes, diagnostics.
//!
//! Pure data. This crate does no I/O, reads no clock, knows no protobuf and no YAML; every other crate may
//! depend on it, it depends on none of ours.

mod by_host;
pub mod diagnostic;
pub mod event;
pub mod hash;
pub mod host;
pub mod node;
pub mod service;
pub mod span;
pub mod text;
pub mod unapplied;

pub use by_host::ByHost;
pub use diagnostic::{Diagnostic, Origin, Severity};
pub use event::{Document, ObjectId, ObjectKind, Scope, SourceEvent, SourceId};
pub use hash::Version;
pub use host::{Host, Namespace};
pub use node::{Locality, NodeInfo, NodeRole, Streams};
pub use service::{Address, DefinedBy, Endpoint, Health, Port, Protocol, Resolution, Service};
pub use unapplied::Unapplied;
