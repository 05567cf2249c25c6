//! The HTTP client that adapters share: HTTP/1.1 to one agent over TCP, TLS or a Unix socket.
//!
//! A [`Client`] keeps connections for the next request, sends a token that it reads from a file each time, and
//! bounds all that an agent could make endless: connecting, the whole exchange, the body, a line of a stream. Files
//! of TLS are read for each connection, so that whoever rotates them need not tell. It follows no redirect, keeps no
//! cookie, and tries nothing twice but what was never sent.

mod client;
mod error;
mod lines;
mod place;
mod query;
mod tls;

pub use client::{Answer, Ask, Client, Settings, TokenFile};
pub use error::HttpError;
pub use lines::Lines;
pub use place::{AddressError, Place};
pub use query::{Query, escaped};
pub use tls::TlsFiles;
