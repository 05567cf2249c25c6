//! What the admin port says, as data: the CLI reads the same types.

use serde::{Deserialize, Serialize};

/// The whole status of a server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Identifier of this control plane, as clients see it.
    pub control_plane: String,
    /// Have all sources been listed once?
    pub ready: bool,
    /// Revision of the world: how many changes were applied since the start.
    pub revision: u64,
    /// Where services and configuration come from.
    pub sources: Vec<Source>,
    /// Connected nodes, by id.
    pub nodes: Vec<Node>,
    /// Findings about objects, rejections by nodes included.
    pub findings: Vec<String>,
    /// How many of them are errors.
    #[serde(default)]
    pub errors: usize,
}

/// A source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Its name (`file:./mesh`).
    pub id: String,
    /// Was it listed once, or restored from what was saved?
    pub synced: bool,
    /// Milliseconds since it failed; what it said before that keeps being served.
    pub stale_ms: Option<u64>,
    /// Why it fails.
    #[serde(default)]
    pub error: Option<String>,
    /// What is served of it was saved by an earlier run, then, in milliseconds since 1970.
    #[serde(default)]
    pub saved_unix_ms: Option<u64>,
    /// How many removals wait for a confirmation, because so much went at once.
    #[serde(default)]
    pub held_removals: usize,
    /// How many objects it holds.
    pub objects: usize,
    /// How many findings there are about them.
    pub findings: usize,
}

/// A connected node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its namespace.
    pub namespace: String,
    /// Remote address.
    pub peer: String,
    /// What it says it is.
    pub user_agent: String,
    /// `sotw` or `delta`, `ads` or the type of a separate stream.
    pub stream: String,
    /// Milliseconds since the stream was opened.
    pub connected_ms: u64,
    /// Per subscribed type.
    pub types: Vec<TypeStatus>,
}

/// What a stream holds of one type.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TypeStatus {
    /// `CDS`, `EDS`, …
    pub kind: String,
    /// SYNCED, STALE, NACK or NOT SENT.
    pub state: SyncState,
    /// Milliseconds in that state.
    pub age_ms: u64,
    /// How many resources the client holds.
    pub held: usize,
    /// The client's words, when it rejected something.
    pub message: Option<String>,
    /// The rejected resources with the objects they were made from.
    pub rejected: Vec<Rejected>,
}

/// State of a type on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SyncState {
    /// The client has acknowledged all that was sent, and there is nothing newer.
    Synced,
    /// Something was sent and not yet acknowledged, or waits to be sent.
    Stale,
    /// The client has rejected something; its last accepted version is in use.
    Nack,
    /// Nothing was sent.
    NotSent,
}

impl std::fmt::Display for SyncState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Nack => "NACK",
            Self::NotSent => "NOT SENT",
        })
    }
}

/// A rejected resource.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rejected {
    /// Its name.
    pub name: String,
    /// The objects it was made from (`mesh/routes.yaml:12:3`).
    pub origins: Vec<String>,
}

/// What a node is given.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The node.
    pub node: String,
    /// In push order, then by name.
    pub resources: Vec<ResourceConfig>,
}

/// One resource.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ResourceConfig {
    /// `CDS`, `EDS`, …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Content hash.
    pub version: String,
    /// The objects it was made from (`mesh/routes.yaml:12:3`).
    pub origins: Vec<String>,
    /// The endpoints, of an assignment.
    #[serde(default)]
    pub endpoints: Vec<EndpointConfig>,
    /// The resource as JSON.
    pub body: serde_json::Value,
}

/// An endpoint that a node is given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndpointConfig {
    /// Address and port, or the path of a socket.
    pub address: String,
    /// `region/zone/subzone`, as far as known.
    pub locality: String,
    /// The object that it was read from; none where that is gone by now.
    pub origin: Option<String>,
}

/// Documents that a user thinks of applying.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// Each with the name it is reported by.
    pub documents: Vec<ProposedDocument>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProposedDocument {
    /// File name.
    pub location: String,
    /// Text.
    pub body: String,
}

/// What a proposal would change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Difference {
    /// Per node, what changes.
    pub changes: Vec<NodeChange>,
    /// Findings about the proposed documents.
    pub findings: Vec<String>,
}

/// One resource that would change.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeChange {
    /// `CDS`, `EDS`, …
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// Ids of the connected nodes that would get it.
    pub nodes: Vec<String>,
}
