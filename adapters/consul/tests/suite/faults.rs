//! What goes wrong; numbers are those of the catalogue of faults.

use std::time::{Duration, Instant};

use lateen_model::{Health, ObjectKind};
use lateen_test_servers::{
    Relay,
    consul::{Consul, Options},
};

use crate::{
    altering::{Altering, with_header},
    catalog::{deregister, register_checked, set_health},
    observed::Observed,
};

/// Row 1: unreachable at runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_1_what_was_said_stays_while_consul_is_gone() {
    let mut consul = Consul::start(Options { durable: true, ..Options::default() }).await.unwrap();
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    consul.ask("PUT", "/v1/kv/lateen/config/a", "kind: A").await.unwrap();
    let mut mesh = Observed::listed(&consul.url()).await;
    consul.kill();
    mesh.until("the failure", |mesh| mesh.failed.is_some()).await;
    consul.restart().await.unwrap();
    mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
    assert_eq!((mesh.services.len(), mesh.documents.len(), mesh.removals), (1, 1, 0));
    set_health(&consul, "web1", "fail").await;
    mesh.until("a change after it", |mesh| mesh.health("default/web") == [Health::Unhealthy]).await;
}

/// Row 2: unreachable at start: nothing is said, not even that there is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_2_nothing_is_listed_before_consul_is_there() {
    let mut consul = Consul::start(Options { durable: true, ..Options::default() }).await.unwrap();
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    consul.kill();
    let mut mesh = Observed::start(&consul.url());
    mesh.until("the failure", |mesh| mesh.failed.is_some()).await;
    mesh.during(Duration::from_millis(300)).await;
    assert_eq!(mesh.listings, 0);
    consul.restart().await.unwrap();
    mesh.until("the listing", |mesh| mesh.listings == 1 && mesh.failed.is_none()).await;
    assert_eq!(mesh.services.len(), 1);
}

/// Row 4: an answer of a server that is behind is not believed; the leader is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_4_older_answers_are_not_believed() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let before = Altering::to(consul.address()).await;
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    let mut mesh = Observed::listed(&format!("http://{}?wait=1", before.address)).await;
    let (seen, mut asked) = tokio::sync::mpsc::unbounded_channel();
    // As a server that knows nothing yet; one that is asked consistently can't be.
    before.change(move |request, head| {
        let _ = seen.send(request.to_owned());
        if request.contains("consistent") || !request.contains("/v1/health/service/web") {
            return head;
        }
        with_header(&head, "X-Consul-Index", "1")
    });
    set_health(&consul, "web1", "fail").await;
    mesh.until("the change", |mesh| mesh.health("default/web") == [Health::Unhealthy]).await;
    let consistent =
        |request: &String| request.contains("consistent") && request.contains("health/service/web");
    while !consistent(&asked.recv().await.unwrap()) {}
    mesh.during(Duration::from_secs(3)).await;
    assert_eq!((mesh.removals, mesh.listings, mesh.failed.as_ref()), (0, 1, None));
    assert_eq!(mesh.times_told(ObjectKind::Endpoints, "default/web"), 2);
}

/// Rows 5 and 7: restored from a snapshot: indexes go backwards, and what is there is read anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_7_restored_from_a_snapshot() {
    let consul = Consul::start(Options::default()).await.unwrap();
    external(&consul, "old", "10.0.0.1").await;
    consul.ask("PUT", "/v1/kv/lateen/config/a", "kind: Old").await.unwrap();
    let snapshot = consul.snapshot().await.unwrap();
    external(&consul, "new", "10.0.0.2").await;
    external(&consul, "old", "10.0.0.9").await;
    consul.ask("PUT", "/v1/kv/lateen/config/a", "kind: New").await.unwrap();
    consul.ask("PUT", "/v1/kv/lateen/config/b", "kind: New").await.unwrap();
    let mut mesh = Observed::listed(&format!("{}?wait=2", consul.url())).await;
    assert_eq!((mesh.services.len(), mesh.documents.len()), (2, 2));
    consul.restore(&snapshot).await.unwrap();
    mesh.until("the old state", |mesh| {
        mesh.services.keys().eq(["default/old"])
            && mesh.endpoints["default/old"][0].address.to_string() == "10.0.0.1"
            && mesh.documents.iter().eq([(&"lateen/config/a".to_owned(), &"kind: Old".to_owned())])
    })
    .await;
    external(&consul, "next", "10.0.0.3").await;
    mesh.until("what comes after it", |mesh| mesh.services.contains_key("default/next")).await;
}

/// A service of the catalog alone: agents know nothing of it and don't bring it back.
async fn external(consul: &Consul, name: &str, address: &str) {
    let body = format!(
        r#"{{"Node":"elsewhere","Address":"10.9.9.9","SkipNodeUpdate":true,
            "Service":{{"ID":"{name}","Service":"{name}","Address":"{address}","Port":80}}}}"#
    );
    consul.ask("PUT", "/v1/catalog/register", &body).await.unwrap();
}

/// Row 7: no leader, or too long without: what is said may be old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_7_without_a_leader_it_is_stale() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let before = Altering::to(consul.address()).await;
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    let mut mesh = Observed::listed(&format!("http://{}?consistency=stale&wait=1", before.address)).await;
    for (header, value, says) in
        [("X-Consul-KnownLeader", "false", "no leader"), ("X-Consul-LastContact", "60000", "60s")]
    {
        before.change(move |_, head| with_header(&head, header, value));
        mesh.until("that it is stale", |mesh| mesh.failed.as_ref().is_some_and(|why| why.contains(says)))
            .await;
        before.change(|_, head| head);
        mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
    }
    assert_eq!(mesh.removals, 0);
}

