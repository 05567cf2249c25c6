//! What is known of the keys, and which objects of the core have to be told because of a change. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use lateen_model::{
    Diagnostic, Document, ObjectId, ObjectKind, Origin, Severity, SourceEvent, Version,
    diagnostic::{Code, ObjectRef},
    event::Object,
};

use crate::{
    config::{Hosts, Settings},
    keys::{Item, Layout, Part},
    service::{Held, ServiceState},
    translate,
    wire::{self, Pool},
};

/// A document is larger than what is read.
const TOO_LARGE: Code = Code("LAT3401");
/// A key, or what it holds, makes no sense.
const UNREADABLE: Code = Code("LAT3402");

/// The largest document that is read, in bytes.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// The largest definition of a service or an instance, in bytes.
const SPEC_BYTES_MAX: usize = 64 << 10;

/// Key and value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// What a full listing is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listing {
    /// The core knows nothing: all is told.
    All,
    /// The core knows what the store knows: only differences are told.
    Differences,
}

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    documents: usize,
    services: usize,
    instances: usize,
}

/// More than so many of one sort, and more than half of them, are much to lose: so many the core holds until they
/// are gone at a second look.
const LOST_MANY: usize = 10;

/// What is known of the keys.
#[derive(Debug)]
pub(crate) struct Store {
    layout: Layout,
    hosts: Hosts,
    source: Arc<str>,
    pool: Pool,
    documents: BTreeMap<Arc<str>, Held<()>>,
    services: BTreeMap<Arc<str>, ServiceState>,
    /// Keys that make no sense, by the finding's object.
    bad_keys: BTreeMap<ObjectId, u32>,
    /// Number of the current listing: what it does not see is gone.
    listing: u32,
    dirty: BTreeSet<Arc<str>>,
    /// About documents and findings, in order of their objects; the last one of each object counts.
    told: BTreeMap<ObjectId, SourceEvent>,
    instances: usize,
    /// The most there was since all was told.
    most: Counts,
}

impl Store {
    pub(crate) fn new(settings: &Settings) -> Self {
        let Settings { prefix, config_prefix, hosts, source, .. } = settings;
        Self {
            layout: Layout { prefix: prefix.clone(), config_prefix: config_prefix.clone() },
            hosts: hosts.clone(),
            source: source.0.clone(),
            pool: Pool::default(),
            documents: BTreeMap::new(),
            services: BTreeMap::new(),
            bad_keys: BTreeMap::new(),
            listing: 0,
            dirty: BTreeSet::new(),
            told: BTreeMap::new(),
            instances: 0,
            most: Counts::default(),
        }
    }

