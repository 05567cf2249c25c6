//! The registry from the outside: events in, facts out.

#![allow(clippy::unwrap_used, reason = "a test that does not find what it looks for has failed")]

mod feed;
mod gateway_api;
mod mass;
mod merge;
mod objects;
mod properties;
mod services;
mod sources;
mod stand_in;
