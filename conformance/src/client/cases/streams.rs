//! What the client does when a stream ends.

use std::time::Duration;

use lateen_xds::ResourceType::Cluster;
use tonic::Status;

use super::{case, plain};
use crate::{
    case::Case,
    clauses,
    client::{script::Script, server::Stop},
    context::Outcome,
    require,
};

pub(super) const CASES: &[Case] = &[
    case!("R1", "a stream that ends with OK is opened again", clauses::OVERVIEW, ended).tags(&["reconnect"]),
    case!("R2", "a stream that ends with an error is opened again", clauses::OVERVIEW, failed)
        .tags(&["reconnect"]),
    case!("R3", "a connection that is lost is made again", clauses::OVERVIEW, lost).tags(&["reconnect"]),
    case!("R4", "a new stream begins with the node", clauses::OVERVIEW, node_again)
        .tags(&["reconnect", "node"]),
    case!("R5", "a new stream begins with the versions that are held", clauses::VERSION, versions)
        .tags(&["reconnect"]),
    case!("R6", "no nonce of an old stream is sent on a new one", clauses::ACK, nonces).tags(&["reconnect"]),
    case!("R7", "a server that refuses is not besieged, and is found again", clauses::OVERVIEW, backoff)
        .should()
        .tags(&["reconnect"]),
];

/// How many connections a client may try in the time for which it is refused.
const ATTEMPTS_MAX: usize = 20;
const REFUSED_FOR: Duration = Duration::from_secs(3);

async fn settled(script: &mut Script) -> Outcome {
    script.asked(Cluster).await?;
    script.accepted(Cluster, "7", &[plain("a", 1)]).await.map(drop)
}

async fn again(mut script: Script, how: Stop) -> Outcome {
    settled(&mut script).await?;
    script.stop(&how).await?;
    script.asked(Cluster).await?;
    script.accepted(Cluster, "8", &[plain("a", 2)]).await?;
    Ok(())
}

async fn ended(script: Script) -> Outcome {
    again(script, Stop::Status(Status::ok(""))).await
}

async fn failed(script: Script) -> Outcome {
    again(script, Stop::Status(Status::unavailable("the case says so"))).await
}

async fn lost(script: Script) -> Outcome {
    again(script, Stop::Connection).await
}

async fn node_again(mut script: Script) -> Outcome {
    settled(&mut script).await?;
    script.stop(&Stop::Connection).await?;
    script.asked(Cluster).await?;
    for request in script.all.iter().filter(|r| r.first) {
        require!(request.node.is_some(), "stream #{} began without a node", request.stream);
    }
    Ok(())
}

async fn versions(mut script: Script) -> Outcome {
    settled(&mut script).await?;
    script.stop(&Stop::Connection).await?;
    let request = script.asked(Cluster).await?;
    if script.variant.is_delta() {
        let held = request.initial.get("a").map(String::as_str);
        require!(held == Some("7"), "initial_resource_versions {:?}", request.initial);
    } else {
        require!(request.version == "7", "version {:?}", request.version);
    }
    Ok(())
}

async fn nonces(mut script: Script) -> Outcome {
    settled(&mut script).await?;
    script.stop(&Stop::Connection).await?;
    let request = script.asked(Cluster).await?;
    require!(request.nonce.is_empty(), "the first request of the new stream has nonce {:?}", request.nonce);
    script.accepted(Cluster, "8", &[plain("a", 2)]).await?;
    script.own_nonces_only()
}

async fn backoff(mut script: Script) -> Outcome {
    settled(&mut script).await?;
    let before = script.connections.len();
    script.refuse().await?;
    script.during(REFUSED_FOR).await?;
    let tried = script.connections.len() - before;
    script.transcript.note(format!("{tried} connections tried in {} ms of refusal", REFUSED_FOR.as_millis()));
    require!(tried <= ATTEMPTS_MAX, "{tried} connections tried, more than {ATTEMPTS_MAX}");
    script.admit();
    script.asked(Cluster).await.map(drop)
}