    /// A key has this value now.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> bool {
        let (name, is_text) = name(key);
        let hash = Version::of(value);
        let is_document = name.starts_with(&*self.layout.config_prefix);
        if !is_text {
            let kind = if is_document { ObjectKind::Document } else { ObjectKind::Endpoints };
            return self.bad_key(kind, &name, "the key is not UTF-8".to_owned());
        }
        match self.layout.item(&name) {
            Item::Document => self.put_document(&name, hash, value),
            Item::Service(service) => self.put_service(service, &name, hash, value),
            Item::Endpoint { service, instance } => {
                self.put_endpoint((service, instance), &name, hash, value)
            }
            Item::Bad { part: Part::Services, why } => self.bad_key(ObjectKind::Service, &name, why),
            Item::Bad { part: Part::Endpoints, why } => self.bad_key(ObjectKind::Endpoints, &name, why),
            Item::Other => false,
        }
    }

    /// A key is gone.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        let (name, _) = name(key);
        match self.layout.item(&name) {
            Item::Document => {
                if self.documents.remove(&*name).is_some() {
                    self.tell_gone(id(ObjectKind::Document, &name));
                }
            }
            Item::Service(service) => {
                if let Some(state) = self.services.get_mut(service) {
                    let had = state.definition.take();
                    self.mark(service, ObjectKind::Service, &name, had.is_some_and(|held| held.bad));
                }
            }
            Item::Endpoint { service, instance } => {
                if let Some(held) = self.services.get_mut(service).and_then(|state| state.remove(instance)) {
                    self.instances = self.instances.saturating_sub(1);
                    self.mark(service, ObjectKind::Endpoints, &name, held.bad);
                }
            }
            Item::Bad { .. } | Item::Other => {}
        }
        for kind in [ObjectKind::Document, ObjectKind::Service, ObjectKind::Endpoints] {
            let id = id(kind, &name);
            if self.bad_keys.remove(&id).is_some() {
                self.tell_gone(id);
            }
        }
    }

    /// Takes over a full listing. What was touched since it was made is left as it is. Gives the number of keys that
    /// were not known as they are.
    pub(crate) fn list(&mut self, pairs: &[Pair], touched: &HashSet<Vec<u8>>, listing: Listing) -> usize {
        self.listing = self.listing.wrapping_add(1);
        if listing == Listing::All {
            self.forget_told();
        }
        let is_touched = |key: &[u8]| touched.contains(key);
        let mut differences = 0;
        for (key, value) in pairs.iter().filter(|(key, _)| !is_touched(key)) {
            differences += usize::from(self.put(key, value));
        }
        let gone = self.unseen().into_iter().filter(|key| !is_touched(key.as_bytes()));
        for key in gone.collect::<Vec<_>>() {
            differences += 1;
            self.delete(key.as_bytes());
        }
        self.pool.sweep();
        if listing == Listing::All {
            self.most = self.counts();
        }
        differences
    }

    /// Has much gone since all was told?
    pub(crate) fn lost_much(&mut self) -> bool {
        let (now, most) = (self.counts(), &mut self.most);
        let lost = |most: &mut usize, now: usize| {
            *most = (*most).max(now);
            let gone = *most - now;
            gone > LOST_MANY && gone * 2 > *most
        };
        let documents = lost(&mut most.documents, now.documents);
        let services = lost(&mut most.services, now.services);
        lost(&mut most.instances, now.instances) || services || documents
    }

    fn counts(&self) -> Counts {
        let Self { documents, services, instances, .. } = self;
        Counts { documents: documents.len(), services: services.len(), instances: *instances }
    }

    /// Keys of bad ones are left out: they are swept below by being seen again, or by their own deletion.
    fn unseen(&mut self) -> Vec<String> {
        let listing = self.listing;
        let mut keys: Vec<String> = Vec::new();
        let documents = self.documents.iter().filter(|(_, held)| held.seen != listing);
        keys.extend(documents.map(|(key, _)| key.to_string()));
        for (service, state) in &self.services {
            if state.definition.as_ref().is_some_and(|held| held.seen != listing) {
                keys.push(self.layout.service(service));
            }
            let instances = state.unseen(listing);
            keys.extend(instances.map(|instance| self.layout.endpoint(service, instance)));
        }
        keys.extend(
            self.bad_keys.iter().filter(|(_, seen)| **seen != listing).map(|(id, _)| id.name.to_string()),
        );
        keys
    }

    /// The core knows nothing any more. Last good states stay, for what is bad now.
    fn forget_told(&mut self) {
        self.told.clear();
        self.documents.clear();
        self.bad_keys.clear();
        for (service, state) in &mut self.services {
            state.forget_told();
            self.dirty.insert(service.clone());
        }
    }

    /// Services that have something to tell, with the number of their instances: what telling it costs.
    pub(crate) fn dirty(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.dirty
            .iter()
            .map(|service| (service, self.services.get(service).map_or(0, ServiceState::instance_count)))
    }

    /// Events about documents and findings.
    pub(crate) fn take_told(&mut self) -> Vec<SourceEvent> {
        std::mem::take(&mut self.told).into_values().collect()
    }

    /// Events about a service.
    pub(crate) fn take_service(&mut self, service: &Arc<str>) -> Vec<SourceEvent> {
        if !self.dirty.remove(service) {
            return Vec::new();
        }
        let Some(state) = self.services.get_mut(service) else { return Vec::new() };
        let origin = Origin {
            source: self.source.clone(),
            location: format!("{}endpoints/{service}/", self.layout.prefix).into(),
            line: 0,
            column: 0,
        };
        let events = state.events(service, &self.hosts, &origin);
        if state.is_empty() {
            self.services.remove(service);
        }
        events
    }

    /// Number of keys that are known.
    pub(crate) fn keys(&self) -> usize {
        let definitions = self.services.values().filter(|state| state.definition.is_some()).count();
        self.documents.len() + self.instances + definitions
    }

    fn put_document(&mut self, name: &str, hash: Version, value: &[u8]) -> bool {
        let listing = self.listing;
        if let Some(held) = self.documents.get_mut(name) {
            held.seen = listing;
            if held.hash == hash {
                return false;
            }
        }
        let id = id(ObjectKind::Document, name);
        let problem = if value.len() > DOCUMENT_BYTES_MAX {
            Some((TOO_LARGE, format!("it has {} bytes, more than {DOCUMENT_BYTES_MAX}", value.len())))
        } else {
            std::str::from_utf8(value).err().map(|error| (UNREADABLE, format!("it is not UTF-8: {error}")))
        };
        let event = match problem {
            None => SourceEvent::Upsert {
                id: id.clone(),
                object: Object::Document(Document { body: value.into() }),
            },
            Some((code, message)) => {
                SourceEvent::Invalid { id: id.clone(), diagnostic: self.finding(code, None, name, message) }
            }
        };
        let held = Held { hash, seen: listing, bad: false, good: None };
        self.documents.insert(id.name.clone(), held);
        self.told.insert(id, event);
        true
    }

    fn put_service(&mut self, service: &str, key: &str, hash: Version, value: &[u8]) -> bool {
        let listing = self.listing;
        let origin = self.origin(key);
        let state = self.services.entry(service.into()).or_default();
        if let Some(held) = &mut state.definition
            && held.hash == hash
        {
            held.seen = listing;
            let (bad, told) = (held.bad, state.told_all());
            return if bad && !told {
                self.tell_bad(service, ObjectKind::Service, key, value)
            } else {
                false
            };
        }
        let parsed = parsed(value).and_then(|spec| translate::service(service, &spec, &self.hosts, origin));
        let (bad, good) = match parsed {
            Ok(good) => (false, Some(Arc::new(good))),
            Err(_) => (true, state.definition.take().and_then(|held| held.good)),
        };
        let was_bad = state.definition.as_ref().is_some_and(|held| held.bad);
        state.definition = Some(Held { hash, seen: listing, bad, good });
        if bad {
            self.tell_bad(service, ObjectKind::Service, key, value);
        }
        self.mark(service, ObjectKind::Service, key, was_bad && !bad);
        true
    }

    fn put_endpoint(
        &mut self,
        (service, instance): (&str, &str),
        key: &str,
        hash: Version,
        value: &[u8],
    ) -> bool {
        let listing = self.listing;
        let origin = self.origin(key);
        let state = self.services.entry(service.into()).or_default();
        let told = state.told_all();
        if let Some(held) = state.instance(instance)
            && held.hash == hash
        {
            held.seen = listing;
            let bad = held.bad;
            return if bad && !told {
                self.tell_bad(service, ObjectKind::Endpoints, key, value)
            } else {
                false
            };
        }
        let pool = &mut self.pool;
        let parsed = parsed(value).and_then(|spec| translate::endpoint(&spec, pool, origin));
        let old = state.remove(instance);
        self.instances += usize::from(old.is_none());
        let was_bad = old.as_ref().is_some_and(|held| held.bad);
        let (bad, good) = match parsed {
            Ok(good) => (false, Some(good)),
            Err(_) => (true, old.and_then(|held| held.good)),
        };
        state.insert(instance, Held { hash, seen: listing, bad, good });
        if bad {
            self.tell_bad(service, ObjectKind::Endpoints, key, value);
        }
        self.mark(service, ObjectKind::Endpoints, key, was_bad && !bad);
        true
    }

    /// Marks a service as having something to tell; a finding about a key is over.
    fn mark(&mut self, service: &str, kind: ObjectKind, key: &str, finding_is_over: bool) {
        if let Some(state) = self.services.get_mut(service) {
            if kind == ObjectKind::Endpoints {
                state.instances_changed();
            }
            self.dirty.insert(service.into());
        }
        if finding_is_over {
            self.tell_gone(id(kind, key));
        }
    }

    /// Tells why a value makes no sense: a finding by the name of its key, beside the object that it is a part of.
    fn tell_bad(&mut self, service: &str, kind: ObjectKind, key: &str, value: &[u8]) -> bool {
        let origin = self.origin(key);
        let why = match kind {
            ObjectKind::Service => parsed(value)
                .and_then(|spec| translate::service(service, &spec, &self.hosts, origin).map(|_| ()))
                .err(),
            ObjectKind::Endpoints | ObjectKind::Document => parsed(value)
                .and_then(|spec| translate::endpoint(&spec, &mut self.pool, origin).map(|_| ()))
                .err(),
        };
        let diagnostic = self.finding(UNREADABLE, Some(service), key, why.unwrap_or_default());
        let id = id(kind, key);
        self.told.insert(id.clone(), SourceEvent::Invalid { id, diagnostic });
        true
    }

    fn tell_gone(&mut self, id: ObjectId) {
        self.told.insert(id.clone(), SourceEvent::Remove { id });
    }

    fn bad_key(&mut self, kind: ObjectKind, name: &str, why: String) -> bool {
        let id = id(kind, name);
        let known = self.bad_keys.insert(id.clone(), self.listing).is_some();
        if !known {
            let diagnostic = self.finding(UNREADABLE, None, name, why);
            self.told.insert(id.clone(), SourceEvent::Invalid { id, diagnostic });
        }
        !known
    }

    fn origin(&self, key: &str) -> Origin {
        Origin { source: self.source.clone(), location: key.into(), line: 0, column: 0 }
    }

    fn finding(&self, code: Code, service: Option<&str>, key: &str, message: String) -> Diagnostic {
        let object = service.map(translate::split).map(|(namespace, name)| ObjectRef {
            kind: "Service".into(),
            namespace: namespace.into(),
            name: name.into(),
        });
        Diagnostic {
            code,
            severity: Severity::Error,
            object,
            origin: Some(self.origin(key)),
            path: String::new(),
            message,
            hint: None,
        }
    }
}

