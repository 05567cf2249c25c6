//! Filter plans: what stands between a connection and where it goes, as typed messages until the very end.
//!
//! A [`Site`] says for whom a plan is: direction, dialect, the policies of the workload. It makes [`Network`]
//! filters (a connection manager, a TCP proxy), [`Chain`]s hold them, a [`Listener`] holds chains, and
//! [`Listener::finish`] encodes all of it, once. Filters are put in order by their [`Phase`] there and nowhere else,
//! so that whoever adds one (authentication, authorization, limits, telemetry, extensions) names a phase and no
//! position, and whoever patches a plan does it before it is bytes.
//!
//! HTTP policies are not in the plan itself: it has [`Slot`]s, whose content is a resource of its own (ECDS). A
//! policy that comes, changes or goes is one small resource; the listener stays as it is, nothing is drained, and the
//! next request of an open connection meets the new policy.

mod access_log;
mod http;
mod listener;
mod network;
mod slot;

use lateen_config::istio::MeshConfig;

use crate::translate::ClientProfile;

pub(crate) use http::{Http, rds};
pub(crate) use listener::{Chain, Inspector, Listener, SNIFFED, api_listener};
pub(crate) use network::Network;
pub(crate) use slot::Slot;

/// Which way connections go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Direction {
    /// From other workloads to the one beside the proxy.
    Inbound,
    /// From the workload beside the proxy.
    Outbound,
    /// Through a gateway.
    Gateway,
}

/// Where a filter stands in its list; the order of the variants is the order of the filters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// Who is it?
    Authentication,
    /// May they?
    Authorization,
    /// Counts.
    Statistics,
    /// What routes ask for: faults, cross-origin requests.
    Route,
    /// Sends it on.
    Terminal,
}

/// What is decided about the connections of a workload in listeners themselves, because a connection that is refused
/// has no request that a [`Slot`] could look at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ConnectionPolicy {
    /// Do connections end that carry anything but HTTP?
    pub refuses_streams: bool,
}

/// For whom a plan is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// The mesh's settings.
    pub mesh: &'a MeshConfig,
    /// Which way.
    pub direction: Direction,
    /// Dialect of the node.
    pub profile: ClientProfile,
    /// What holds for the workload's connections.
    pub policy: ConnectionPolicy,
}

impl<'a> Site<'a> {
    /// The outbound side of a node: no policy of ours holds for what a workload asks of others.
    pub(crate) fn outbound(mesh: &'a MeshConfig, profile: ClientProfile) -> Self {
        Self { mesh, direction: Direction::Outbound, profile, policy: ConnectionPolicy::default() }
    }
}
