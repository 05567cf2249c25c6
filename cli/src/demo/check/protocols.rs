//! What is carried besides HTTP/1.1, and to whom.

use anyhow::{Context, ensure};

use super::{Seen, Tour, expect_status, until};
use crate::demo::{
    client::{ask_ledger, chat, grpc},
    mesh::OUTSIDE,
    plan::host,
    services::{Added, Item, Total},
};

/// Lines of one WebSocket.
const LINES: u32 = 20;

pub async fn http2(tour: &Tour<'_>) -> Seen {
    let answer = tour.get("reviews", "/", &[]).await?;
    expect_status(&answer, 200)?;
    let protocol = &answer.json()["protocol"];
    ensure!(protocol == "HTTP/2.0", "the application was spoken to in {protocol}");
    Ok("HTTP/1.1 to the sidecar, HTTP/2.0 at the application".to_owned())
}

pub async fn grpc_unary(tour: &Tour<'_>) -> Seen {
    let mut call = grpc(tour.egress, &host("cart"), "/lateen.demo.Cart/Add").await?;
    let item = Item { name: "tea".to_owned(), count: 3 };
    call.send(&item).await?;
    call.finish();
    let replies: Vec<Added> = call.rest().await?;
    let wanted = Added { item: Some(item), instance: "cart".to_owned() };
    ensure!(replies == [wanted], "{replies:?}");
    Ok("one message each way, status 0".to_owned())
}

pub async fn grpc_server_streaming(tour: &Tour<'_>) -> Seen {
    const COUNT: u32 = 100;
    let mut call = grpc(tour.egress, &host("cart"), "/lateen.demo.Cart/Unpack").await?;
    call.send(&Item { name: "tea".to_owned(), count: COUNT }).await?;
    call.finish();
    let replies: Vec<Added> = call.rest().await?;
    let counts: Vec<u32> =
        replies.iter().filter_map(|reply| reply.item.as_ref()).map(|item| item.count).collect();
    ensure!(counts == (1..=COUNT).collect::<Vec<_>>(), "{counts:?}");
    Ok(format!("{COUNT} messages in order, status 0"))
}

pub async fn grpc_both_ways(tour: &Tour<'_>) -> Seen {
    let mut call = grpc(tour.egress, &host("cart"), "/lateen.demo.Cart/Sum").await?;
    let mut sum = 0;
    for count in 1..=20_u32 {
        call.send(&Item { name: "tea".to_owned(), count }).await?;
        sum += u64::from(count);
        // Each answer comes before the next question: nothing on the way waits for the end.
        let total: Option<Total> = call.next().await?;
        ensure!(total == Some(Total { count: sum }), "{total:?} instead of {sum}");
    }
    call.finish();
    let rest: Vec<Total> = call.rest().await?;
    ensure!(rest.is_empty(), "{rest:?} after the end");
    Ok("20 times question and answer on one call".to_owned())
}

pub async fn websocket(tour: &Tour<'_>) -> Seen {
    let lines: Vec<String> = (0..LINES).map(|number| format!("line {number}")).collect();
    let wanted: Vec<String> = lines.iter().map(|line| format!("chat: {line}")).collect();
    let inside = chat(tour.egress, &host("chat"), "/", &lines).await.context("through the sidecar")?;
    ensure!(inside == wanted, "through the sidecar: {inside:?}");
    // The gateway's first routes are being put back, perhaps.
    let gateway = tour.running.gateway();
    let outside = until(async || Ok(Some(chat(gateway, "shop.localhost", "/chat", &lines).await?)))
        .await
        .context("through the gateway")?;
    ensure!(outside == wanted, "through the gateway: {outside:?}");
    Ok(format!("{LINES} lines through the sidecar, {LINES} through the gateway"))
}

pub async fn tcp(tour: &Tour<'_>) -> Seen {
    let line = "x".repeat(20_000);
    let instance = ask_ledger(tour.egress_tcp, &line, super::LIMIT).await?;
    ensure!(instance == "ledger", "{instance} answered");
    Ok(format!("{} bytes there and back", line.len()))
}

pub async fn by_dns(tour: &Tour<'_>) -> Seen {
    let answer = tour.shop.get(OUTSIDE, "/", &[]).await?;
    expect_status(&answer, 200)?;
    ensure!(answer.json()["service"] == "outside", "{}", answer.text());
    Ok(format!("{OUTSIDE} answered"))
}

pub async fn unknown_host(tour: &Tour<'_>) -> Seen {
    let answer = tour.shop.get("nobody.example", "/", &[]).await?;
    ensure!([502, 503].contains(&answer.status.as_u16()), "status {}: {}", answer.status, answer.text());
    Ok(format!("nobody.example: {}", answer.status.as_u16()))
}

pub async fn nothing_rejected(tour: &Tour<'_>) -> Seen {
    let mut updates = 0;
    for envoy in &tour.running.envoys {
        let rejected = envoy.sum(&["update_rejected"]).await?;
        ensure!(rejected == 0, "{} rejected {rejected} updates:\n{}", envoy.name, envoy.log());
        updates += envoy.sum(&["update_success"]).await?;
    }
    Ok(format!("{updates} updates accepted by {} Envoys", tour.running.envoys.len()))
}
