//! Which hosts there are: by who defines them, by name, and by gateway. A question about many hosts is answered
//! without looking at all of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_model::{Host, Namespace, service::Visibility};

use crate::{Changes, GatewayId};

/// That a service, or a `VirtualService` of the mesh, has a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// Namespace of the object.
    pub namespace: Namespace,
    /// Whom it is visible to.
    pub visibility: Visibility,
}

/// The hosts.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Hosts {
    definitions: BTreeMap<Host, Arc<[Definition]>>,
    by_namespace: HashMap<Namespace, BTreeSet<Host>>,
    /// By the name read backwards: all that a wildcard covers stand together.
    backwards: BTreeMap<Box<str>, Host>,
    of_gateways: HashMap<GatewayId, BTreeSet<Host>>,
}

impl Hosts {
    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &Host> {
        self.definitions.keys()
    }

    pub(crate) fn definitions(&self, host: &Host) -> &[Definition] {
        self.definitions.get(host).map(|all| &**all).unwrap_or_default()
    }

    pub(crate) fn defined_in(&self, namespace: &Namespace) -> impl Iterator<Item = &Host> {
        self.by_namespace.get(namespace).into_iter().flatten()
    }

    pub(crate) fn covered_by(&self, wildcard: &Host) -> impl Iterator<Item = &Host> {
        let suffix = backwards(wildcard.as_str().trim_start_matches('*'));
        let from = self.backwards.range(suffix.clone()..);
        let under = from.take_while(move |(name, _)| name.starts_with(&*suffix)).map(|(_, host)| host);
        under.filter(move |host| *host == wildcard || wildcard.covers(host))
    }

    pub(crate) fn of_gateway(&self, gateway: &GatewayId) -> impl Iterator<Item = &Host> {
        self.of_gateways.get(gateway).into_iter().flatten()
    }

    /// The host has these definitions now.
    pub(crate) fn define(&mut self, host: &Host, now: Vec<Definition>, changes: &mut Changes) {
        let before = self.definitions.get(host).cloned().unwrap_or_default();
        if *before == *now {
            return;
        }
        for one in before.iter().filter(|one| !now.contains(one)) {
            changes.definitions.insert((one.namespace.clone(), host.clone()));
            if now.iter().all(|other| other.namespace != one.namespace) {
                remove(&mut self.by_namespace, &one.namespace, host);
            }
        }
        for one in now.iter().filter(|one| !before.contains(one)) {
            changes.definitions.insert((one.namespace.clone(), host.clone()));
            self.by_namespace.entry(one.namespace.clone()).or_default().insert(host.clone());
        }
        if now.is_empty() {
            self.definitions.remove(host);
            self.backwards.remove(&backwards(host.as_str()));
        } else {
            if before.is_empty() {
                self.backwards.insert(backwards(host.as_str()), host.clone());
            }
            self.definitions.insert(host.clone(), now.into());
        }
    }

    /// Has any `VirtualService` of the gateway this host?
    pub(crate) fn bind(&mut self, gateway: &GatewayId, host: &Host, is_bound: bool) {
        if is_bound {
            self.of_gateways.entry(gateway.clone()).or_default().insert(host.clone());
        } else {
            remove(&mut self.of_gateways, gateway, host);
        }
    }
}

fn backwards(text: &str) -> Box<str> {
    text.chars().rev().collect()
}

fn remove<K: Eq + std::hash::Hash>(index: &mut HashMap<K, BTreeSet<Host>>, key: &K, host: &Host) {
    if let Some(row) = index.get_mut(key) {
        row.remove(host);
        if row.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(namespace: &str, to: &[&str]) -> Definition {
        let visibility = match to {
            [] => Visibility::All,
            names => Visibility::Namespaces(names.iter().map(|name| Namespace::from(*name)).collect()),
        };
        Definition { namespace: namespace.into(), visibility }
    }

    fn texts<'a>(hosts: impl Iterator<Item = &'a Host>) -> Vec<&'a str> {
        hosts.map(Host::as_str).collect()
    }

    #[test]
    fn hosts_are_found_by_namespace_and_by_wildcard() {
        let (mut hosts, mut changes) = (Hosts::default(), Changes::default());
        for (host, namespace) in [("a.x.io", "one"), ("b.x.io", "two"), ("*.x.io", "one"), ("ax.io", "one")] {
            hosts.define(&host.into(), vec![definition(namespace, &[])], &mut changes);
        }
        assert_eq!(changes.definitions.len(), 4);
        assert_eq!(texts(hosts.defined_in(&"one".into())), ["*.x.io", "a.x.io", "ax.io"]);
        assert_eq!(texts(hosts.covered_by(&"*.x.io".into())), ["*.x.io", "a.x.io", "b.x.io"]);
        assert_eq!(hosts.covered_by(&"*".into()).count(), 4);
        hosts.define(&"a.x.io".into(), Vec::new(), &mut changes);
        assert_eq!(texts(hosts.covered_by(&"*.x.io".into())), ["*.x.io", "b.x.io"]);
        assert_eq!(texts(hosts.defined_in(&"one".into())), ["*.x.io", "ax.io"]);
    }

    #[test]
    fn definitions_change_by_namespace_and_visibility() {
        let (mut hosts, host) = (Hosts::default(), Host::from("a.io"));
        let mut changed = |now: Vec<Definition>| {
            let mut changes = Changes::default();
            hosts.define(&host, now, &mut changes);
            changes.definitions.into_iter().map(|(namespace, _)| namespace.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(changed(vec![definition("a", &[]), definition("b", &[])]), ["a", "b"]);
        assert!(changed(vec![definition("a", &[]), definition("b", &[])]).is_empty());
        assert_eq!(changed(vec![definition("a", &[]), definition("b", &["c"])]), ["b"]);
        assert_eq!(changed(vec![definition("b", &["c"])]), ["a"]);
    }
}
