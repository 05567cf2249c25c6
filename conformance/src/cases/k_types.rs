//! K: on-demand resources and the other types.

use std::collections::BTreeSet;

use lateen_proto::{
    any,
    envoy::{
        config::{
            core::v3::{AggregatedConfigSource, ApiVersion, ConfigSource, config_source},
            route::v3::{RouteConfiguration, Vhds},
        },
        service::discovery::v3::DeltaDiscoveryRequest,
    },
    google::protobuf::Any,
};
use lateen_xds::ResourceType::{self, Cluster, ExtensionConfig, Runtime, ScopedRoute, Secret, VirtualHost};

use super::{case, holds, settled, updates};
use crate::{
    case::{Case, Variant},
    clauses, content,
    context::{Context, Failure, Outcome},
    control::{Feature, RawResource},
    require,
    stream::Stream,
};

pub(super) const CASES: &[Case] = &[
    case!("K1", "a virtual host asked for by an alias is sent with its aliases", clauses::VHDS, k1)
        .extension()
        .variants(&[Variant::DeltaAds])
        .kinds(&[VirtualHost])
        .needs(&[Feature::Aliases])
        .tags(&["vhds"]),
    case!("K2", "a virtual host that does not exist is answered at once", clauses::VHDS, k2)
        .extension()
        .variants(&[Variant::DeltaAds])
        .kinds(&[VirtualHost])
        .tags(&["vhds"]),
    case!("K3", "a cluster asked for beside the wildcard is sent", clauses::ODCDS, k3)
        .extension()
        .variants(&Variant::DELTA)
        .kinds(&[Cluster])
        .needs(&[Feature::OnDemand])
        .tags(&["odcds"]),
    case!("K4", "a cluster that does not exist is told to be removed at once", clauses::ODCDS, k4)
        .extension()
        .variants(&Variant::DELTA)
        .kinds(&[Cluster])
        .tags(&["odcds"]),
    case!("K5", "scoped routes: all of them, changes, and the end", clauses::SRDS, k5)
        .extension()
        .kinds(&[ScopedRoute]),
    case!("K6", "an extension configuration changes in place", clauses::ECDS, k6)
        .extension()
        .kinds(&[ExtensionConfig]),
    case!("K7", "a new secret is sent, and nothing else", clauses::SDS, k7)
        .extension()
        .variants(&Variant::ADS)
        .kinds(&[Secret]),
    case!("K8", "a secret is not given to another node", clauses::SDS, k8).extension().kinds(&[Secret]),
    case!("K9", "runtime layers", clauses::RTDS, k9).extension().kinds(&[Runtime]),
];

/// A route configuration whose virtual hosts come by VHDS.
pub(super) fn vhds_routes(name: &str, max_bytes: u32) -> Any {
    let source = ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(
            AggregatedConfigSource::default(),
        )),
        ..ConfigSource::default()
    };
    any::pack(&RouteConfiguration {
        name: name.to_owned(),
        vhds: Some(Vhds { config_source: Some(source) }),
        max_direct_response_body_size_bytes: Some(lateen_proto::google::protobuf::UInt32Value {
            value: max_bytes,
        }),
        ..RouteConfiguration::default()
    })
}

/// A client that has asked for a route configuration and one of its virtual hosts by name.
pub(super) async fn asking(context: &Context, routes: &str, host: &str) -> Outcome<Stream> {
    let mut stream = context.open().await?;
    stream.subscribe(ResourceType::RouteConfiguration, &[routes]).await?;
    stream.next_acked(ResourceType::RouteConfiguration).await?;
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: vec![host.to_owned()],
        ..stream.delta_request(VirtualHost)
    };
    stream.send_delta(request).await?;
    Ok(stream)
}

async fn k1(context: Context) -> Outcome {
    let routes = context.name("routes");
    let (host, alias) = (format!("{routes}/host.example"), format!("{routes}/alias.example"));
    let resource = RawResource {
        aliases: vec![alias.clone()],
        ..RawResource::new(host.clone(), content::body(VirtualHost, &host, 1))
    };
    context.change().put_body(&routes, vhds_routes(&routes, 1)).put_raw(resource).apply().await?;
    let mut stream = asking(&context, &routes, &alias).await?;
    told_by_alias(&mut stream, &alias).await?;
    // By both names at once it is still one resource.
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: vec![host, alias.clone()],
        ..stream.delta_request(VirtualHost)
    };
    stream.send_delta(request).await?;
    told_by_alias(&mut stream, &alias).await
}

