//! The field rules that the API states about itself (protoc-gen-validate), checked without generated code.
//!
//! Envoy checks the same rules and rejects what breaks them, so a resource that breaks one is found here
//! before it is sent. The rules are read from the descriptors once, into a plan per message; a check walks the
//! encoded bytes along the plan and decodes only what has a rule. It also descends into every `Any` of a known
//! type, as Envoy does when it loads the extension.
//!
//! Only the kinds of rules that the API uses are implemented; [`unsupported_rules`] names the others.
//! Rules and their meaning: <https://github.com/bufbuild/protoc-gen-validate#constraint-rules>, where its
//! languages differ as the C++ that Envoy runs.

mod compile;
mod plan;
mod rules;
mod values;
mod walk;
mod wire;

use std::fmt;

use prost::{Message, Name};

use crate::any::{pack, type_name};
use crate::google::protobuf::Any;

/// A check stops after so many violations.
pub const VIOLATIONS_MAX: usize = 100;

/// A rule that a message breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which field: `virtual_hosts[0].routes[2].match`. The fields of a message in an `Any` follow the name
    /// of the field that holds the `Any`.
    pub path: String,
    /// Which rule, with what it asks for: `string.min_len: 1`.
    pub rule: String,
    /// What is there, shortened.
    pub value: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} breaks {}", self.path, self.value, self.rule)
    }
}

/// Every rule that the message in `any` breaks, in the order of the encoding. Nothing is known against a
/// message of an unknown type.
pub fn check(any: &Any) -> Vec<Violation> {
    walk::check(type_name(&any.type_url), &any.value)
}

/// As [`check`], for a message that is not packed.
pub fn check_message<M: Message + Name>(message: &M) -> Vec<Violation> {
    check(&pack(message))
}

/// Rules in the descriptors that are not implemented, as `message.field: rule`. They are not checked.
pub fn unsupported_rules() -> &'static [String] {
    &plan::plans().unsupported
}
