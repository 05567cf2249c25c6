//! Nomad tells of a change before it can be read: an agent that answers as Nomad does in that moment.

#![allow(clippy::unwrap_used, reason = "a test that can't reach its server has failed")]

mod common;

use std::{net::SocketAddr, sync::Arc};

use common::Heard;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What everything is listed as of.
const BEFORE: u64 = 10;
/// When an instance goes.
const AFTER: u64 = 20;

fn registration(alloc: &str) -> Value {
    json!({
        "ID": format!("_nomad-task-{alloc}"), "ServiceName": "web", "Namespace": "default", "NodeID": "n",
        "Datacenter": "dc1", "AllocID": alloc, "JobID": "web", "Tags": [], "Address": "127.0.0.1", "Port": 9000,
    })
}

/// Answers as of an index; `None`: not before something happens, which it does not.
fn answer(path: &str) -> Option<(u64, Value)> {
    let is_blocking = path.contains("index=");
    let known = path.split(['?', '/']).nth(2).unwrap_or_default();
    Some(match known {
        "services" if is_blocking => return None,
        "services" => {
            (BEFORE, json!([{"Namespace": "default", "Services": [{"ServiceName": "web", "Tags": []}]}]))
        }
        "allocations" => (BEFORE, json!([])),
        "allocation" => {
            let id = path.split(['?', '/']).nth(3).unwrap();
            (BEFORE, json!({"ID": id, "ClientStatus": "running", "DesiredStatus": "run", "ModifyIndex": 5}))
        }
        "status" => (BEFORE, json!("127.0.0.1:1")),
        "node" => (BEFORE, json!({})),
        // The write is under way: who asks for its index waits, and who does not gets what was before.
        "service" if path.contains(&format!("index={}", AFTER - 1)) => {
            (AFTER, json!([registration("stays")]))
        }
        "service" => (BEFORE, json!([registration("stays"), registration("goes")])),
        other => panic!("{other} is asked for"),
    })
}

async fn serve(mut client: TcpStream, goes: Arc<Notify>) {
    let mut head = vec![0; 4096];
    let count = client.read(&mut head).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    let Some(path) = head.split(' ').nth(1) else { return };
    if path.starts_with("/v1/event/stream") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n{}\n").await.unwrap();
        goes.notified().await;
        let event = json!({"Index": AFTER, "Events": [{
            "Topic": "Service", "Type": "ServiceDeregistration", "Namespace": "default", "Index": AFTER,
            "Payload": {"Service": registration("goes")},
        }]});
        client.write_all(format!("{event}\n").as_bytes()).await.unwrap();
        return std::future::pending().await;
    }
    let Some((index, body)) = answer(path) else { return std::future::pending().await };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nX-Nomad-Index: {index}\r\nX-Nomad-KnownLeader: true\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).await.unwrap();
}

async fn agent() -> (SocketAddr, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, goes) = (listener.local_addr().unwrap(), Arc::new(Notify::new()));
    let notify = goes.clone();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(client, notify.clone()));
        }
    });
    (address, goes)
}

#[tokio::test]
async fn what_an_event_tells_of_is_read_as_it_is_afterwards() {
    let (address, goes) = agent().await;
    let mut heard = Heard::synced(&format!("http://{address}?config-prefix=")).await;
    heard.until_healthy("default/web", 2).await;
    goes.notify_one();
    heard.until_healthy("default/web", 1).await;
    assert_eq!(heard.failed, None);
}
