//! Backends to which gateways are to connect by TLS, as `BackendTLSPolicy` says. It is not applied yet, so gateways get
//! closed clusters for them. `docs/unapplied.md` has the whole table.
//! <https://gateway-api.sigs.k8s.io/reference/spec/#backendtlspolicy>

use std::sync::Arc;

use lateen_config::{ConfigObject, Kind, path::Path};
use lateen_model::{Diagnostic, Service, Unapplied};
use lateen_registry::{Fact, FactKey, Sourced};

use super::{Read, notes::Unmet, read};

type Policy = Arc<Sourced<ConfigObject>>;

/// The policy that holds for a port of a service, whatever its rank among those that do.
pub(crate) fn of_port(r: &mut dyn Read, service: &Service, port: u16) -> Option<Policy> {
    let key = FactKey::Policies(Kind::BackendTlsPolicy, service.namespace.clone());
    let all = r.fact(&key).and_then(Fact::policies)?;
    all.iter().find(|policy| holds(policy, service, port)).cloned()
}

/// Is the port closed to gateways?
pub(crate) fn closes(r: &mut dyn Read, service: &Service, port: u16) -> bool {
    of_port(r, service, port).is_some() && read::unapplied(r) == Unapplied::Close
}

fn holds(policy: &Policy, service: &Service, port: u16) -> bool {
    let ConfigObject::BackendTlsPolicy(spec) = &*policy.spec else { return false };
    if policy.unreadable && spec.target_refs.is_empty() {
        return true;
    }
    let named =
        |section: &str| service.ports.iter().any(|known| known.number == port && *known.name == *section);
    spec.target_refs.iter().any(|target| {
        target.is_service()
            && service.host.as_str().starts_with(&format!("{}.{}.svc.", target.name, policy.key.namespace))
            && target.section_name.as_deref().is_none_or(named)
    })
}

/// What is said of a policy that closes something.
pub(crate) fn finding(policy: &Policy, choice: Unapplied) -> Diagnostic {
    let mut origin = policy.origin.clone();
    if let Some(span) = policy.spans.find(&Path::ROOT.field("spec").field("targetRefs")) {
        (origin.line, origin.column) = (span.line, span.column);
    }
    let why = if policy.unreadable {
        "the policy can't be read, and never could"
    } else {
        "TLS from gateways to backends is not applied yet"
    };
    let closed = "gateways are given closed clusters for the backends that it is about".to_owned();
    let remedy = "remove the policy; a DestinationRule with files (caCertificates) gives the backend TLS";
    Unmet { about: Some((&policy.key, origin)), path: "spec".to_owned(), why: why.to_owned(), closed, remedy }
        .finding(choice)
}
