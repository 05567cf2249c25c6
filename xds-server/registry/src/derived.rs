//! Objects of the Gateway API as Istio objects: converted anew only for the gateways and services concerned.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_config::{
    ConfigObject, Kind, ObjectKey, ParsedObject,
    convert::{self, Derived, GatewayConversion, GatewayInput, MeshInput, Parent, Surroundings},
};
use lateen_model::{Diagnostic, Origin, diagnostic::ObjectRef};

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
    gateways: BTreeMap<Parent, GatewayConversion>,
    /// Findings about the routes of services, by their objects.
    of_services: BTreeMap<Parent, BTreeMap<Option<ObjectRef>, Vec<Diagnostic>>>,
    dirty: BTreeMap<Parent, Dirty>,
    /// Source and place of objects whose standing with a parent may be another one.
    reconsidered: BTreeSet<(Arc<str>, Arc<str>)>,
}

/// What of a parent is to be converted anew.
#[derive(Clone, Debug, Default)]
struct Dirty {
    /// All of it? Otherwise what these routes concern.
    whole: bool,
    routes: BTreeSet<ObjectKey>,
}

/// What a place is to say now; none where it says nothing any more.
type Made = Vec<(ObjectKey, Option<Derived>)>;

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
                    self.mark(&key.name, |key| key.kind != Kind::Gateway);
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
            self.mark_object(parent, key);
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
                self.mark_object(parent, key);
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
        for parent in parents {
            self.dirty.entry(parent).or_default().whole = true;
        }
    }

    /// Marks what a gateway, or a route to a parent of its, concerns.
    fn mark_object(&mut self, parent: Parent, key: &ObjectKey) {
        let dirty = self.dirty.entry(parent).or_default();
        if key.kind == Kind::Gateway {
            dirty.whole = true;
        } else {
            dirty.routes.insert(key.clone());
        }
    }

    /// Marks what some gateways and routes of a namespace concern; a gateway is its own parent.
    fn mark(&mut self, namespace: &str, which: impl Fn(&ObjectKey) -> bool) {
        let keys = self.by_namespace.get(namespace).into_iter().flatten().filter(|key| which(key));
        let entries = keys.filter_map(|key| self.objects.get(key)).cloned().collect::<Vec<_>>();
        for entry in entries {
            for parent in convert::parents(&entry.object) {
                self.mark_object(parent, &entry.object.key);
            }
        }
    }

    /// Converts anew what is marked. Gives what each place said before and says now. `ranks` are the places of
    /// sources by name.
    pub(crate) fn convert(&mut self, domain: &str, ranks: &HashMap<Arc<str>, u32>) -> Vec<Replaced> {
        let mut replaced = Vec::new();
        for (parent, dirty) in std::mem::take(&mut self.dirty) {
            let made = match &parent {
                Parent::Gateway { .. } => self.convert_gateway(&parent, dirty, domain),
                Parent::Service { .. } => self.convert_service(&parent, domain),
            };
            let known = self.made.entry(parent.clone()).or_default();
            for (key, made) in made {
                let new = made.map(|made| {
                    let rank = ranks.get(&made.object.origin.source).copied().unwrap_or(u32::MAX);
                    Arc::new(Entry::derived(rank, made.object, made.origins.into()))
                });
                let old = known.get(&key).cloned();
                match (&old, &new) {
                    (None, None) => continue,
                    (Some(old), Some(new)) if old.same(new) => continue,
                    (_, Some(new)) => known.insert(key, new.clone()),
                    (_, None) => known.remove(&key),
                };
                replaced.push((old, new));
            }
            if known.is_empty() {
                self.made.remove(&parent);
            }
        }
        replaced
    }

    /// A gateway as a whole where it is new or another one, otherwise what its routes that are others concern.
    fn convert_gateway(&mut self, parent: &Parent, dirty: Dirty, domain: &str) -> Made {
        let Some(gateway) = gateway_key(parent).and_then(|key| self.objects.get(&key)).cloned() else {
            if self.gateways.remove(parent).is_some() {
                self.reconsider(parent, None);
            }
            return self.replaced_by(parent, Vec::new());
        };
        let known = self.gateways.remove(parent);
        let grants: Vec<&ParsedObject> = self.grants.values().map(|entry| &entry.object).collect();
        let labels = |name: &str| self.namespaces.get(name).map(|entry| &entry.object.meta.labels);
        let class = match &gateway.object.spec {
            ConfigObject::Gateway(spec) => self.classes.get(&spec.gateway_class_name),
            _ => None,
        };
        let class = class.and_then(|entry| match &entry.object.spec {
            ConfigObject::GatewayClass(class) => Some(&**class),
            _ => None,
        });
        let around = || Surroundings { grants: &grants, namespace_labels: &labels, domain };
        let names = self.routes.get(parent);
        let known = match known {
            Some(mut conversion) if !dirty.whole => {
                let route = |key: &ObjectKey| {
                    let entry = names.filter(|names| names.contains(key)).and_then(|_| self.objects.get(key));
                    entry.map(|entry| &entry.object)
                };
                let input = GatewayInput { gateway: &gateway.object, class, routes: &[], around: around() };
                let update = conversion.update(&input, dirty.routes, &route);
                self.gateways.insert(parent.clone(), conversion);
                self.reconsider(parent, Some(update.reconsidered));
                return update.objects;
            }
            known => known,
        };
        let entries = names.into_iter().flatten().filter_map(|key| self.objects.get(key));
        let routes: Vec<&ParsedObject> = entries.map(|entry| &entry.object).collect();
        let input = GatewayInput { gateway: &gateway.object, class, routes: &routes, around: around() };
        let (conversion, made) = GatewayConversion::new(&input);
        let is_other = known.is_none_or(|known| {
            known.attached() != conversion.attached() || !known.findings().eq(conversion.findings())
        });
        self.gateways.insert(parent.clone(), conversion);
        if is_other {
            self.reconsider(parent, None);
        }
        self.replaced_by(parent, made)
    }

    /// The routes that one namespace attaches to a service: all are one object.
    fn convert_service(&mut self, parent: &Parent, domain: &str) -> Made {
        let Parent::Service { namespace, name, routes: routes_namespace } = parent else { return Vec::new() };
        let grants: Vec<&ParsedObject> = self.grants.values().map(|entry| &entry.object).collect();
        let labels = |name: &str| self.namespaces.get(name).map(|entry| &entry.object.meta.labels);
        let around = Surroundings { grants: &grants, namespace_labels: &labels, domain };
        let names = self.routes.get(parent).into_iter().flatten();
        let routes: Vec<&ParsedObject> =
            names.filter_map(|key| self.objects.get(key)).map(|entry| &entry.object).collect();
        let input = MeshInput { namespace, name, routes_namespace, routes: &routes, around };
        let converted = convert::mesh(&input);
        let mut findings: BTreeMap<Option<ObjectRef>, Vec<Diagnostic>> = BTreeMap::new();
        for finding in converted.findings {
            findings.entry(finding.object.clone()).or_default().push(finding);
        }
        let before = self.of_services.remove(parent).unwrap_or_default();
        let is_other = |key: &&ObjectKey| {
            let object = Some(key.to_ref());
            before.get(&object) != findings.get(&object)
        };
        let others = self.routes.get(parent).into_iter().flatten().filter(is_other).cloned().collect();
        if !findings.is_empty() {
            self.of_services.insert(parent.clone(), findings);
        }
        self.reconsider(parent, Some(others));
        self.replaced_by(parent, converted.objects)
    }

    /// What the places of a parent say now, where it is made as a whole.
    fn replaced_by(&self, parent: &Parent, now: Vec<Derived>) -> Made {
        let mut made: BTreeMap<ObjectKey, Option<Derived>> =
            now.into_iter().map(|made| (made.object.key.clone(), Some(made))).collect();
        for key in self.made.get(parent).into_iter().flat_map(BTreeMap::keys) {
            made.entry(key.clone()).or_insert(None);
        }
        made.into_iter().collect()
    }

    /// Notes that these objects stand otherwise with a parent; none are the gateway and all its routes.
    fn reconsider(&mut self, parent: &Parent, which: Option<Vec<ObjectKey>>) {
        let all = || {
            let routes = self.routes.get(parent).into_iter().flatten();
            routes.cloned().chain(gateway_key(parent)).collect()
        };
        let which: Vec<ObjectKey> = which.unwrap_or_else(all);
        let objects = which.iter().filter_map(|key| self.objects.get(key));
        let places = objects.map(|entry| {
            let origin = &entry.object.origin;
            (origin.source.clone(), origin.location.clone())
        });
        self.reconsidered.extend(places);
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
        self.gateways.get(parent).map(GatewayConversion::attached)
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

    /// What was found about a route and one of its parents.
    pub(crate) fn findings_of(&self, parent: &Parent, route: &ObjectKey) -> &[Diagnostic] {
        if let Some(conversion) = self.gateways.get(parent) {
            return conversion.findings_of(route);
        }
        let findings = self.of_services.get(parent).and_then(|all| all.get(&Some(route.to_ref())));
        findings.map(Vec::as_slice).unwrap_or_default()
    }

    /// The namespaces that are known.
    pub(crate) fn namespace(&self, name: &str) -> Option<&Arc<Entry>> {
        self.namespaces.get(name)
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        let gateways = self.gateways.values().flat_map(GatewayConversion::findings);
        gateways.chain(self.of_services.values().flat_map(BTreeMap::values).flatten())
    }
}

