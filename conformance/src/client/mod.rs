//! The suite turned round: a scripted server whose cases prove an xDS *client* against the specification.
//!
//! Each run starts a client of its own, by a command line or inside the process, and drives it with a [`Script`]:
//! what the client must send is expected, what the server answers is said, and streams are ended or refused. What
//! the client applied is read from its admin port where it has Envoy's; without one, only the wire is judged.

pub mod bootstrap;
mod cases;
mod departures;
mod process;
mod run;
mod script;
mod server;

pub use cases::all;
pub use process::{Client, Command, Start};
pub use run::{run, select};
pub use script::{Request, Script, Sent};
pub use server::Stop;
