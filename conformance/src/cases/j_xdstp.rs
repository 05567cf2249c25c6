//! J: `xdstp:` names (xRFC TP1) and dynamic parameters (xRFC TP2).

use std::collections::BTreeMap;

use lateen_proto::{
    any,
    envoy::{
        config::listener::v3::ListenerCollection,
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest, ResourceLocator},
    },
    xds::core::v3::{CollectionEntry, collection_entry},
};
use lateen_xds::ResourceType;

use super::{case, holds, settled, updates};
use crate::{
    case::{CORE, Case, Variant},
    clauses,
    context::{Context, Outcome},
    control::Feature,
    require,
};

const XDSTP: &[Feature] = &[Feature::Xdstp];
const GLOBS: &[Feature] = &[Feature::Xdstp, Feature::Globs];

pub(super) const CASES: &[Case] = &[
    case!("J1", "a resource with an xdstp: name", clauses::TP1, j1)
        .extension()
        .kinds(&CORE)
        .needs(XDSTP)
        .tags(&["xdstp"]),
    case!("J2", "the order of context parameters does not matter", clauses::TP1, j2)
        .extension()
        .kinds(&CORE)
        .needs(XDSTP)
        .tags(&["xdstp"]),
    case!("J3", "percent encoding does not matter", clauses::TP1, j3)
        .extension()
        .kinds(&CORE)
        .needs(XDSTP)
        .tags(&["xdstp"]),
    case!("J4", "a glob brings its members, and those that come", clauses::TP1, j4)
        .extension()
        .kinds(&CORE)
        .variants(&Variant::DELTA)
        .needs(GLOBS)
        .tags(&["xdstp"]),
    case!("J5", "members of a glob have its context parameters", clauses::TP1, j5)
        .extension()
        .kinds(&CORE)
        .variants(&Variant::DELTA)
        .needs(GLOBS)
        .tags(&["xdstp"]),
    case!("J6", "a glob without members is told to be removed", clauses::TP1, j6)
        .extension()
        .kinds(&CORE)
        .variants(&Variant::DELTA)
        .needs(GLOBS)
        .tags(&["xdstp"]),
    case!("J7", "a list collection with an entry inline", clauses::TP1, j7)
        .extension()
        .kinds(&[ResourceType::Listener])
        .variants(&Variant::ADS)
        .needs(&[Feature::Xdstp, Feature::ListCollections])
        .tags(&["xdstp"]),
    case!("J8", "a name asked for with dynamic parameters", clauses::TP2, j8)
        .extension()
        .kinds(&CORE)
        .needs(&[Feature::DynamicParameters])
        .tags(&["xdstp"]),
    case!("J9", "a name of a foreign authority does not exist", clauses::TP1, j9)
        .extension()
        .kinds(&CORE)
        .variants(&Variant::DELTA)
        .needs(XDSTP)
        .tags(&["xdstp"]),
];

fn xdstp(context: &Context, id: &str) -> String {
    let type_name = any::type_name(context.kind.info().url);
    format!("xdstp://conformance/{type_name}/{}/{id}", context.group)
}

async fn j1(context: Context) -> Outcome {
    let a = xdstp(&context, "a");
    let mut stream = settled(&context, &[&a]).await?;
    updates(&context, &mut stream, &a, 2).await
}

/// Serves one spelling of a name and asks for another.
async fn spellings(context: &Context, served: &str, asked: &str) -> Outcome {
    let kind = context.kind;
    context.put(served, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[asked]).await?;
    let (first, other) = (context.body(served, 1), context.body(asked, 1));
    stream
        .until(kind, "the resource under another spelling", |k| {
            k.held.values().any(|r| r.is(&first) || r.is(&other))
        })
        .await
}

async fn j2(context: Context) -> Outcome {
    let name = xdstp(&context, "a");
    spellings(&context, &format!("{name}?one=1&two=2"), &format!("{name}?two=2&one=1")).await
}

