//! A: streams and nodes.

use std::time::Instant;

use lateen_xds::ResourceType;
use tonic::Code;

use super::{case, holds, settled, updates};
use crate::{
    case::{Case, TYPES, Variant},
    clauses,
    context::{Context, Outcome},
    control::Feature,
    require,
};

pub(super) const CASES: &[Case] = &[
    case!("A1", "the node of the first request holds for all later ones", clauses::OVERVIEW, a1)
        .kinds(&TYPES)
        .tags(&["node"]),
    case!("A2", "another node in a later request does not change whose stream it is", clauses::OVERVIEW, a2)
        .should()
        .tags(&["node"]),
    case!("A3", "a first request without a node gets nobody's resources", clauses::OVERVIEW, a3)
        .should()
        .tags(&["node"]),
    case!("A4", "an aggregated request without a type is refused", clauses::REQUEST, a4)
        .should()
        .variants(&Variant::ADS)
        .kinds(&[ResourceType::Cluster]),
    case!("A5", "on a type's own stream the type need not be told", clauses::REQUEST, a5)
        .variants(&[Variant::Sotw, Variant::Delta])
        .kinds(&TYPES),
    case!("A6", "a type that nobody knows disturbs no other", clauses::ADS, a6).variants(&Variant::ADS),
    case!("A7", "two streams for one type are independent", clauses::MANY, a7).kinds(&TYPES),
    case!("A8", "a stream that the client ends, ends well and leaves nothing behind", clauses::VARIANTS, a8)
        .should(),
];

async fn a1(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let response = stream.next(kind).await?;
    for _ in 0..100 {
        stream.ack(kind, &response).await?;
    }
    stream.quiet(kind).await?;
    updates(&context, &mut stream, &a, 2).await
}

async fn a2(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut stream = settled(&context, &[&a]).await?;
    let mut node = context.node();
    node.id.push_str("-other");
    context.put(&a, 2).await?;
    let response = stream.next(kind).await?;
    stream.take_over(kind, &response);
    stream.node = Some(node);
    stream.ack(kind, &response).await?;
    updates(&context, &mut stream, &a, 3).await
}

async fn a3(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.node = None;
    stream.subscribe(kind, &[&a]).await?;
    match stream.next_within(kind, context.patience.quiet).await {
        Ok(None) => context.note("silence"),
        Ok(Some(response)) => {
            require!(response.get(&a).is_none(), "a client that said not who it is got {a}");
            context.note("an answer without resources");
        }
        Err(_) => {
            let status = stream.ended(context.patience.within).await?;
            let defined = [Code::InvalidArgument, Code::Unauthenticated, Code::PermissionDenied];
            require!(defined.contains(&status.code()), "the stream ended with {:?}", status.code());
            context.note(format!("{:?}", status.code()));
        }
    }
    Ok(())
}

async fn a4(context: Context) -> Outcome {
    let mut stream = context.open().await?;
    if context.variant.is_delta() {
        let mut request = stream.delta_request(context.kind);
        request.type_url.clear();
        stream.send_delta(request).await?;
    } else {
        let mut request = stream.sotw_request(context.kind);
        request.type_url.clear();
        stream.send_sotw(request).await?;
    }
    let status = stream.ended(context.patience.within).await?;
    require!(status.code() == Code::InvalidArgument, "the stream ended with {:?}", status.code());
    Ok(())
}

async fn a5(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    if context.variant.is_delta() {
        let mut request = stream.delta_request(kind);
        request.type_url.clear();
        request.resource_names_subscribe = vec![a.clone()];
        stream.send_delta(request).await?;
    } else {
        let mut request = stream.sotw_request(kind);
        request.type_url.clear();
        request.resource_names = vec![a.clone()];
        stream.send_sotw(request).await?;
    }
    stream.known(kind).names.insert(a.clone());
    stream.known(kind).asked = true;
    holds(&context, &mut stream, &[&a], 1).await
}

async fn a6(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut stream = settled(&context, &[&a]).await?;
    let unknown = "type.googleapis.com/conformance.v1.Unknown";
    if context.variant.is_delta() {
        let mut request = stream.delta_request(kind);
        unknown.clone_into(&mut request.type_url);
        request.resource_names_subscribe = vec!["x".to_owned()];
        stream.send_delta(request).await?;
    } else {
        let mut request = stream.sotw_request(kind);
        unknown.clone_into(&mut request.type_url);
        request.resource_names = vec!["x".to_owned()];
        stream.send_sotw(request).await?;
    }
    stream.quiet(kind).await?;
    updates(&context, &mut stream, &a, 2).await?;
    while let Some(response) = stream.next_any(context.patience.quiet).await? {
        require!(response.resources.is_empty(), "resources of an unknown type");
    }
    Ok(())
}

async fn a7(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let (mut one, mut two) = (context.open().await?, context.open().await?);
    one.subscribe(kind, &[&a]).await?;
    two.subscribe(kind, &[&b]).await?;
    holds(&context, &mut one, &[&a], 1).await?;
    holds(&context, &mut two, &[&b], 1).await?;
    one.settle(kind).await?;
    two.settle(kind).await?;
    updates(&context, &mut one, &a, 2).await?;
    two.quiet_about(kind, &a).await?;
    // What one stream rejects is nothing to the other.
    context.put(&b, 2).await?;
    let response = two.next(kind).await?;
    two.nack(kind, &response, "rejected by the second stream").await?;
    one.quiet_about(kind, &b).await?;
    updates(&context, &mut one, &a, 3).await
}

async fn a8(context: Context) -> Outcome {
    let a = context.name("a");
    let mut stream = settled(&context, &[&a]).await?;
    stream.half_close();
    let status = stream.ended(context.patience.within).await?;
    require!(status.code() == Code::Ok, "the stream ended with {:?} {}", status.code(), status.message());
    if context.target.capabilities.features.contains(&Feature::StreamCount) {
        let deadline = Instant::now() + context.patience.within;
        loop {
            let left = context
                .target
                .control
                .streams(&context.group)
                .await
                .map_err(crate::context::Failure::Control)?;
            if left == 0 {
                break;
            }
            require!(Instant::now() < deadline, "the server still counts {left} streams");
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
