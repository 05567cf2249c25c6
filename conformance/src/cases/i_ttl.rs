//! I: times to live, and the wrapper that carries them in state of the world.

use std::time::{Duration, Instant};

use lateen_xds::ResourceType::{Cluster, Endpoints, Listener, RouteConfiguration};

use super::{case, holds};
use crate::{
    case::{Case, Variant},
    clauses,
    context::{Context, Failure, Outcome},
    control::{Feature, RawResource},
    message::Response,
    require,
    stream::Stream,
};

const NEEDS: &[Feature] = &[Feature::Ttl];
/// Long enough for a busy machine, short enough for a test.
const TTL: Duration = Duration::from_secs(6);

pub(super) const CASES: &[Case] = &[
    case!("I1", "only clients that can read the wrapper get it", clauses::SOTW_TTL, i1)
        .extension()
        .variants(&Variant::SOTW)
        .needs(NEEDS)
        .limit(Duration::from_secs(40))
        .tags(&["ttl"]),
    case!("I2", "while the server lives no time to live runs out", clauses::TTL, i2)
        .extension()
        .needs(NEEDS)
        .limit(Duration::from_secs(40))
        .tags(&["ttl"]),
    case!("I3", "a heartbeat has no body and the version that was sent", clauses::TTL, i3)
        .extension()
        .variants(&Variant::DELTA)
        .needs(NEEDS)
        .limit(Duration::from_secs(40))
        .tags(&["ttl"]),
    case!("I4", "endpoints and routes are kept alive in state of the world", clauses::SOTW_TTL, i4)
        .extension()
        .variants(&Variant::SOTW)
        .kinds(&[Endpoints, RouteConfiguration])
        .needs(NEEDS)
        .limit(Duration::from_secs(40))
        .tags(&["ttl"]),
    case!("I5", "no heartbeat without a body for listeners and clusters", clauses::SOTW_TTL, i5)
        .extension()
        .variants(&Variant::SOTW)
        .kinds(&[Cluster, Listener])
        .needs(NEEDS)
        .limit(Duration::from_secs(40))
        .tags(&["ttl"]),
    case!("I6", "a time to live that is taken away is told, and heartbeats end", clauses::TTL, i6)
        .extension()
        .needs(NEEDS)
        .limit(Duration::from_secs(40))
        .tags(&["ttl"]),
];

fn with_ttl(context: &Context, name: &str, number: u32) -> RawResource {
    RawResource { ttl: Some(TTL), ..RawResource::new(name, context.body(name, number)) }
}

async fn open_capable(context: &Context) -> Outcome<Stream> {
    let mut stream = context.open().await?;
    if let Some(node) = &mut stream.node {
        for feature in [
            "xds.config.supports-resource-ttl",
            "xds.config.supports-resource-in-sotw",
            "xds.config.resource-in-sotw",
        ] {
            node.client_features.push(feature.to_owned());
        }
    }
    Ok(stream)
}

/// Serves a resource with a time to live to a capable client.
async fn served(context: &Context) -> Outcome<(Stream, Response)> {
    let (kind, a) = (context.kind, context.name("a"));
    context.change().put_raw(with_ttl(context, &a, 1)).apply().await?;
    let mut stream = open_capable(context).await?;
    stream.subscribe(kind, &[&a]).await?;
    let response = stream.next_acked(kind).await?;
    let told = response.get(&a).and_then(|r| r.ttl_ms);
    require!(
        told == Some(u64::try_from(TTL.as_millis()).unwrap_or_default()),
        "the time to live told is {told:?} ms"
    );
    Ok((stream, response))
}

/// The next word about a resource.
async fn word(context: &Context, stream: &mut Stream, name: &str, within: Duration) -> Outcome<Response> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(response) = stream.next_within(context.kind, left).await? else {
            return Err(Failure::Broken(format!("no heartbeat for {name} within {} ms", within.as_millis())));
        };
        stream.ack(context.kind, &response).await?;
        if response.get(name).is_some() {
            return Ok(response);
        }
    }
}

async fn i1(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    served(&context).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let response = stream.next_acked(kind).await?;
    let resource = response.get(&a);
    require!(resource.is_some_and(|r| !r.wrapped), "a client that can't read the wrapper got it, or nothing");
    Ok(())
}

async fn i2(context: Context) -> Outcome {
    let a = context.name("a");
    let (mut stream, mut last) = served(&context).await?;
    for _ in 0..2 {
        let next = word(&context, &mut stream, &a, TTL + context.patience.within).await?;
        let gap = next.at - last.at;
        require!(gap < TTL, "the time to live ran out: {} ms between two words", gap.as_millis());
        last = next;
    }
    Ok(())
}

async fn i3(context: Context) -> Outcome {
    let a = context.name("a");
    let (mut stream, first) = served(&context).await?;
    let beat = word(&context, &mut stream, &a, TTL).await?;
    let (first, beat) = (first.get(&a), beat.get(&a));
    require!(beat.is_some_and(|b| b.body.is_none()), "the heartbeat has a body");
    require!(beat.map(|b| &b.version) == first.map(|f| &f.version), "the heartbeat has another version");
    require!(beat.and_then(|b| b.ttl_ms).is_some(), "the heartbeat has no time to live");
    Ok(())
}

async fn i4(context: Context) -> Outcome {
    let a = context.name("a");
    let (mut stream, _) = served(&context).await?;
    let beat = word(&context, &mut stream, &a, TTL).await?;
    let beat = beat.get(&a);
    require!(beat.and_then(|b| b.ttl_ms).is_some(), "the heartbeat has no time to live");
    context.note(if beat.is_some_and(|b| b.body.is_none()) { "without body" } else { "with body" });
    Ok(())
}

async fn i5(context: Context) -> Outcome {
    let a = context.name("a");
    let (mut stream, _) = served(&context).await?;
    for _ in 0..2 {
        let beat = word(&context, &mut stream, &a, TTL).await?;
        // Envoy 1.40 deletes a cluster or listener whose heartbeat has no body.
        require!(beat.resources.iter().all(|r| r.body.is_some()), "a heartbeat without a body");
    }
    Ok(())
}

async fn i6(context: Context) -> Outcome {
    let a = context.name("a");
    let (mut stream, _) = served(&context).await?;
    word(&context, &mut stream, &a, TTL).await?;
    context.change().put_raw(RawResource { ttl: None, ..with_ttl(&context, &a, 1) }).apply().await?;
    let deadline = Instant::now() + context.patience.within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let response = word(&context, &mut stream, &a, left).await?;
        if response.get(&a).is_some_and(|r| r.ttl_ms.is_none()) {
            break;
        }
    }
    let more = stream.next_within(context.kind, TTL).await?;
    require!(more.is_none(), "heartbeats go on after the time to live was taken away");
    context.put(&a, 2).await?;
    holds(&context, &mut stream, &[&a], 2).await
}
