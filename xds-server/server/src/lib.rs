//! The xDS server: sockets, tasks, the admin port.
//!
//! One task, the core, owns all mutable state (world, compiled tables, sessions); streams and sources talk to
//! it through bounded channels. This crate decides nothing about resources or the protocol: that is
//! `lateen-compile` and `lateen-xds`.

pub mod admin;
pub mod answers;
pub mod budget;
pub mod core;
pub mod csds;
pub mod listen;
pub mod lrs;
pub mod metrics;
mod node;
pub mod outbox;
pub mod peer;
pub mod raw;
mod recv;
pub mod serve;
pub mod service;
pub mod state;
pub mod status;
pub mod tls;

/// Number of a stream, unique in the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u64);
