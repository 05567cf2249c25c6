//! What comes out of a session: facts for the core, responses for the client.

use std::sync::Arc;

use bytes::Bytes;
use lateen_model::Version;

use crate::{NameId, Resource, ResourceType};

/// What a request told. The caller keeps one and hands it in again; the session clears it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Names that the client has begun to ask for.
    pub subscribed: Vec<(ResourceType, NameId)>,
    /// Names that it has stopped asking for.
    pub unsubscribed: Vec<(ResourceType, NameId)>,
    /// Types whose wildcard was switched on or off.
    pub wildcard: Vec<(ResourceType, bool)>,
    /// Versions that the client has accepted.
    pub acked: Vec<Acked>,
    /// Versions that are known to be what the client rejects: bisected to the single resource.
    pub guilty: Vec<Guilty>,
    /// A response was rejected, its message, and how many resources are suspected.
    pub nack: Option<Nack>,
    /// Milliseconds from the response that was answered to its answer.
    pub answered_ms: Option<u64>,
}

impl Outcome {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.subscribed.clear();
        self.unsubscribed.clear();
        self.wildcard.clear();
        self.acked.clear();
        self.guilty.clear();
        self.nack = None;
        self.answered_ms = None;
    }
}

/// A version that a client has accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Acked {
    /// Type.
    pub kind: ResourceType,
    /// Name.
    pub name: NameId,
    /// Version.
    pub version: Version,
}

/// A version that a client has rejected.
#[derive(Clone, Debug)]
pub struct Guilty {
    /// Type.
    pub kind: ResourceType,
    /// Name.
    pub name: NameId,
    /// Version.
    pub version: Version,
    /// The client's words.
    pub message: Arc<str>,
    /// What the client accepted last of the same name, where that is kept: listeners and route configurations.
    pub accepted: Option<Arc<Resource>>,
}

/// A rejected response.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Nack {
    /// Type.
    pub kind: ResourceType,
    /// The client's words.
    pub message: Arc<str>,
    /// How many resources may be the cause; 1: it is in [`Outcome::guilty`].
    pub suspects: usize,
}

/// An encoded `DiscoveryResponse` or `DeltaDiscoveryResponse`, without gRPC's length prefix.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its type.
    pub kind: ResourceType,
    /// Its nonce.
    pub nonce: String,
    /// The message in pieces: large bodies are shared with all streams, everything else was copied.
    pub frames: Vec<Bytes>,
    /// Length of all pieces in bytes.
    pub len: usize,
    /// How many resources are in it.
    pub resources: usize,
    /// How many removals are in it.
    pub removed: usize,
}
