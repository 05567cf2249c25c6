//! G: order and warming on aggregated streams.

use std::time::{Duration, Instant};

use lateen_xds::ResourceType::{self, Cluster, Endpoints, Listener, RouteConfiguration, VirtualHost};

use super::{
    case,
    k_types::{asking, vhds_routes},
    proxy::Proxy,
};
use crate::{
    case::{Case, Variant},
    clauses,
    content::{eds_cluster, endpoints, rds_listener, route_to},
    context::{Context, Outcome},
    control::Feature,
    require,
};

const ONE: &[ResourceType] = &[Cluster];
/// For a hundred calls of the control port, which take their time on a busy machine; the last change must still be
/// reached as soon as any other.
const HUNDRED: Duration = Duration::from_mins(1);
const SOTW: &[Variant] = &[Variant::SotwAds];
const DELTA: &[Variant] = &[Variant::DeltaAds];

pub(super) const CASES: &[Case] = &[
    case!("G1", "clusters, endpoints, listeners, routes: in this order", clauses::ORDER, g1)
        .variants(&Variant::ADS)
        .kinds(ONE)
        .tags(&["order"]),
    case!("G2", "a cluster stays until the route that left it is acknowledged", clauses::ORDER, g2)
        .variants(SOTW)
        .kinds(ONE)
        .tags(&["order"]),
    case!("G3", "a cluster stays until the route that left it is acknowledged (delta)", clauses::ORDER, g2)
        .variants(DELTA)
        .kinds(ONE)
        .tags(&["order"]),
    case!("G4", "a changed cluster's endpoints are sent again", clauses::WARMING, g4)
        .should()
        .variants(SOTW)
        .kinds(ONE)
        .tags(&["warming"]),
    case!("G5", "a changed cluster's endpoints are sent again (delta)", clauses::WARMING, g4)
        .should()
        .variants(DELTA)
        .kinds(ONE)
        .tags(&["warming"]),
    case!("G6", "endpoints do not wait for the cluster's acknowledgement", clauses::WARMING, g6)
        .variants(&Variant::ADS)
        .kinds(ONE)
        .tags(&["warming"]),
    case!("G7", "routes to a new cluster wait for its acknowledgement", clauses::ORDER, g7)
        .should()
        .variants(&Variant::ADS)
        .kinds(ONE)
        .tags(&["order"]),
    case!("G8", "a rejected cluster stops what depends on it, nothing else", clauses::ORDER, g8)
        .should()
        .variants(&Variant::ADS)
        .kinds(ONE)
        .tags(&["order", "nack"]),
    case!("G9", "a rejected route keeps the old cluster", clauses::ORDER, g9)
        .variants(&Variant::ADS)
        .kinds(ONE)
        .tags(&["order", "nack"]),
    case!("G10", "endpoints asked for before clusters come again behind the clusters", clauses::WARMING, g10)
        .should()
        .variants(&Variant::ADS)
        .kinds(ONE)
        .tags(&["warming", "reconnect"]),
    case!("G11", "warming ends for a cluster without endpoints", clauses::WARMING, g11)
        .should()
        .variants(&Variant::ADS)
        .kinds(ONE)
        .tags(&["warming"]),
    case!("G12", "endpoints that come one by one still complete all", clauses::WARMING, g12)
        .variants(&Variant::ADS)
        .kinds(ONE)
        .tags(&["warming"]),
    case!("G13", "virtual hosts outlast a change of their route configuration", clauses::VHDS, g13)
        .extension()
        .variants(DELTA)
        .kinds(ONE)
        .needs(&[Feature::Vhds])
        .tags(&["vhds"]),
    case!("G14", "a hundred changes: the client ends at the last, in order all the way", clauses::ORDER, g14)
        .variants(&Variant::ADS)
        .limit(HUNDRED)
        .kinds(ONE)
        .tags(&["order"]),
];

/// A listener, its routes to one cluster, its endpoints; and a proxy that has them.
struct Scene {
    x: String,
    y: String,
    routes: String,
    listener: String,
    proxy: Proxy,
}

