//! Servers that go away, hang, forget, and come back with other data.

use std::time::Duration;

use etcd_client::{Client, Txn, TxnOp};
use lateen_test_servers::{Relay, etcd::Etcd};
use tokio::time::Instant;

use crate::mesh::{Mesh, client, delete, equals_a_fresh_listing, put};

const ONE: &str = "{address: 10.0.0.1, ports: {http: 80}}";
const TWO: &str = "{address: 10.0.0.2, ports: {http: 80}}";

async fn two_instances(writer: &mut Client) {
    put(writer, "endpoints/shop/cart/1", ONE).await;
    put(writer, "endpoints/shop/cart/2", TWO).await;
    put(writer, "config/a", "kind: a").await;
}

#[tokio::test]
async fn row_1_contact_lost_removes_nothing() {
    let mut etcd = Etcd::start().await.unwrap();
    two_instances(&mut client(&etcd.url()).await).await;
    let mut mesh = Mesh::synced(&etcd.url()).await;
    let before = mesh.objects.clone();
    etcd.kill();
    mesh.until("the failure", |mesh| mesh.failed.is_some()).await;
    etcd.restart().await.unwrap();
    mesh.until("the recovery", |mesh| mesh.failed.is_none() && mesh.is_synced()).await;
    assert_eq!(mesh.objects, before);
    assert!(mesh.removed.is_empty());
}

#[tokio::test]
async fn row_2_unreachable_at_start_says_so_and_nothing_else() {
    let mut etcd = Etcd::start().await.unwrap();
    two_instances(&mut client(&etcd.url()).await).await;
    etcd.kill();
    let mut mesh = Mesh::start(&etcd.url());
    mesh.until("three failures", |mesh| mesh.failures == 3).await;
    assert_eq!((mesh.events, mesh.synced), (0, 0));
    etcd.restart().await.unwrap();
    mesh.until("the listing", |mesh| mesh.is_synced() && mesh.addresses("shop/cart").len() == 2).await;
    mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
}

/// Rows 4 and 5: the store is put back to what it was, and has gone another way since.
#[tokio::test]
async fn row_4_a_store_restored_from_an_old_snapshot_is_listed_again() {
    let mut etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    two_instances(&mut writer).await;
    etcd.kill();
    let saved = etcd.save().unwrap();
    etcd.restart().await.unwrap();
    let mut mesh = Mesh::synced(&etcd.url()).await;
    let mut writer = client(&etcd.url()).await;
    delete(&mut writer, "endpoints/shop/cart/1").await;
    for n in 0..50 {
        put(&mut writer, "config/later", format!("n: {n}")).await;
    }
    mesh.until("the later state", |mesh| {
        mesh.document("/lateen/config/later") == Some("n: 49") && mesh.addresses("shop/cart") == ["10.0.0.2"]
    })
    .await;
    etcd.kill();
    etcd.put_back(&saved).unwrap();
    mesh.until("the failure", |mesh| mesh.failed.is_some()).await;
    etcd.restart().await.unwrap();
    mesh.until("the old state", |mesh| {
        mesh.document("/lateen/config/later").is_none() && mesh.addresses("shop/cart").len() == 2
    })
    .await;
    let mut writer = client(&etcd.url()).await;
    put(&mut writer, "config/b", "kind: b").await;
    mesh.until("a new change", |mesh| mesh.document("/lateen/config/b").is_some()).await;
    equals_a_fresh_listing(&mut mesh, &etcd.url()).await;
}

/// Two ways to one etcd, as two members have them.
async fn two_ways(etcd: &Etcd) -> (Relay, Relay, String) {
    let (one, other) = (Relay::to(etcd.address()).await.unwrap(), Relay::to(etcd.address()).await.unwrap());
    let flag = format!("http://{},http://{}?silence=5", one.address(), other.address());
    (one, other, flag)
}

#[tokio::test]
async fn another_member_takes_over_where_the_watch_was() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    two_instances(&mut writer).await;
    let (one, other, flag) = two_ways(&etcd).await;
    let mut mesh = Mesh::synced(&flag).await;
    let (events, listings) = (mesh.events, mesh.synced);
    one.cut();
    put(&mut writer, "config/b", "kind: b").await;
    mesh.until("the change", |mesh| mesh.document("/lateen/config/b").is_some()).await;
    one.restore();
    other.cut();
    delete(&mut writer, "endpoints/shop/cart/1").await;
    mesh.until("the removal", |mesh| mesh.addresses("shop/cart") == ["10.0.0.2"]).await;
    assert_eq!(mesh.failures, 0);
    assert_eq!(mesh.synced, listings, "nothing had to be listed");
    // The endpoints and the document; the service's ports are as they were.
    assert_eq!(mesh.events - events, 2);
}

