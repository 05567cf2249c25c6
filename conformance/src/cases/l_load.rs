//! L: flow control, sizes, storms, broken input, restarts.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lateen_xds::ResourceType::{Cluster, Endpoints, RouteConfiguration};
use tonic::Code;

use super::{case, holds, l_crowd::l5, settled, updates};
use crate::{
    case::{Case, Company, WILD},
    clauses, content,
    context::{Context, Failure, Outcome},
    control::Feature,
    require,
    stream::Stream,
};

/// Rounds of changes beside a client that does not read.
const ROUNDS: u32 = 20;
/// The last of the changes that a slow client is given.
const LAST: u32 = 60;
/// What a gRPC client takes in one message, unless told otherwise.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

pub(super) const CASES: &[Case] = &[
    case!("L1", "a client that does not read holds up no other", clauses::FLOW, l1)
        .should()
        .kinds(&[Cluster])
        .company(Company::Busy, Duration::from_mins(1))
        .tags(&["load"]),
    case!("L2", "a slow client is given what is, not what was", clauses::FLOW, l2)
        .should()
        .kinds(&[Endpoints])
        .company(Company::Busy, Duration::from_mins(1))
        .tags(&["load"]),
    case!("L3", "a response above 4 MiB is split", clauses::LIMITS, l3)
        .extension()
        .kinds(&[RouteConfiguration])
        .needs(&[Feature::Split])
        .company(Company::Busy, Duration::from_secs(30))
        .tags(&["load"]),
    case!(
        "L4",
        "a request with fifty thousand names is taken, and holds up no other stream",
        clauses::LIMITS,
        l4
    )
    .should()
    .kinds(&[Endpoints])
    .company(Company::Nobody, Duration::from_secs(90))
    .tags(&["load"]),
    case!("L5", "a thousand streams come at once, and all get what is", clauses::VERSION, l5)
        .should()
        .kinds(&[Cluster])
        .company(Company::Nobody, Duration::from_secs(90))
        .tags(&["load"]),
    case!("L6", "a flood of requests is held back", clauses::FLOW, l6)
        .extension()
        .kinds(&[Cluster])
        .needs(&[Feature::RateLimit])
        .tags(&["load"]),
    case!(
        "L7",
        "garbage ends its own stream and nothing else; unknown fields do nothing",
        clauses::REQUEST,
        l7
    )
    .kinds(&[Cluster]),
    case!("L8", "a server that knows nothing yet does not say that there is nothing", clauses::DELETING, l8)
        .extension()
        .kinds(&WILD)
        .needs(&[Feature::Unsynced])
        .tags(&["delete"]),
    case!("L9", "a restart takes nothing away from a client", clauses::VERSION, l9)
        .extension()
        .kinds(&[Cluster])
        .needs(&[Feature::Restart])
        .company(Company::Nobody, Duration::from_mins(1))
        .tags(&["reconnect"]),
];

async fn l1(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut reader = settled(&context, &[&a]).await?;
    let mut idle = context.open_unread().await?;
    idle.subscribe(kind, &[]).await?;
    let mut slowest = Duration::ZERO;
    for number in 2..=ROUNDS {
        let start = Instant::now();
        updates(&context, &mut reader, &a, number).await?;
        slowest = slowest.max(start.elapsed());
        let mut change = context.change();
        for filler in 0..500 {
            change = change.put(kind, &context.name(&format!("filler-{filler}")), number);
        }
        change.apply().await?;
    }
    context.note(format!("slowest update beside a client that does not read: {} ms", slowest.as_millis()));
    // When it reads at last, it gets to the end.
    holds(&context, &mut idle, &[&a], ROUNDS).await
}

async fn l2(context: Context) -> Outcome {
    let (kind, names) = (context.kind, (0..200).map(|i| context.name(&format!("n{i}"))).collect::<Vec<_>>());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut change = context.change();
    for name in &names {
        change = change.put(kind, name, 1);
    }
    change.apply().await?;
    let mut stream = context.open_unread().await?;
    stream.subscribe(kind, &names).await?;
    for number in 2..=LAST {
        let mut change = context.change();
        for name in &names {
            change = change.put(kind, name, number);
        }
        change.apply().await?;
    }
    let mut responses = 0;
    let deadline = Instant::now() + context.patience.within;
    let last: Vec<_> = names.iter().map(|n| context.body(n, LAST)).collect();
    while !names.iter().zip(&last).all(|(name, body)| stream.known(kind).has(name, body)) {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(response) = stream.next_within(kind, left).await? else {
            return Err(Failure::Broken("the latest state was not reached".to_owned()));
        };
        stream.ack(kind, &response).await?;
        responses += 1;
    }
    require!(responses < LAST, "{responses} responses: all of the past was sent");
    context.note(format!("{responses} responses for {LAST} changes"));
    Ok(())
}

async fn l3(context: Context) -> Outcome {
    let kind = context.kind;
    let names: Vec<String> = (0..6).map(|i| context.name(&format!("large{i}"))).collect();
    let mut change = context.change();
    for name in &names {
        change = change.put_body(name, content::large_routes(name, 1 << 20));
    }
    change.apply().await?;
    let mut stream = context.open().await?;
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    stream.subscribe(kind, &wanted).await?;
    while stream.known(kind).held.len() < names.len() {
        let response = stream.next_acked(kind).await?;
        require!(response.bytes <= MESSAGE_BYTES_MAX, "a response of {} bytes", response.bytes);
    }
    Ok(())
}

