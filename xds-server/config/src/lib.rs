//! Istio, Gateway API and Kubernetes documents as typed, validated objects, with the line of everything.
//!
//! [`parse`] takes a text as an adapter read it and gives the objects in it and the findings about it.
//! It is strict: an unknown or wrong field makes the object invalid. It never lets one object's fault reach
//! another: each document stands for itself, and an object that is invalid is named, as far as it can be told
//! which it is, so that its last good state can stay. [`analysis`] looks at objects together.
//!
//! This crate does no I/O, knows no xDS, and decides nothing about traffic: it says what users wrote.

pub mod analysis;
mod check;
pub mod codes;
pub mod convert;
pub mod decode;
pub mod findings;
pub mod gateway_api;
pub mod istio;
pub mod kind;
pub mod kubernetes;
mod metadata;
mod object;
mod parse;
pub mod path;
mod precedence;
mod redact;
pub mod reference;
mod stand_in;
pub mod yaml;

pub use check::{re2, switch_off as switch_checks_off};
pub use kind::{Kind, ObjectKey, ObjectName};
pub use object::{ConfigObject, Invalid, Metadata, Parsed, ParsedObject};
pub use parse::{parse, parse_within};
pub use precedence::{Family, Position, Precedence};
pub use redact::without_secrets;
pub use stand_in::stand_in;
