//! How much an object is, for the guard against mass removal.

use std::sync::Arc;

use lateen_config::{ConfigObject, ParsedObject};
use lateen_model::{Diagnostic, Origin, Severity, SourceId};

use crate::{
    codes,
    guard::{Amount, GuardSettings},
    services::Translated,
};

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn services(services: u64) -> Amount {
    Amount { services, ..Amount::default() }
}

fn endpoints(count_of: usize) -> Amount {
    Amount { endpoints: count(count_of), ..Amount::default() }
}

pub(crate) fn of_translated(translated: &Translated) -> Amount {
    match translated {
        Translated::Service(_) => services(1),
        Translated::Endpoints(_, _, all) => endpoints(all.len()),
    }
}

pub(crate) fn of_object(object: &ParsedObject) -> Amount {
    match &object.spec {
        ConfigObject::Service(_) => services(1),
        ConfigObject::ServiceEntry(entry) => {
            Amount { services: count(entry.hosts.len()), ..endpoints(entry.endpoints.len()) }
        }
        ConfigObject::EndpointSlice(slice) => endpoints(slice.endpoints.len()),
        ConfigObject::WorkloadEntry(_) => endpoints(1),
        _ if object.key.kind.may_refuse() => Amount { policies: 1, ..Amount::default() },
        // Other kinds are none of these. Where pods stand for endpoints, slices or selectors name them.
        _ => Amount::default(),
    }
}

/// The finding that removals of a source are held.
pub(crate) fn notice(source: &SourceId, held: usize, amount: Amount, settings: GuardSettings) -> Diagnostic {
    let GuardSettings { count, percent, confirm_ms, .. } = settings;
    let seconds = confirm_ms.div_ceil(1_000);
    let Amount { services, endpoints, policies } = amount;
    Diagnostic {
        code: codes::REMOVALS_HELD,
        severity: Severity::Warning,
        object: None,
        origin: Some(Origin {
            source: source.0.clone(),
            location: Arc::clone(&source.0),
            line: 0,
            column: 0,
        }),
        path: String::new(),
        message: format!(
            "{endpoints} endpoints, {services} services and {policies} policies ({held} objects) are held that the \
             source no longer has: more than {percent} % and more than {count} went at once"
        ),
        hint: Some(format!("they go when the source is listed again without them, or after {seconds} s")),
    }
}