impl Scene {
    async fn start(context: &Context) -> Outcome<Self> {
        let (x, y) = (context.name("x"), context.name("y"));
        let (routes, listener) = (context.name("routes"), context.name("listener"));
        context
            .change()
            .put_body(&x, eds_cluster(&x, 1))
            .put_body(&x, endpoints(&x, 1))
            .put_body(&listener, rds_listener(&listener, &routes, 1))
            .put_body(&routes, route_to(&routes, &x))
            .apply()
            .await?;
        let mut proxy = Proxy::start(context).await?;
        let (to_x, eds_x) = (route_to(&routes, &x), endpoints(&x, 1));
        proxy
            .until(context, "the first scene", |p| {
                p.has(RouteConfiguration, &routes, &to_x) && p.has(Endpoints, &x, &eds_x)
            })
            .await?;
        proxy.rest(context).await?;
        proxy.log.clear();
        Ok(Self { x, y, routes, listener, proxy })
    }

    /// Adds cluster y, moves the route to it, and removes x if told.
    async fn move_on(&self, context: &Context, remove: bool) -> Outcome {
        let (x, y) = (&self.x, &self.y);
        let mut change = context
            .change()
            .put_body(y, eds_cluster(y, 1))
            .put_body(y, endpoints(y, 1))
            .put_body(&self.routes, route_to(&self.routes, y));
        if remove {
            change = change.remove(Cluster, x).remove(Endpoints, x);
        }
        change.apply().await
    }
}

async fn g1(context: Context) -> Outcome {
    let mut scene = Scene::start(&context).await?;
    scene.move_on(&context, false).await?;
    let Scene { y, routes, listener, proxy, .. } = &mut scene;
    let (cluster, to_y) = (eds_cluster(y, 1), route_to(routes, y));
    proxy
        .until(&context, "the route to the new cluster", |p| p.has(RouteConfiguration, routes, &to_y))
        .await?;
    let at = proxy.place(Cluster, y, &cluster);
    require!(
        at < proxy.place(RouteConfiguration, routes, &to_y) && at.is_some(),
        "the route came before its cluster"
    );
    let eds = proxy.place(Endpoints, y, &endpoints(y, 1));
    require!(eds.is_none_or(|eds| at < Some(eds)), "the endpoints came before their cluster");
    // A second listener with routes to a third cluster, all new at once.
    let (z, more, other) = (context.name("z"), context.name("more"), context.name("other"));
    let _ = listener;
    context
        .change()
        .put_body(&other, rds_listener(&other, &more, 2))
        .put_body(&more, route_to(&more, &z))
        .put_body(&z, endpoints(&z, 1))
        .put_body(&z, eds_cluster(&z, 1))
        .apply()
        .await?;
    let to_z = route_to(&more, &z);
    proxy.until(&context, "the new listener's routes", |p| p.has(RouteConfiguration, &more, &to_z)).await?;
    let order = [
        proxy.place(Cluster, &z, &eds_cluster(&z, 1)),
        proxy.place(Listener, &other, &rds_listener(&other, &more, 2)),
        proxy.place(RouteConfiguration, &more, &to_z),
    ];
    require!(order.is_sorted() && order[0].is_some(), "cluster, listener, routes came at {order:?}");
    require!(proxy.broken.is_none(), "a route named a cluster the client did not hold: {:?}", proxy.broken);
    Ok(())
}

async fn g2(context: Context) -> Outcome {
    let mut scene = Scene::start(&context).await?;
    scene.proxy.hold.insert(RouteConfiguration);
    scene.move_on(&context, true).await?;
    let Scene { x, y, routes, proxy, .. } = &mut scene;
    let to_y = route_to(routes, y);
    proxy
        .until(&context, "the route to the new cluster", |p| p.has(RouteConfiguration, routes, &to_y))
        .await?;
    proxy.rest(&context).await?;
    let still = proxy.stream.known(Cluster).held.contains_key(x.as_str());
    require!(still, "{x} was removed before the route that left it was acknowledged");
    proxy.release(RouteConfiguration).await?;
    proxy
        .until(&context, "the removal of the old cluster", |p| {
            !p.stream.known(Cluster).held.contains_key(x.as_str())
        })
        .await?;
    require!(proxy.broken.is_none(), "a route named a cluster the client did not hold: {:?}", proxy.broken);
    Ok(())
}

async fn g4(context: Context) -> Outcome {
    let mut scene = Scene::start(&context).await?;
    let Scene { x, proxy, .. } = &mut scene;
    let changed = eds_cluster(x, 2);
    context.change().put_body(x, changed.clone()).apply().await?;
    proxy.until(&context, "the changed cluster", |p| p.has(Cluster, x, &changed)).await?;
    let at = Instant::now();
    let from = proxy.log.len();
    let again =
        |p: &Proxy| p.log[from - 1..].iter().any(|s| s.kind == Endpoints && s.response.get(x).is_some());
    proxy.until(&context, "the endpoints behind the changed cluster", |p| again(p)).await?;
    if at.elapsed().as_millis() > 50 {
        context.note(format!("the endpoints came after {} ms", at.elapsed().as_millis()));
    }
    Ok(())
}

