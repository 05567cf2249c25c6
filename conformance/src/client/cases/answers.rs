//! How responses are answered: versions, nonces, acknowledgements and refusals.

use std::time::Duration;

use lateen_xds::ResourceType::{self, Cluster};

use super::{case, plain, unreadable};
use crate::{
    case::{Case, Variant},
    clauses,
    client::script::{Script, Sent},
    content,
    context::Outcome,
    require,
};

pub(super) const CASES: &[Case] = &[
    case!("P1", "an ACK has the response's nonce and version, and no error", clauses::ACK, ack)
        .tags(&["ack"]),
    case!("P2", "each further ACK has the further response's nonce and version", clauses::ACK, acks)
        .tags(&["ack"]),
    case!("P3", "an ACK is sent once: nothing follows it", clauses::SUMMARY, ack_once).tags(&["ack"]),
    case!(
        "P4",
        "a refused first response: error_detail, its nonce, an empty version",
        clauses::NACK,
        nack_first
    )
    .tags(&["nack"]),
    case!(
        "P5",
        "a refused response: error_detail, its nonce, the version accepted before",
        clauses::NACK,
        nack
    )
    .tags(&["nack"]),
    case!("P6", "error_detail has a code other than OK and a text", clauses::NACK, nack_text)
        .should()
        .tags(&["nack"]),
    case!("P7", "a NACK is sent once: nothing follows it", clauses::SUMMARY, nack_once).tags(&["nack"]),
    case!("P8", "after a NACK, a good response is acknowledged", clauses::NACK, recovers).tags(&["nack"]),
    case!("P9", "a resource of another type than the response's is refused", clauses::NACK, wrong_type)
        .tags(&["nack"]),
    case!("P10", "a name twice in one response is refused", clauses::DUPLICATES, duplicates).tags(&["nack"]),
    case!("P11", "responses in flight together are each answered, in their order", clauses::ACK, in_flight)
        .tags(&["ack"]),
    case!(
        "P12",
        "a removal of a name that the client does not hold is acknowledged",
        clauses::DELETING,
        unknown_removal
    )
    .variants(&Variant::DELTA),
];

fn version(script: &Script, version: &str) -> String {
    // A delta request has no version. <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds>
    if script.variant.is_delta() { String::new() } else { version.to_owned() }
}

async fn ack(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let ack = script.accepted(Cluster, "1", &[plain("a", 1)]).await?;
    require!(ack.version == version(&script, "1"), "the ACK has version {:?}", ack.version);
    script.own_nonces_only()
}

async fn acks(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    for number in 1..=3 {
        let told = number.to_string();
        let ack = script.accepted(Cluster, &told, &[plain("a", number)]).await?;
        require!(ack.version == version(&script, &told), "ACK {number} has version {:?}", ack.version);
    }
    script.own_nonces_only()
}

async fn ack_once(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    script.accepted(Cluster, "1", &[plain("a", 1)]).await?;
    script.quiet(Cluster, "all was acknowledged").await
}

async fn nack_first(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let nonce = script.send(Cluster, "1", &[unreadable("a")]).await?;
    let nack = script.nack(Cluster, &nonce).await?;
    require!(nack.version.is_empty(), "nothing was accepted, and the NACK has version {:?}", nack.version);
    Ok(())
}

async fn nack(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    script.accepted(Cluster, "1", &[plain("a", 1)]).await?;
    let nonce = script.send(Cluster, "2", &[unreadable("a")]).await?;
    let nack = script.nack(Cluster, &nonce).await?;
    require!(
        nack.version == version(&script, "1"),
        "1 was accepted; the NACK has version {:?}",
        nack.version
    );
    script.own_nonces_only()
}

async fn nack_text(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let nonce = script.send(Cluster, "1", &[unreadable("a")]).await?;
    let error = script.nack(Cluster, &nonce).await?.error;
    require!(
        error.as_ref().is_some_and(|(code, text)| *code != 0 && !text.is_empty()),
        "error_detail says {error:?}"
    );
    Ok(())
}

async fn nack_once(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let nonce = script.send(Cluster, "1", &[unreadable("a")]).await?;
    script.nack(Cluster, &nonce).await?;
    script.quiet(Cluster, "the response was refused already").await
}

async fn recovers(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let nonce = script.send(Cluster, "1", &[unreadable("a")]).await?;
    script.nack(Cluster, &nonce).await?;
    let ack = script.accepted(Cluster, "2", &[plain("a", 1)]).await?;
    require!(ack.version == version(&script, "2"), "the ACK has version {:?}", ack.version);
    Ok(())
}

async fn wrong_type(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let other = Sent::new("a", content::body(ResourceType::Runtime, "a", 1));
    let nonce = script.send(Cluster, "1", &[other]).await?;
    script.nack(Cluster, &nonce).await.map(drop)
}

async fn duplicates(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let nonce = script.send(Cluster, "1", &[plain("a", 1), plain("a", 2)]).await?;
    script.nack(Cluster, &nonce).await.map(drop)
}

async fn in_flight(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let mut nonces = Vec::new();
    for number in 1..=4 {
        nonces.push(script.send(Cluster, &number.to_string(), &[plain("a", number)]).await?);
    }
    for (nonce, number) in nonces.iter().zip(1..) {
        let ack = script.ack(Cluster, nonce).await?;
        let told = version(&script, &format!("{number}"));
        require!(ack.version == told, "the ACK of {number} has version {:?}", ack.version);
    }
    Ok(())
}

async fn unknown_removal(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    script.accepted(Cluster, "1", &[plain("a", 1)]).await?;
    let nonce = script.send_with(Cluster, "2", &[], &["never-there"]).await?;
    script.ack(Cluster, &nonce).await?;
    script.during(Duration::ZERO).await.map(drop)
}
