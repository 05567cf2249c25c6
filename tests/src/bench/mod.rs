//! Parts of the control plane benchmark: a world of any size, a load client, a floor server.

pub mod canned;
pub mod client;
pub mod world;
