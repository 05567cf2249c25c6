//! The adapter on real Consul agents.

#![allow(clippy::unwrap_used, reason = "a test whose server does not do as it is told has failed")]

mod altering;
mod catalog;
mod contract;
mod faults;
mod leader;
mod observed;
mod permissions;
