//! Sessions against a fake view: one test per rule of the protocol, and naive clients under random use.

mod acks;
mod hosts;
mod limits;
mod model;
mod nacks;
mod ordering;
mod random;
mod rig;
mod subscriptions;
mod ttl;
