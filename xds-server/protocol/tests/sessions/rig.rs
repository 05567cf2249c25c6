//! A session with a view whose content the test sets, and responses decoded by prost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use lateen_model::Version;
use lateen_proto::{
    Message,
    envoy::{
        config::endpoint::v3::ClusterLoadAssignment,
        service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse, Resource as Wrapper},
    },
    google::protobuf::Any,
};
use lateen_xds::{
    Body, Change, ClientProfile, Limits, NameId, Names, Outcome, Refusal, Request, Resource, ResourceRef,
    ResourceType, Response, Session, SessionOptions, Variant, View, resource::Refs,
};

pub use ResourceType::{Cluster, Endpoints, Listener, RouteConfiguration, Secret, VirtualHost};

pub const IDENTIFIER: &str = "lateen-test";

/// A view that is what the test says.
#[derive(Debug, Default)]
pub struct Fake {
    pub names: Names,
    pub resources: BTreeMap<(ResourceType, NameId), Arc<Resource>>,
    /// Names that a wildcard subscriber does not see.
    pub hidden: BTreeSet<(ResourceType, NameId)>,
    pub unready: bool,
    pub good: BTreeMap<(ResourceType, NameId), Arc<Resource>>,
    pub condemned: BTreeSet<(ResourceType, NameId, u64)>,
    pub ttl_ms: BTreeMap<(ResourceType, NameId), u32>,
}

impl View for Fake {
    fn names(&self) -> &Names {
        &self.names
    }

    fn get(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.resources.get(&(kind, name))
    }

    fn members(&self, kind: ResourceType, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        for ((of, name), resource) in &self.resources {
            if *of == kind && !self.hidden.contains(&(kind, *name)) {
                visit(*name, resource);
            }
        }
    }

    fn is_member(&self, kind: ResourceType, name: NameId) -> bool {
        self.resources.contains_key(&(kind, name)) && !self.hidden.contains(&(kind, name))
    }

    fn hosts_of(&self, route_configuration: NameId, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        let prefix = format!("{}/", self.names.text(route_configuration));
        for ((kind, name), resource) in &self.resources {
            if *kind == VirtualHost && self.names.text(*name).starts_with(&prefix) {
                visit(*name, resource);
            }
        }
    }

    fn ready(&self) -> bool {
        !self.unready
    }

    fn last_good(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.good.get(&(kind, name))
    }

    fn condemned(&self, resource: &Resource) -> bool {
        self.condemned.contains(&(resource.kind, resource.name, resource.version.0))
    }

    fn ttl_ms(&self, resource: &Resource) -> Option<u32> {
        self.ttl_ms.get(&(resource.kind, resource.name)).copied()
    }
}

impl Fake {
    pub fn make(
        &mut self,
        kind: ResourceType,
        name: &str,
        content: &str,
        refs: &[(ResourceType, &str)],
    ) -> Arc<Resource> {
        let refs = refs.iter().map(|(kind, name)| ResourceRef { kind: *kind, name: self.names.intern(name) });
        let refs = Refs::list(refs.collect());
        let text = format!("{name}={content}");
        let version = Version::of(text.as_bytes());
        let body = Body::Whole(Bytes::from(text));
        let name = self.names.intern(name);
        Arc::new(Resource { kind, name, version, body, refs, origins: Arc::from([]) })
    }
}

/// A decoded response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub url: String,
    pub version: String,
    pub nonce: String,
    /// Content by name; none: no body.
    pub resources: BTreeMap<String, Option<String>>,
    pub versions: BTreeMap<String, String>,
    pub aliases: BTreeMap<String, Vec<String>>,
    pub ttl_ms: BTreeMap<String, i64>,
    pub removed: BTreeSet<String>,
    pub missing: BTreeMap<String, i32>,
    pub bytes: usize,
}

impl Reply {
    pub fn kind(&self) -> ResourceType {
        ResourceType::from_url(&self.url).unwrap()
    }

    pub fn names(&self) -> Vec<&str> {
        self.resources.keys().map(String::as_str).collect()
    }

    pub fn removed(&self) -> Vec<&str> {
        self.removed.iter().map(String::as_str).collect()
    }

    pub fn content(&self, name: &str) -> &str {
        self.resources[name].as_deref().unwrap()
    }
}

/// A request in the making.
#[derive(Clone, Debug, Default)]
pub struct Ask(pub Request);

pub fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// The first or a later state-of-the-world request.
pub fn list(kind: ResourceType, names: &[&str]) -> Ask {
    let change = Change::Sotw { names: strings(names) };
    Ask(Request { type_url: kind.info().url.into(), change, ..Request::default() })
}

