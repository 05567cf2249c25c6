//! How a server under test is told what to serve.
//!
//! A server under test holds resources for *groups*. A group is a node id: what is told for a group is what a
//! client whose `node.id` is the group's is served, all of it, and no other client sees it. Each running case has a
//! group of its own, so cases run side by side. A control protocol that can't tell groups apart says so
//! ([`Capabilities::groups`]); then cases run one after the other, and names carry the case's own prefix anyway.

mod adapter;
mod connect;
mod grpc;
mod messages;
mod serve;
mod serve_state;
mod shelf;
mod xdsconfig;

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use lateen_proto::google::protobuf::Any;

pub use adapter::Adapter;
pub use connect::Connect;
pub use serve::{Target, router};
pub use shelf::Shelf;
pub use xdsconfig::XdsConfig;

/// One way to tell a server what to serve.
#[async_trait]
pub trait Control: Send + Sync + std::fmt::Debug {
    /// What this control protocol can say, and what the server behind it claims to have. Asked for once.
    async fn capabilities(&self) -> Result<Capabilities, ControlError>;

    /// Changes what `group` is served, in one step: a client must never be able to see half of it. Returns when the
    /// server has taken it over (it need not have sent it).
    async fn apply(&self, group: &str, change: Change) -> Result<(), ControlError>;

    /// Forgets the group: its resources, conditions and state. The group's streams, if any, stay.
    async fn clear(&self, group: &str) -> Result<(), ControlError>;

    /// How many xDS streams of the group's node the server holds now. Needed by [`Feature::StreamCount`].
    async fn streams(&self, group: &str) -> Result<usize, ControlError> {
        let _ = group;
        Err(ControlError::Unsupported { what: "the count of streams" })
    }

    /// Restarts the server at the same address with the same resources (told again if need be); all streams end.
    /// Needed by [`Feature::Restart`].
    async fn restart(&self) -> Result<(), ControlError> {
        Err(ControlError::Unsupported { what: "a restart" })
    }

    /// The server ends without a word as soon as a client asks for this: how the fallback of gRPC clients is tested.
    async fn stop_on_request(&self, key: ResourceKey) -> Result<(), ControlError> {
        let _ = key;
        Err(ControlError::Unsupported { what: "a stop on request" })
    }
}

/// A change of what a group is served. Applied in one step: removals, then resources, then conditions.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Change {
    /// Resources added or replaced, by type and name.
    pub put: Vec<RawResource>,
    /// Resources that are gone. Removing what isn't there is fine.
    pub remove: Vec<ResourceKey>,
    /// Conditions set or lifted ([`Feature::Conditions`]).
    pub conditions: Vec<Condition>,
    /// Is the server to know the group's world? `Some(false)`: as if no back end had told anything yet since start
    /// ([`Feature::Unsynced`]); `Some(true)`: synced again. A group is synced unless told otherwise.
    pub synced: Option<bool>,
}

/// The identity of a resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResourceKey {
    /// The full type URL, `type.googleapis.com/…`.
    pub type_url: String,
    /// The name, as it stands in subscriptions.
    pub name: String,
}

/// A resource as it is to be served, byte for byte.
#[derive(Clone, PartialEq, Debug)]
pub struct RawResource {
    /// The name, as it stands in subscriptions.
    pub name: String,
    /// The resource.
    pub body: Any,
    /// The version to serve it with; the server makes one from the content if there is none
    /// ([`Feature::Versions`]; else it is left out).
    pub version: Option<String>,
    /// How long clients may keep it without hearing of it again ([`Feature::Ttl`]).
    pub ttl: Option<Duration>,
    /// Other names that subscriptions may use ([`Feature::Aliases`]).
    pub aliases: Vec<String>,
    /// Is it a member of the wildcard set? `false`: only those that name it get it ([`Feature::OnDemand`]).
    pub wildcard: bool,
}

impl RawResource {
    /// A resource with nothing but a name and a body.
    pub fn new(name: impl Into<String>, body: Any) -> Self {
        Self { name: name.into(), body, version: None, ttl: None, aliases: Vec::new(), wildcard: true }
    }

    /// Its identity.
    pub fn key(&self) -> ResourceKey {
        ResourceKey { type_url: self.body.type_url.clone(), name: self.name.clone() }
    }
}

/// Why a subscribed name has no resource: something other than "it does not exist".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// The name concerned.
    pub key: ResourceKey,
    /// Which condition; `None` lifts it.
    pub state: Option<ConditionState>,
}

/// What stands between a client and a resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConditionState {
    /// The client may not have it: xRFC TP3 `PERMISSION_DENIED`.
    Denied,
    /// Its back end can't be asked now: `UNAVAILABLE`; nothing that a client holds may be taken away.
    Unavailable,
}

