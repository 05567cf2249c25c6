//! The adapter against a real API server.

#![allow(clippy::unwrap_used, reason = "a test that can't reach its server has failed")]

mod cluster;
mod contract;
mod faults;
mod mapping;
mod scale;
