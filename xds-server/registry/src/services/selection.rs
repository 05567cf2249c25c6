//! Which workloads a service's selector finds, without asking all for all.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_config::{ConfigObject, Kind};

use crate::{
    entry::{Entry, Identity},
    few::Few,
};

/// A service and a workload that it selects.
pub(super) type Pair = (Identity, Identity);

/// A label in a namespace; the empty label stands for all workloads.
type Label = (String, String, String);

/// Selectors and workloads, indexed by labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Selections {
    services: HashMap<Identity, Arc<Entry>>,
    workloads: HashMap<Identity, Arc<Entry>>,
    /// Services by the first label of their selectors.
    selecting: HashMap<Label, Few<Identity>>,
    /// Workloads by each of their labels.
    labelled: HashMap<Label, Few<Identity>>,
}

impl Selections {
    pub(super) fn service(&self, key: &Identity) -> Option<&Arc<Entry>> {
        self.services.get(key)
    }

    pub(super) fn workload(&self, key: &Identity) -> Option<&Arc<Entry>> {
        self.workloads.get(key)
    }

    /// Replaces a service and gives what it selected before.
    pub(super) fn set_service(&mut self, key: &Identity, new: Option<&Arc<Entry>>) -> BTreeSet<Pair> {
        let before = self.of_service(key);
        if let Some(old) = self.services.remove(key)
            && let Some(selector) = selector(&old)
        {
            take(&mut self.selecting, &first_label(key, selector), key);
        }
        if let Some(entry) = new
            && let Some(selector) = selector(entry)
        {
            self.selecting.entry(first_label(key, selector)).or_default().insert(key.clone(), ());
            self.services.insert(key.clone(), entry.clone());
        }
        before
    }

    /// Replaces a workload and gives the services that selected it before.
    pub(super) fn set_workload(&mut self, key: &Identity, new: Option<&Arc<Entry>>) -> BTreeSet<Pair> {
        let before = self.of_workload(key);
        if let Some(old) = self.workloads.remove(key) {
            for label in all_labels(key, &labels(&old)) {
                take(&mut self.labelled, &label, key);
            }
        }
        if let Some(entry) = new {
            for label in all_labels(key, &labels(entry)) {
                self.labelled.entry(label).or_default().insert(key.clone(), ());
            }
            self.workloads.insert(key.clone(), entry.clone());
        }
        before
    }

    /// What a service selects.
    pub(super) fn of_service(&self, key: &Identity) -> BTreeSet<Pair> {
        let found = || {
            let wanted = selector(self.services.get(key)?)?;
            let candidates = self.labelled.get(&first_label(key, wanted))?;
            let selected = candidates.keys().filter(|workload| self.selects(key, workload));
            Some(selected.map(|workload| (key.clone(), workload.clone())).collect())
        };
        found().unwrap_or_default()
    }

    /// By which services a workload is selected.
    pub(super) fn of_workload(&self, key: &Identity) -> BTreeSet<Pair> {
        let Some(entry) = self.workloads.get(key) else { return BTreeSet::new() };
        let labels = labels(entry);
        let candidates =
            all_labels(key, &labels).filter_map(|label| self.selecting.get(&label)).flat_map(Few::keys);
        let selecting = candidates.filter(|service| self.selects(service, key));
        selecting.map(|service| (service.clone(), key.clone())).collect()
    }

    fn selects(&self, service: &Identity, workload: &Identity) -> bool {
        // A platform gives a service's pods as endpoint slices itself.
        if (service.key.kind, workload.key.kind) == (Kind::Service, Kind::Pod) {
            return false;
        }
        let (Some(service), Some(workload)) = (self.services.get(service), self.workloads.get(workload))
        else {
            return false;
        };
        let labels = labels(workload);
        selector(service)
            .is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
    }
}

fn take(index: &mut HashMap<Label, Few<Identity>>, label: &Label, key: &Identity) {
    if let Some(keys) = index.get_mut(label) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(label);
        }
    }
}

fn first_label(key: &Identity, selector: &BTreeMap<String, String>) -> Label {
    let (name, value) =
        selector.first_key_value().map(|(name, value)| (name.clone(), value.clone())).unwrap_or_default();
    (key.key.namespace.clone(), name, value)
}

fn all_labels<'a>(
    key: &'a Identity,
    labels: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Label> + 'a {
    let all = (key.key.namespace.clone(), String::new(), String::new());
    let each = labels.iter().map(|(name, value)| (key.key.namespace.clone(), name.clone(), value.clone()));
    std::iter::once(all).chain(each)
}

/// The selector, where there is one. A service of Kubernetes without labels to select by selects nothing; a
/// `workloadSelector` without labels selects the namespace.
fn selector(entry: &Entry) -> Option<&BTreeMap<String, String>> {
    match &entry.object.spec {
        ConfigObject::Service(service) => Some(&service.selector).filter(|selector| !selector.is_empty()),
        ConfigObject::ServiceEntry(service) => {
            service.workload_selector.as_ref().map(|selector| &selector.labels)
        }
        _ => None,
    }
}

/// Labels of a workload.
pub(super) fn labels(entry: &Entry) -> Cow<'_, BTreeMap<String, String>> {
    let meta = &entry.object.meta;
    match &entry.object.spec {
        ConfigObject::WorkloadEntry(workload) => workload.labels_of(meta),
        _ => Cow::Borrowed(&meta.labels),
    }
}