fn parsed<T: for<'de> serde::Deserialize<'de>>(value: &[u8]) -> Result<T, String> {
    if value.len() > SPEC_BYTES_MAX {
        return Err(format!("it has {} bytes, more than {SPEC_BYTES_MAX}", value.len()));
    }
    wire::parse(value)
}

/// A key as text; with escapes where it is none.
fn name(key: &[u8]) -> (String, bool) {
    match std::str::from_utf8(key) {
        Ok(text) => (text.to_owned(), true),
        Err(_) => (key.escape_ascii().to_string(), false),
    }
}

fn id(kind: ObjectKind, name: &str) -> ObjectId {
    ObjectId { kind, name: name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = BTreeMap<ObjectId, Object>;

    fn store() -> Store {
        Store::new(&Settings::parse("http://a:1").unwrap())
    }

    fn all_events(store: &mut Store) -> Vec<SourceEvent> {
        let mut events = store.take_told();
        let dirty: Vec<_> = store.dirty().map(|(service, _)| service.clone()).collect();
        events.extend(dirty.iter().flat_map(|service| store.take_service(service)));
        events
    }

    fn apply(told: &mut Told, events: Vec<SourceEvent>) {
        for event in events {
            match event {
                SourceEvent::Upsert { id, object } => drop(told.insert(id, object)),
                SourceEvent::Remove { id } => drop(told.remove(&id)),
                other => panic!("{other:?}"),
            }
        }
    }

    /// <https://prng.di.unimi.it/splitmix64.c>
    struct Sequence(u64);

    impl Sequence {
        fn below(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % below
        }

        fn pair(&mut self) -> (String, String) {
            let (service, instance, value) = (self.below(3), self.below(4), self.below(3));
            match self.below(6) {
                0 => (format!("/lateen/config/{service}"), format!("kind: {value}")),
                1 => (
                    format!("/lateen/services/shop/s{service}"),
                    format!(
                        "{{ports: [{{name: http, number: {}}}], host: h{}.example.com}}",
                        80 + value,
                        value / 2
                    ),
                ),
                _ => (
                    format!("/lateen/endpoints/shop/s{service}/{instance}"),
                    format!("{{\"address\": \"10.0.0.{}\", \"ports\": {}}}", instance + 1, 80 + value),
                ),
            }
        }
    }

    /// What was told piece by piece is what a listing tells to a core that knows nothing, whatever came between:
    /// changes told together, or missed and found by a comparison.
    #[test]
    fn changes_told_one_by_one_are_what_a_listing_tells() {
        let mut sequence = Sequence(7);
        let (mut store, mut told) = (store(), Told::new());
        let mut keys: BTreeMap<String, String> = BTreeMap::new();
        let pairs = |keys: &BTreeMap<String, String>| -> Vec<Pair> {
            keys.iter().map(|(key, value)| (key.clone().into_bytes(), value.clone().into_bytes())).collect()
        };
        for round in 0..5000 {
            let (key, value) = sequence.pair();
            let missed = sequence.below(20) == 0;
            if sequence.below(3) == 0 {
                keys.remove(&key);
                if !missed {
                    store.delete(key.as_bytes());
                }
            } else {
                keys.insert(key.clone(), value.clone());
                if !missed {
                    store.put(key.as_bytes(), value.as_bytes());
                }
            }
            if missed {
                store.list(&pairs(&keys), &HashSet::new(), Listing::Differences);
            }
            if sequence.below(4) == 0 {
                apply(&mut told, all_events(&mut store));
            }
            if round % 50 == 49 {
                apply(&mut told, all_events(&mut store));
                let mut fresh = Told::new();
                let mut new = self::store();
                new.list(&pairs(&keys), &HashSet::new(), Listing::All);
                apply(&mut fresh, all_events(&mut new));
                assert_eq!(told, fresh, "round {round}");
                assert_eq!(store.keys(), keys.len());
            }
        }
    }

    #[test]
    fn what_a_listing_was_too_late_for_stays() {
        let mut store = store();
        store.put(b"/lateen/config/a", b"new");
        store.put(b"/lateen/config/b", b"new");
        let touched = HashSet::from([b"/lateen/config/a".to_vec(), b"/lateen/config/b".to_vec()]);
        let listed = [(b"/lateen/config/a".to_vec(), b"old".to_vec())];
        assert_eq!(store.list(&listed, &touched, Listing::Differences), 0);
        assert_eq!(store.keys(), 2);
        assert_eq!(store.list(&listed, &HashSet::new(), Listing::Differences), 2);
        assert_eq!(store.keys(), 1);
    }
}
