//! B: nonces, acknowledgements and rejections.

use std::time::{Duration, Instant};

use lateen_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use lateen_xds::ResourceType;

use super::{case, holds, settled, updates};
use crate::{
    case::{Case, TYPES, Variant},
    clauses, content,
    context::{Context, Failure, Outcome},
    message::Response,
    require,
    stream::{Stream, rejection},
};

pub(super) const CASES: &[Case] = &[
    case!("B1", "no two responses of a stream have the same nonce", clauses::OVERVIEW, b1).tags(&["nonce"]),
    case!("B2", "an acknowledgement that changes nothing gets no response", clauses::WHEN, b2)
        .should()
        .kinds(&TYPES)
        .tags(&["ack"]),
    case!("B3", "what was rejected is not sent again", clauses::WHEN, b3)
        .should()
        .kinds(&TYPES)
        .tags(&["nack"]),
    case!("B4", "after a rejection the next version is sent at once", clauses::NACK, b4)
        .kinds(&TYPES)
        .tags(&["nack"]),
    case!("B5", "a rejection that names the current version is still one", clauses::NACK, b5)
        .variants(&Variant::SOTW)
        .kinds(&TYPES)
        .tags(&["nack"]),
    case!("B6", "a rejection may change the subscription", clauses::NAMES, b6).kinds(&TYPES).tags(&["nack"]),
    case!("B7", "a first request that still tells of a rejection is answered", clauses::VERSION, b7)
        .should()
        .tags(&["nack", "reconnect"]),
    case!("B8", "a request with a stale nonce gets no response", clauses::UPDATES, b8)
        .should()
        .variants(&Variant::SOTW)
        .tags(&["nonce"]),
    case!("B9", "names told with a stale nonce, then again, are sent once", clauses::UPDATES, b9)
        .variants(&Variant::SOTW)
        .tags(&["nonce"]),
    case!("B10", "the nonce of another stream means nothing", clauses::OVERVIEW, b10).tags(&["nonce"]),
    case!("B11", "the nonce of another type means nothing", clauses::ADS, b11)
        .variants(&Variant::ADS)
        .kinds(&[ResourceType::Cluster])
        .tags(&["nonce"]),
    case!("B12", "an acknowledgement held back blocks no other type", clauses::ADS, b12)
        .variants(&Variant::ADS)
        .kinds(&[ResourceType::Endpoints, ResourceType::Secret, ResourceType::RouteConfiguration])
        .tags(&["ack"]),
    case!("B13", "changes while an acknowledgement is awaited are not lost", clauses::UPDATES, b13)
        .kinds(&TYPES)
        .tags(&["ack"]),
];

async fn b1(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let mut nonces = std::collections::BTreeSet::new();
    for number in 2..8 {
        let response = stream.next_acked(kind).await?;
        require!(nonces.insert(response.nonce.clone()), "nonce {:?} came twice", response.nonce);
        context.put(&a, number).await?;
    }
    holds(&context, &mut stream, &[&a], 7).await
}

async fn b2(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let response = stream.next_acked(kind).await?;
    require!(response.get(&a).is_some(), "the first response lacks {a}");
    stream.quiet(kind).await?;
    stream.ack(kind, &response).await?;
    stream.quiet(kind).await
}

/// Rejects everything for a while. At most one more response may come, and never with the rejected content.
async fn no_repetition(context: &Context, stream: &mut Stream, rejected: &Response) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut more = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(response) = stream.next_within(context.kind, left).await? else { return Ok(()) };
        more += 1;
        require!(more <= 1, "{more} responses to a rejection within a second");
        for resource in &response.resources {
            let before = rejected.get(&resource.name);
            require!(
                before.is_none_or(|b| b.body != resource.body),
                "{} was rejected and is sent again as it was",
                resource.name
            );
        }
        stream.nack(context.kind, &response, "still not good").await?;
    }
}

async fn b3(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let response = stream.next(kind).await?;
    stream.nack(kind, &response, "not good").await?;
    no_repetition(&context, &mut stream, &response).await
}

async fn b4(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut stream = settled(&context, &[&a]).await?;
    context.put(&a, 2).await?;
    let response = stream.next(kind).await?;
    stream.nack(kind, &response, "not good").await?;
    context.put(&a, 3).await?;
    // A server that repeats what was rejected is found elsewhere (B3).
    let (good, deadline) = (context.body(&a, 3), Instant::now() + context.patience.within);
    while Instant::now() < deadline {
        let response = stream.next(kind).await?;
        if response.get(&a).is_some_and(|r| r.is(&good)) {
            return stream.ack(kind, &response).await;
        }
        stream.nack(kind, &response, "not good").await?;
    }
    Err(Failure::Broken("the next version did not come in time".to_owned()))
}

async fn b5(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    stream.subscribe(kind, &[&a, &b]).await?;
    let response = loop {
        let response = stream.next(kind).await?;
        if response.get(&b).is_some() {
            break response;
        }
        stream.ack(kind, &response).await?;
    };
    // The client can only name the version it uses, which may be that of the response it rejects.
    stream.known(kind).version.clone_from(&response.version);
    stream.nack(kind, &response, "b is not good").await?;
    let again = stream.next_within(kind, context.patience.quiet).await?;
    require!(
        again.as_ref().and_then(|r| r.get(&b)).is_none(),
        "{b} was rejected and is sent again as it was"
    );
    if let Some(again) = again {
        stream.ack(kind, &again).await?;
    }
    updates(&context, &mut stream, &b, 2).await
}

