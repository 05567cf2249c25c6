//! E: subscriptions in delta.

use std::time::Instant;

use lateen_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::{case, fence, holds, settled, updates};
use crate::{
    case::{Case, TYPES, Variant, WILD},
    clauses,
    context::{Context, Outcome},
    message::Response,
    require,
    stream::{Stream, rejection},
};

pub(super) const CASES: &[Case] = &[
    case!("E1", "a first request that names nothing asks for everything", clauses::NAMES, e1)
        .variants(&Variant::DELTA)
        .kinds(&WILD)
        .tags(&["wildcard"]),
    case!("E2", "a name after that keeps the wildcard", clauses::NAMES, e2)
        .variants(&Variant::DELTA)
        .kinds(&WILD)
        .tags(&["wildcard"]),
    case!("E3", "the name * asks for everything", clauses::NAMES, e3)
        .variants(&Variant::DELTA)
        .kinds(&WILD)
        .tags(&["wildcard"]),
    case!("E4", "unsubscribing from * keeps the names", clauses::NAMES, e4)
        .variants(&Variant::DELTA)
        .kinds(&WILD)
        .tags(&["wildcard"]),
    case!("E5", "unsubscribing from the last name leaves nothing, not everything", clauses::NAMES, e5)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["wildcard"]),
    case!("E6", "a name given up under a wildcard that has it is sent again", clauses::DELTA_REQUEST, e6)
        .variants(&Variant::DELTA)
        .kinds(&WILD)
        .tags(&["wildcard"]),
    case!("E7", "a name given up under a wildcard that lacks it is removed", clauses::DELTA_REQUEST, e7)
        .variants(&Variant::DELTA)
        .kinds(&WILD)
        .tags(&["wildcard"]),
    case!("E8", "a subscription to what was sent already is answered", clauses::DELTA_REQUEST, e8)
        .variants(&Variant::DELTA)
        .kinds(&TYPES),
    case!("E9", "a name that does not exist is told to be removed, at once", clauses::DELTA_REQUEST, e9)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["missing"]),
    case!("E10", "a name that does not exist is sent when it does", clauses::MISSING, e10)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["missing"]),
    case!("E11", "unsubscribing from what was never subscribed is nothing", clauses::DELTA_REQUEST, e11)
        .variants(&Variant::DELTA)
        .kinds(&TYPES),
    case!("E12", "a stale nonce does not stop a subscription", clauses::DELTA_REQUEST, e12)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["nonce"]),
    case!("E13", "acknowledgements and rejections may subscribe", clauses::DELTA_REQUEST, e13)
        .variants(&Variant::DELTA)
        .kinds(&TYPES)
        .tags(&["nack", "ack"]),
    case!(
        "E14",
        "a name subscribed and unsubscribed in one request does no harm",
        clauses::DELTA_REQUEST,
        e14
    )
    .variants(&Variant::DELTA)
    .kinds(&TYPES),
];

async fn everything(context: &Context, names: &[&str]) -> Outcome<Stream> {
    let (kind, a, b) = (context.kind, context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, names).await?;
    holds(context, &mut stream, &[&a, &b], 1).await?;
    stream.settle(kind).await?;
    Ok(stream)
}

async fn e1(context: Context) -> Outcome {
    let mut stream = everything(&context, &[]).await?;
    updates(&context, &mut stream, &context.name("c"), 1).await
}

async fn e2(context: Context) -> Outcome {
    let mut stream = everything(&context, &[]).await?;
    stream.subscribe(context.kind, &[&context.name("a")]).await?;
    // Whether it is sent again is looked at in E8.
    fence(&context, &mut stream).await?;
    updates(&context, &mut stream, &context.name("c"), 1).await
}

async fn e3(context: Context) -> Outcome {
    let mut stream = everything(&context, &["*"]).await?;
    updates(&context, &mut stream, &context.name("c"), 1).await
}

async fn e4(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut stream = everything(&context, &["*", &a]).await?;
    stream.subscribe(kind, &[&a]).await?;
    fence(&context, &mut stream).await?;
    context.put(&b, 2).await?;
    stream.quiet(kind).await?;
    updates(&context, &mut stream, &a, 2).await
}

async fn e5(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.put(&b, 1).await?;
    let mut stream = settled(&context, &[&a]).await?;
    stream.subscribe(kind, &[]).await?;
    let came = stream.settle(kind).await?;
    require!(came.iter().all(|r| r.resources.is_empty()), "unsubscribing from the last name got resources");
    fence(&context, &mut stream).await?;
    context.change().put(kind, &a, 2).put(kind, &b, 2).apply().await?;
    stream.quiet(kind).await
}

