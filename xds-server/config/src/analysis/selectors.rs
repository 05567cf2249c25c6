//! Workloads, and the services over them, found by their labels: each look-up costs what has the rarest of the labels.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::index::{Id, selects};
use crate::{istio::Labels, kubernetes::Service};

/// A place of a workload among those that differ in their labels.
pub(super) type Workload = usize;

/// A label, in a namespace or in all of them.
type Label<'a> = (Option<&'a str>, &'a str, &'a str);

/// The look-ups.
#[derive(Default)]
pub(super) struct Selectors<'a> {
    workloads: Vec<(&'a str, &'a Labels)>,
    everywhere: Vec<Workload>,
    of_namespace: HashMap<&'a str, Vec<Workload>>,
    with: HashMap<Label<'a>, Vec<Workload>>,
    /// Services by the first label of their selectors.
    selecting: HashMap<Label<'a>, Vec<(Id<'a>, &'a Service)>>,
}

impl<'a> Selectors<'a> {
    pub(super) fn new(
        workloads: &BTreeMap<&'a str, Vec<&'a Labels>>,
        services: &BTreeMap<Id<'a>, &'a Service>,
    ) -> Self {
        let mut all = Self::default();
        for (&namespace, of_namespace) in workloads {
            let mut seen = HashSet::new();
            for &labels in of_namespace.iter().filter(|labels| seen.insert(**labels)) {
                all.add(namespace, labels);
            }
        }
        for (&id, &service) in services {
            if let Some((key, value)) = service.selector.first_key_value() {
                for namespace in [None, Some(id.0)] {
                    all.selecting.entry((namespace, key, value)).or_default().push((id, service));
                }
            }
        }
        all
    }

    fn add(&mut self, namespace: &'a str, labels: &'a Labels) {
        let workload = self.workloads.len();
        self.workloads.push((namespace, labels));
        self.everywhere.push(workload);
        self.of_namespace.entry(namespace).or_default().push(workload);
        for (key, value) in labels {
            for namespace in [None, Some(namespace)] {
                self.with.entry((namespace, key, value)).or_default().push(workload);
            }
        }
    }

    /// Is a workload of the namespace known?
    pub(super) fn knows(&self, namespace: Option<&str>) -> bool {
        namespace.map_or(!self.workloads.is_empty(), |namespace| self.of_namespace.contains_key(namespace))
    }

    /// The workloads with these labels, each set of labels once.
    pub(super) fn find<'s>(
        &'s self,
        namespace: Option<&'s str>,
        selector: &'s Labels,
    ) -> impl Iterator<Item = (Workload, &'a str, &'a Labels)> + 's {
        let lists = selector
            .iter()
            .map(|(key, value)| self.with.get(&(namespace, &**key, &**value)).map_or(&[][..], Vec::as_slice));
        let all = match namespace {
            Some(namespace) => self.of_namespace.get(namespace).map_or(&[][..], Vec::as_slice),
            None => &self.everywhere,
        };
        let rarest = lists.min_by_key(|list| list.len()).unwrap_or(all);
        let known = rarest.iter().filter_map(|at| Some((*at, *self.workloads.get(*at)?)));
        known
            .filter(|(_, (_, labels))| selects(selector, labels))
            .map(|(at, (namespace, labels))| (at, namespace, labels))
    }

    /// The services that stand for workloads with these labels, of all namespaces.
    pub(super) fn services_of(&self, labels: &Labels) -> BTreeMap<Id<'a>, &'a Service> {
        let mut found = BTreeMap::new();
        let mut add = |namespace: Option<&str>, labels: &Labels, wanted: &dyn Fn(Id<'_>) -> bool| {
            for (key, value) in labels {
                let candidates = self.selecting.get(&(namespace, &**key, &**value));
                for (id, service) in candidates.into_iter().flatten() {
                    if wanted(*id) && selects(&service.selector, labels) {
                        found.insert(*id, *service);
                    }
                }
            }
        };
        for (_, namespace, workload) in self.find(None, labels) {
            add(Some(namespace), workload, &|_| true);
        }
        // Where no workload is known, the gateway's own labels are those of its proxies.
        add(None, labels, &|(namespace, _)| !self.knows(Some(namespace)));
        found
    }
}