async fn l4(context: Context) -> Outcome {
    let (kind, a, b) = (context.kind, context.name("a"), context.name("b"));
    context.put(&a, 1).await?;
    let mut other = settled(&context, &[&b]).await?;
    // About 10 MiB of names.
    let filler = "x".repeat(180);
    let many: Vec<String> = (0..50_000).map(|i| context.name(&format!("{filler}-{i}"))).collect();
    let mut names: Vec<&str> = many.iter().map(String::as_str).collect();
    names.push(&a);
    let mut stream = context.open().await?;
    stream.subscribe(kind, &names).await?;
    let (first, second) = (context.body(&a, 1), context.body(&a, 2));
    let large = async {
        stream
            .until_within(kind, "the one that exists", Duration::from_mins(1), |k| k.has(&a, &first))
            .await?;
        context.put(&a, 2).await?;
        stream.until_within(kind, "its change", Duration::from_secs(20), |k| k.has(&a, &second)).await
    };
    // Others don't wait for it.
    let beside = async {
        for number in 2..8 {
            updates(&context, &mut other, &b, number).await?;
        }
        Ok(())
    };
    let (large, beside) = tokio::join!(large, beside);
    large?;
    beside
}

/// Requests that a flooding client tries to send in [`FLOOD_TIME`]: what no server reads that limits their rate.
const FLOOD: usize = 40_000;
const FLOOD_TIME: Duration = Duration::from_secs(2);

async fn l6(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut other = settled(&context, &[&a]).await?;
    let mut flood = context.open().await?;
    flood.subscribe(kind, &[&a]).await?;
    let response = flood.next(kind).await?;
    let flooding = async {
        for _ in 0..FLOOD {
            // A stream that is ended for it is held back, too.
            if flood.ack(kind, &response).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    // Read as fast as sent, the flood is over in time.
    let held_back = tokio::time::timeout(FLOOD_TIME, flooding);
    let updated = async {
        for number in 2..6 {
            updates(&context, &mut other, &a, number).await?;
        }
        Ok(())
    };
    let (held_back, updated) = tokio::join!(held_back, updated);
    updated?;
    require!(held_back.is_err(), "{FLOOD} requests of one stream were read within {FLOOD_TIME:?}");
    Ok(())
}

async fn l7(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut other = settled(&context, &[&a]).await?;
    // A tag without end, a field that is cut off, and a node with one: the node is another field in each variant.
    let node: &[u8] =
        if context.variant.is_delta() { b"\x0a\x04\x0a\x7f\x01\x02" } else { b"\x12\x04\x0a\x7f\x01\x02" };
    for garbage in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x0a\xff\x01", node] {
        let mut stream = context.open().await?;
        stream.send_bytes(Bytes::copy_from_slice(garbage)).await?;
        let status = stream.ended(context.patience.within).await?;
        require!(status.code() != Code::Ok, "garbage ended a stream well");
    }
    updates(&context, &mut other, &a, 2).await?;
    // Field 1000, a varint: from a newer client.
    let mut stream = context.open().await?;
    let node = stream.node.take();
    let mut bytes = if context.variant.is_delta() {
        let mut request = stream.delta_request(kind);
        request.node = node;
        request.resource_names_subscribe = vec![a.clone()];
        prost::Message::encode_to_vec(&request)
    } else {
        let mut request = stream.sotw_request(kind);
        request.node = node;
        request.resource_names = vec![a.clone()];
        prost::Message::encode_to_vec(&request)
    };
    bytes.extend([0xc0, 0x3e, 0x01]);
    stream.send_bytes(bytes.into()).await?;
    stream.known(kind).names.insert(a.clone());
    holds(&context, &mut stream, &[&a], 2).await
}

async fn l8(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut before = settled(&context, &[&a]).await?;
    let known = before.known(kind).clone();
    drop(before);
    context.change().synced(false).remove(kind, &a).apply().await?;
    let mut stream = context.open().await?;
    stream.resume(kind, &[], &known).await?;
    match stream.next_within(kind, context.patience.quiet).await {
        Err(_) => context.note("the stream was refused"),
        Ok(None) => context.note("the server was silent"),
        Ok(Some(response)) => {
            stream.take_over(kind, &response);
            require!(stream.known(kind).held.contains_key(&a), "a server that knows nothing removed {a}");
            context.note("the server answered, and removed nothing");
        }
    }
    context.change().put(kind, &a, 2).synced(true).apply().await?;
    let mut stream = context.open().await?;
    stream.resume(kind, &[], &known).await?;
    holds(&context, &mut stream, &[&a], 2).await
}

async fn l9(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut before = settled(&context, &[&a, &b]).await?;
    let known = before.known(kind).clone();
    context.target.control.restart().await.map_err(Failure::Control)?;
    before.ended(context.patience.within).await?;
    let deadline = Instant::now() + context.patience.within;
    let mut stream: Stream = loop {
        // The address may be free for a moment; a client tries again.
        match context.open().await {
            Ok(stream) => break stream,
            Err(failure) if Instant::now() > deadline => return Err(failure),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    stream.resume(kind, &[], &known).await?;
    let came = stream.settle(kind).await?;
    for name in [&a, &b] {
        require!(stream.known(kind).held.contains_key(name), "the restart removed {name}");
    }
    require!(came.iter().all(|r| r.removed.is_empty()), "the restart removed something");
    if context.variant.is_delta() && context.target.capabilities.features.contains(&Feature::ContentVersions)
    {
        let again = came.iter().any(|r| !r.resources.is_empty());
        require!(!again, "what the client still had was sent again");
    }
    updates(&context, &mut stream, &a, 2).await
}