#[tokio::test]
async fn row_5_compaction_while_away_is_listed_and_only_differences_are_told() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    two_instances(&mut writer).await;
    for n in 0..100 {
        put(&mut writer, &format!("config/n{n}"), "kind: n").await;
    }
    let (one, other, flag) = two_ways(&etcd).await;
    let mut mesh = Mesh::synced(&flag).await;
    let (events, listings) = (mesh.events, mesh.synced);
    one.cut();
    other.cut();
    delete(&mut writer, "endpoints/shop/cart/1").await;
    put(&mut writer, "config/a", "kind: a2").await;
    let last = writer.put("/lateen/config/b", "kind: b", None).await.unwrap();
    let revision = last.header().unwrap().revision();
    writer.compact(revision, None).await.unwrap();
    other.restore();
    mesh.until("the new state", |mesh| {
        mesh.document("/lateen/config/b").is_some() && mesh.addresses("shop/cart") == ["10.0.0.2"]
    })
    .await;
    assert_eq!(mesh.document("/lateen/config/a"), Some("kind: a2"));
    assert_eq!(mesh.failures, 0);
    assert_eq!((mesh.events - events, mesh.synced), (3, listings), "three changes, told as such");
    equals_a_fresh_listing(&mut mesh, &flag).await;
}

/// Row 5: with one member contact is lost first; the listing that follows has what compaction took from the watch.
#[tokio::test]
async fn row_5_compaction_during_an_outage() {
    let etcd = Etcd::start().await.unwrap();
    let relay = Relay::to(etcd.address()).await.unwrap();
    let mut writer = client(&etcd.url()).await;
    two_instances(&mut writer).await;
    let mut mesh = Mesh::synced(&format!("http://{}", relay.address())).await;
    relay.cut();
    mesh.until("the failure", |mesh| mesh.failed.is_some()).await;
    delete(&mut writer, "endpoints/shop/cart/2").await;
    let last = writer.put("/lateen/config/a", "kind: a2", None).await.unwrap();
    writer.compact(last.header().unwrap().revision(), None).await.unwrap();
    assert!(mesh.removed.is_empty());
    relay.restore();
    mesh.until("the new state", |mesh| {
        mesh.document("/lateen/config/a") == Some("kind: a2") && mesh.addresses("shop/cart") == ["10.0.0.1"]
    })
    .await;
}

/// Row 5: comparing again and again, while keys change, changes nothing and loses nothing.
#[tokio::test]
async fn row_5_reconciling_tells_nothing_that_the_watch_has_told() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    two_instances(&mut writer).await;
    let flag = format!("{}?reconcile=0.1", etcd.url());
    let mut mesh = Mesh::synced(&flag).await;
    let events = mesh.events;
    for n in 0..500 {
        put(&mut writer, "config/a", format!("n: {n}")).await;
        put(&mut writer, "config/b", format!("n: {n}")).await;
        delete(&mut writer, "config/b").await;
    }
    put(&mut writer, "config/end", "kind: end").await;
    mesh.until("the end", |mesh| mesh.document("/lateen/config/end").is_some()).await;
    assert_eq!(mesh.document("/lateen/config/a"), Some("n: 499"));
    assert!(mesh.document("/lateen/config/b").is_none());
    assert!(mesh.events - events <= 1501, "{} events of 1501 changes", mesh.events - events);
    assert_eq!(mesh.failures, 0);
}

/// Row 9: gone and there again under the same name, in one step and in two.
#[tokio::test]
async fn row_9_delete_then_create_under_the_same_name() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    two_instances(&mut writer).await;
    let mut mesh = Mesh::synced(&etcd.url()).await;
    for n in 10..60 {
        delete(&mut writer, "endpoints/shop/cart/1").await;
        put(&mut writer, "endpoints/shop/cart/1", format!("{{address: 10.0.1.{n}, ports: {{http: 80}}}}"))
            .await;
        let swap = Txn::new().and_then(vec![
            TxnOp::delete("/lateen/endpoints/shop/cart/2", None),
            TxnOp::put("/lateen/endpoints/shop/cart/3", TWO, None),
            TxnOp::put("/lateen/config/round", format!("n: {n}"), None),
        ]);
        writer.txn(swap).await.unwrap();
    }
    mesh.until("the end", |mesh| mesh.addresses("shop/cart") == ["10.0.0.2", "10.0.1.59"]).await;
    equals_a_fresh_listing(&mut mesh, &etcd.url()).await;
}