async fn e6(context: Context) -> Outcome {
    let kind = context.kind;
    let a = context.name("a");
    let mut stream = everything(&context, &["*", &a]).await?;
    stream.known(kind).held.remove(&a);
    stream.subscribe(kind, &["*"]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    updates(&context, &mut stream, &a, 2).await
}

async fn e7(context: Context) -> Outcome {
    let kind = context.kind;
    let missing = context.name("missing");
    let mut stream = everything(&context, &["*"]).await?;
    stream.subscribe(kind, &["*", &missing]).await?;
    stream.settle(kind).await?;
    stream.known(kind).gone.remove(&missing);
    stream.subscribe(kind, &["*"]).await?;
    stream.until(kind, "the removal of what was given up", |k| k.gone.contains(&missing)).await
}

async fn e8(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut stream = settled(&context, &[&a]).await?;
    stream.known(kind).held.remove(&a);
    let request =
        DeltaDiscoveryRequest { resource_names_subscribe: vec![a.clone()], ..stream.delta_request(kind) };
    stream.send_delta(request).await?;
    holds(&context, &mut stream, &[&a], 1).await
}

async fn e9(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, missing) = (context.name("a"), context.name("missing"));
    let mut stream = settled(&context, &[&a]).await?;
    let asked = Instant::now();
    stream.subscribe(kind, &[&a, &missing]).await?;
    stream.until(kind, "the word that the name does not exist", |k| k.gone.contains(&missing)).await?;
    let took = asked.elapsed();
    if took.as_millis() > 100 {
        context.note(format!("more than 100 ms ({} ms)", took.as_millis()));
    }
    stream.quiet(kind).await
}

async fn e10(context: Context) -> Outcome {
    let (kind, later) = (context.kind, context.name("later"));
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&later]).await?;
    stream.settle(kind).await?;
    updates(&context, &mut stream, &later, 1).await?;
    // Removed, it is still subscribed.
    context.remove(&later).await?;
    stream.until(kind, "the removal", |k| k.gone.contains(&later)).await?;
    updates(&context, &mut stream, &later, 2).await
}

async fn e11(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut stream = settled(&context, &[&a]).await?;
    let request = DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec![context.name("never"), "*".to_owned()],
        ..stream.delta_request(kind)
    };
    stream.send_delta(request).await?;
    let came = stream.settle(kind).await?;
    require!(came.iter().all(|r| r.resources.is_empty()), "unsubscribing got resources");
    updates(&context, &mut stream, &a, 2).await
}

async fn e12(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let first = stream.next_acked(kind).await?;
    context.put(&a, 2).await?;
    stream.next_acked(kind).await?;
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: vec![b.clone()],
        response_nonce: first.nonce,
        ..stream.delta_request(kind)
    };
    stream.send_delta(request).await?;
    holds(&context, &mut stream, &[&b], 1).await
}

async fn e13(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b, c) = (context.name("a"), context.name("b"), context.name("c"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).put(kind, &c, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let answer = |stream: &Stream, response: &Response, name: &str| DeltaDiscoveryRequest {
        resource_names_subscribe: vec![name.to_owned()],
        response_nonce: response.nonce.clone(),
        ..stream.delta_request(kind)
    };
    let response = stream.next(kind).await?;
    stream.take_over(kind, &response);
    let request = answer(&stream, &response, &b);
    stream.send_delta(request).await?;
    holds(&context, &mut stream, &[&a, &b], 1).await?;
    context.put(&a, 2).await?;
    let response = stream.next(kind).await?;
    let request = DeltaDiscoveryRequest {
        error_detail: Some(rejection("not good")),
        resource_names_unsubscribe: vec![b.clone()],
        ..answer(&stream, &response, &c)
    };
    stream.send_delta(request).await?;
    holds(&context, &mut stream, &[&c], 1).await?;
    fence(&context, &mut stream).await?;
    context.put(&b, 2).await?;
    stream.quiet(kind).await
}

async fn e14(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.put(&b, 1).await?;
    let mut stream = settled(&context, &[&a]).await?;
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: vec![b.clone()],
        resource_names_unsubscribe: vec![b.clone()],
        ..stream.delta_request(kind)
    };
    stream.send_delta(request).await?;
    stream.settle(kind).await?;
    context.put(&b, 2).await?;
    let came = stream.settle(kind).await?;
    let subscribed = came.iter().any(|r| r.get(&b).is_some());
    context.note(if subscribed { "ends subscribed" } else { "ends unsubscribed" });
    stream.subscribe(kind, &[&a, &b]).await?;
    updates(&context, &mut stream, &b, 3).await?;
    updates(&context, &mut stream, &a, 2).await
}
