//! Which of several objects counts where they contradict each other. Nothing else in the workspace decides that.

use std::sync::Arc;

use crate::{Kind, ObjectKey, ParsedObject, kind::Role};

/// Position of an object among those that it contradicts: the smallest counts.
///
/// Sources come in the order in which they were named. Within a source the older object comes first; one whose age
/// is unknown counts as the oldest, as in Istio, so that objects of sources without times are ordered by name alone.
/// <https://istio.io/latest/docs/ops/best-practices/traffic-management/#split-virtual-services>
///
/// Many indices hold it, so it is shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Precedence(Arc<Position>);

/// What objects are ordered by, the most important first.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Position {
    /// Place of the source in the list of sources.
    pub rank: u32,
    /// Seconds since 1970; 0 where unknown.
    pub created: i64,
    /// Whose rule orders objects of one age.
    pub family: Family,
    /// Name and namespace, in the order in which they are compared.
    name: [Arc<str>; 2],
    /// Path or key in the source.
    location: Arc<str>,
    /// Line there.
    line: u32,
    /// Kind; `None` for what an adapter translated.
    kind: Option<Kind>,
}

/// Where an object's meaning is defined.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Family {
    /// Istio, Kubernetes and the platforms: objects of one age are ordered by name, then by namespace; but a
    /// `ServiceEntry` by namespace first, since as a service it is called as its host.
    Istio,
    /// The Gateway API, converted objects included: by namespace, then by name.
    /// <https://gateway-api.sigs.k8s.io/guides/api-design/#conflicts>
    GatewayApi,
}

impl Family {
    /// The family of a kind as users write it.
    pub fn of(kind: Kind) -> Self {
        if kind.role() == Role::GatewayApi { Self::GatewayApi } else { Self::Istio }
    }
}

impl Precedence {
    /// The position of an object from the source of this rank.
    pub fn of(rank: u32, object: &ParsedObject, family: Family) -> Self {
        let kind = Some(object.key.kind);
        Self(Arc::new(Position {
            rank,
            created: age(object),
            family,
            name: ordered(family, kind, &object.key.namespace, &object.key.name),
            location: object.origin.location.clone(),
            line: object.origin.line,
            kind,
        }))
    }

    /// The position of something that an adapter translated, known to it by `id`.
    pub fn translated(rank: u32, created: i64, namespace: &str, id: &Arc<str>) -> Self {
        Self(Arc::new(Position {
            rank,
            created,
            family: Family::Istio,
            name: ordered(Family::Istio, None, namespace, id),
            location: id.clone(),
            line: 0,
            kind: None,
        }))
    }

    /// The key of the object; none for what an adapter translated.
    pub fn key(&self) -> Option<ObjectKey> {
        let [first, second] = &self.name;
        let name = if by_namespace(self.family, self.kind) { second } else { first };
        Some(ObjectKey::new(self.kind?, self.namespace(), &**name))
    }

    /// Namespace of the object.
    pub fn namespace(&self) -> &str {
        let [first, second] = &self.name;
        if by_namespace(self.family, self.kind) { first } else { second }
    }
}

impl std::ops::Deref for Precedence {
    type Target = Position;

    fn deref(&self) -> &Position {
        &self.0
    }
}

fn ordered(family: Family, kind: Option<Kind>, namespace: &str, name: &str) -> [Arc<str>; 2] {
    if by_namespace(family, kind) { [namespace.into(), name.into()] } else { [name.into(), namespace.into()] }
}

fn by_namespace(family: Family, kind: Option<Kind>) -> bool {
    family == Family::GatewayApi || kind == Some(Kind::ServiceEntry)
}

/// When the object was made, in seconds since 1970; 0, thus the oldest, where unknown.
pub(crate) fn age(object: &ParsedObject) -> i64 {
    object.meta.creation_timestamp.unwrap_or(0)
}

/// Does `one` count where two objects of one source contradict each other?
pub(crate) fn precedes(one: &ParsedObject, other: &ParsedObject) -> bool {
    let of = |object: &ParsedObject| Precedence::of(0, object, Family::of(object.key.kind));
    of(one) < of(other)
}
