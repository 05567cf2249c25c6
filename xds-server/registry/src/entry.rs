//! An object as one source gave it, and its place in the order of all.

use std::sync::Arc;

use lateen_config::{Family, ObjectKey, ParsedObject, Precedence};
use lateen_model::Origin;

/// What makes objects one, of which the first counts: their key, whatever source they are from. What describes the
/// instances of a cluster is the cluster's own: two that have a service of one name both have instances of it. What
/// stands in for an object that can't be read is one with nothing: it neither hides a good object, nor is hidden.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Identity {
    /// The key.
    pub(crate) key: ObjectKey,
    /// Whose it is, where the object is not that of all sources.
    own: Option<Own>,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Own {
    /// That of the source of this rank.
    Source(u32),
    /// What stands in for what stands there.
    Place(Precedence),
}

impl Identity {
    /// Of an object of this key in the source of this rank.
    pub(crate) fn new(rank: u32, key: ObjectKey) -> Self {
        let own = key.kind.is_per_source().then_some(Own::Source(rank));
        Self { key, own }
    }
}

/// An object with its place.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) precedence: Precedence,
    pub(crate) object: ParsedObject,
    /// What it was made from, for a converted object: others are made from themselves.
    pub(crate) made_from: Option<Arc<[Origin]>>,
    /// Does it stand in for one that was never readable?
    pub(crate) stands_in: bool,
}

impl Entry {
    pub(crate) fn new(rank: u32, object: ParsedObject) -> Self {
        let precedence = Precedence::of(rank, &object, Family::of(object.key.kind));
        Self { precedence, object, made_from: None, stands_in: false }
    }

    /// What stands in for an object that was never readable.
    pub(crate) fn stand_in(rank: u32, object: ParsedObject) -> Self {
        Self { stands_in: true, ..Self::new(rank, object) }
    }

    /// An object that was converted from the Gateway API.
    pub(crate) fn derived(rank: u32, object: ParsedObject, origins: Arc<[Origin]>) -> Self {
        let precedence = Precedence::of(rank, &object, Family::GatewayApi);
        Self { precedence, object, made_from: Some(origins), stands_in: false }
    }

    /// What makes it one with others.
    pub(crate) fn identity(&self) -> Identity {
        let key = self.object.key.clone();
        if self.stands_in {
            return Identity { key, own: Some(Own::Place(self.precedence.clone())) };
        }
        Identity::new(self.precedence.rank, key)
    }

    /// Do both mean the same? The platform's revision and its status are not looked at.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let Self { precedence, object, made_from, stands_in } = self;
        let (meta, theirs) = (&object.meta, &other.object.meta);
        *precedence == other.precedence
            && object.key == other.object.key
            && object.origin == other.object.origin
            && *made_from == other.made_from
            && *stands_in == other.stands_in
            && meta.labels == theirs.labels
            && meta.annotations == theirs.annotations
            && object.spec == other.object.spec
    }
}
