//! A compiled resource: encoded once, shared by every stream that is sent it.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::{Bytes, BytesMut};
use lateen_model::{Origin, Version, hash::SetHash};

use crate::{NameId, ResourceType};

/// A reference from one resource to another (a route to a cluster, a listener to a route configuration).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ResourceRef {
    /// Type of the target.
    pub kind: ResourceType,
    /// Name of the target.
    pub name: NameId,
}

impl ResourceRef {
    /// Adds this reference to the digest of a set.
    pub fn add_to(self, digest: &mut SetHash) {
        digest.add(&self.key(), Version::default());
    }

    /// Takes this reference out of the digest of a set.
    pub fn remove_from(self, digest: &mut SetHash) {
        digest.remove(&self.key(), Version::default());
    }

    fn key(self) -> [u8; 16] {
        let parts = [self.kind.index() as u64, self.name.index() as u64];
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(parts.into_iter().flat_map(u64::to_le_bytes)) {
            *to = from;
        }
        key
    }
}

/// An immutable version of a resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: NameId,
    /// Content hash.
    pub version: Version,
    /// The encoded message (`Cluster`, `RouteConfiguration`, …), without an `Any` around it.
    pub body: Body,
    /// What it names.
    pub refs: Refs,
    /// The objects it was made from.
    pub origins: Arc<[Origin]>,
}

impl Resource {
    /// Does it name `target`?
    pub fn refers_to(&self, target: ResourceRef) -> bool {
        self.refs.contains(target)
    }
}

/// What a resource names.
#[derive(Clone)]
pub enum Refs {
    /// Sorted, without duplicates.
    List(Arc<[ResourceRef]>),
    /// A set that is kept up to date element by element.
    Set(Arc<dyn RefSet>),
}

/// A set of references that is not a list: a route configuration names a thousand clusters, and making a list
/// of them for each changed virtual host would cost as much as the whole mesh.
pub trait RefSet: Send + Sync {
    /// Is `target` in the set?
    fn contains(&self, target: ResourceRef) -> bool;
    /// Visits every element once.
    fn visit(&self, visit: &mut dyn FnMut(ResourceRef));
    /// A hash of the elements, equal for equal sets of one process, without a walk over them.
    fn digest(&self) -> SetHash;
}

impl Refs {
    /// References in any order, perhaps repeated.
    pub fn list(mut refs: Vec<ResourceRef>) -> Self {
        refs.sort_unstable();
        refs.dedup();
        Self::List(refs.into())
    }

    /// Is `target` among them?
    pub fn contains(&self, target: ResourceRef) -> bool {
        match self {
            Self::List(list) => list.binary_search(&target).is_ok(),
            Self::Set(set) => set.contains(target),
        }
    }

    /// A hash of the references, equal where the same resources are named.
    pub fn digest(&self) -> SetHash {
        match self {
            Self::List(list) => {
                let mut digest = SetHash::default();
                for target in list.iter() {
                    target.add_to(&mut digest);
                }
                digest
            }
            Self::Set(set) => set.digest(),
        }
    }

    /// Visits every reference once.
    pub fn visit(&self, visit: &mut dyn FnMut(ResourceRef)) {
        match self {
            Self::List(list) => list.iter().copied().for_each(visit),
            Self::Set(set) => set.visit(visit),
        }
    }
}

impl Default for Refs {
    fn default() -> Self {
        Self::List(Arc::from([]))
    }
}

impl fmt::Debug for Refs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        self.visit(&mut |target| {
            list.entry(&target);
        });
        list.finish()
    }
}

/// Encoded bytes, perhaps not yet put together.
#[derive(Clone)]
pub enum Body {
    /// One piece.
    Whole(Bytes),
    /// Put together when somebody first wants to send it: a `RouteConfiguration` is made of virtual hosts that
    /// were encoded on their own.
    Rope(Arc<Rope>),
}

/// A body in parts. Protobuf lets the elements of a repeated field be concatenated:
/// <https://protobuf.dev/programming-guides/encoding/#last-one-wins>
pub struct Rope {
    parts: Box<dyn Parts>,
    whole: OnceLock<Bytes>,
}

/// The parts of a [`Rope`].
pub trait Parts: Send + Sync {
    /// Length of all parts in bytes.
    fn len(&self) -> usize;
    /// Is there nothing?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Appends all parts in order.
    fn write(&self, out: &mut BytesMut);
    /// Itself, for who made it and wants its parts back.
    fn as_any(&self) -> &dyn Any;
}

impl Body {
    /// A body of parts.
    pub fn rope(parts: Box<dyn Parts>) -> Self {
        Self::Rope(Arc::new(Rope { parts, whole: OnceLock::new() }))
    }

    /// The parts, where there are some and they are of this type.
    pub fn parts<P: Parts + 'static>(&self) -> Option<&P> {
        match self {
            Self::Whole(_) => None,
            Self::Rope(rope) => rope.parts.as_any().downcast_ref(),
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Rope(rope) => rope.parts.len(),
        }
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes; put together at most once, shared afterwards.
    pub fn bytes(&self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes.clone(),
            Self::Rope(rope) => rope
                .whole
                .get_or_init(|| {
                    let mut whole = BytesMut::with_capacity(rope.parts.len());
                    rope.parts.write(&mut whole);
                    whole.freeze()
                })
                .clone(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.len())
    }
}
