//! An object as one source gave it, and its place in the order of all.

use std::sync::Arc;

use lateen_config::{Kind, ParsedObject};
use lateen_model::Origin;

/// Position of an object among those it conflicts with; the smallest wins. Sources count in the order in which
/// they were named, then age, then namespace and name, then the place in the source.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Precedence {
    /// Place of the source in the list of sources.
    pub rank: u32,
    /// Seconds since 1970; 0, thus the oldest, where unknown.
    pub created: i64,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Path or key in the source.
    pub location: Arc<str>,
    /// Line there.
    pub line: u32,
    /// Kind; none for what an adapter translated.
    pub kind: Option<Kind>,
}

/// An object with its place.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) precedence: Precedence,
    pub(crate) object: ParsedObject,
    /// What it was made from: itself, but for converted objects.
    pub(crate) origins: Arc<[Origin]>,
}

impl Entry {
    pub(crate) fn new(rank: u32, object: ParsedObject) -> Self {
        let origins = Arc::from([object.origin.clone()]);
        Self::derived(rank, object, origins)
    }

    pub(crate) fn derived(rank: u32, object: ParsedObject, origins: Arc<[Origin]>) -> Self {
        let precedence = Precedence {
            rank,
            created: object.meta.creation_timestamp.unwrap_or(0),
            namespace: object.key.namespace.as_str().into(),
            name: object.key.name.as_str().into(),
            location: object.origin.location.clone(),
            line: object.origin.line,
            kind: Some(object.key.kind),
        };
        Self { precedence, object, origins }
    }

    /// Do both mean the same? The platform's revision and its status are not looked at.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let Self { precedence, object, origins } = self;
        let (meta, theirs) = (&object.meta, &other.object.meta);
        *precedence == other.precedence
            && object.key == other.object.key
            && object.origin == other.object.origin
            && *origins == other.origins
            && meta.labels == theirs.labels
            && meta.annotations == theirs.annotations
            && object.spec == other.object.spec
    }
}
