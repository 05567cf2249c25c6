//! Objects of the Gateway API as Istio objects: converted anew only for the gateways and services concerned.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_config::{
    ConfigObject, ObjectKey, ParsedObject,
    convert::{self, Converted, GatewayInput, MeshInput, Parent, Surroundings},
};
use lateen_model::Diagnostic;

use crate::{
    entry::Entry,
    objects::{Change, Replaced},
};

/// What conversions are made from, and what they made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Derivation {
    objects: HashMap<ObjectKey, Arc<Entry>>,
    routes: HashMap<Parent, BTreeSet<ObjectKey>>,
    classes: BTreeMap<String, Arc<Entry>>,
    grants: BTreeMap<ObjectKey, Arc<Entry>>,
    namespaces: BTreeMap<String, Arc<Entry>>,
    made: BTreeMap<Parent, BTreeMap<ObjectKey, Arc<Entry>>>,
    findings: BTreeMap<Parent, Vec<Diagnostic>>,
    dirty: BTreeSet<Parent>,
}

impl Derivation {
    /// Takes over a change and marks the parents concerned.
    pub(crate) fn update(&mut self, change: &Change) {
        let Some(key) = change.key().cloned() else { return };
        let Change { before, after } = change;
        let Some(spec) = after.as_ref().or(before.as_ref()).map(|entry| entry.object.spec.clone()) else {
            return;
        };
        match spec {
            ConfigObject::Gateway(_) | ConfigObject::HttpRoute(_) | ConfigObject::GrpcRoute(_) => {
                self.update_attached(&key, before.as_ref(), after.as_ref());
            }
            ConfigObject::GatewayClass(_) => {
                put(&mut self.classes, key.name.clone(), after.as_ref());
                self.mark_class(&key.name);
            }
            ConfigObject::ReferenceGrant(_) => {
                put(&mut self.grants, key, after.as_ref());
                // Any reference may be granted now: grants are few, and change rarely.
                self.dirty.extend(self.routes.keys().cloned());
                self.mark_gateways();
            }
            ConfigObject::Namespace(_) => {
                let labels =
                    |entry: &Option<Arc<Entry>>| entry.as_ref().map(|entry| entry.object.meta.labels.clone());
                put(&mut self.namespaces, key.name, after.as_ref());
                if labels(before) != labels(after) {
                    self.mark_gateways();
                }
            }
            ConfigObject::VirtualService(_)
            | ConfigObject::DestinationRule(_)
            | ConfigObject::ServiceEntry(_)
            | ConfigObject::WorkloadEntry(_)
            | ConfigObject::IstioGateway(_)
            | ConfigObject::Sidecar(_)
            | ConfigObject::MeshConfig(_)
            | ConfigObject::Service(_)
            | ConfigObject::EndpointSlice(_)
            | ConfigObject::Pod(_)
            | ConfigObject::Secret(_) => {}
        }
    }

    fn update_attached(&mut self, key: &ObjectKey, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
        let parents_of = |entry: &Arc<Entry>| convert::parents(&entry.object);
        for parent in before.into_iter().flat_map(parents_of) {
            if let Some(routes) = self.routes.get_mut(&parent) {
                routes.remove(key);
                if routes.is_empty() {
                    self.routes.remove(&parent);
                }
            }
            self.dirty.insert(parent);
        }
        self.objects.remove(key);
        if let Some(entry) = after {
            for parent in parents_of(entry) {
                if !matches!(entry.object.spec, ConfigObject::Gateway(_)) {
                    self.routes.entry(parent.clone()).or_default().insert(key.clone());
                }
                self.dirty.insert(parent);
            }
            self.objects.insert(key.clone(), entry.clone());
        }
    }

    fn mark_class(&mut self, class: &str) {
        let gateways = self.objects.values().filter_map(|entry| match &entry.object.spec {
            ConfigObject::Gateway(gateway) if gateway.gateway_class_name == class => Some(&entry.object),
            _ => None,
        });
        let parents: Vec<Parent> = gateways.flat_map(convert::parents).collect();
        self.dirty.extend(parents);
    }

    fn mark_gateways(&mut self) {
        let gateways =
            self.objects.values().filter(|entry| matches!(entry.object.spec, ConfigObject::Gateway(_)));
        let parents: Vec<Parent> = gateways.flat_map(|entry| convert::parents(&entry.object)).collect();
        self.dirty.extend(parents);
    }

    /// Converts anew what is marked. Gives what each place said before and says now. `ranks` are the places of
    /// sources by name.
    pub(crate) fn convert(&mut self, domain: &str, ranks: &HashMap<Arc<str>, u32>) -> Vec<Replaced> {
        let mut replaced = Vec::new();
        for parent in std::mem::take(&mut self.dirty) {
            let Converted { objects, findings, attached: _ } = self.conversion(&parent, domain);
            let mut now = BTreeMap::new();
            for made in objects {
                let rank = ranks.get(&made.object.origin.source).copied().unwrap_or(u32::MAX);
                let entry = Entry::derived(rank, made.object, made.origins.into());
                now.insert(entry.object.key.clone(), Arc::new(entry));
            }
            let mut before = self.made.remove(&parent).unwrap_or_default();
            for (key, new) in &mut now {
                match before.remove(key) {
                    Some(old) if old.same(new) => *new = old,
                    old => replaced.push((old, Some(new.clone()))),
                }
            }
            replaced.extend(before.into_values().map(|old| (Some(old), None)));
            if !now.is_empty() {
                self.made.insert(parent.clone(), now);
            }
            if findings.is_empty() {
                self.findings.remove(&parent);
            } else {
                self.findings.insert(parent, findings);
            }
        }
        replaced
    }

    fn conversion(&self, parent: &Parent, domain: &str) -> Converted {
        let grants: Vec<&ParsedObject> = self.grants.values().map(|entry| &entry.object).collect();
        let labels = |name: &str| self.namespaces.get(name).map(|entry| &entry.object.meta.labels);
        let around = Surroundings { grants: &grants, namespace_labels: &labels, domain };
        let names = self.routes.get(parent).into_iter().flatten();
        let routes: Vec<&ParsedObject> =
            names.filter_map(|key| self.objects.get(key)).map(|entry| &entry.object).collect();
        match parent {
            Parent::Gateway { namespace, name } => {
                let key = ObjectKey {
                    kind: lateen_config::Kind::Gateway,
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                let Some(gateway) = self.objects.get(&key) else { return Converted::default() };
                let class = match &gateway.object.spec {
                    ConfigObject::Gateway(spec) => self.classes.get(&spec.gateway_class_name),
                    _ => None,
                };
                let class = class.and_then(|entry| match &entry.object.spec {
                    ConfigObject::GatewayClass(class) => Some(&**class),
                    _ => None,
                });
                convert::gateway(&GatewayInput { gateway: &gateway.object, class, routes: &routes, around })
            }
            Parent::Service { namespace, name, routes: routes_namespace } => {
                convert::mesh(&MeshInput { namespace, name, routes_namespace, routes: &routes, around })
            }
        }
    }

    /// The namespaces that are known.
    pub(crate) fn namespace(&self, name: &str) -> Option<&Arc<Entry>> {
        self.namespaces.get(name)
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.findings.values().flatten()
    }
}

fn put<K: Ord>(map: &mut BTreeMap<K, Arc<Entry>>, key: K, value: Option<&Arc<Entry>>) {
    match value {
        Some(value) => map.insert(key, value.clone()),
        None => map.remove(&key),
    };
}
