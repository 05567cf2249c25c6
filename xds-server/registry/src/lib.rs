//! The one owner of what all sources say: documents and services in, facts of the mesh out.
//!
//! [`Registry::apply`] takes one event of one source, brings the [`World`] up to date and says which of its cells
//! changed. The work follows the change, not the mesh (I-12): every cell is indexed by what it is made from, and a
//! cell whose new value equals the old one has not changed. What is bad never hides what is good (I-6), and last
//! good stays (I-7).
//!
//! Nothing here does I/O, reads a clock, or knows xDS.

mod amount;
mod backlog;
mod changes;
pub mod codes;
mod contested;
mod derived;
mod entry;
mod fact;
mod few;
mod guard;
mod held;
mod hosts;
mod index;
mod mesh;
mod objects;
mod pending;
mod policies;
mod prepared;
mod registry;
mod routing;
mod secrets;
mod services;
mod shard;
mod standing;
mod world;

pub use changes::Changes;
pub use fact::{
    Asked, ClientSelector, EndpointSet, Fact, FactKey, GatewayId, GatewayServers, NamespaceFact, Selector,
    Sourced, SourcedList,
};
pub use guard::GuardSettings;
pub use hosts::Definition;
pub use lateen_config::Precedence;
pub use prepared::Prepared;
pub use registry::{DOMAIN_DEFAULT, Registry, SourceStatus};
pub use secrets::{SecretRef, SecretStore};
pub use shard::{DocumentState, Touched};
pub use standing::{ABOUT_REFERENCES, ParentStanding};
pub use world::{Revision, World};