/// Row 7: an index of 0 must not make a question that waits for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_7_an_index_of_zero_is_one() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let before = Altering::to(consul.address()).await;
    before.change(|_, head| with_header(&head, "X-Consul-Index", "0"));
    let (seen, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let _mesh = Observed::listed(&format!("http://{}?wait=1", before.address)).await;
    before.change(move |request, head| {
        let _ = seen.send(request.to_owned());
        with_header(&head, "X-Consul-Index", "0")
    });
    for _ in 0..20 {
        let request = asked.recv().await.unwrap();
        assert!(request.contains("consistent") || request.contains("index=1&"), "{request}");
    }
}

/// Row 9: gone and there again under one name, and an address that is used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_9_deleted_and_made_again() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let mut mesh = Observed::listed(&consul.url()).await;
    for round in 0..10 {
        register_checked(&consul, "web", &format!("web{round}"), "10.0.0.1").await;
        deregister(&consul, &format!("web{round}")).await;
    }
    register_checked(&consul, "web", "last", "10.0.0.1").await;
    register_checked(&consul, "shop", "other", "10.0.0.1").await;
    let origin = |mesh: &Observed, name: &str| {
        mesh.endpoints
            .get(name)
            .map(|all| all.iter().map(|e| e.origin.location.to_string()).collect::<Vec<_>>())
    };
    mesh.until("the last ones", |mesh| {
        origin(mesh, "default/web").is_some_and(|all| all == ["c0/last"])
            && origin(mesh, "default/shop").is_some_and(|all| all == ["c0/other"])
    })
    .await;
    let fresh = Observed::listed(&consul.url()).await;
    assert_eq!((&mesh.services, &mesh.endpoints), (&fresh.services, &fresh.endpoints));
}

/// Row 10: an instance that flaps as fast as Consul takes it is paced, and holds up nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_a_flapping_instance_is_paced() {
    let consul = Consul::start(Options::default()).await.unwrap();
    register_checked(&consul, "flaps", "flaps", "10.0.0.1").await;
    register_checked(&consul, "calm", "calm", "10.0.0.2").await;
    let mut mesh = Observed::listed(&consul.url()).await;
    mesh.told.clear();
    let start = Instant::now();
    let (mut flips, mut slowest) = (0, Duration::ZERO);
    while start.elapsed() < Duration::from_secs(3) {
        for verdict in ["fail", "pass"].repeat(10) {
            set_health(&consul, "flaps", verdict).await;
            flips += 1;
        }
        let (verdict, is) = if mesh.health("default/calm") == [Health::Healthy] {
            ("fail", Health::Unhealthy)
        } else {
            ("pass", Health::Healthy)
        };
        let asked = Instant::now();
        set_health(&consul, "calm", verdict).await;
        mesh.until("the calm one's change", |mesh| mesh.health("default/calm") == [is]).await;
        slowest = slowest.max(asked.elapsed());
    }
    set_health(&consul, "flaps", "fail").await;
    mesh.until("the last word", |mesh| mesh.health("default/flaps") == [Health::Unhealthy]).await;
    let told = mesh.times_told(ObjectKind::Endpoints, "default/flaps");
    let took = start.elapsed();
    println!("{flips} flips, {told} told in {took:?}; another service within {slowest:?}");
    // A burst, then 20 each second.
    assert!(u128::try_from(told).unwrap() <= 12 + took.as_millis() / 50, "{told} of {flips} in {took:?}");
    assert!(flips > told, "{flips} flips were no churn");
}

/// Row 12: connections that are open and silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_half_open_connections_are_noticed() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let relay = Relay::to(consul.address()).await.unwrap();
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    let mut mesh = Observed::listed(&format!("http://{}?wait=1", relay.address())).await;
    relay.hang();
    mesh.until("the failure", |mesh| mesh.failed.as_ref().is_some_and(|why| why.contains("no answer"))).await;
    set_health(&consul, "web1", "fail").await;
    relay.restore();
    mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
    assert_eq!((mesh.health("default/web"), mesh.removals), (vec![Health::Unhealthy], 0));
}

/// Row 12: an agent that is slow, not dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_slow_agent_is_waited_for() {
    let consul = Consul::start(Options::default()).await.unwrap();
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    let mut mesh = Observed::listed(&consul.url()).await;
    consul.pause().unwrap();
    mesh.during(Duration::from_secs(5)).await;
    consul.resume().unwrap();
    set_health(&consul, "web1", "fail").await;
    mesh.until("the change", |mesh| mesh.health("default/web") == [Health::Unhealthy]).await;
    assert_eq!((mesh.listings, mesh.failed.as_ref(), mesh.removals), (1, None, 0));
}

/// Row 12: the agent is asked again when it said that it wants to be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_retry_after_is_kept() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let before = Altering::to(consul.address()).await;
    let mut mesh = Observed::listed(&format!("http://{}?wait=1", before.address)).await;
    let mut refused_at = None;
    let (seen, mut waited) = tokio::sync::mpsc::unbounded_channel();
    before.change(move |_, head| match refused_at {
        // There are no keys of configuration: that answer has status 404.
        None if !head.contains("200 OK") => head,
        None => {
            refused_at = Some(Instant::now());
            with_header(&head.replacen("200 OK", "429 Too Many Requests", 1), "Retry-After", "2")
        }
        Some(at) => {
            let _ = seen.send(at.elapsed());
            head
        }
    });
    mesh.until("the failure", |mesh| mesh.failed.is_some()).await;
    mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
    let mut times = Vec::new();
    while let Ok(time) = waited.try_recv() {
        times.push(time);
    }
    // What was already asked comes back; the next question keeps the time.
    let after = times.iter().find(|time| **time > Duration::from_millis(1500)).unwrap();
    assert!(*after >= Duration::from_secs(2), "{times:?}");
}