async fn j3(context: Context) -> Outcome {
    spellings(&context, &xdstp(&context, "a-b"), &xdstp(&context, "a%2Db")).await
}

async fn j4(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b, other) = (xdstp(&context, "g/a"), xdstp(&context, "g/b"), xdstp(&context, "h/c"));
    context.change().put(kind, &a, 1).put(kind, &other, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&xdstp(&context, "g/*")]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    updates(&context, &mut stream, &b, 1).await?;
    require!(!stream.known(kind).held.contains_key(&other), "{other} is not a member, and came");
    context.remove(&a).await?;
    stream.until(kind, "the removal of a member", |k| k.gone.contains(&a)).await
}

async fn j5(context: Context) -> Outcome {
    let kind = context.kind;
    let (with, without) = (xdstp(&context, "g/a?zone=1"), xdstp(&context, "g/b"));
    context.change().put(kind, &with, 1).put(kind, &without, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&xdstp(&context, "g/*?zone=1")]).await?;
    holds(&context, &mut stream, &[&with], 1).await?;
    stream.settle(kind).await?;
    require!(!stream.known(kind).held.contains_key(&without), "{without} has other parameters, and came");
    Ok(())
}

async fn j6(context: Context) -> Outcome {
    let (kind, glob) = (context.kind, xdstp(&context, "none/*"));
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[&glob]).await?;
    stream.until(kind, "the word that the glob is empty", |k| k.gone.contains(&glob)).await?;
    updates(&context, &mut stream, &xdstp(&context, "none/a"), 1).await
}

async fn j7(context: Context) -> Outcome {
    let kind = context.kind;
    let name = format!("xdstp://conformance/envoy.config.listener.v3.ListenerCollection/{}", context.group);
    let inline = collection_entry::InlineEntry {
        name: "a".to_owned(),
        version: "1".to_owned(),
        resource: Some(context.body("a", 1)),
    };
    let entry = CollectionEntry {
        resource_specifier: Some(collection_entry::ResourceSpecifier::InlineEntry(inline)),
    };
    let body = any::pack(&ListenerCollection { entries: vec![entry] });
    let type_url = body.type_url.clone();
    context.change().put_body(&name, body.clone()).apply().await?;
    let mut stream = context.open().await?;
    if context.variant.is_delta() {
        let request = DeltaDiscoveryRequest {
            type_url: type_url.clone(),
            resource_names_subscribe: vec![name.clone()],
            ..stream.delta_request(kind)
        };
        stream.send_delta(request).await?;
    } else {
        let request = DiscoveryRequest {
            type_url: type_url.clone(),
            resource_names: vec![name.clone()],
            ..stream.sotw_request(kind)
        };
        stream.send_sotw(request).await?;
    }
    let response = stream.next_any(context.patience.within).await?;
    let came = response.is_some_and(|r| {
        r.type_url == type_url && r.resources.iter().any(|r| r.body.as_ref() == Some(&body))
    });
    require!(came, "the collection did not come");
    Ok(())
}

async fn j8(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    let dynamic_parameters = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    let locator = ResourceLocator { name: a.clone(), dynamic_parameters };
    if context.variant.is_delta() {
        let request = DeltaDiscoveryRequest {
            resource_locators_subscribe: vec![locator],
            ..stream.delta_request(kind)
        };
        stream.send_delta(request).await?;
    } else {
        let request = DiscoveryRequest { resource_locators: vec![locator], ..stream.sotw_request(kind) };
        stream.send_sotw(request).await?;
    }
    holds(&context, &mut stream, &[&a], 1).await
}

async fn j9(context: Context) -> Outcome {
    let kind = context.kind;
    let type_name = any::type_name(kind.info().url);
    let foreign = format!("xdstp://elsewhere.example/{type_name}/{}/a", context.group);
    let mut stream = settled(&context, &[&xdstp(&context, "a")]).await?;
    stream.subscribe(kind, &[&xdstp(&context, "a"), &foreign]).await?;
    stream.until(kind, "the word that the name does not exist", |k| k.gone.contains(&foreign)).await
}
