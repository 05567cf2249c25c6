//! The server on real sockets: what clients see, whatever they do.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod admin;
mod budget;
mod client;
mod csds;
mod drain;
mod faults;
mod limits;
mod rig;
mod services;
mod sources;
mod streams;
mod upkeep;
