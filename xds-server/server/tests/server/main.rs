//! The server on real sockets: what clients see, whatever they do.

mod admin;
mod budget;
mod client;
mod csds;
mod drain;
mod limits;
mod rig;
mod services;
mod streams;
mod upkeep;
