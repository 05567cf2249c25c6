//! The contract between the core and the platforms that services and configuration come from.
//!
//! An [`Adapter`] is an endless stream of events of one source; [`supervise`] runs it, restarts it when it fails,
//! and tells the core when what it said may be out of date. The module `contract` (behind the feature of that
//! name) is the test suite that every adapter passes.
//!
//! This crate decides nothing about services or configuration, and knows no platform.

mod adapter;
#[cfg(feature = "contract")]
pub mod contract;
mod flag;
mod status;
mod supervise;

pub use adapter::{Adapter, AdapterError, BATCH_MAX, EventSink, ToCore};
pub use flag::{ConfigError, Flag, decoded};
pub use status::{
    Because, ObjectStatus, ParentStatus, Refusal, Rejected, StatusChange, StatusFeed, StatusSink, Unresolved,
    status_feed,
};
pub use supervise::{Backoff, supervise, supervise_with};
