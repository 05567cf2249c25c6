//! Deliberate faults, one at a time, so that the conformance suite can be shown to find each of them.
//!
//! They exist in builds with the feature `faults` only; without it [`active`] is `false` at compile time. A fault is
//! switched on for a thread, which is a server: its core has a thread of its own.

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $fault:ident = $name:literal,)+) => {
        /// A deliberate fault.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Fault {
            $($(#[doc = $doc])+ $fault,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault,)+];

            /// The name used on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)+
                }
            }

            /// What is wrong with a server that has it.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$fault => concat!($($doc),+),)+
                }
            }
        }
    };
}

faults! {
    /// Takes a NACK for an ACK: `error_detail` is not looked at.
    IgnoreErrorDetail = "ignore-error-detail",
    /// Takes an empty list for a wildcard, even after names were given.
    EmptyIsWildcard = "empty-is-wildcard",
    /// Takes `*` for a name.
    StarIsAName = "star-is-a-name",
    /// Takes an empty first list for nothing.
    NoLegacyWildcard = "no-legacy-wildcard",
    /// Ignores the subscription in a NACK.
    DropSubscriptionInNack = "drop-subscription-in-nack",
    /// Ignores the subscription in an ACK.
    DropSubscriptionInAck = "drop-subscription-in-ack",
    /// Ignores the subscription in a delta request with a stale nonce.
    DropSubscriptionWhenStale = "drop-subscription-when-stale",
    /// Sends endpoints only after the clusters were acknowledged.
    EndpointsWaitForAck = "endpoints-wait-for-ack",
    /// Uses one nonce for all responses of a stream.
    ReuseNonce = "reuse-nonce",
    /// Removes a cluster before the route that left it was acknowledged.
    RemoveClusterEarly = "remove-cluster-early",
    /// Has the first resource of a response in it twice.
    DuplicateResource = "duplicate-resource",
    /// Never changes `version_info`.
    ConstantVersion = "constant-version",
    /// Changes `version_info` with every response, whatever it holds.
    CountingVersion = "counting-version",
    /// Ends the stream when a type is not served.
    UnknownTypeEndsStream = "unknown-type-ends-stream",
    /// Sends what was rejected again at once.
    ResendAfterNack = "resend-after-nack",
    /// Does not read `initial_resource_versions`.
    IgnoreInitialVersions = "ignore-initial-versions",
    /// Takes the names in `initial_resource_versions` for subscriptions.
    InitialVersionsSubscribe = "initial-versions-subscribe",
    /// Says nothing about a name that does not exist.
    SilentAboutUnknown = "silent-about-unknown",
    /// Forgets a subscribed name that does not exist.
    ForgetUnknown = "forget-unknown",
    /// Does not answer a subscription to what the client was sent before.
    NoAnswerToResubscribe = "no-answer-to-resubscribe",
    /// Does not send endpoints again behind a cluster that changed.
    NoEndpointsBehindCluster = "no-endpoints-behind-cluster",
    /// Leaves the last removal of a complete set unsaid.
    NoEmptySet = "no-empty-set",
    /// Sends only what changed, where a response must be complete.
    PartialSet = "partial-set",
    /// Refuses a request without a node that is not the first.
    NodeOnEveryRequest = "node-on-every-request",
    /// Takes a stream for another node's when a later request says so.
    LaterNodeCounts = "later-node-counts",
    /// Accepts a stream that does not say who it is.
    NoNodeNeeded = "no-node-needed",
    /// Takes an empty type on an aggregated stream for clusters.
    EmptyTypeIsCluster = "empty-type-is-cluster",
    /// Wants the type named on a stream of its own.
    TypeNotImplied = "type-not-implied",
    /// Ends the stream when it does not know a nonce.
    UnknownNonceEndsStream = "unknown-nonce-ends-stream",
    /// Answers a state-of-the-world request with a stale nonce.
    AnswerStale = "answer-stale",
    /// Never says that something is gone (delta).
    NoRemovals = "no-removals",
    /// Sends everything when one resource changed (delta).
    EverythingOnChange = "everything-on-change",
    /// Ends a legacy wildcard when a name is added.
    NameEndsWildcard = "name-ends-wildcard",
    /// Makes the removal of the last name a wildcard.
    LastNameIsWildcard = "last-name-is-wildcard",
    /// Drops the names together with the wildcard.
    StarTakesNames = "star-takes-names",
    /// Says nothing when a name is unsubscribed under a wildcard.
    SilentUnsubscribe = "silent-unsubscribe",
    /// Goes on sending names that the client no longer lists.
    KeepUnlisted = "keep-unlisted",
    /// Sends routes and listeners before their clusters were acknowledged.
    NoGates = "no-gates",
    /// Sends listeners first and clusters last.
    ReverseOrder = "reverse-order",
    /// Never repeats a resource that has a time to live.
    NoHeartbeat = "no-heartbeat",
    /// Repeats listeners and clusters without their bodies (state of the world).
    BodylessHeartbeat = "bodyless-heartbeat",
    /// Leaves times to live out.
    NoTtl = "no-ttl",
    /// Leaves resource errors out.
    NoResourceErrors = "no-resource-errors",
    /// Gives resources another type than their response.
    WrongResourceType = "wrong-resource-type",
    /// Never splits a response.
    NeverSplit = "never-split",
    /// Answers before it knows what there is.
    EmptyWorld = "empty-world",
    /// Does not answer a wildcard whose client has everything.
    NoAnswerWhenCurrent = "no-answer-when-current",
    /// Says nothing of a virtual host that does not exist.
    SilentAboutHost = "silent-about-host",
    /// Loses a change that comes while a response is unacknowledged.
    LoseUpdateInFlight = "lose-update-in-flight",
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

/// No fault has this name.
#[derive(Debug, thiserror::Error)]
#[error("no fault is called {0:?}")]
pub struct UnknownFault(pub String);

#[cfg(feature = "faults")]
mod switch {
    use std::sync::RwLock;

    use super::Fault;

    static ACTIVE: RwLock<Option<Fault>> = RwLock::new(None);

    /// Switches a fault on for this process, and any other off.
    pub fn activate(fault: Option<Fault>) {
        *ACTIVE.write().expect("invariant: nobody panics with it") = fault;
    }

    /// Is this fault switched on?
    pub fn active(fault: Fault) -> bool {
        *ACTIVE.read().expect("invariant: nobody panics with it") == Some(fault)
    }
}

#[cfg(feature = "faults")]
pub use switch::{activate, active};

/// Is this fault switched on? There are none in this build.
#[cfg(not(feature = "faults"))]
#[inline]
pub const fn active(fault: Fault) -> bool {
    let _ = fault;
    false
}