async fn b6(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut stream = settled(&context, &[&a]).await?;
    context.change().put(kind, &a, 2).put(kind, &b, 1).apply().await?;
    let response = stream.next(kind).await?;
    let (error_detail, response_nonce) = (Some(rejection("not good")), response.nonce.clone());
    stream.known(kind).names.insert(b.clone());
    if context.variant.is_delta() {
        let resource_names_subscribe = vec![b.clone()];
        let request = DeltaDiscoveryRequest {
            resource_names_subscribe,
            response_nonce,
            error_detail,
            ..stream.delta_request(kind)
        };
        stream.send_delta(request).await?;
    } else {
        let resource_names = vec![a.clone(), b.clone()];
        let version_info = stream.known(kind).version.clone();
        let request = DiscoveryRequest {
            version_info,
            resource_names,
            response_nonce,
            error_detail,
            ..stream.sotw_request(kind)
        };
        stream.send_sotw(request).await?;
    }
    holds(&context, &mut stream, &[&b], 1).await
}

async fn b7(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    let error_detail = Some(rejection("told to a stream that broke"));
    if context.variant.is_delta() {
        let resource_names_subscribe = vec![a.clone()];
        let request =
            DeltaDiscoveryRequest { resource_names_subscribe, error_detail, ..stream.delta_request(kind) };
        stream.send_delta(request).await?;
    } else {
        let resource_names = vec![a.clone()];
        let request = DiscoveryRequest {
            resource_names,
            error_detail,
            version_info: "2".to_owned(),
            ..stream.sotw_request(kind)
        };
        stream.send_sotw(request).await?;
    }
    stream.known(kind).names.insert(a.clone());
    holds(&context, &mut stream, &[&a], 1).await
}

async fn b8(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let first = stream.next_acked(kind).await?;
    context.put(&a, 2).await?;
    stream.next_acked(kind).await?;
    stream.ack(kind, &first).await?;
    stream.quiet(kind).await?;
    stream.nack(kind, &first, "a late rejection").await?;
    stream.quiet(kind).await?;
    updates(&context, &mut stream, &a, 3).await
}

async fn b9(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let first = stream.next_acked(kind).await?;
    context.put(&a, 2).await?;
    let second = stream.next(kind).await?;
    let request = |stream: &Stream, response: &Response| DiscoveryRequest {
        version_info: response.version.clone(),
        resource_names: vec![a.clone(), b.clone()],
        response_nonce: response.nonce.clone(),
        ..stream.sotw_request(kind)
    };
    let (stale, fresh) = (request(&stream, &first), request(&stream, &second));
    stream.send_sotw(stale).await?;
    stream.send_sotw(fresh).await?;
    stream.known(kind).names.insert(b.clone());
    let mut times = 0;
    let mut within = context.patience.within;
    while let Some(response) = stream.next_within(kind, within).await? {
        times += usize::from(response.get(&b).is_some());
        stream.ack(kind, &response).await?;
        if times > 0 {
            within = context.patience.quiet;
        }
    }
    require!(times == 1, "{b} was sent {times} times");
    Ok(())
}

async fn b10(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut old = settled(&context, &[&a]).await?;
    context.put(&a, 2).await?;
    let foreign = old.next_acked(kind).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    holds(&context, &mut stream, &[&a], 2).await?;
    let mut own = foreign;
    own.nonce.push_str("-of-another-stream");
    stream.ack(kind, &own).await?;
    stream.quiet(kind).await?;
    updates(&context, &mut stream, &a, 3).await
}

async fn b11(context: Context) -> Outcome {
    let (one, two) = (ResourceType::Endpoints, ResourceType::RouteConfiguration);
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(one, &a, 1).put(two, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(one, &[&a]).await?;
    stream.next_acked(one).await?;
    stream.subscribe(two, &[&b]).await?;
    let other = stream.next_acked(two).await?;
    let mut wrong = other;
    wrong.resources.clear();
    stream.nack(one, &wrong, "a rejection with the nonce of another type").await?;
    stream.silent().await?;
    context.change().put(one, &a, 2).put(two, &b, 2).apply().await?;
    stream.until(one, "the change of the one", |k| k.has(&a, &content::body(one, &a, 2))).await?;
    stream.until(two, "the change of the other", |k| k.has(&b, &content::body(two, &b, 2))).await
}

async fn b12(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let cluster = context.name("unrelated");
    context.change().put(kind, &a, 1).put(ResourceType::Cluster, &cluster, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(ResourceType::Cluster, &[]).await?;
    let held_back = stream.next(ResourceType::Cluster).await?;
    stream.subscribe(kind, &[&a]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    for number in 2..6 {
        updates(&context, &mut stream, &a, number).await?;
    }
    stream.ack(ResourceType::Cluster, &held_back).await?;
    updates(&context, &mut stream, &a, 6).await
}

async fn b13(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let first = stream.next(kind).await?;
    for number in 2..6 {
        context.put(&a, number).await?;
    }
    stream.ack(kind, &first).await?;
    holds(&context, &mut stream, &[&a], 5).await?;
    stream.quiet(kind).await
}
