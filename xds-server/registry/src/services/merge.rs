//! Several definitions of one service as one.

use std::collections::BTreeSet;

use lateen_model::{Diagnostic, Port, Service, Severity};

use crate::codes;

/// Adds another definition of the same host and namespace: the first one counts, ports and addresses unite.
pub(super) fn merge(first: &mut Service, other: &Service, findings: &mut Vec<Diagnostic>) {
    // Within one source a service may be put together from several objects; two sources should agree.
    if first.origin.source != other.origin.source {
        findings.extend(disagreements(first, other));
    }
    for port in &other.ports {
        let same = |known: &&Port| identity(known) == identity(port);
        match first.ports.iter().find(same) {
            Some(known) if known.protocol == port.protocol => {}
            Some(known) => findings.push(disagreement(first, known, other, port)),
            None => first.ports.push(port.clone()),
        }
    }
    for address in &other.addresses {
        if !first.addresses.contains(address) {
            first.addresses.push(address.clone());
        }
    }
    for name in &other.subject_alt_names {
        if !first.subject_alt_names.contains(name) {
            first.subject_alt_names.push(name.clone());
        }
    }
}

/// What two sources say differently about one service, but for protocols.
fn disagreements(first: &Service, other: &Service) -> Vec<Diagnostic> {
    let numbers = |service: &Service| service.ports.iter().map(|port| port.number).collect::<BTreeSet<_>>();
    let (ours, theirs) = (numbers(first), numbers(other));
    let list = |ports: &BTreeSet<u16>| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let finding = |code, message, hint: Option<&str>| Diagnostic {
        code,
        severity: Severity::Warning,
        object: None,
        origin: Some(other.origin.clone()),
        path: String::new(),
        message,
        hint: hint.map(str::to_owned),
    };
    let place = format!("{} of {}", first.origin, first.origin.source);
    let mut all = Vec::new();
    if ours != theirs {
        let (host, here, there) = (&other.host, list(&theirs), list(&ours));
        let message = format!("{host} has the ports {here} here, and {there} in {place}; all are served");
        let hint = "a port leads only to the instances of the sources that know it";
        all.push(finding(codes::SERVICE_PORTS, message, Some(hint)));
    }
    if first.resolution != other.resolution {
        let (host, here, there) = (&other.host, other.resolution, first.resolution);
        let message = format!(
            "the instances of {host} are found by {here:?} here, and by {there:?} in {place}, which counts"
        );
        all.push(finding(codes::SERVICE_RESOLUTION, message, None));
    }
    all
}

fn disagreement(first: &Service, known: &Port, other: &Service, port: &Port) -> Diagnostic {
    Diagnostic {
        code: codes::SERVICE_PORT,
        severity: Severity::Warning,
        object: None,
        origin: Some(other.origin.clone()),
        path: String::new(),
        message: format!(
            "port {} of {} is {:?} here, and {:?} in {}, which counts",
            port.number, other.host, port.protocol, known.protocol, first.origin
        ),
        hint: None,
    }
}

/// What makes a port one with another of its service: the number, and whether it is one of UDP.
pub(super) fn identity(port: &Port) -> (u16, bool) {
    (port.number, port.protocol.is_carried())
}