#[tokio::test]
async fn row_12_a_paused_server_is_noticed_and_removes_nothing() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    two_instances(&mut writer).await;
    let mut mesh = Mesh::synced(&format!("{}?silence=0.5", etcd.url())).await;
    etcd.pause().unwrap();
    let paused = Instant::now();
    mesh.until("the failure", |mesh| mesh.failed.is_some()).await;
    println!("a paused server was noticed after {:?}", paused.elapsed());
    assert!(mesh.removed.is_empty());
    etcd.resume().unwrap();
    put(&mut writer, "config/b", "kind: b").await;
    mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
    mesh.until("the change", |mesh| mesh.document("/lateen/config/b").is_some()).await;
    assert_eq!(mesh.addresses("shop/cart").len(), 2);
}

#[tokio::test]
async fn row_12_a_half_open_connection_is_left_for_another_member() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    two_instances(&mut writer).await;
    let (one, other) = (Relay::to(etcd.address()).await.unwrap(), Relay::to(etcd.address()).await.unwrap());
    let flag = format!("http://{},http://{}?silence=0.5", one.address(), other.address());
    let mut mesh = Mesh::synced(&flag).await;
    one.hang();
    put(&mut writer, "config/b", "kind: b").await;
    let changed = Instant::now();
    mesh.until("the change", |mesh| mesh.document("/lateen/config/b").is_some()).await;
    println!("a change behind a half-open connection came after {:?}", changed.elapsed());
    assert_eq!(mesh.failures, 0);
    assert!(mesh.removed.is_empty());
}

/// The leader of three is killed: what is written from then on arrives, and nobody is told of a failure.
#[tokio::test]
async fn three_members_and_the_leader_is_killed() {
    let mut members = Etcd::start_three().await.unwrap();
    let urls: Vec<String> = members.iter().map(Etcd::url).collect();
    let mut writer = Client::connect(&urls, None).await.unwrap();
    two_instances(&mut writer).await;
    let mut leader = None;
    for (n, url) in urls.iter().enumerate() {
        let status = client(url).await.status().await.unwrap();
        if status.leader() == status.header().unwrap().member_id() {
            leader = Some(n);
        }
    }
    let leader = leader.expect("somebody leads");
    // The leader is asked first, so that the adapter loses its own connection.
    let flag: Vec<&str> = (0..3).map(|n| urls[(leader + n) % 3].as_str()).collect();
    let flag = format!("{}?silence=10", flag.join(","));
    let mut mesh = Mesh::synced(&flag).await;
    members[leader].kill();
    let killed = Instant::now();
    let mut writer = client(&urls[(leader + 1) % 3]).await;
    while writer.put("/lateen/config/b", "kind: b", None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let written = killed.elapsed();
    mesh.until("the change", |mesh| mesh.document("/lateen/config/b").is_some()).await;
    println!("leader killed; written after {written:?}, seen after {:?}", killed.elapsed());
    assert_eq!(mesh.failures, 0);
    assert!(mesh.removed.is_empty());
    members[leader].restart().await.unwrap();
}

/// Of three, two are gone: no quorum. It is a failure, nothing is removed, and it goes on with the quorum.
#[tokio::test]
async fn row_1_a_minority_is_no_contact() {
    let mut members = Etcd::start_three().await.unwrap();
    let urls: Vec<String> = members.iter().map(Etcd::url).collect();
    two_instances(&mut client(&urls[0]).await).await;
    let mut mesh = Mesh::synced(&format!("{}?silence=1", urls.join(","))).await;
    let [_, b, c] = &mut members;
    b.kill();
    c.kill();
    mesh.until("the failure", |mesh| mesh.failed.is_some()).await;
    assert!(mesh.removed.is_empty());
    let (b, c) = tokio::join!(b.restart(), c.restart());
    b.and(c).unwrap();
    mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
    assert_eq!(mesh.addresses("shop/cart").len(), 2);
}