/// A delta request.
pub fn delta(kind: ResourceType, subscribe: &[&str], unsubscribe: &[&str]) -> Ask {
    let change = Change::Delta {
        subscribe: strings(subscribe),
        unsubscribe: strings(unsubscribe),
        initial: BTreeMap::new(),
    };
    Ask(Request { type_url: kind.info().url.into(), change, ..Request::default() })
}

impl Ask {
    pub fn nonce(mut self, nonce: &str) -> Self {
        self.0.nonce = nonce.into();
        self
    }

    pub fn of(self, reply: &Reply) -> Self {
        self.nonce(&reply.nonce)
    }

    pub fn error(mut self, message: &str) -> Self {
        self.0.error = Some(message.into());
        self
    }

    pub fn holding(mut self, held: &[(&str, &str)]) -> Self {
        if let Change::Delta { initial, .. } = &mut self.0.change {
            *initial = held.iter().map(|(name, version)| ((*name).into(), (*version).into())).collect();
        }
        self
    }
}

/// A session, its view, and the time.
#[derive(Debug)]
pub struct Rig {
    pub view: Fake,
    pub session: Session,
    pub now_ms: u64,
    pub outcome: Outcome,
    nonces: BTreeSet<String>,
    variant: Variant,
}

pub fn options(variant: Variant) -> SessionOptions {
    SessionOptions {
        variant,
        only: None,
        limits: Limits::default(),
        profile: ClientProfile::Envoy,
        stream: 7,
        identifier: IDENTIFIER.into(),
    }
}

impl Rig {
    pub fn sotw() -> Self {
        Self::with(options(Variant::Sotw))
    }

    pub fn delta() -> Self {
        Self::with(options(Variant::Delta))
    }

    pub fn with(options: SessionOptions) -> Self {
        let variant = options.variant;
        Self {
            view: Fake::default(),
            session: Session::new(options),
            now_ms: 1_000,
            outcome: Outcome::default(),
            nonces: BTreeSet::new(),
            variant,
        }
    }

    /// A new stream of the same node to the same view.
    pub fn reconnect(&mut self) {
        self.reopen(SessionOptions {
            stream: self.session.options().stream + 1,
            ..self.session.options().clone()
        });
    }

    pub fn reopen(&mut self, options: SessionOptions) {
        self.variant = options.variant;
        self.session = Session::new(options);
        self.nonces.clear();
    }

    pub fn id(&mut self, name: &str) -> NameId {
        self.view.names.intern(name)
    }

    /// Sets a resource without telling the session.
    pub fn set(&mut self, kind: ResourceType, name: &str, content: &str, refs: &[(ResourceType, &str)]) {
        let resource = self.view.make(kind, name, content, refs);
        self.view.resources.insert((kind, resource.name), resource);
    }

    pub fn put_refs(&mut self, kind: ResourceType, name: &str, content: &str, refs: &[(ResourceType, &str)]) {
        self.set(kind, name, content, refs);
        self.changed(kind, name);
    }

    pub fn put(&mut self, kind: ResourceType, name: &str, content: &str) {
        self.put_refs(kind, name, content, &[]);
    }

    pub fn unset(&mut self, kind: ResourceType, name: &str) {
        let id = self.id(name);
        self.view.resources.remove(&(kind, id));
    }

    pub fn remove(&mut self, kind: ResourceType, name: &str) {
        self.unset(kind, name);
        self.changed(kind, name);
    }

    pub fn hide(&mut self, kind: ResourceType, name: &str) {
        let id = self.id(name);
        self.view.hidden.insert((kind, id));
        self.changed(kind, name);
    }

    pub fn changed(&mut self, kind: ResourceType, name: &str) {
        let id = self.id(name);
        self.session.on_changed(kind, &[id]);
    }

    /// The version text of a resource.
    pub fn version(&mut self, kind: ResourceType, name: &str) -> String {
        let id = self.id(name);
        self.view.resources[&(kind, id)].version.to_string()
    }

    /// The version that others have accepted is the current one.
    pub fn bless(&mut self, kind: ResourceType, name: &str) {
        let id = self.id(name);
        let resource = self.view.resources[&(kind, id)].clone();
        self.view.good.insert((kind, id), resource);
    }

    pub fn send(&mut self, ask: &Ask) {
        self.try_send(ask).unwrap();
    }

    pub fn try_send(&mut self, ask: &Ask) -> Result<(), Refusal> {
        self.session.on_request(&ask.0, &mut self.view.names, self.now_ms, &mut self.outcome)
    }

    /// Accepts a delta response.
    pub fn ack(&mut self, reply: &Reply) {
        self.send(&delta(reply.kind(), &[], &[]).of(reply));
    }

    /// Rejects a delta response.
    pub fn nack(&mut self, reply: &Reply, message: &str) {
        self.send(&delta(reply.kind(), &[], &[]).of(reply).error(message));
    }

