//! The conformance suite: cases that prove any xDS server against the specification, over the wire.
//!
//! A [`case::Case`] says which clause it proves, in which variants of the protocol and with which types, and what a
//! server must have for it to apply. [`run`](mod@run) runs cases side by side against a [`context::Target`], which is
//! told what to serve by a [`control::Control`]; [`report`] tells what came of it.
//!
//! It knows no server's insides, and never sleeps for luck: cases wait for messages, and prove silence by a bounded
//! quiet period.

pub mod case;
pub mod cases;
pub mod clauses;
pub mod client;
pub mod content;
pub mod context;
pub mod control;
pub mod faults;
pub mod message;
pub mod obligations;
pub mod report;
pub mod run;
pub mod stream;
pub mod transcript;
pub mod wire;
