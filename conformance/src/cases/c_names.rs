//! C: subscriptions in state of the world.

use std::time::Duration;

use lateen_xds::ResourceType;

use super::{case, fence, holds, settled, updates};
use crate::{
    case::{Case, Company, TYPES, Variant, WILD},
    clauses,
    context::{Context, Outcome},
    control::{Feature, RawResource},
    require,
};

/// How long a request with very many names may take: the claim is that it is answered, not how fast.
const MANY_NAMES: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] = &[
    case!("C1", "an empty first request asks for everything", clauses::NAMES, c1)
        .variants(&Variant::SOTW)
        .kinds(&WILD)
        .tags(&["wildcard"]),
    case!("C2", "the name * asks for everything", clauses::NAMES, c2)
        .variants(&Variant::SOTW)
        .kinds(&WILD)
        .tags(&["wildcard"]),
    case!("C3", "* and a name outside of everything: both", clauses::NAMES, c3)
        .variants(&Variant::SOTW)
        .kinds(&WILD)
        .needs(&[Feature::OnDemand])
        .tags(&["wildcard"]),
    case!("C4", "leaving out * ends the wildcard and keeps the names", clauses::NAMES, c4)
        .variants(&Variant::SOTW)
        .kinds(&WILD)
        .tags(&["wildcard"]),
    case!("C5", "after names, an empty list is no wildcard", clauses::NAMES, c5)
        .variants(&Variant::SOTW)
        .kinds(&TYPES)
        .tags(&["wildcard"]),
    case!("C6", "an empty first request of a type without wildcard does no harm", clauses::NAMES, c6)
        .variants(&Variant::SOTW)
        .kinds(&[ResourceType::Endpoints, ResourceType::RouteConfiguration, ResourceType::Secret])
        .tags(&["wildcard"]),
    case!("C7", "named resources are sent", clauses::NAMES, c7).variants(&Variant::SOTW).kinds(&TYPES),
    case!("C8", "a name added at the same version is sent", clauses::NAMES, c8)
        .variants(&Variant::SOTW)
        .kinds(&TYPES),
    case!("C9", "a name that came unnamed before is sent when it is named", clauses::NAMES, c9)
        .variants(&Variant::SOTW)
        .kinds(&WILD),
    case!("C10", "the change of a name left out brings nothing", clauses::WHEN, c10)
        .should()
        .variants(&Variant::SOTW)
        .kinds(&TYPES),
    case!("C11", "a name left out and named again is sent again", clauses::NAMES, c11)
        .variants(&Variant::SOTW)
        .kinds(&TYPES),
    case!("C12", "a name that does not exist is sent when it does", clauses::MISSING, c12)
        .variants(&Variant::SOTW)
        .kinds(&TYPES),
    case!("C13", "ten thousand names, some twice, one empty", clauses::NAMES, c13)
        .variants(&Variant::SOTW)
        .company(Company::Busy, Duration::from_secs(45)),
];

async fn c1(context: Context) -> Outcome {
    wildcard(&context, &[]).await
}

async fn c2(context: Context) -> Outcome {
    wildcard(&context, &["*"]).await
}

async fn wildcard(context: &Context, names: &[&str]) -> Outcome {
    let kind = context.kind;
    let (a, b, c) = (context.name("a"), context.name("b"), context.name("c"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, names).await?;
    holds(context, &mut stream, &[&a, &b], 1).await?;
    updates(context, &mut stream, &c, 1).await?;
    let held = stream.known(kind).held.len();
    require!(held == 3, "the client holds {held} resources, not 3");
    Ok(())
}

async fn c3(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, outside) = (context.name("a"), context.name("outside"));
    let resource =
        RawResource { wildcard: false, ..RawResource::new(outside.clone(), context.body(&outside, 1)) };
    context.change().put(kind, &a, 1).put_raw(resource).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &["*"]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    stream.settle(kind).await?;
    require!(!stream.known(kind).held.contains_key(&outside), "{outside} is not in the wildcard, and came");
    stream.subscribe(kind, &["*", &outside]).await?;
    holds(&context, &mut stream, &[&a, &outside], 1).await
}

async fn c4(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &["*", &a]).await?;
    holds(&context, &mut stream, &[&a, &b], 1).await?;
    stream.subscribe(kind, &[&a]).await?;
    fence(&context, &mut stream).await?;
    context.put(&b, 2).await?;
    stream.quiet_about(kind, &b).await?;
    updates(&context, &mut stream, &a, 2).await
}

