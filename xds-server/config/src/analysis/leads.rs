//! Services that lead to one port of the same workloads.

use std::collections::{BTreeMap, HashMap};

use lateen_model::Protocol;

use super::{
    common::protocol_of,
    index::Id,
    kubernetes::target,
    selectors::{Selectors, Workload},
};
use crate::{
    decode::IntOrString,
    istio::Labels,
    kubernetes::{Service, ServicePort},
};

/// Workloads that services have in common; where none is known, those with one selector.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Group<'a> {
    Workload(Workload),
    Selector(&'a str, &'a Labels),
}

/// For each port of a group, by protocol, the first service that leads there, and the first with another number.
#[derive(Default)]
pub(super) struct Leads<'a>(HashMap<(Group<'a>, String), Firsts<'a>>);

type Firsts<'a> = BTreeMap<Option<Protocol>, Vec<(&'a str, u32)>>;

/// Who came first, by name, to a port of a service's workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Earlier<'a> {
    /// With another protocol.
    pub(super) protocol: Option<&'a str>,
    /// With the same protocol, from another number.
    pub(super) number: Option<(&'a str, u32)>,
}

impl<'a> Leads<'a> {
    pub(super) fn new(services: &BTreeMap<Id<'a>, &'a Service>, selectors: &Selectors<'_>) -> Self {
        let mut leads: HashMap<_, Firsts<'a>> = HashMap::new();
        for ((namespace, name), service) in services {
            for group in groups(namespace, service, selectors) {
                for port in &service.ports {
                    let firsts = leads.entry((group, place(port))).or_default();
                    let of_protocol = firsts.entry(protocol_of(port)).or_default();
                    if of_protocol.len() < 2 && of_protocol.iter().all(|(_, number)| *number != port.port) {
                        of_protocol.push((*name, port.port));
                    }
                }
            }
        }
        Self(leads)
    }

    /// Who came before each port of the service.
    pub(super) fn before(
        &self,
        id: Id<'_>,
        service: &Service,
        selectors: &Selectors<'_>,
    ) -> Vec<Earlier<'a>> {
        let (namespace, name) = id;
        let mut all = vec![Earlier::default(); service.ports.len()];
        for group in groups(namespace, service, selectors) {
            for (earlier, port) in all.iter_mut().zip(&service.ports) {
                let Some(firsts) = self.0.get(&(group, place(port))) else { continue };
                let own = protocol_of(port);
                let others = firsts.iter().filter(|(protocol, _)| **protocol != own);
                let protocol = others.filter_map(|(_, firsts)| firsts.first()).map(|(name, _)| *name).min();
                let same = firsts.get(&own).into_iter().flatten();
                let number = same.copied().find(|(_, number)| *number != port.port);
                let is_first = |found: &str, known: Option<&str>| {
                    found < name && known.is_none_or(|known| found < known)
                };
                if let Some(found) = protocol.filter(|found| is_first(found, earlier.protocol)) {
                    earlier.protocol = Some(found);
                }
                if let Some(found) =
                    number.filter(|(found, _)| is_first(found, earlier.number.map(|(name, _)| name)))
                {
                    earlier.number = Some(found);
                }
            }
        }
        all
    }
}

fn groups<'g>(namespace: &'g str, service: &'g Service, selectors: &Selectors<'_>) -> Vec<Group<'g>> {
    if service.selector.is_empty() {
        return Vec::new();
    }
    if !selectors.knows(Some(namespace)) {
        return vec![Group::Selector(namespace, &service.selector)];
    }
    let found = selectors.find(Some(namespace), &service.selector);
    found.map(|(workload, ..)| Group::Workload(workload)).collect()
}

/// The port of the workloads, with its transport.
fn place(port: &ServicePort) -> String {
    let transport = port.protocol.as_str();
    match target(port) {
        IntOrString::Int(number) => format!("{transport} {number}"),
        IntOrString::String(name) => format!("{transport} \"{name}\""),
    }
}