/// What a control protocol and the server behind it can do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// Can it tell groups apart? If not, cases run one after the other.
    pub groups: bool,
    /// What else it can do. A case that needs more is not applicable.
    pub features: BTreeSet<Feature>,
}

/// Something a case may need that not every server, or control protocol, has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Feature {
    /// State of the world.
    Sotw,
    /// Delta.
    Delta,
    /// The aggregated service.
    Ads,
    /// One service for each type.
    Separate,
    /// The server makes versions from contents, the same on every replica and after a restart.
    ContentVersions,
    /// Versions can be told.
    Versions,
    /// Resources with a time to live.
    Ttl,
    /// Aliases of resources.
    Aliases,
    /// Resources outside the wildcard set.
    OnDemand,
    /// Conditions can be told (control), and are answered as xRFC TP3 says (server).
    Conditions,
    /// The server tells xRFC TP3 `resource_errors` for names that don't exist.
    ResourceErrors,
    /// The control protocol can take the world away (`synced`).
    Unsynced,
    /// `xdstp:` names are compared after normalisation.
    Xdstp,
    /// `xdstp:` glob collections.
    Globs,
    /// `xdstp:` list collections.
    ListCollections,
    /// xRFC TP2 dynamic parameters.
    DynamicParameters,
    /// Virtual hosts (VHDS, delta only).
    Vhds,
    /// Scoped routes.
    Srds,
    /// Extension configurations.
    Ecds,
    /// Secrets.
    Sds,
    /// Runtime layers.
    Rtds,
    /// Responses above 4 MiB are split where the protocol allows it.
    Split,
    /// The count of streams can be asked for.
    StreamCount,
    /// Requests are limited in rate.
    RateLimit,
    /// The server can be restarted.
    Restart,
    /// A second server, told the same, runs as a replica.
    Replica,
    /// The status of clients can be asked for (CSDS).
    Csds,
    /// Load reports are taken (LRS).
    Lrs,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::Sotw,
        Self::Delta,
        Self::Ads,
        Self::Separate,
        Self::ContentVersions,
        Self::Versions,
        Self::Ttl,
        Self::Aliases,
        Self::OnDemand,
        Self::Conditions,
        Self::ResourceErrors,
        Self::Unsynced,
        Self::Xdstp,
        Self::Globs,
        Self::ListCollections,
        Self::DynamicParameters,
        Self::Vhds,
        Self::Srds,
        Self::Ecds,
        Self::Sds,
        Self::Rtds,
        Self::Split,
        Self::StreamCount,
        Self::RateLimit,
        Self::Restart,
        Self::Replica,
        Self::Csds,
        Self::Lrs,
    ];

    /// The name used on the command line, in reports and in control protocols.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sotw => "sotw",
            Self::Delta => "delta",
            Self::Ads => "ads",
            Self::Separate => "separate",
            Self::ContentVersions => "content-versions",
            Self::Versions => "versions",
            Self::Ttl => "ttl",
            Self::Aliases => "aliases",
            Self::OnDemand => "on-demand",
            Self::Conditions => "conditions",
            Self::ResourceErrors => "resource-errors",
            Self::Unsynced => "unsynced",
            Self::Xdstp => "xdstp",
            Self::Globs => "globs",
            Self::ListCollections => "list-collections",
            Self::DynamicParameters => "dynamic-parameters",
            Self::Vhds => "vhds",
            Self::Srds => "srds",
            Self::Ecds => "ecds",
            Self::Sds => "sds",
            Self::Rtds => "rtds",
            Self::Split => "split",
            Self::StreamCount => "stream-count",
            Self::RateLimit => "rate-limit",
            Self::Restart => "restart",
            Self::Replica => "replica",
            Self::Csds => "csds",
            Self::Lrs => "lrs",
        }
    }
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Feature {
    type Err = UnknownFeature;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|f| f.name() == text).ok_or_else(|| UnknownFeature(text.to_owned()))
    }
}

/// No feature has this name.
#[derive(Debug, thiserror::Error)]
#[error("no feature is called {0:?}")]
pub struct UnknownFeature(pub String);

/// Why a server could not be told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The control protocol has no words for it.
    #[error("this control protocol can't express {what}")]
    Unsupported {
        /// What.
        what: &'static str,
    },
    /// The control port can't be reached, or the call broke.
    #[error("calling the control port {at}")]
    Call {
        /// Its address.
        at: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server refused what it was told.
    #[error("the server refused the change: {reason}")]
    Refused {
        /// In its words.
        reason: String,
    },
}