async fn g6(context: Context) -> Outcome {
    let mut scene = Scene::start(&context).await?;
    let Scene { x, y, proxy, .. } = &mut scene;
    proxy.hold.insert(Cluster);
    context.change().put_body(y, eds_cluster(y, 1)).put_body(y, endpoints(y, 1)).apply().await?;
    let eds_y = endpoints(y, 1);
    proxy
        .until(&context, "endpoints with the cluster's acknowledgement held back", |p| {
            p.has(Endpoints, y, &eds_y)
        })
        .await?;
    context.change().put_body(x, endpoints(x, 2)).apply().await?;
    let eds_x = endpoints(x, 2);
    proxy.until(&context, "a change of other endpoints meanwhile", |p| p.has(Endpoints, x, &eds_x)).await
}

async fn g7(context: Context) -> Outcome {
    let mut scene = Scene::start(&context).await?;
    scene.proxy.hold.insert(Cluster);
    scene.move_on(&context, false).await?;
    let Scene { y, routes, proxy, .. } = &mut scene;
    let (cluster, to_y) = (eds_cluster(y, 1), route_to(routes, y));
    proxy.until(&context, "the new cluster", |p| p.has(Cluster, y, &cluster)).await?;
    proxy.rest(&context).await?;
    let early = proxy.has(RouteConfiguration, routes, &to_y);
    require!(!early, "the route came while the cluster it names was not acknowledged");
    proxy.release(Cluster).await?;
    proxy
        .until(&context, "the route after the acknowledgement", |p| p.has(RouteConfiguration, routes, &to_y))
        .await
}

async fn g8(context: Context) -> Outcome {
    let mut scene = Scene::start(&context).await?;
    let (more, other) = (context.name("more"), context.name("other"));
    let Scene { x, y, routes, proxy, .. } = &mut scene;
    context
        .change()
        .put_body(&other, rds_listener(&other, &more, 2))
        .put_body(&more, route_to(&more, x))
        .apply()
        .await?;
    let to_x = route_to(&more, x);
    proxy.until(&context, "the second listener", |p| p.has(RouteConfiguration, &more, &to_x)).await?;
    proxy.rest(&context).await?;
    proxy.reject.insert(Cluster);
    context
        .change()
        .put_body(y, eds_cluster(y, 1))
        .put_body(y, endpoints(y, 1))
        .put_body(routes, route_to(routes, y))
        .apply()
        .await?;
    proxy.rest(&context).await?;
    require!(proxy.log.iter().any(|s| s.kind == Cluster), "the new cluster was not sent");
    let early = proxy.has(RouteConfiguration, routes, &route_to(routes, y));
    require!(!early, "a route came whose cluster was rejected");
    // What does not depend on it goes on.
    context
        .change()
        .put_body(x, endpoints(x, 2))
        .put_body(&more, crate::content::body(RouteConfiguration, &more, 7))
        .apply()
        .await?;
    let (eds, direct) = (endpoints(x, 2), crate::content::body(RouteConfiguration, &more, 7));
    proxy
        .until(&context, "changes that do not depend on the rejected cluster", |p| {
            p.has(Endpoints, x, &eds) && p.has(RouteConfiguration, &more, &direct)
        })
        .await
}

async fn g9(context: Context) -> Outcome {
    let mut scene = Scene::start(&context).await?;
    scene.proxy.reject.insert(RouteConfiguration);
    scene.move_on(&context, true).await?;
    let Scene { x, y, routes, proxy, .. } = &mut scene;
    let to_y = route_to(routes, y);
    proxy
        .until(&context, "the route to the new cluster", |p| {
            p.place(RouteConfiguration, routes, &to_y).is_some()
        })
        .await?;
    proxy.rest(&context).await?;
    let still = proxy.stream.known(Cluster).held.contains_key(x.as_str());
    require!(still, "{x} was removed though the route that leaves it was rejected");
    Ok(())
}

