//! H: errors about resources (xRFC TP3). The clients are those that say they read them.

use lateen_xds::ResourceType;
use tonic::Code;

use super::{case, holds};
use crate::{
    case::{Case, TYPES, Variant, WILD},
    clauses,
    context::{Context, Outcome},
    control::{ConditionState, Feature},
    message::{ReceivedError, Response},
    require,
    stream::Stream,
};

const KINDS: &[ResourceType] = &TYPES;
const NEEDS: &[Feature] = &[Feature::ResourceErrors];
const CONDITIONS: &[Feature] = &[Feature::ResourceErrors, Feature::Conditions];

pub(super) const CASES: &[Case] = &[
    case!("H1", "a name that does not exist is told NOT_FOUND, once", clauses::TP3, h1)
        .extension()
        .variants(&Variant::SOTW)
        .kinds(KINDS)
        .needs(NEEDS)
        .tags(&["error"]),
    case!("H2", "in delta the removal and the error agree", clauses::TP3, h2)
        .extension()
        .variants(&Variant::DELTA)
        .kinds(KINDS)
        .needs(NEEDS)
        .tags(&["error"]),
    case!("H3", "what a client may not have is told PERMISSION_DENIED", clauses::TP3, h3)
        .extension()
        .needs(CONDITIONS)
        .tags(&["error"]),
    case!("H4", "a back end out of reach is told UNAVAILABLE, and removes nothing", clauses::TP3, h4)
        .extension()
        .needs(CONDITIONS)
        .tags(&["error"]),
    case!("H5", "the resource ends the error", clauses::TP3, h5)
        .extension()
        .kinds(KINDS)
        .needs(NEEDS)
        .tags(&["error"]),
    case!("H6", "errors and resources are disjoint, and the set stays complete", clauses::TP3, h6)
        .extension()
        .variants(&Variant::SOTW)
        .kinds(&WILD)
        .needs(NEEDS)
        .tags(&["error"]),
];

/// A stream of a client that reads errors: gRPC says so by what it is.
async fn open(context: &Context) -> Outcome<Stream> {
    let mut stream = context.open().await?;
    if let Some(node) = &mut stream.node {
        "gRPC C-core Linux".clone_into(&mut node.user_agent_name);
        node.client_features.push("xds.config.resource-in-sotw".to_owned());
    }
    Ok(stream)
}

async fn error_of(context: &Context, stream: &mut Stream, name: &str) -> Outcome<(Response, ReceivedError)> {
    for _ in 0..10 {
        let response = stream.next_acked(context.kind).await?;
        if let Some(error) = response.errors.iter().find(|e| e.name == name) {
            require!(response.get(name).is_none(), "{name} is among the resources and the errors");
            let error = error.clone();
            return Ok((response, error));
        }
    }
    Err(crate::context::Failure::Broken(format!("no error for {name}")))
}

async fn h1(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, missing) = (context.name("a"), context.name("missing"));
    context.put(&a, 1).await?;
    let mut stream = open(&context).await?;
    stream.subscribe(kind, &[&a, &missing]).await?;
    let mut errors = Vec::new();
    let mut within = context.patience.within;
    while let Some(response) = stream.next_within(kind, within).await? {
        stream.ack(kind, &response).await?;
        errors.extend(response.errors.into_iter().filter(|e| e.name == missing));
        if !errors.is_empty() || stream.known(kind).held.contains_key(&missing) {
            within = context.patience.quiet;
        }
    }
    require!(stream.known(kind).held.contains_key(&a), "{a} did not come");
    if kind == ResourceType::Endpoints && stream.known(kind).held.contains_key(&missing) {
        // An assignment without endpoints is an answer too, and one that ends warming.
        context.note("told by an assignment without endpoints");
        return Ok(());
    }
    require!(errors.len() == 1, "{} errors for {missing}, not one", errors.len());
    let code = errors.first().map(|e| e.code);
    require!(code == Some(Code::NotFound as i32), "the error has code {code:?}");
    Ok(())
}

async fn h2(context: Context) -> Outcome {
    let (kind, missing) = (context.kind, context.name("missing"));
    let mut stream = open(&context).await?;
    stream.subscribe(kind, &[&missing]).await?;
    let mut came = vec![stream.next_acked(kind).await?];
    came.extend(stream.settle(kind).await?);
    require!(stream.known(kind).gone.contains(&missing), "no removal of a name that does not exist");
    let mut errors = came.iter().flat_map(|r| &r.errors).filter(|e| e.name == missing);
    match errors.next() {
        // To a client, both mean the same.
        None => context.note("told by the removal alone"),
        Some(error) => {
            require!(error.code == Code::NotFound as i32, "the error has code {}", error.code);
            require!(errors.next().is_none(), "the error was told twice");
        }
    }
    Ok(())
}

async fn h3(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let denied = Some(ConditionState::Denied);
    context.change().put(kind, &a, 1).condition(kind, &a, denied).apply().await?;
    let mut stream = open(&context).await?;
    stream.subscribe(kind, &[&a]).await?;
    let (_, error) = error_of(&context, &mut stream, &a).await?;
    require!(error.code == Code::PermissionDenied as i32, "the error has code {}", error.code);
    context.change().condition(kind, &a, None).apply().await?;
    holds(&context, &mut stream, &[&a], 1).await
}

async fn h4(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    let later = context.name("later");
    context.put(&a, 1).await?;
    let mut stream = open(&context).await?;
    stream.subscribe(kind, &[&a]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    let gone = Some(ConditionState::Unavailable);
    context.change().condition(kind, &a, gone).condition(kind, &later, gone).apply().await?;
    stream.settle(kind).await?;
    require!(stream.known(kind).held.contains_key(&a), "{a} was taken away with its back end");
    stream.subscribe(kind, &[&a, &later]).await?;
    let (_, error) = error_of(&context, &mut stream, &later).await?;
    require!(error.code == Code::Unavailable as i32, "the error has code {}", error.code);
    require!(stream.known(kind).held.contains_key(&a), "{a} was taken away with its back end");
    context
        .change()
        .put(kind, &later, 1)
        .condition(kind, &a, None)
        .condition(kind, &later, None)
        .apply()
        .await?;
    holds(&context, &mut stream, &[&a, &later], 1).await
}

async fn h5(context: Context) -> Outcome {
    let (kind, later) = (context.kind, context.name("later"));
    let mut stream = open(&context).await?;
    stream.subscribe(kind, &[&later]).await?;
    stream.next_acked(kind).await?;
    stream.settle(kind).await?;
    context.put(&later, 1).await?;
    let body = context.body(&later, 1);
    loop {
        let response = stream.next_acked(kind).await?;
        let still = response.errors.iter().any(|e| e.name == later);
        require!(!still, "{later} exists, and the error was told again");
        if stream.known(kind).has(&later, &body) {
            break;
        }
    }
    let came = stream.settle(kind).await?;
    require!(came.iter().all(|r| r.errors.is_empty()), "an error after the resource");
    Ok(())
}

async fn h6(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b, missing) = (context.name("a"), context.name("b"), context.name("missing"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = open(&context).await?;
    stream.subscribe(kind, &[&a, &b]).await?;
    holds(&context, &mut stream, &[&a, &b], 1).await?;
    stream.subscribe(kind, &[&a, &b, &missing]).await?;
    let (response, _) = error_of(&context, &mut stream, &missing).await?;
    for name in [&a, &b] {
        require!(response.get(name).is_some(), "{name} is missing in a response that must be complete");
    }
    Ok(())
}