async fn c5(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut stream = settled(&context, &[&a]).await?;
    stream.subscribe(kind, &[]).await?;
    let came = stream.settle(kind).await?;
    require!(came.iter().all(|r| r.resources.is_empty()), "an empty list after names got resources");
    if context.variant.is_ads() {
        // The list was read when what is asked for after it has come.
        let (other, beside) = (other_than(kind), context.name("beside"));
        context.change().put(other, &beside, 1).apply().await?;
        stream.subscribe(other, &[&beside]).await?;
        stream.until(other, "another type", |k| k.held.contains_key(&beside)).await?;
        context.put(&a, 3).await?;
        stream.quiet_about(kind, &a).await?;
    }
    fence(&context, &mut stream).await?;
    context.put(&a, 2).await?;
    stream.quiet_about(kind, &a).await?;
    stream.subscribe(kind, &[&a]).await?;
    holds(&context, &mut stream, &[&a], 2).await
}

fn other_than(kind: ResourceType) -> ResourceType {
    if kind == ResourceType::Endpoints { ResourceType::RouteConfiguration } else { ResourceType::Endpoints }
}

async fn c6(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[]).await?;
    let came = stream.settle(kind).await?;
    let all = came.iter().any(|r| r.get(&a).is_some());
    context.note(if all { "read as wildcard" } else { "read as no subscription" });
    stream.subscribe(kind, &[&a]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    updates(&context, &mut stream, &a, 2).await
}

async fn c7(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b, c) = (context.name("a"), context.name("b"), context.name("c"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).put(kind, &c, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a, &c]).await?;
    holds(&context, &mut stream, &[&a, &c], 1).await?;
    if stream.known(kind).held.contains_key(&b) {
        context.note("resources that were not asked for come along");
    }
    Ok(())
}

async fn c8(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.put(&b, 1).await?;
    let mut stream = settled(&context, &[&a]).await?;
    stream.known(kind).held.remove(&b);
    stream.subscribe(kind, &[&a, &b]).await?;
    holds(&context, &mut stream, &[&b], 1).await?;
    require!(stream.known(kind).held.contains_key(&a), "{a} was lost");
    Ok(())
}

async fn c9(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &["*"]).await?;
    holds(&context, &mut stream, &[&a, &b], 1).await?;
    stream.subscribe(kind, &[&a]).await?;
    fence(&context, &mut stream).await?;
    stream.known(kind).held.remove(&b);
    stream.subscribe(kind, &[&a, &b]).await?;
    holds(&context, &mut stream, &[&a, &b], 1).await
}

async fn c10(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut stream = settled(&context, &[&a, &b]).await?;
    stream.subscribe(kind, &[&a]).await?;
    fence(&context, &mut stream).await?;
    context.put(&b, 2).await?;
    stream.quiet(kind).await?;
    updates(&context, &mut stream, &a, 2).await
}

async fn c11(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut stream = settled(&context, &[&a, &b]).await?;
    stream.subscribe(kind, &[&a]).await?;
    fence(&context, &mut stream).await?;
    stream.known(kind).held.remove(&b);
    stream.subscribe(kind, &[&a, &b]).await?;
    holds(&context, &mut stream, &[&a, &b], 1).await
}

async fn c12(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, later) = (context.name("a"), context.name("later"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a, &later]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    stream.settle(kind).await?;
    updates(&context, &mut stream, &later, 1).await?;
    require!(stream.known(kind).held.contains_key(&a), "{a} was lost");
    Ok(())
}

async fn c13(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let many: Vec<String> = (0..10_000).map(|i| context.name(&format!("missing-{i}"))).collect();
    let mut names: Vec<&str> = many.iter().map(String::as_str).collect();
    names.extend([a.as_str(), &b, &a, "", &b]);
    let mut stream = context.open().await?;
    stream.subscribe(kind, &names).await?;
    let (body_a, body_b) = (context.body(&a, 1), context.body(&b, 1));
    stream
        .until_within(kind, "those that exist", MANY_NAMES, |k| k.has(&a, &body_a) && k.has(&b, &body_b))
        .await?;
    context.put(&a, 2).await?;
    let body = context.body(&a, 2);
    stream.until_within(kind, "a change of one", MANY_NAMES, |k| k.has(&a, &body)).await
}
