//! Objects of the Gateway API as Istio objects: converted anew only for the gateways and services concerned.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_config::{
    ConfigObject, ObjectKey, ParsedObject,
    convert::{self, Converted, GatewayInput, MeshInput, Parent, Surroundings},
};
use lateen_model::{Diagnostic, Origin};

use crate::{
    entry::Entry,
    objects::{Change, Replaced},
};

/// What conversions are made from, and what they made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Derivation {
    objects: HashMap<ObjectKey, Arc<Entry>>,
    /// Gateways and routes by their namespace: what is granted or allowed by namespace concerns these.
    by_namespace: HashMap<String, BTreeSet<ObjectKey>>,
    routes: HashMap<Parent, BTreeSet<ObjectKey>>,
    /// Routes by namespace and name of the services that they send requests to.
    backends: HashMap<(String, String), BTreeSet<ObjectKey>>,
    classes: BTreeMap<String, Arc<Entry>>,
    grants: BTreeMap<ObjectKey, Arc<Entry>>,
    namespaces: BTreeMap<String, Arc<Entry>>,
    made: BTreeMap<Parent, BTreeMap<ObjectKey, Arc<Entry>>>,
    findings: BTreeMap<Parent, Vec<Diagnostic>>,
    /// The listeners of our gateways with the number of routes attached to each.
    attached: BTreeMap<Parent, BTreeMap<String, u32>>,
    dirty: BTreeSet<Parent>,
    /// Source and place of objects whose standing with a parent may be another one.
    reconsidered: BTreeSet<(Arc<str>, Arc<str>)>,
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
                for entry in before.iter().chain(after) {
                    let ConfigObject::ReferenceGrant(grant) = &entry.object.spec else { continue };
                    for from in &grant.from {
                        self.mark(&from.namespace, |key| {
                            key.kind.as_str() == from.kind && key.kind.group() == from.group
                        });
                    }
                }
            }
            ConfigObject::Namespace(_) => {
                let labels =
                    |entry: &Option<Arc<Entry>>| entry.as_ref().map(|entry| entry.object.meta.labels.clone());
                if labels(before) != labels(after) {
                    // A gateway that selects namespaces looks at those of its routes.
                    self.mark(&key.name, |key| key.kind != lateen_config::Kind::Gateway);
                }
                put(&mut self.namespaces, key.name.clone(), after.as_ref());
            }
            // Of other roles.
            _ => {}
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
        for service in before.into_iter().flat_map(|entry| convert::backends(&entry.object)) {
            if let Some(routes) = self.backends.get_mut(&service) {
                routes.remove(key);
                if routes.is_empty() {
                    self.backends.remove(&service);
                }
            }
        }
        self.objects.remove(key);
        if let Some(all) = self.by_namespace.get_mut(&key.namespace) {
            all.remove(key);
            if all.is_empty() {
                self.by_namespace.remove(&key.namespace);
            }
        }
        if let Some(entry) = after {
            self.by_namespace.entry(key.namespace.clone()).or_default().insert(key.clone());
            for service in convert::backends(&entry.object) {
                self.backends.entry(service).or_default().insert(key.clone());
            }
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

    /// Marks the parents of some gateways and routes of a namespace; a gateway is its own.
    fn mark(&mut self, namespace: &str, which: impl Fn(&ObjectKey) -> bool) {
        let keys = self.by_namespace.get(namespace).into_iter().flatten().filter(|key| which(key));
        let entries = keys.filter_map(|key| self.objects.get(key));
        let parents: Vec<Parent> = entries.flat_map(|entry| convert::parents(&entry.object)).collect();
        self.dirty.extend(parents);
    }

    /// Converts anew what is marked. Gives what each place said before and says now. `ranks` are the places of
    /// sources by name.
    pub(crate) fn convert(&mut self, domain: &str, ranks: &HashMap<Arc<str>, u32>) -> Vec<Replaced> {
        let mut replaced = Vec::new();
        for parent in std::mem::take(&mut self.dirty) {
            let Converted { objects, findings, attached } = self.conversion(&parent, domain);
            self.reconsider(&parent, &findings, &attached);
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
            if attached.is_empty() {
                self.attached.remove(&parent);
            } else {
                self.attached.insert(parent.clone(), attached);
            }
            if findings.is_empty() {
                self.findings.remove(&parent);
            } else {
                self.findings.insert(parent, findings);
            }
        }
        replaced
    }

    /// Notes the gateway and the routes of a parent that says something else about them now.
    fn reconsider(&mut self, parent: &Parent, findings: &[Diagnostic], attached: &BTreeMap<String, u32>) {
        let before = self.findings.get(parent).map(Vec::as_slice).unwrap_or_default();
        let count = self.attached.get(parent);
        if before == findings && count.map_or(attached.is_empty(), |count| count == attached) {
            return;
        }
        let gateway = gateway_key(parent);
        let routes = self.routes.get(parent).into_iter().flatten();
        let objects = routes.chain(&gateway).filter_map(|key| self.objects.get(key));
        let places = objects.map(|entry| {
            let origin = &entry.object.origin;
            (origin.source.clone(), origin.location.clone())
        });
        self.reconsidered.extend(places.collect::<Vec<_>>());
    }

    /// Source and place of the routes that send requests to a service.
    pub(crate) fn routes_to(&self, namespace: &str, name: &str) -> Vec<(Arc<str>, Arc<str>)> {
        let routes = self.backends.get(&(namespace.to_owned(), name.to_owned())).into_iter().flatten();
        let entries = routes.filter_map(|key| self.objects.get(key));
        let place = |origin: &Origin| (origin.source.clone(), origin.location.clone());
        entries.map(|entry| place(&entry.object.origin)).collect()
    }

    /// These stand otherwise.
    pub(crate) fn reconsider_all(&mut self, places: Vec<(Arc<str>, Arc<str>)>) {
        self.reconsidered.extend(places);
    }

    /// Source and place of the documents whose objects may stand otherwise with a parent since the last call.
    pub(crate) fn take_reconsidered(&mut self) -> BTreeSet<(Arc<str>, Arc<str>)> {
        std::mem::take(&mut self.reconsidered)
    }

    pub(crate) fn has_reconsidered(&self) -> bool {
        !self.reconsidered.is_empty()
    }

    /// How many routes are attached to the listeners of a gateway; none where it is not ours.
    pub(crate) fn attached(&self, parent: &Parent) -> Option<&BTreeMap<String, u32>> {
        self.attached.get(parent)
    }

    /// Is it a gateway that is ours to serve?
    pub(crate) fn is_our_gateway(&self, parent: &Parent) -> bool {
        let gateway = gateway_key(parent).and_then(|key| self.objects.get(&key));
        let Some(ConfigObject::Gateway(spec)) = gateway.map(|entry| &entry.object.spec) else { return false };
        match self.classes.get(&spec.gateway_class_name).map(|entry| &entry.object.spec) {
            Some(ConfigObject::GatewayClass(class)) => {
                convert::CONTROLLERS.contains(&&*class.controller_name)
            }
            _ => convert::CLASSES.contains(&&*spec.gateway_class_name),
        }
    }

    /// What was found about a parent and its routes.
    pub(crate) fn findings_of(&self, parent: &Parent) -> &[Diagnostic] {
        self.findings.get(parent).map(Vec::as_slice).unwrap_or_default()
    }

    fn conversion(&self, parent: &Parent, domain: &str) -> Converted {
        let grants: Vec<&ParsedObject> = self.grants.values().map(|entry| &entry.object).collect();
        let labels = |name: &str| self.namespaces.get(name).map(|entry| &entry.object.meta.labels);
        let around = Surroundings { grants: &grants, namespace_labels: &labels, domain };
        let names = self.routes.get(parent).into_iter().flatten();
        let routes: Vec<&ParsedObject> =
            names.filter_map(|key| self.objects.get(key)).map(|entry| &entry.object).collect();
        match parent {
            Parent::Gateway { .. } => {
                let Some(gateway) = gateway_key(parent).and_then(|key| self.objects.get(&key)) else {
                    return Converted::default();
                };
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

fn gateway_key(parent: &Parent) -> Option<ObjectKey> {
    match parent {
        Parent::Gateway { namespace, name } => {
            Some(ObjectKey::new(lateen_config::Kind::Gateway, namespace, name))
        }
        Parent::Service { .. } => None,
    }
}

fn put<K: Ord>(map: &mut BTreeMap<K, Arc<Entry>>, key: K, value: Option<&Arc<Entry>>) {
    match value {
        Some(value) => map.insert(key, value.clone()),
        None => map.remove(&key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<Arc<Entry>> {
        let parsed = lateen_config::parse(text.as_bytes(), &"test".into(), &"mesh.yaml".into());
        parsed.objects.into_iter().map(|object| Arc::new(Entry::new(0, object))).collect()
    }

    /// The parents that a change of the objects of `text` marks, in a mesh of two gateways and two routes.
    fn marked(text: &str) -> Vec<String> {
        let mut derivation = Derivation::default();
        let (mut all, changed) = (entries(MESH), entries(text));
        all.extend(changed.clone());
        let put = |entry: Arc<Entry>| Change { before: None, after: Some(entry) };
        for entry in all {
            derivation.update(&put(entry));
        }
        derivation.convert("cluster.local", &HashMap::new());
        assert!(derivation.dirty.is_empty());
        for entry in changed {
            derivation.update(&Change { before: Some(entry), after: None });
        }
        let name = |parent: &Parent| match parent {
            Parent::Gateway { namespace, name } => format!("{namespace}/{name}"),
            Parent::Service { .. } => format!("{parent:?}"),
        };
        derivation.dirty.iter().map(name).collect()
    }

    const MESH: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: one, namespace: infra}
spec: {gatewayClassName: lateen, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: two, namespace: infra}
spec: {gatewayClassName: lateen, listeners: [{name: http, port: 81, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: shop}
spec: {parentRefs: [{name: one, namespace: infra}], rules: [{backendRefs: [{name: cart, namespace: data, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: blog, namespace: blog}
spec: {parentRefs: [{name: two, namespace: infra}], rules: [{backendRefs: [{name: posts, port: 80}]}]}
";

    #[test]
    fn a_grant_concerns_what_it_grants_to() {
        let grant = |kind: &str, namespace: &str| {
            marked(&format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: data}}\nspec:\n  \
                 from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {namespace}}}]\n  to: [{{group: '', kind: Service}}]\n"
            ))
        };
        assert_eq!(grant("HTTPRoute", "shop"), ["infra/one"]);
        assert_eq!(grant("Gateway", "infra"), ["infra/one", "infra/two"]);
        assert!(grant("GRPCRoute", "shop").is_empty());
        assert!(grant("HTTPRoute", "other").is_empty());
    }

    #[test]
    fn labels_of_a_namespace_concern_the_parents_of_its_routes() {
        let namespace = |name: &str| {
            marked(&format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{a: b}}}}}}\n"
            ))
        };
        assert_eq!(namespace("shop"), ["infra/one"]);
        assert!(namespace("infra").is_empty());
        assert!(namespace("new").is_empty());
    }
}
