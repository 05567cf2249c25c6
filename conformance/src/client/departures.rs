//! Where known clients depart from the specification. A case that such a client fails is told as noted, with where
//! the behaviour is written: never as passed, and never by a softer case.

use super::bootstrap::Kind;
use crate::case::{Instance, Variant};

/// One departure.
#[derive(Debug)]
pub(super) struct Departure {
    client: Kind,
    case: &'static str,
    variants: &'static [Variant],
    pub(super) what: &'static str,
    pub(super) reference: &'static str,
}

const KNOWN: &[Departure] = &[];

/// What is known of the client in that run.
pub(super) fn known(client: Kind, instance: &Instance) -> Option<&'static Departure> {
    KNOWN
        .iter()
        .find(|d| d.client == client && d.case == instance.case.id && d.variants.contains(&instance.variant))
}
