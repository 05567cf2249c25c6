//! What the client does with what it was sent, as far as its admin port tells.

use std::time::Duration;

use lateen_xds::ResourceType::{Cluster, Endpoints, Listener};

use super::{case, eds, endpoints, plain};
use crate::{case::Case, clauses, client::script::Script, context::Outcome, require};

const ACTIVE: &str = "cluster_manager.active_clusters";
const WARMING: &str = "cluster_manager.warming_clusters";
/// The bootstrap's own cluster is active too.
const OWN: u64 = 1;

pub(super) const CASES: &[Case] = &[
    case!("S1", "a cluster is used only once its endpoints have come", clauses::WARMING, warming)
        .tags(&["applied"]),
    case!(
        "S2",
        "endpoints that never come hold a cluster only until the fetch times out",
        clauses::MISSING,
        timeout
    )
    .tags(&["applied"]),
    case!("S3", "a removed cluster is given up", clauses::DELETING, removed).tags(&["applied"]),
    case!("S4", "what is held stays while there is no server", clauses::OVERVIEW, disconnected)
        .tags(&["applied"]),
    case!("S5", "a resource whose time has run out is given up", clauses::TTL, expiry)
        .extension()
        .tags(&["applied"]),
    case!("S6", "a refused response leaves what was held", clauses::NACK, refused).tags(&["applied", "nack"]),
];

/// The start is over: what changes now warms beside what there is.
async fn started(script: &mut Script) -> Outcome {
    script.asked(Cluster).await?;
    script.accepted(Cluster, "1", &[plain("a", 1)]).await?;
    script.asked(Listener).await?;
    script.accepted(Listener, "1", &[]).await?;
    script.stat(ACTIVE, |n| n == OWN + 1, "the cluster is active").await
}

async fn warming(mut script: Script) -> Outcome {
    started(&mut script).await?;
    let cluster = eds(script.variant, "b", |_| {});
    script.send(Cluster, "2", &[plain("a", 1), cluster]).await?;
    script.asked(Endpoints).await?;
    script.stat(WARMING, |n| n == 1, "the cluster is warming").await?;
    script.stat(ACTIVE, |n| n == OWN + 1, "it is not active before its endpoints").await?;
    script.accepted(Endpoints, "1", &[endpoints("b")]).await?;
    script.stat(WARMING, |n| n == 0, "the cluster is warm").await?;
    script.stat(ACTIVE, |n| n == OWN + 2, "it is active after its endpoints").await
}

async fn timeout(mut script: Script) -> Outcome {
    started(&mut script).await?;
    let cluster = eds(script.variant, "b", |source| {
        source.initial_fetch_timeout =
            Some(lateen_proto::google::protobuf::Duration { seconds: 1, nanos: 0 });
    });
    script.send(Cluster, "2", &[plain("a", 1), cluster]).await?;
    script.asked(Endpoints).await?;
    script.stat(ACTIVE, |n| n == OWN + 2, "the cluster is active without endpoints").await
}

async fn removed(mut script: Script) -> Outcome {
    started(&mut script).await?;
    let nonce = script.send_with(Cluster, "2", &[], &["a"]).await?;
    script.ack(Cluster, &nonce).await?;
    script.stat(ACTIVE, |n| n == OWN, "the removed cluster is gone").await
}

async fn disconnected(mut script: Script) -> Outcome {
    started(&mut script).await?;
    let before = script.connections.len();
    script.refuse().await?;
    script.during(Duration::from_secs(2)).await?;
    require!(script.connections.len() > before, "the client has not tried to connect again");
    script.stat(ACTIVE, |n| n == OWN + 1, "the cluster stays without a server").await
}

async fn expiry(mut script: Script) -> Outcome {
    started(&mut script).await?;
    let mut short = plain("b", 1);
    short.ttl = Some(Duration::from_secs(1));
    let both = if script.variant.is_delta() { vec![short] } else { vec![plain("a", 1), short] };
    script.accepted(Cluster, "2", &both).await?;
    script.stat(ACTIVE, |n| n == OWN + 2, "the cluster is active").await?;
    script.stat(ACTIVE, |n| n == OWN + 1, "it is gone when its time has run out").await
}

async fn refused(mut script: Script) -> Outcome {
    started(&mut script).await?;
    let nonce = script.send(Cluster, "2", &[super::unreadable("a")]).await?;
    script.nack(Cluster, &nonce).await?;
    script.stat(ACTIVE, |n| n == OWN + 1, "the cluster that was accepted stays").await
}
