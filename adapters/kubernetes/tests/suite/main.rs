//! The adapter against a real API server.

#![allow(clippy::unwrap_used, reason = "a test that can't reach its server has failed")]
#![allow(clippy::print_stdout, reason = "figures are printed")]

mod cluster;
mod contract;
mod faults;
mod mapping;
mod scale;