async fn told_by_alias(stream: &mut Stream, alias: &String) -> Outcome {
    for _ in 0..10 {
        let response = stream.next_acked(VirtualHost).await?;
        let mut names = BTreeSet::new();
        require!(
            response.resources.iter().all(|r| names.insert(&r.name)),
            "a host comes twice: {response:?}"
        );
        if let Some(found) = response.resources.iter().find(|r| r.body.is_some()) {
            let told = found.name == *alias || found.aliases.contains(alias);
            require!(told, "the host came as {} with aliases {:?}", found.name, found.aliases);
            return Ok(());
        }
    }
    Err(Failure::Broken("the host asked for by its alias did not come".to_owned()))
}

async fn k2(context: Context) -> Outcome {
    let routes = context.name("routes");
    let missing = format!("{routes}/missing.example");
    context.change().put_body(&routes, vhds_routes(&routes, 1)).apply().await?;
    let mut stream = asking(&context, &routes, &missing).await?;
    for _ in 0..10 {
        let response = stream.next_acked(VirtualHost).await?;
        let entry = response.resources.iter().find(|r| r.name == missing || r.aliases.contains(&missing));
        if let Some(entry) = entry {
            require!(entry.body.is_none(), "a host that does not exist has a body");
            context.note("told by an entry without a body");
            return Ok(());
        }
        if response.removed.contains(&missing) {
            context.note("told by removed_resources");
            return Ok(());
        }
    }
    Err(Failure::Broken("no word about a host that does not exist".to_owned()))
}

async fn k3(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, hidden) = (context.name("a"), context.name("hidden"));
    let resource =
        RawResource { wildcard: false, ..RawResource::new(hidden.clone(), context.body(&hidden, 1)) };
    context.change().put(kind, &a, 1).put_raw(resource).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &["*"]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    stream.settle(kind).await?;
    require!(!stream.known(kind).held.contains_key(&hidden), "{hidden} is not in the wildcard, and came");
    stream.subscribe(kind, &["*", &hidden]).await?;
    holds(&context, &mut stream, &[&a, &hidden], 1).await?;
    // Given up, it is out of the wildcard again.
    stream.subscribe(kind, &["*"]).await?;
    stream.until(kind, "the removal of what was given up", |k| k.gone.contains(&hidden)).await
}

async fn k4(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, missing) = (context.name("a"), context.name("missing"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &["*"]).await?;
    holds(&context, &mut stream, &[&a], 1).await?;
    stream.subscribe(kind, &["*", &missing]).await?;
    stream.until(kind, "the word that it does not exist", |k| k.gone.contains(&missing)).await?;
    updates(&context, &mut stream, &missing, 1).await
}

async fn k5(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    context.change().put(kind, &a, 1).put(kind, &b, 1).apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(kind, &[]).await?;
    holds(&context, &mut stream, &[&a, &b], 1).await?;
    context.put(&a, 2).await?;
    holds(&context, &mut stream, &[&a], 2).await?;
    holds(&context, &mut stream, &[&b], 1).await?;
    context.remove(&b).await?;
    stream.until(kind, "the end of a scope", |k| !k.held.contains_key(&b)).await
}

async fn k6(context: Context) -> Outcome {
    let a = context.name("a");
    let mut stream = settled(&context, &[&a]).await?;
    for number in 2..5 {
        updates(&context, &mut stream, &a, number).await?;
        let held = stream.known(context.kind);
        require!(held.gone.is_empty(), "an extension configuration was removed on the way");
    }
    Ok(())
}

async fn k7(context: Context) -> Outcome {
    let (a, cluster) = (context.name("a"), context.name("cluster"));
    context.change().put(Cluster, &cluster, 1).apply().await?;
    let mut stream = settled(&context, &[&a]).await?;
    stream.subscribe(Cluster, &[]).await?;
    stream.until(Cluster, "the cluster", |k| k.held.contains_key(&cluster)).await?;
    stream.settle(Cluster).await?;
    updates(&context, &mut stream, &a, 2).await?;
    stream.silent().await
}

async fn k8(context: Context) -> Outcome {
    let (kind, a) = (context.kind, context.name("a"));
    context.put(&a, 1).await?;
    let mut stream = context.open().await?;
    if let Some(node) = &mut stream.node {
        node.id.push_str("-stranger");
    }
    stream.subscribe(kind, &[&a]).await?;
    let came = stream.settle(kind).await?;
    require!(came.iter().all(|r| r.get(&a).is_none()), "a stranger got the secret");
    Ok(())
}

async fn k9(context: Context) -> Outcome {
    let (a, b) = (context.name("a"), context.name("b"));
    let mut stream = settled(&context, &[&a, &b]).await?;
    updates(&context, &mut stream, &a, 2).await?;
    holds(&context, &mut stream, &[&b], 1).await
}