    pub fn next(&mut self) -> Option<Reply> {
        let response = self.session.next_response(&self.view, self.now_ms)?;
        let reply = decode(self.variant, &response);
        assert!(self.nonces.insert(reply.nonce.clone()), "nonce {} is used twice", reply.nonce);
        Some(reply)
    }

    pub fn expect(&mut self) -> Reply {
        self.next().expect("a response")
    }

    /// The next response, accepted at once (delta).
    pub fn expect_ack(&mut self) -> Reply {
        let reply = self.expect();
        self.ack(&reply);
        reply
    }

    #[track_caller]
    pub fn silent(&mut self) {
        let next = self.next();
        assert_eq!(next, None, "expected silence");
        assert!(!self.session.wants_to_send());
    }

    /// Accepts everything until there is silence (delta).
    pub fn settle(&mut self) -> Vec<Reply> {
        let mut all = Vec::new();
        while let Some(reply) = self.next() {
            self.ack(&reply);
            all.push(reply);
            assert!(all.len() < 10_000, "no end");
        }
        all
    }

    pub fn guilty(&self) -> Vec<String> {
        self.outcome.guilty.iter().map(|g| self.view.names.text(g.name).to_string()).collect()
    }

    pub fn acked(&self) -> Vec<String> {
        self.outcome.acked.iter().map(|a| self.view.names.text(a.name).to_string()).collect()
    }
}

fn whole(response: &Response) -> Bytes {
    let mut all = BytesMut::new();
    response.frames.iter().for_each(|frame| all.extend_from_slice(frame));
    assert_eq!(all.len(), response.len);
    all.freeze()
}

/// Decodes by prost, and holds every response against what is true of all.
pub fn decode(variant: Variant, response: &Response) -> Reply {
    let bytes = whole(response);
    let mut reply = Reply { bytes: bytes.len(), ..Reply::default() };
    let control_plane = match variant {
        Variant::Delta => {
            let message = DeltaDiscoveryResponse::decode(bytes).unwrap();
            reply.url = message.type_url;
            reply.version = message.system_version_info;
            reply.nonce = message.nonce;
            for wrapper in &message.resources {
                unwrap(&mut reply, wrapper);
            }
            reply.removed = message.removed_resources.iter().cloned().collect();
            assert_eq!(reply.removed.len(), message.removed_resources.len(), "removed twice");
            message.control_plane
        }
        Variant::Sotw => {
            let message = DiscoveryResponse::decode(bytes).unwrap();
            reply.url = message.type_url;
            reply.version = message.version_info;
            reply.nonce = message.nonce;
            for any in &message.resources {
                if any.type_url == "type.googleapis.com/envoy.service.discovery.v3.Resource" {
                    unwrap(&mut reply, &Wrapper::decode(any.value.clone()).unwrap());
                } else {
                    let (name, content) = content(&reply.url, any);
                    assert_eq!(reply.resources.insert(name, Some(content)), None, "a name twice");
                }
            }
            for error in message.resource_errors {
                let code = error.error_detail.map_or(0, |status| status.code);
                reply.missing.insert(error.resource_name.unwrap().name, code);
            }
            message.control_plane
        }
    };
    assert_eq!(control_plane.unwrap().identifier, IDENTIFIER);
    assert_eq!(reply.url, response.kind.info().url);
    assert_eq!(reply.nonce, response.nonce);
    assert_eq!(reply.version.len(), 16);
    assert!(reply.resources.keys().all(|name| !reply.removed.contains(name)), "sent and removed");
    reply
}

fn unwrap(reply: &mut Reply, wrapper: &Wrapper) {
    let name = wrapper.name.clone();
    let body = wrapper.resource.as_ref().map(|any| {
        let (inner, content) = content(&reply.url, any);
        assert_eq!(inner, name);
        content
    });
    assert_eq!(reply.resources.insert(name.clone(), body), None, "{name} twice");
    reply.versions.insert(name.clone(), wrapper.version.clone());
    if let Some(ttl) = &wrapper.ttl {
        reply.ttl_ms.insert(name.clone(), ttl.seconds * 1_000 + i64::from(ttl.nanos) / 1_000_000);
    }
    reply.aliases.insert(name, wrapper.aliases.clone());
}

/// The test's bodies are `NAME=CONTENT`; an empty assignment is a real one.
fn content(url: &str, any: &Any) -> (String, String) {
    assert_eq!(any.type_url, url);
    if url == Endpoints.info().url
        && let Ok(assignment) = ClusterLoadAssignment::decode(any.value.clone())
    {
        let name = assignment.cluster_name;
        let empty = ClusterLoadAssignment { cluster_name: name.clone(), ..Default::default() };
        if !name.is_empty() && empty.encode_to_vec() == any.value {
            return (name, "(no endpoints)".into());
        }
    }
    let text = String::from_utf8(any.value.to_vec()).unwrap();
    let (name, content) = text.split_once('=').unwrap();
    (name.into(), content.into())
}
