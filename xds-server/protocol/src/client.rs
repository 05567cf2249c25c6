//! What is fixed for a stream when it is opened: its codec, its limits, what its client can do.

use std::sync::Arc;

use crate::ResourceType;

/// The codec of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Variant {
    /// State of the world: `DiscoveryRequest`, `DiscoveryResponse`.
    Sotw,
    /// Incremental: `DeltaDiscoveryRequest`, `DeltaDiscoveryResponse`.
    Delta,
}

/// The kinds of clients that are given different resources and different courtesies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ClientProfile {
    /// Stock Envoy.
    Envoy,
    /// A gRPC library (`xds:///`).
    Grpc,
    /// Our own proxy.
    Lateen,
    /// Anything else: it is taken to know the specification.
    Other,
}

impl ClientProfile {
    /// By `user_agent_name`: Envoy 1.40 sends no `client_features` at all, so they can't decide it.
    pub fn of_user_agent(name: &str) -> Self {
        if name.starts_with("gRPC") || name.starts_with("grpc") || name.starts_with("tonic") {
            Self::Grpc
        } else if name.starts_with("lateen") {
            Self::Lateen
        } else if name.is_empty() || name.contains("envoy") {
            Self::Envoy
        } else {
            Self::Other
        }
    }

    /// Is it told about missing resources in `resource_errors`? Envoy 1.40 ignores them.
    /// <https://github.com/cncf/xds/blob/main/proposals/TP3-xds-error-propagation.md>
    pub const fn reads_resource_errors(self) -> bool {
        match self {
            Self::Grpc | Self::Lateen | Self::Other => true,
            Self::Envoy => false,
        }
    }
}

/// Bounds of one stream. A client that exceeds one is refused with a text that names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Names a client may subscribe to or claim to hold, over all types.
    pub names_max: usize,
    /// Length of one name in bytes.
    pub name_bytes_max: usize,
    /// Above this a response is split where the protocol allows it; gRPC clients receive 4 MiB at most.
    pub response_bytes: usize,
    /// Unanswered responses of one type, after which the next waits for an answer or [`Limits::flight_ms`].
    pub flight_max: usize,
    /// Unanswered bytes of one type, after which likewise.
    pub flight_bytes: usize,
    /// How long an unanswered response holds back the next: Envoy withholds the ACK of a cluster that warms for
    /// up to 15 s.
    pub flight_ms: u64,
    /// Unanswered responses of one type, after which nothing more is sent until an answer.
    pub flight_hard_max: usize,
    /// How long listeners and routes wait for the ACK of a cluster that they name.
    pub gate_ms: u64,
    /// How long removals wait for the routes of a client that has reconnected.
    pub reconnect_ms: u64,
    /// What is kept of a client's error message, in bytes.
    pub message_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names_max: 100_000,
            name_bytes_max: 2_048,
            response_bytes: 3 << 20,
            flight_max: 4,
            flight_bytes: 256 << 10,
            flight_ms: 15_000,
            flight_hard_max: 8,
            gate_ms: 5_000,
            reconnect_ms: 15_000,
            message_bytes_max: 2_048,
        }
    }
}

/// How a stream is opened.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The codec.
    pub variant: Variant,
    /// The type of a separate stream; none for ADS.
    pub only: Option<ResourceType>,
    /// Bounds.
    pub limits: Limits,
    /// What kind of client it is.
    pub profile: ClientProfile,
    /// Part of every nonce, so that a nonce of another stream is never taken for one of this.
    pub stream: u64,
    /// `control_plane.identifier` of every response.
    pub identifier: Arc<str>,
}
