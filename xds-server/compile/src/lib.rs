//! The compiler: facts in, xDS resources out, and nothing is compiled again that did not change.
//!
//! - [`engine`]: memos that record what they read, so that a change is followed to what depends on it;
//! - [`translate`]: the memos' bodies, pure functions from facts to Envoy's messages;
//! - [`Compiler`]: keeps tables of resources for the views that connected nodes have.
//!
//! No I/O, no clock, no protocol: sessions read the tables through [`lateen_xds::View`].

mod compiler;
pub mod engine;
mod node;
mod pieces;
mod plan;
mod program;
mod routes;
mod select;
mod table;
pub mod translate;

pub use compiler::{Compiler, Content, Delivery, GoodForm, PartName, REJECTED};
pub use node::{NodeHandle, NodeTables, Rejection};
pub use table::TableId;
pub use translate::NO_DESTINATION;
