//! A whole view compiled cold from texts, for tests: what the engine does step by step, at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use lateen_config::ObjectKey;
use lateen_model::{
    Diagnostic, Host, Namespace, ObjectId, ObjectKind, Severity, SourceEvent, SourceId,
    event::{Document, Object},
};
use lateen_proto::{
    envoy::config::route::v3::{RouteConfiguration, VirtualHost},
    google::protobuf::Any,
};
use lateen_registry::{Fact, FactKey, Registry, World};
use lateen_xds::{NameId, Names, ResourceRef, ResourceType};
use prost::Message;
use serde_json::Value;

use super::{
    ClientProfile, Compiled, EndpointView, Families, ListenerPart, OutboundView, Read, cluster,
    fixed_outbound, host_entry, load_assignment, outbound_listener, outbound_scope, route_shell,
    virtual_host,
};

/// Reads a world as it is.
pub(crate) struct Plain<'a> {
    pub world: &'a World,
    pub names: Names,
}

impl Read for Plain<'_> {
    fn fact(&mut self, key: &FactKey) -> Option<Fact> {
        self.world.get(key).cloned()
    }

    fn name(&mut self, text: &str) -> NameId {
        self.names.intern(text)
    }
}

/// The world that a text describes; the text has no errors.
pub(crate) fn world(text: &str) -> World {
    let (world, errors) = read(text);
    assert!(errors.is_empty(), "{errors:#?}");
    world
}

/// The world that a text describes, and the errors in it.
pub(crate) fn read(text: &str) -> (World, Vec<String>) {
    let source = SourceId("file".into());
    let mut registry = Registry::new(std::slice::from_ref(&source));
    let id = ObjectId { kind: ObjectKind::Document, name: "mesh.yaml".into() };
    let object = Object::Document(Document { body: text.as_bytes().into() });
    registry.apply(&source, SourceEvent::Upsert { id, object }, 0);
    let errors = registry.diagnostics().filter(|finding| finding.severity == Severity::Error);
    let errors = errors.map(ToString::to_string).collect();
    (registry.world().clone(), errors)
}

/// A sidecar in a namespace.
pub(crate) fn view(namespace: &str) -> OutboundView {
    OutboundView {
        namespace: Namespace::from(namespace),
        domain: "cluster.local".into(),
        profile: ClientProfile::Envoy(lateen_model::Streams::Aggregated),
        sidecar: None,
        selectors: Arc::default(),
        vhds: false,
        families: Families::V4,
    }
}

/// All resources of a view, by type and name.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    pub by_name: BTreeMap<(ResourceType, String), Any>,
    pub findings: BTreeSet<Diagnostic>,
    /// References to resources that are not there.
    pub dangling: BTreeSet<(ResourceType, String)>,
    refs: BTreeSet<ResourceRef>,
}

impl Resources {
    fn add(&mut self, kind: ResourceType, name: &str, compiled: Compiled) {
        let Compiled { bytes, refs, origins: _, findings, chains: _ } = compiled;
        let any = Any { type_url: kind.info().url.into(), value: bytes };
        let violations = lateen_proto::pgv::check(&any);
        assert!(violations.is_empty(), "{kind} {name}: {violations:#?}");
        self.refs.extend(refs);
        self.findings.extend(findings);
        let before = self.by_name.insert((kind, name.to_owned()), any);
        assert!(before.is_none(), "{kind} {name} twice");
    }

    /// One resource as JSON.
    pub(crate) fn json(&self, kind: ResourceType, name: &str) -> Value {
        let any = self.by_name.get(&(kind, name.to_owned()));
        lateen_proto::json::any_to_json(
            any.unwrap_or_else(|| panic!("no {kind} {name} in {:#?}", self.names(kind))),
        )
    }

    /// The names of a type.
    pub(crate) fn names(&self, kind: ResourceType) -> Vec<&str> {
        self.by_name.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.as_str()).collect()
    }
}

/// Compiles everything that a node with these views is given.
pub(crate) fn compile(world: &World, view: &OutboundView, from: &EndpointView) -> Resources {
    let mut r = Plain { world, names: Names::default() };
    let mut all = Resources::default();
    let (mut clusters, mut endpoints) = (BTreeMap::new(), BTreeMap::new());
    let mut hosts: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Bytes>> = BTreeMap::new();
    let mut parts: BTreeMap<Arc<str>, BTreeSet<ListenerPart>> = BTreeMap::new();
    let from = Arc::new(from.clone());
    let scope = outbound_scope(&mut r, view);
    let seen = |host: &&Host| scope.shows(&view.namespace, host, world.definitions(host));
    for host in world.hosts().filter(seen) {
        let entry = host_entry(&mut r, view, &scope, host);
        for (name, key) in entry.clusters {
            let before = clusters.insert(name.clone(), key.clone());
            assert!(before.is_none_or(|before| before == key), "two keys of {name}");
        }
        endpoints.extend(entry.endpoints);
        for (route_config, name, key) in entry.virtual_hosts {
            let route_config = hosts.entry(route_config).or_default();
            if let Some(compiled) = virtual_host(&mut r, &key) {
                all.findings.extend(compiled.findings);
                all.refs.extend(compiled.refs);
                assert!(route_config.insert(name, compiled.bytes).is_none());
            }
        }
        for (name, part) in entry.listeners {
            parts.entry(name).or_default().insert(part);
        }
    }
    for (name, key) in &clusters {
        let compiled = cluster(&mut r, key).unwrap_or_else(|| panic!("{name} has no cluster"));
        all.add(ResourceType::Cluster, name, compiled);
    }
    for (name, key) in &endpoints {
        let compiled = load_assignment(&mut r, &key.seen_from(&from)).unwrap_or_else(|| panic!("{name}"));
        all.add(ResourceType::Endpoints, name, compiled);
    }
    for (name, parts) in &parts {
        let parts: Vec<_> = parts.iter().cloned().collect();
        let compiled =
            outbound_listener(&mut r, view, &scope, name, &parts).unwrap_or_else(|| panic!("{name}"));
        all.add(ResourceType::Listener, name, compiled);
    }
    for (name, hosts) in hosts {
        let shell = route_shell(&mut r, view, &scope, &name).unwrap_or_else(|| panic!("{name}"));
        let mut bytes = shell.before.to_vec();
        for (host, encoded) in &hosts {
            let message = VirtualHost::decode(encoded.clone()).unwrap();
            assert_eq!(**host, message.name);
            prost::encoding::message::encode(super::virtual_host::VIRTUAL_HOSTS_FIELD, &message, &mut bytes);
        }
        bytes.extend_from_slice(&shell.after);
        let Ok(_) = RouteConfiguration::decode(&*bytes) else { panic!("{name}") };
        let (refs, origins, findings) = (shell.refs, shell.origins, shell.findings);
        let compiled = Compiled { bytes: bytes.into(), refs, origins, findings, chains: Vec::new() };
        all.add(ResourceType::RouteConfiguration, &name, compiled);
    }
    for (kind, name, compiled) in fixed_outbound(&mut r, view, &scope).resources {
        all.add(kind, &name, compiled);
    }
    for target in &all.refs {
        let name = r.names.text(target.name).to_string();
        if !all.by_name.contains_key(&(target.kind, name.clone())) {
            all.dangling.insert((target.kind, name));
        }
    }
    all
}

/// The `Sidecar` of that name in effect.
pub(crate) fn with_sidecar(mut view: OutboundView, name: &str) -> OutboundView {
    let kind = lateen_config::Kind::Sidecar;
    let namespace = view.namespace.to_string();
    view.sidecar = Some(ObjectKey::new(kind, namespace, name));
    view
}