async fn g10(context: Context) -> Outcome {
    let scene = Scene::start(&context).await?;
    let Scene { x, mut proxy, .. } = scene;
    let before = [Cluster, Endpoints].map(|kind| proxy.stream.known(kind).clone());
    drop(proxy);
    let mut stream = context.open().await?;
    // A client whose cluster was warming when the stream broke asks for endpoints first.
    stream.resume(Endpoints, &[&x], &before[1]).await?;
    stream.settle(Endpoints).await?;
    context.change().put_body(&x, eds_cluster(&x, 2)).apply().await?;
    stream.settle(Endpoints).await?;
    stream.resume(Cluster, &[], &before[0]).await?;
    let changed = eds_cluster(&x, 2);
    stream.until(Cluster, "the changed cluster", |k| k.has(&x, &changed)).await?;
    let response = stream.next_acked(Endpoints).await?;
    require!(response.get(&x).is_some(), "the endpoints did not come again behind the changed cluster");
    Ok(())
}

async fn g11(context: Context) -> Outcome {
    let y = context.name("y");
    let mut scene = Scene::start(&context).await?;
    context.change().put_body(&y, eds_cluster(&y, 1)).apply().await?;
    scene
        .proxy
        .until(&context, "an answer for a cluster without endpoints", |p| {
            let known = p.stream.known(Endpoints);
            known.gone.contains(&y) || known.held.contains_key(&y)
        })
        .await
}

async fn g12(context: Context) -> Outcome {
    let mut scene = Scene::start(&context).await?;
    let (y, z) = (context.name("y"), context.name("z"));
    context.change().put_body(&y, eds_cluster(&y, 1)).put_body(&z, eds_cluster(&z, 1)).apply().await?;
    let proxy = &mut scene.proxy;
    proxy.rest(&context).await?;
    for name in [&z, &y] {
        context.change().put_body(name, endpoints(name, 5)).apply().await?;
        let body = endpoints(name, 5);
        proxy.until(&context, "endpoints of one cluster", |p| p.has(Endpoints, name, &body)).await?;
    }
    let (x, eds_x) = (scene.x.clone(), endpoints(&scene.x, 1));
    require!(scene.proxy.has(Endpoints, &x, &eds_x), "the endpoints of {x} were lost");
    Ok(())
}

async fn g13(context: Context) -> Outcome {
    let routes = context.name("routes");
    let host = format!("{routes}/host.example");
    let body = crate::content::body(VirtualHost, &host, 1);
    context.change().put_body(&routes, vhds_routes(&routes, 1)).put_body(&host, body.clone()).apply().await?;
    let mut stream = asking(&context, &routes, &host).await?;
    stream.until(VirtualHost, "the host", |k| k.has(&host, &body)).await?;
    stream.settle(VirtualHost).await?;
    context.change().put_body(&routes, vhds_routes(&routes, 2)).apply().await?;
    let changed = vhds_routes(&routes, 2);
    stream.until(RouteConfiguration, "the changed routes", |k| k.has(&routes, &changed)).await?;
    let came = stream.settle(VirtualHost).await?;
    let again = came.iter().any(|r| r.get(&host).is_some());
    // The document says that a changed route configuration clears the proxy's table; Envoy 1.40 keeps it.
    context.note(if again { "sent again" } else { "not sent again" });
    require!(came.iter().all(|r| r.removed.is_empty()), "the host was removed");
    let body = crate::content::body(VirtualHost, &host, 2);
    context.change().put_body(&host, body.clone()).apply().await?;
    stream.until(VirtualHost, "a change of the host", |k| k.has(&host, &body)).await
}

async fn g14(context: Context) -> Outcome {
    let mut scene = Scene::start(&context).await?;
    let Scene { x, routes, proxy, .. } = &mut scene;
    let mut old = x.clone();
    for round in 0..100 {
        let new = context.name(&format!("v{round}"));
        context
            .change()
            .put_body(&new, eds_cluster(&new, 1))
            .put_body(&new, endpoints(&new, round))
            .put_body(routes, route_to(routes, &new))
            .remove(Cluster, &old)
            .remove(Endpoints, &old)
            .apply()
            .await?;
        old = new;
        // Sometimes the client keeps up, sometimes it does not.
        if round % 3 == 0 {
            proxy.step(Duration::ZERO).await?;
        }
    }
    let to_last = route_to(routes, &old);
    proxy
        .until(&context, "the last of a hundred changes", |p| {
            p.has(RouteConfiguration, routes, &to_last)
                && p.stream.known(Cluster).held_names() == [old.as_str()]
        })
        .await?;
    require!(proxy.broken.is_none(), "a route named a cluster the client did not hold: {:?}", proxy.broken);
    Ok(())
}
