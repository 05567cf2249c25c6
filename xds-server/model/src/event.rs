//! What adapters tell the registry: one alphabet for every platform.

use std::{fmt, sync::Arc};

use crate::{Diagnostic, Endpoint, Service};

/// Name of a source, stable across restarts (`file:./mesh`, `consul=http://127.0.0.1:8500`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SourceId(pub Arc<str>);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an object of a source is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ObjectKind {
    /// Text holding Kubernetes-style documents; parsed by `config`.
    Document,
    /// A service that the adapter translated from its platform's own form.
    Service,
    /// The endpoints of a service, likewise.
    Endpoints,
}

/// Identity of an object within its source: for a document the file or key it came from.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ObjectId {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name in the source: a path, a key, a service name.
    pub name: Arc<str>,
}

/// A part of a source that is listed as a whole: a listing of it sweeps only it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Scope {
    /// What is listed.
    pub kind: ObjectKind,
    /// Objects whose names start so; empty for all of the kind.
    pub prefix: Arc<str>,
}

impl Scope {
    /// Is `id` part of this scope?
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.kind == id.kind && id.name.starts_with(&*self.prefix)
    }
}

/// Text with Kubernetes-style documents (Istio, Gateway API, Service, `EndpointSlice`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// The bytes as read; perhaps not UTF-8.
    pub body: Arc<[u8]>,
}

/// An object as an adapter hands it over.
#[derive(Clone, PartialEq, Debug)]
pub enum Object {
    /// Documents, raw.
    Document(Document),
    /// A service.
    Service(Arc<Service>),
    /// All endpoints of a host that this source knows.
    Endpoints {
        /// The service's host.
        host: crate::Host,
        /// Its namespace.
        namespace: crate::Namespace,
        /// The instances.
        endpoints: Arc<[Endpoint]>,
    },
}

/// One thing that a source says. `Resync(scope) … Synced(scope)` brackets a full listing of that scope: what
/// in it was not upserted (or reported invalid) in between is gone.
#[derive(Clone, PartialEq, Debug)]
pub enum SourceEvent {
    /// A full listing of the scope begins.
    Resync(Scope),
    /// It ended.
    Synced(Scope),
    /// The object is new or has changed.
    Upsert {
        /// Which.
        id: ObjectId,
        /// What.
        object: Object,
    },
    /// The object is gone.
    Remove {
        /// Which.
        id: ObjectId,
    },
    /// The object exists, but can't be read: its last good state stays.
    Invalid {
        /// Which.
        id: ObjectId,
        /// Why.
        diagnostic: Diagnostic,
    },
}
