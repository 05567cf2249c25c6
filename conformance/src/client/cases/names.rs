//! What the client asks for.

use lateen_xds::ResourceType::{Cluster, Endpoints, Listener};

use super::{case, eds, endpoints, plain};
use crate::{
    case::{Case, Variant},
    clauses,
    client::script::Script,
    context::Outcome,
    require,
};

pub(super) const CASES: &[Case] = &[
    case!("Q1", "the first request of each stream has the node", clauses::OVERVIEW, node).tags(&["node"]),
    case!(
        "Q2",
        "a first request has no version, no nonce, no error and no initial versions",
        clauses::OVERVIEW,
        first
    ),
    case!("Q3", "the first CDS request is a wildcard", clauses::NAMES, wildcard_cds).tags(&["names"]),
    case!("Q4", "the first LDS request is a wildcard", clauses::NAMES, wildcard_lds).tags(&["names"]),
    case!("Q5", "a cluster's endpoints are asked for by its name", clauses::WARMING, eds_asked)
        .tags(&["names"]),
    case!("Q6", "a second name: state of the world lists both, delta adds one", clauses::MANY, second_name)
        .variants(&Variant::ADS)
        .tags(&["names"]),
    case!(
        "Q7",
        "a removed cluster's endpoints are asked for no longer",
        clauses::UNSUBSCRIBING,
        unsubscribed
    )
    .variants(&Variant::ADS)
    .tags(&["names"]),
    case!("Q8", "an ACK repeats the names that are subscribed to", clauses::NAMES, ack_repeats)
        .variants(&Variant::SOTW)
        .tags(&["names"]),
    case!("Q9", "a NACK repeats the names that are subscribed to", clauses::NAMES, nack_repeats)
        .variants(&Variant::SOTW)
        .tags(&["names", "nack"]),
];

async fn node(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    script.accepted(Cluster, "1", &[plain("a", 1)]).await?;
    script.during(script.patience.quiet).await?;
    for request in &script.all {
        require!(!request.first || request.node.is_some(), "stream #{} began without a node", request.stream);
    }
    if script.all.iter().any(|r| !r.first && r.node.is_some()) {
        script.transcript.note("the node is sent again on a stream, as is allowed".to_owned());
    }
    Ok(())
}

async fn first(mut script: Script) -> Outcome {
    let request = script.asked(Cluster).await?;
    require!(request.version.is_empty(), "version {:?}", request.version);
    require!(request.nonce.is_empty(), "nonce {:?}", request.nonce);
    require!(request.error.is_none(), "error {:?}", request.error);
    require!(request.initial.is_empty(), "initial versions {:?}", request.initial);
    Ok(())
}

async fn wildcard_cds(mut script: Script) -> Outcome {
    let request = script.asked(Cluster).await?;
    require!(request.is_wildcard(), "names {:?}", request.names);
    Ok(())
}

async fn wildcard_lds(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    script.accepted(Cluster, "1", &[plain("a", 1)]).await?;
    let request = script.asked(Listener).await?;
    require!(request.is_wildcard(), "names {:?}", request.names);
    Ok(())
}

async fn eds_asked(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let cluster = eds(script.variant, "a", |_| {});
    script.send(Cluster, "1", &[cluster]).await?;
    let request = script.asked(Endpoints).await?;
    require!(request.names == ["a"], "names {:?}", request.names);
    script.accepted(Endpoints, "1", &[endpoints("a")]).await.map(drop)
}

/// One cluster and its endpoints are held, and the start of the client is over.
async fn one_warm(script: &mut Script) -> Outcome {
    script.asked(Cluster).await?;
    let cluster = eds(script.variant, "a", |_| {});
    let nonce = script.send(Cluster, "1", &[cluster]).await?;
    script.asked(Endpoints).await?;
    script.accepted(Endpoints, "1", &[endpoints("a")]).await?;
    script.ack(Cluster, &nonce).await.map(drop)
}

async fn second_name(mut script: Script) -> Outcome {
    one_warm(&mut script).await?;
    let clusters = [eds(script.variant, "a", |_| {}), eds(script.variant, "b", |_| {})];
    script.send(Cluster, "2", &clusters).await?;
    let request =
        script.expect(Endpoints, "a request that names b", |r| r.names.iter().any(|n| n == "b")).await?;
    if script.variant.is_delta() {
        require!(request.names == ["b"], "subscribes to {:?}", request.names);
        require!(request.unsubscribe.is_empty(), "unsubscribes from {:?}", request.unsubscribe);
    } else {
        let mut names = request.names.clone();
        names.sort();
        require!(names == ["a", "b"], "names {names:?}");
        require!(request.version == "1", "version {:?}", request.version);
    }
    script.own_nonces_only()
}

async fn unsubscribed(mut script: Script) -> Outcome {
    one_warm(&mut script).await?;
    // Another cluster stays: a state-of-the-world request without names would mean something else.
    let clusters = [eds(script.variant, "a", |_| {}), eds(script.variant, "b", |_| {})];
    script.send(Cluster, "2", &clusters).await?;
    script.expect(Endpoints, "a request that names b", |r| r.names.iter().any(|n| n == "b")).await?;
    script.accepted(Endpoints, "2", &[endpoints("a"), endpoints("b")]).await?;
    let left = if script.variant.is_delta() { Vec::new() } else { vec![eds(script.variant, "a", |_| {})] };
    script.send_with(Cluster, "3", &left, &["b"]).await?;
    let delta = script.variant.is_delta();
    script
        .expect(Endpoints, "a request without b", |r| {
            if delta { r.unsubscribe == ["b"] } else { r.names == ["a"] }
        })
        .await
        .map(drop)
}

async fn ack_repeats(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let cluster = eds(script.variant, "a", |_| {});
    script.send(Cluster, "1", &[cluster]).await?;
    script.asked(Endpoints).await?;
    let ack = script.accepted(Endpoints, "1", &[endpoints("a")]).await?;
    require!(ack.names == ["a"], "names {:?}", ack.names);
    Ok(())
}

async fn nack_repeats(mut script: Script) -> Outcome {
    script.asked(Cluster).await?;
    let cluster = eds(script.variant, "a", |_| {});
    script.send(Cluster, "1", &[cluster]).await?;
    script.asked(Endpoints).await?;
    let mut bad = super::unreadable("a");
    if let Some(body) = &mut bad.body {
        Endpoints.info().url.clone_into(&mut body.type_url);
    }
    let nonce = script.send(Endpoints, "1", &[bad]).await?;
    let nack = script.nack(Endpoints, &nonce).await?;
    require!(nack.names == ["a"], "names {:?}", nack.names);
    Ok(())
}
