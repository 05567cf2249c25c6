//! Where requests go, and what becomes of them on the way.

use anyhow::ensure;
use futures::{StreamExt, stream};

use super::{Seen, Tour, expect_status, share};
use crate::demo::{
    client::header_map,
    mesh::{CATALOG_ROUTES, INGRESS_ROUTES},
};

/// Requests of the split.
const SPLIT_REQUESTS: usize = 2000;
/// Requests at once.
const AT_ONCE: usize = 16;

pub async fn page(tour: &Tour<'_>) -> Seen {
    let answer = tour.gateway.get("shop.localhost", "/", &[]).await?;
    expect_status(&answer, 200)?;
    let page = answer.json();
    for part in ["catalog", "reviews", "flaky"] {
        ensure!(page[part]["status"] == 200, "{part}: {}", page[part]);
    }
    ensure!(answer.header("server").contains("envoy"), "the answer did not come from Envoy");
    Ok(format!("catalog {}, reviews by {}", page["catalog"]["version"], page["reviews"]["protocol"]))
}

pub async fn live_edit(tour: &mut Tour<'_>) -> Seen {
    let mut times = Vec::new();
    for version in ["v2", "v1", "v2", "v1"] {
        let routes = format!("  - route: [{{destination: {{host: catalog, subset: {version}}}}}]\n");
        times.push(tour.route_catalog(&routes).await?.as_millis());
        for (answer, _) in tour.many("catalog", &[], 20, 4).await? {
            expect_status(&answer, 200)?;
            ensure!(answer.json()["version"] == version, "after the edit to {version}: {}", answer.text());
        }
    }
    Ok(format!("saved → seen in {times:?} ms"))
}

pub async fn split(tour: &mut Tour<'_>) -> Seen {
    tour.route_catalog(CATALOG_ROUTES).await?;
    let tour = &*tour;
    share(0.1, async || {
        // The whole way: gateway, the shop, its sidecar, the catalog's.
        let requests = stream::iter(0..SPLIT_REQUESTS).map(|_| async {
            let answer = tour.gateway.get("shop.localhost", "/catalog/books", &[]).await?;
            expect_status(&answer, 200)?;
            Ok::<_, anyhow::Error>(answer.json()["version"] == "v2")
        });
        let answers: Vec<anyhow::Result<bool>> = requests.buffer_unordered(AT_ONCE).collect().await;
        let mut next = 0;
        for answer in answers {
            next += usize::from(answer?);
        }
        Ok((next, SPLIT_REQUESTS))
    })
    .await
}

pub async fn by_header(tour: &mut Tour<'_>) -> Seen {
    tour.route_catalog(CATALOG_ROUTES).await?;
    for (answer, _) in tour.many("catalog", &[("x-demo-user", "tester")], 50, 4).await? {
        expect_status(&answer, 200)?;
        ensure!(answer.json()["version"] == "v2", "a tester got {}", answer.text());
    }
    let others = tour.many("catalog", &[("x-demo-user", "someone")], 50, 4).await?;
    let first = others.iter().filter(|(answer, _)| answer.json()["version"] == "v1").count();
    ensure!(first > 25, "others got v1 only {first} times of 50");
    Ok(format!("tester: v2 50 of 50; others: v1 {first} of 50"))
}

pub async fn header_operations(tour: &mut Tour<'_>) -> Seen {
    tour.route_catalog(
        "  - route:
    - destination: {host: catalog, subset: v1}
      headers:
        request: {set: {x-set: anew}, add: {x-added: \"1\"}, remove: [x-secret]}
    headers:
      response: {set: {x-answer: \"42\"}, remove: [content-type]}
",
    )
    .await?;
    let answer = tour.get("catalog", "/", &[("x-set", "old"), ("x-secret", "s")]).await?;
    expect_status(&answer, 200)?;
    let seen = &answer.json()["headers"];
    ensure!(seen["x-set"] == "anew" && seen["x-added"] == "1", "the application saw {seen}");
    ensure!(seen["x-secret"].is_null(), "the application saw x-secret");
    ensure!(answer.header("x-answer") == "42", "no x-answer in {:?}", answer.headers);
    ensure!(!answer.headers.contains_key("content-type"), "content-type was not removed");
    Ok("request: set, add, remove; response: set, remove".to_owned())
}

pub async fn redirect(tour: &mut Tour<'_>) -> Seen {
    tour.route_catalog(&format!(
        "  - match: [{{uri: {{prefix: /old}}}}]\n    \
         redirect: {{uri: /new, authority: books.example, redirectCode: 308}}\n{CATALOG_ROUTES}"
    ))
    .await?;
    let answer = tour.get("catalog", "/old", &[]).await?;
    expect_status(&answer, 308)?;
    let location = answer.header("location");
    ensure!(location == "http://books.example/new", "location: {location}");
    expect_status(&tour.get("catalog", "/else", &[]).await?, 200)?;
    Ok(format!("308 {location}"))
}

pub async fn rewrite(tour: &mut Tour<'_>) -> Seen {
    tour.route_catalog(
        "  - match: [{uri: {prefix: /v0/}}]
    rewrite: {uri: /api/, authority: books.example}
    route: [{destination: {host: catalog, subset: v1}}]
  - route: [{destination: {host: catalog, subset: v1}}]
",
    )
    .await?;
    let seen = tour.get("catalog", "/v0/books?page=2", &[]).await?.json();
    ensure!(seen["path"] == "/api/books?page=2", "the application saw {seen}");
    ensure!(seen["headers"]["host"] == "books.example", "the application saw {seen}");
    Ok(format!("/v0/books?page=2 → {}", seen["path"]))
}

pub async fn direct_response(tour: &mut Tour<'_>) -> Seen {
    tour.route_catalog(&format!(
        "  - match: [{{uri: {{exact: /teapot}}}}]\n    \
         directResponse: {{status: 418, body: {{string: \"no coffee\"}}}}\n{CATALOG_ROUTES}"
    ))
    .await?;
    let answer = tour.get("catalog", "/teapot", &[]).await?;
    expect_status(&answer, 418)?;
    ensure!(answer.text() == "no coffee", "body: {}", answer.text());
    Ok("418 no coffee".to_owned())
}

pub async fn cors(tour: &mut Tour<'_>) -> Seen {
    tour.route_gateway(
        "  - route: [{destination: {host: shop}}]
    corsPolicy:
      allowOrigins: [{exact: \"https://shop.example\"}]
      allowMethods: [GET, PUT]
      allowHeaders: [x-demo-user]
      maxAge: 1h
",
    )
    .await?;
    let preflight = async |origin: &str| {
        let headers = header_map(&[
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-demo-user"),
        ])?;
        tour.gateway.call("OPTIONS", "shop.localhost", "/catalog", headers, super::LIMIT).await
    };
    let allowed = preflight("https://shop.example").await?;
    expect_status(&allowed, 200)?;
    ensure!(allowed.body.is_empty(), "the preflight reached the application");
    ensure!(
        allowed.header("access-control-allow-origin") == "https://shop.example"
            && allowed.header("access-control-allow-methods").contains("PUT")
            && allowed.header("access-control-allow-headers").contains("x-demo-user")
            && allowed.header("access-control-max-age") == "3600",
        "{:?}",
        allowed.headers
    );
    let other = preflight("https://other.example").await?;
    ensure!(other.header("access-control-allow-origin").is_empty(), "a foreign origin was allowed");
    tour.route_gateway(INGRESS_ROUTES).await?;
    Ok("own origin answered by Envoy, another one not allowed".to_owned())
}
