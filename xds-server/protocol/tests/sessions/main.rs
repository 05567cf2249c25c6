//! Sessions against a fake view: one test per rule of the protocol, and naive clients under random use.
#![allow(clippy::unwrap_used, reason = "tests")]

mod acks;
mod hosts;
mod limits;
mod model;
mod nacks;
mod ordering;
mod random;
mod random_hosts;
mod random_requests;
mod rig;
mod subscriptions;
mod ttl;