fn gateway_key(parent: &Parent) -> Option<ObjectKey> {
    match parent {
        Parent::Gateway { namespace, name } => Some(ObjectKey::new(Kind::Gateway, namespace, name)),
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
        derivation.dirty.keys().map(name).collect()
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
    /// What a change of one of so many routes makes anew, and how many documents stand otherwise by it.
    fn of_one_change(count: usize) -> (usize, usize) {
        let route = |kind: &str, number: usize, host: &str| {
            let text = format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r{number}, namespace: infra}}\nspec: \
                 {{parentRefs: [{{name: one}}], hostnames: [{host}], rules: [{{backendRefs: [{{name: a, port: 80}}]}}]}}\n"
            );
            let parsed =
                lateen_config::parse(text.as_bytes(), &"test".into(), &format!("{number}.yaml").into());
            Arc::new(Entry::new(0, parsed.objects.into_iter().next().unwrap()))
        };
        let mut derivation = Derivation::default();
        let routes = (0..count).map(|number| {
            let kind = if number % 2 == 0 { "HTTPRoute" } else { "GRPCRoute" };
            route(kind, number, &format!("h{number}.test"))
        });
        for entry in entries(MESH).into_iter().chain(routes) {
            derivation.update(&Change { before: None, after: Some(entry) });
        }
        derivation.convert("cluster.local", &HashMap::new());
        derivation.take_reconsidered();
        let before = Some(route("HTTPRoute", 4, "h4.test"));
        // It takes the host of another one, which is refused from now on.
        let after = Some(route("HTTPRoute", 4, "h9.test"));
        derivation.update(&Change { before, after });
        let replaced = derivation.convert("cluster.local", &HashMap::new());
        (replaced.len(), derivation.take_reconsidered().len())
    }

    #[test]
    fn a_route_s_change_concerns_those_that_share_a_host_however_many_there_are() {
        // Two hosts; the route, the one that it displaces, and the gateway, which has one less.
        assert_eq!(of_one_change(20), (2, 3));
        assert_eq!(of_one_change(80), (2, 3));
    }
}
