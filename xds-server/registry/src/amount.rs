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

pub(crate) fn of_translated(translated: &Translated) -> Amount {
    match translated {
        Translated::Service(_) => Amount { services: 1, endpoints: 0 },
        Translated::Endpoints(_, _, endpoints) => Amount { services: 0, endpoints: count(endpoints.len()) },
    }
}

pub(crate) fn of_object(object: &ParsedObject) -> Amount {
    match &object.spec {
        ConfigObject::Service(_) => Amount { services: 1, endpoints: 0 },
        ConfigObject::ServiceEntry(entry) => {
            Amount { services: count(entry.hosts.len()), endpoints: count(entry.endpoints.len()) }
        }
        ConfigObject::EndpointSlice(slice) => Amount { services: 0, endpoints: count(slice.endpoints.len()) },
        ConfigObject::WorkloadEntry(_) => Amount { services: 0, endpoints: 1 },
        // Other kinds are neither. Where pods stand for endpoints, slices or selectors name them.
        _ => Amount::default(),
    }
}

/// The finding that removals of a source are held.
pub(crate) fn notice(source: &SourceId, held: usize, amount: Amount, settings: GuardSettings) -> Diagnostic {
    let GuardSettings { count, percent, confirm_ms, .. } = settings;
    let seconds = confirm_ms.div_ceil(1_000);
    let Amount { services, endpoints } = amount;
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
            "{endpoints} endpoints and {services} services ({held} objects) are held that the source no longer has: \
             more than {percent} % and more than {count} went at once"
        ),
        hint: Some(format!("they go when the source is listed again without them, or after {seconds} s")),
    }
}
