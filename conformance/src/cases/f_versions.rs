//! F: versions in delta, and reconnecting.

use std::time::{Duration, Instant};

use lateen_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::{case, fence, holds, settled, updates};
use crate::{
    case::{Case, NAMED, TYPES, Variant, WILD},
    clauses,
    context::{Context, Outcome, READ_AHEAD},
    control::Feature,
    require,
};

/// How long the removal of what vanished while a client was away may take.
const SLOW_REMOVAL: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] = &[
    case!("F1", "only what changed is sent", clauses::GROUPING, f1).variants(&Variant::DELTA).kinds(&TYPES),
    case!("F2", "what is gone is in removed_resources", clauses::DELETING, f2)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["delete"]),
    case!("F3", "removed and added again before the client looks: the client has it", clauses::DELETING, f3)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["delete"]),
    case!(
        "F4",
        "what the client still has is not sent again, and the wildcard is answered",
        clauses::DELTA_REQUEST,
        f4
    )
    .variants(&Variant::DELTA)
    .kinds(&WILD)
    .tags(&["reconnect"]),
    case!("F5", "what changed since is sent", clauses::DELTA_REQUEST, f5)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["reconnect"]),
    case!("F6", "what vanished since is removed", clauses::DELTA_REQUEST, f6)
        .limit(Duration::from_secs(30))
        .variants(&Variant::DELTA)
        .kinds(&WILD)
        .tags(&["reconnect"]),
    case!("F7", "a name both subscribed and held: sent or not, it is served", clauses::DELTA_REQUEST, f7)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["reconnect"]),
    case!("F8", "what a client holds is no subscription", clauses::DELTA_REQUEST, f8)
        .variants(&Variant::DELTA)
        .kinds(&NAMED)
        .tags(&["reconnect"]),
    case!("F9", "a replica with the same content sends nothing again", clauses::VERSION, f9)
        .variants(&Variant::DELTA)
        .kinds(&WILD)
        .needs(&[Feature::Replica, Feature::ContentVersions])
        .tags(&["reconnect"]),
    case!("F10", "what was rejected is not held: the mended one is sent, nothing else", clauses::NACK, f10)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["nack"]),
];

async fn f1(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut stream = settled(&context, &[&a, &b]).await?;
    context.put(&b, 2).await?;
    let response = stream.next_acked(kind).await?;
    require!(response.names() == [b.as_str()], "{:?} came, not just {b}", response.names());
    require!(response.removed.is_empty(), "{:?} were removed", response.removed);
    Ok(())
}

async fn f2(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut stream = settled(&context, &[&a, &b]).await?;
    context.remove(&b).await?;
    let response = stream.next_acked(kind).await?;
    require!(response.removed == [b.as_str()], "{:?} were removed, not just {b}", response.removed);
    require!(response.resources.is_empty(), "{:?} came along", response.names());
    stream.quiet(kind).await
}

async fn f3(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut stream = settled(&context, &[&a]).await?;
    for number in [2, 2, 3] {
        context.remove(&a).await?;
        context.put(&a, number).await?;
        holds(&context, &mut stream, &[&a], number).await?;
        stream.settle(kind).await?;
        let body = context.body(&a, number);
        require!(stream.known(kind).has(&a, &body), "the client lost {a}");
    }
    Ok(())
}

async fn f4(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut before = settled(&context, &[&a, &b]).await?;
    let known = before.known(kind).clone();
    drop(before);
    let mut stream = context.open().await?;
    stream.resume(kind, &[], &known).await?;
    let response = stream.next_acked(kind).await?;
    require!(response.resources.is_empty(), "{:?} were sent again", response.names());
    require!(response.removed.is_empty(), "{:?} were removed", response.removed);
    updates(&context, &mut stream, &a, 2).await
}

async fn f5(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut before = settled(&context, &[&a, &b]).await?;
    let known = before.known(kind).clone();
    drop(before);
    context.put(&b, 2).await?;
    let mut stream = context.open().await?;
    stream.resume(kind, &[&a, &b], &known).await?;
    holds(&context, &mut stream, &[&b], 2).await?;
    holds(&context, &mut stream, &[&a], 1).await
}

async fn f6(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut before = settled(&context, &[&a, &b]).await?;
    let known = before.known(kind).clone();
    drop(before);
    context.remove(&b).await?;
    let mut stream = context.open().await?;
    stream.resume(kind, &[], &known).await?;
    // A server may wait until it knows whether the client's routes still name a cluster before it removes one, and a
    // client without routes makes it wait in vain; the specification sets no time.
    let asked = Instant::now();
    stream.until_within(kind, "the removal of what vanished", SLOW_REMOVAL, |k| k.gone.contains(&b)).await?;
    if asked.elapsed() > Duration::from_secs(1) {
        context.note(format!("removed after {} s", asked.elapsed().as_secs()));
    }
    require!(stream.known(kind).held.contains_key(&a), "{a} was lost");
    Ok(())
}

async fn f7(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut before = settled(&context, &[&a]).await?;
    let known = before.known(kind).clone();
    drop(before);
    let mut stream = context.open().await?;
    stream.resume(kind, &[&a], &known).await?;
    let came = stream.settle(kind).await?;
    let again = came.iter().any(|r| r.get(&a).is_some());
    context.note(if again { "sent again" } else { "not sent again" });
    require!(came.iter().all(|r| r.removed.is_empty()), "{a} was removed");
    updates(&context, &mut stream, &a, 2).await
}

async fn f8(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut before = settled(&context, &[&a, &b]).await?;
    let known = before.known(kind).clone();
    drop(before);
    let mut stream = context.open().await?;
    stream.resume(kind, &[&b], &known).await?;
    fence(&context, &mut stream).await?;
    context.put(&a, 2).await?;
    stream.quiet(kind).await?;
    updates(&context, &mut stream, &b, 2).await
}

async fn f9(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply_everywhere().await?;
    let mut before = context.open().await?;
    before.subscribe(kind, &[]).await?;
    holds(&context, &mut before, &[&a, &b], 1).await?;
    let known = before.known(kind).clone();
    drop(before);
    let replica = context.target.replica.as_ref().map(|(address, _)| address.clone()).unwrap_or_default();
    let only = (!context.variant.is_ads()).then_some(kind);
    let mut stream = context.open_at(&replica, only, READ_AHEAD).await?;
    stream.resume(kind, &[], &known).await?;
    let response = stream.next_acked(kind).await?;
    require!(response.resources.is_empty(), "the replica sent {:?} again", response.names());
    require!(response.removed.is_empty(), "the replica removed {:?}", response.removed);
    Ok(())
}

async fn f10(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut stream = settled(&context, &[&a, &b]).await?;
    context.put(&a, 2).await?;
    let response = stream.next(kind).await?;
    stream.nack(kind, &response, "not good").await?;
    stream.settle(kind).await?;
    let body = context.body(&a, 2);
    require!(!stream.known(kind).has(&a, &body), "{a} was rejected and is sent again as it was");
    updates(&context, &mut stream, &b, 2).await?;
    require!(!stream.known(kind).has(&a, &body), "{a} was rejected and came along with another change");
    updates(&context, &mut stream, &a, 3).await?;
    // After a reconnect that says what is held, the same.
    let known = stream.known(kind).clone();
    drop(stream);
    let mut stream = context.open().await?;
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: vec![a.clone(), b.clone()],
        initial_resource_versions: known.held.iter().map(|(n, r)| (n.clone(), r.version.clone())).collect(),
        ..stream.delta_request(kind)
    };
    stream.send_delta(request).await?;
    updates(&context, &mut stream, &a, 4).await
}
