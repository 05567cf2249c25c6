//! The conformance suite: cases that prove any xDS server, or client, against the specification.

pub mod control;
