//! The adapter, registrations and elections on a real etcd. Rows are those of the fault list.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod faults;
mod leading;
mod mapping;
mod mesh;
mod registering;
mod scale;
