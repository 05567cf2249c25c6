//! What the core was told: only what differs from it is told again. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use lateen_model::{
    Diagnostic, Document, ObjectId, ObjectKind, Origin, Scope, Severity, SourceEvent, diagnostic::Code,
    event::Object,
};

use crate::{config::Settings, translate::Translated, wire::Pair};

/// The largest document, in bytes. Consul itself takes values up to 512 KiB unless it is told otherwise.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// A key exists and its value can't be read.
const UNREADABLE: Code = Code("LAT3202");
/// A value is too large.
const TOO_LARGE: Code = Code("LAT3203");

/// All that a source of this kind lists.
pub(crate) fn scopes() -> [Scope; 3] {
    [ObjectKind::Document, ObjectKind::Service, ObjectKind::Endpoints]
        .map(|kind| Scope { kind, prefix: "".into() })
}

/// What was told last.
#[derive(Debug)]
pub(crate) struct Mirror {
    settings: Arc<Settings>,
    services: BTreeMap<Arc<str>, Held>,
    /// Keys by the index of their last change.
    keys: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Held {
    good: Option<Translated>,
    bad: Option<Diagnostic>,
}

impl Mirror {
    /// Nothing was told yet.
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, services: BTreeMap::new(), keys: BTreeMap::new() }
    }

    /// Names of the services that were told of.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.keys()
    }

    /// A service as it is now.
    pub(crate) fn set_service(
        &mut self,
        name: &Arc<str>,
        now: Result<Translated, Box<Diagnostic>>,
    ) -> Vec<SourceEvent> {
        let (service_id, endpoints_id) = self.ids(name);
        let held = self.services.entry(name.clone()).or_default();
        let mut events = Vec::new();
        let now = match now {
            Ok(now) => now,
            Err(diagnostic) => {
                let diagnostic = *diagnostic;
                if held.bad.as_ref() != Some(&diagnostic) {
                    held.bad = Some(diagnostic.clone());
                    // Both are seen, so that a listing takes neither away.
                    for id in [service_id, endpoints_id] {
                        events.push(SourceEvent::Invalid { id, diagnostic: diagnostic.clone() });
                    }
                }
                return events;
            }
        };
        let was_bad = held.bad.take().is_some();
        let before = held.good.as_ref().filter(|_| !was_bad);
        if before.is_none_or(|before| before.service != now.service) {
            let object = Object::Service(Arc::new(now.service.clone()));
            events.push(SourceEvent::Upsert { id: service_id, object });
        }
        let is_same = |before: &Translated| {
            before.service.host == now.service.host && before.endpoints == now.endpoints
        };
        if !before.is_some_and(is_same) {
            let object = Object::Endpoints {
                host: now.service.host.clone(),
                namespace: now.service.namespace.clone(),
                endpoints: now.endpoints.clone().into(),
            };
            events.push(SourceEvent::Upsert { id: endpoints_id, object });
        }
        held.good = Some(now);
        events
    }

    /// A service that has no instance left.
    pub(crate) fn remove_service(&mut self, name: &str) -> Vec<SourceEvent> {
        if self.services.remove(name).is_none() {
            return Vec::new();
        }
        let (service_id, endpoints_id) = self.ids(name);
        vec![SourceEvent::Remove { id: endpoints_id }, SourceEvent::Remove { id: service_id }]
    }

    /// All keys under the prefix as they are now.
    pub(crate) fn set_keys(&mut self, pairs: Vec<Pair>) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        let mut seen = BTreeSet::new();
        // What ends in a slash is a folder of the web interface.
        for Pair { key, value, modify_index } in pairs.into_iter().filter(|pair| !pair.key.ends_with('/')) {
            // A key that is deleted and made again has a new index too.
            if self.keys.get(&key) != Some(&modify_index) {
                let id = document_id(&key);
                events.push(match self.body(&key, value) {
                    Ok(body) => {
                        SourceEvent::Upsert { id, object: Object::Document(Document { body: body.into() }) }
                    }
                    Err(diagnostic) => SourceEvent::Invalid { id, diagnostic: *diagnostic },
                });
                self.keys.insert(key.clone(), modify_index);
            }
            seen.insert(key);
        }
        self.keys.retain(|key, _| {
            let is_there = seen.contains(key);
            if !is_there {
                events.push(SourceEvent::Remove { id: document_id(key) });
            }
            is_there
        });
        events
    }

    fn body(&self, key: &str, value: Option<String>) -> Result<Vec<u8>, Box<Diagnostic>> {
        let finding = |code, message: String| {
            Box::new(Diagnostic {
                code,
                severity: Severity::Error,
                object: None,
                origin: Some(Origin {
                    source: self.settings.source.0.clone(),
                    location: key.into(),
                    line: 0,
                    column: 0,
                }),
                path: String::new(),
                message,
                hint: None,
            })
        };
        let body = STANDARD
            .decode(value.unwrap_or_default())
            .map_err(|error| finding(UNREADABLE, format!("the value is not what Consul sends: {error}")))?;
        if body.len() > DOCUMENT_BYTES_MAX {
            let message = format!("the value has {} bytes; up to {DOCUMENT_BYTES_MAX} are read", body.len());
            return Err(finding(TOO_LARGE, message));
        }
        if std::str::from_utf8(&body).is_err() {
            return Err(finding(UNREADABLE, "the value is not UTF-8".to_owned()));
        }
        Ok(body)
    }

    fn ids(&self, name: &str) -> (ObjectId, ObjectId) {
        let name: Arc<str> = format!("{}/{name}", self.settings.namespace).into();
        let id = |kind| ObjectId { kind, name: name.clone() };
        (id(ObjectKind::Service), id(ObjectKind::Endpoints))
    }
}

fn document_id(key: &str) -> ObjectId {
    ObjectId { kind: ObjectKind::Document, name: key.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror() -> Mirror {
        Mirror::new(Arc::new(Settings::parse("http://x").unwrap()))
    }

    fn pair(key: &str, value: &[u8], modify_index: u64) -> Pair {
        Pair { key: key.to_owned(), value: Some(STANDARD.encode(value)), modify_index }
    }

    #[test]
    fn only_keys_that_changed_are_told() {
        let mut mirror = mirror();
        assert_eq!(
            mirror.set_keys(vec![pair("a", b"1", 1), pair("b", b"1", 2), pair("c/", b"", 3)]).len(),
            2
        );
        assert_eq!(mirror.set_keys(vec![pair("a", b"1", 1), pair("b", b"1", 2)]), []);
        let events = mirror.set_keys(vec![pair("a", b"2", 5)]);
        assert!(matches!(&events[..], [SourceEvent::Upsert { id: a, .. }, SourceEvent::Remove { id: b }]
            if &*a.name == "a" && &*b.name == "b"));
    }

    #[test]
    fn what_can_t_be_read_is_invalid_and_no_error() {
        let mut mirror = mirror();
        let pairs = vec![
            pair("binary", &[0xff, 0xfe], 1),
            pair("large", &vec![b'x'; DOCUMENT_BYTES_MAX + 1], 2),
            Pair { key: "odd".to_owned(), value: Some("!".to_owned()), modify_index: 3 },
            Pair { key: "empty".to_owned(), value: None, modify_index: 4 },
        ];
        let codes: Vec<_> = mirror
            .set_keys(pairs)
            .into_iter()
            .map(|event| match event {
                SourceEvent::Invalid { diagnostic, .. } => diagnostic.code.0,
                _ => "fine",
            })
            .collect();
        assert_eq!(codes, ["LAT3202", "LAT3203", "LAT3202", "fine"]);
    }
}
