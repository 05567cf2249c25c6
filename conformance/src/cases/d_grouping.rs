//! D: what state-of-the-world responses hold, and how things are deleted.

use lateen_xds::ResourceType;

use super::{case, holds, settled, updates};
use crate::{
    case::{Case, NAMED, TYPES, Variant, WILD},
    clauses,
    context::{Context, Outcome},
    control::Feature,
    require,
};

pub(super) const CASES: &[Case] = &[
    case!("D1", "a response for listeners or clusters is complete", clauses::GROUPING, d1)
        .variants(&Variant::SOTW)
        .kinds(&WILD)
        .tags(&["complete"]),
    case!("D2", "responses of other types may be partial and lose nothing", clauses::GROUPING, d2)
        .variants(&Variant::SOTW)
        .kinds(&NAMED),
    case!("D3", "what is gone is absent from the next response", clauses::DELETING, d3)
        .variants(&Variant::SOTW)
        .kinds(&WILD)
        .tags(&["delete"]),
    case!("D4", "when the last one is gone, an empty response says so", clauses::DELETING, d4)
        .variants(&Variant::SOTW)
        .kinds(&WILD)
        .tags(&["delete"]),
    case!("D5", "no empty response where it says nothing", clauses::DELETING, d5)
        .should()
        .variants(&Variant::SOTW)
        .kinds(&NAMED),
    case!("D6", "a resource asked for in several ways is in a response once", clauses::DUPLICATES, d6)
        .kinds(&WILD),
    case!("D7", "the version changes with the content, and only with it", clauses::VERSION, d7)
        .kinds(&TYPES)
        .tags(&["version"]),
];

async fn d1(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b, c) = (context.name("a"), context.name("b"), context.name("c"));
    let mut stream = settled(&context, &[&a, &b, &c]).await?;
    context.put(&b, 2).await?;
    let response = stream.next_acked(kind).await?;
    for name in [&a, &b, &c] {
        require!(response.get(name).is_some(), "{name} is missing in a response that must be complete");
    }
    Ok(())
}

async fn d2(context: Context) -> Outcome {
    let (a, b, c) = (context.name("a"), context.name("b"), context.name("c"));
    let mut stream = settled(&context, &[&a, &b, &c]).await?;
    updates(&context, &mut stream, &a, 2).await?;
    updates(&context, &mut stream, &b, 2).await?;
    holds(&context, &mut stream, &[&c], 1).await?;
    let kind = context.kind;
    context.change().put(kind, &a, 3).put(kind, &b, 3).put(kind, &c, 3).apply().await?;
    holds(&context, &mut stream, &[&a, &b, &c], 3).await
}

async fn d3(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut stream = settled(&context, &[&a, &b]).await?;
    context.remove(&b).await?;
    let response = stream.next_acked(kind).await?;
    require!(response.names() == [a.as_str()], "the response has {:?}, not just {a}", response.names());
    Ok(())
}

async fn d4(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    context.remove(&a).await?;
    let response = stream.next_acked(kind).await?;
    require!(response.resources.is_empty(), "the response still has {:?}", response.names());
    stream.quiet(kind).await?;
    updates(&context, &mut stream, &a, 2).await
}

async fn d5(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    for response in stream.settle(kind).await? {
        let says_something = !response.resources.is_empty() || !response.errors.is_empty();
        require!(says_something, "an empty response for a type in which it says nothing");
    }
    updates(&context, &mut stream, &a, 1).await
}

async fn d6(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    // That no response of any case has a name twice is looked at wherever a response is read.
    stream.subscribe(kind, &["*", &a, &b, &a]).await?;
    holds(&context, &mut stream, &[&a, &b], 1).await?;
    context.change().put(kind, &a, 2).put(kind, &b, 2).apply().await?;
    holds(&context, &mut stream, &[&a, &b], 2).await
}

async fn d7(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&a]).await?;
    let mut versions = Vec::new();
    for number in [2, 1, 1] {
        let response = stream.next_acked(kind).await?;
        require!(response.get(&a).is_some(), "the response lacks {a}");
        versions.push(if context.variant.is_delta() {
            response.get(&a).map(|r| r.version.clone()).unwrap_or_default()
        } else {
            response.version.clone()
        });
        context.put(&a, number).await?;
    }
    let [one, two, again] = versions.as_slice() else { unreachable!("three rounds") };
    require!(!one.is_empty(), "there is no version");
    require!(one != two, "another content has the same version {one:?}");
    // The last change told the same content once more.
    stream.quiet(kind).await?;
    if context.target.capabilities.features.contains(&Feature::ContentVersions) {
        require!(one == again, "the same content had version {one:?} and has {again:?}");
    }
    require!(kind != ResourceType::Endpoints || again != two, "another content has the same version {two:?}");
    Ok(())
}
