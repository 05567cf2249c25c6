//! Services and instances on a real Nomad, by jobs that run real tasks. Needs root: Nomad mounts cgroups.

#![allow(clippy::unwrap_used, reason = "a test that can't reach its server has failed")]

mod common;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use common::Heard;
use lateen_model::{Endpoint, Health, Protocol};
use lateen_test_servers::nomad::{Nomad, Options, WebJob};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::mpsc,
};

async fn nomad() -> Nomad {
    Nomad::start(Options::default()).await.unwrap()
}

/// A job whose tasks only wait: quick to start and to stop.
fn waiting(name: &str) -> WebJob {
    WebJob { command: Some("exec sleep 1000".to_owned()), ..WebJob::new(name) }
}

fn tags(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_change_drain_and_go() {
    let nomad = nomad().await;
    let mut heard = Heard::synced(&nomad.url()).await;
    let mut job = WebJob { count: 2, tags: tags(&["version=v1", "protocol=http"]), ..waiting("web") };
    nomad.run(&job).await.unwrap();
    heard.until_healthy("default/web", 2).await;

    let service = &heard.services["default/web"];
    assert_eq!(service.host.as_str(), "web.default.svc.cluster.local");
    let port = &service.ports[0];
    assert_eq!((port.number, &*port.name, port.protocol), (80, "http", Protocol::Http));
    let known = nomad.instances("default", "web").await.unwrap();
    for endpoint in heard.endpoints("default/web") {
        assert_eq!(endpoint.address.to_string(), "127.0.0.1");
        assert_eq!(endpoint.locality.to_string(), "dc1/z1/");
        let port = i64::from(endpoint.ports["http"]);
        assert!(known.iter().any(|instance| instance["Port"] == port), "{known:?}");
    }
    assert_eq!(heard.labels("default/web", "version"), ["v1", "v1"]);

    // The tasks go on: only what is registered changes, and nobody stops taking traffic.
    heard.history.clear();
    job.tags = tags(&["version=v2", "protocol=grpc", "lateen-port=9000", "lateen-weight=3"]);
    nomad.run(&job).await.unwrap();
    heard.until("the new labels", |heard| heard.labels("default/web", "version") == ["v2", "v2"]).await;
    heard.until("the new port", |heard| heard.services["default/web"].ports[0].number == 9000).await;
    assert_eq!(heard.services["default/web"].ports[0].protocol, Protocol::Grpc);
    assert!(heard.endpoints("default/web").iter().all(|endpoint| endpoint.weight == 3));
    for (_, endpoints) in &heard.history {
        assert!(endpoints.iter().all(|endpoint| endpoint.health == Health::Healthy), "{endpoints:?}");
    }

    // One is stopped: it drains before it is gone, and its successor takes traffic only when it is healthy.
    let alloc = nomad.running_allocs("web").await.unwrap().remove(0);
    heard.history.clear();
    nomad.stop_alloc(&alloc).await.unwrap();
    let is_gone = |heard: &Heard| {
        let endpoints = heard.endpoints("default/web");
        endpoints.len() == 2
            && endpoints.iter().all(|endpoint| {
                !endpoint.origin.location.contains(&alloc) && endpoint.health == Health::Healthy
            })
    };
    heard.until("another instance", is_gone).await;
    let health: Vec<Health> = heard
        .history
        .iter()
        .flat_map(|(_, endpoints)| endpoints.iter())
        .filter(|endpoint| endpoint.origin.location.contains(&alloc))
        .map(|endpoint| endpoint.health)
        .collect();
    assert_eq!(health.first(), Some(&Health::Draining), "{health:?}");
    assert!(!health.contains(&Health::Healthy), "{health:?}");

    nomad.stop(&job).await.unwrap();
    heard.until("no service", |heard| heard.services.is_empty() && heard.endpoints.is_empty()).await;
    assert_eq!(heard.failed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_takes_no_traffic_before_it_is_found_healthy_and_after_it_failed() {
    let nomad = nomad().await;
    let mut heard = Heard::synced(&nomad.url()).await;
    let go_on = nomad.folder().join("fail");
    let command = format!("until [ -e {} ]; do sleep 0.05; done; exit 1", go_on.display());
    let job = WebJob { command: Some(command), ..WebJob::new("shaky") };
    nomad.run(&job).await.unwrap();
    heard.until_healthy("default/shaky", 1).await;
    let first = heard.history.first().map(|(_, endpoints)| endpoints[0].health);
    assert_eq!(first, Some(Health::Unhealthy));
    std::fs::write(go_on, "").unwrap();
    heard
        .until("no healthy instance", |heard| !heard.health("default/shaky").contains(&Health::Healthy))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_has_its_own_tags_until_it_is_promoted() {
    let nomad = nomad().await;
    let mut heard = Heard::synced(&nomad.url()).await;
    let mut job = WebJob {
        tags: tags(&["version=stable"]),
        canary_tags: tags(&["version=canary"]),
        canaries: 1,
        ..waiting("web")
    };
    nomad.run(&job).await.unwrap();
    heard.until_healthy("default/web", 1).await;
    job.version = "2".to_owned();
    nomad.run(&job).await.unwrap();
    heard.until_healthy("default/web", 2).await;
    let mut versions = heard.labels("default/web", "version");
    versions.sort_unstable();
    assert_eq!(versions, ["canary", "stable"]);
    nomad.promote("web").await.unwrap();
    heard.until("the promotion", |heard| heard.labels("default/web", "version") == ["stable"]).await;
    heard.until_healthy("default/web", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_namespaces() {
    let nomad = nomad().await;
    nomad.put_namespace("prod").await.unwrap();
    let mut all = Heard::synced(&nomad.url()).await;
    let mut one =
        Heard::synced(&format!("{}?namespace=prod&host=%7Bname%7D.prod.example", nomad.url())).await;
    nomad.run(&waiting("web")).await.unwrap();
    nomad.run(&WebJob { namespace: "prod".to_owned(), ..waiting("web") }).await.unwrap();
    all.until_healthy("default/web", 1).await;
    all.until_healthy("prod/web", 1).await;
    assert_eq!(all.services["prod/web"].host.as_str(), "web.prod.svc.cluster.local");
    assert_eq!(all.services["prod/web"].namespace.as_str(), "prod");
    one.until_healthy("prod/web", 1).await;
    assert_eq!(one.services.len(), 1);
    assert_eq!(one.services["prod/web"].host.as_str(), "web.prod.example");
}

/// Ids of the registrations of each service with their newest tag.
type Registered = BTreeMap<String, BTreeMap<String, String>>;

/// What Nomad has, which need not be what it was asked for last: that is its affair, ours is to know the same.
async fn registered(nomad: &Nomad) -> Registered {
    let mut registered = Registered::new();
    let listed = nomad.get("/v1/services").await.unwrap();
    for service in listed[0]["Services"].as_array().into_iter().flatten() {
        let name = service["ServiceName"].as_str().unwrap();
        let instances = nomad.instances("default", name).await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let of = |instance: &Value| (text(&instance["ID"]), text(&instance["Tags"][0]));
        registered.insert(format!("default/{name}"), instances.iter().map(of).collect());
    }
    registered
}

fn known(heard: &Heard) -> Registered {
    let of = |endpoint: &Endpoint| {
        (endpoint.origin.location.to_string(), format!("operation={}", endpoint.labels["operation"]))
    };
    let endpoints = heard.endpoints.iter();
    endpoints.map(|(name, endpoints)| (name.to_string(), endpoints.iter().map(of).collect())).collect()
}

/// Waits until we know what Nomad has.
async fn until_the_same(nomad: &Nomad, heard: &mut Heard) {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let there = registered(nomad).await;
        let same = heard.until("the same", |heard| known(heard) == there);
        // Nomad goes on meanwhile; then there is something else to wait for.
        if tokio::time::timeout(Duration::from_secs(2), same).await.is_ok() {
            return;
        }
        assert!(Instant::now() < end, "Nomad has {there:?}, we {:?}", known(heard));
    }
}

/// Nomad forgets the allocations of a job that is purged while it runs, and its client ends them two at a time: those
/// that wait for their turn are registered still, and are to get no requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_purged_gets_no_requests_while_its_instances_end() {
    let nomad = nomad().await;
    let mut heard = Heard::synced(&nomad.url()).await;
    let job = WebJob { count: 4, shutdown_delay: Duration::from_secs(5), ..waiting("web") };
    nomad.run(&job).await.unwrap();
    heard.until_healthy("default/web", 4).await;
    nomad.stop(&job).await.unwrap();
    heard.until("no healthy instance", |heard| !heard.health("default/web").contains(&Health::Healthy)).await;
    assert!(!nomad.instances("default", "web").await.unwrap().is_empty());
}

/// The contract's random operations, for services: jobs come, change, scale and go, sometimes the same name at once
/// (faults, row 9), and in the end a fresh listing says the same.
#[tokio::test(flavor = "multi_thread")]
async fn random_jobs_end_as_a_fresh_listing() {
    let operations: u64 = std::env::var("LATEEN_CONTRACT_JOBS").map_or(30, |text| text.parse().unwrap());
    let nomad = nomad().await;
    let mut heard = Heard::synced(&nomad.url()).await;
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut wanted = BTreeMap::new();
    for operation in 0..operations {
        let name = format!("s{}", random(4));
        let job = |count: u64, version: u64| WebJob {
            count: u32::try_from(count).unwrap(),
            tags: tags(&[&format!("operation={operation}")]),
            version: version.to_string(),
            ..waiting(&name)
        };
        match random(4) {
            0 if wanted.remove(&name).is_some() => nomad.stop(&job(1, 0)).await.unwrap(),
            _ => {
                let count = 1 + random(2);
                nomad.run(&job(count, random(2))).await.unwrap();
                wanted.insert(name, usize::try_from(count).unwrap());
            }
        }
        if random(4) == 0 {
            until_the_same(&nomad, &mut heard).await;
        }
    }
    for (name, count) in &wanted {
        heard
            .until(name, |heard| heard.health(&format!("default/{name}")) == vec![Health::Healthy; *count])
            .await;
    }
    until_the_same(&nomad, &mut heard).await;
    // An allocation that Nomad cleaned up before it told of its end is found by looking for it, a little later than
    // by a fresh listing.
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let fresh = Heard::synced(&nomad.url()).await;
        heard.drain();
        let same = wanted.keys().map(|name| format!("default/{name}")).all(|name| {
            heard.services.get(&*name) == fresh.services.get(&*name)
                && heard.endpoints(&name) == fresh.endpoints(&name)
        });
        if same && known(&heard) == known(&fresh) {
            break;
        }
        assert!(Instant::now() < end, "we have {:?}, a fresh listing {:?}", heard.endpoints, fresh.endpoints);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(heard.failed, None);
    println!("{operations} operations, {} events, {} lists of endpoints", heard.events, heard.history.len());
}

/// When lines of the event stream reach a client that does nothing else.
fn listen(nomad: &Nomad) -> mpsc::UnboundedReceiver<(Instant, String)> {
    let (told, lines) = mpsc::unbounded_channel();
    let address = nomad.address();
    tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /v1/event/stream?topic=Service HTTP/1.0\r\n\r\n").await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if told.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_within_milliseconds() {
    // Fewer than what a service may change at once before it is read less often.
    const CHANGES: usize = 25;
    let nomad = nomad().await;
    let mut heard = Heard::synced(&nomad.url()).await;
    let mut lines = listen(&nomad);
    let mut job = waiting("web");
    nomad.run(&job).await.unwrap();
    heard.until_healthy("default/web", 1).await;
    let mut lags = Vec::new();
    for change in 0..CHANGES {
        let change = format!("change{change}");
        job.tags = tags(&[&format!("change={change}")]);
        nomad.run(&job).await.unwrap();
        heard.until("the change", |heard| heard.labels("default/web", "change") == [&*change]).await;
        let told = Instant::now();
        let quoted = format!("\"change={change}\"");
        let known = loop {
            let (at, line) = lines.recv().await.unwrap();
            if line.contains(&quoted) {
                break at;
            }
        };
        lags.push(told.saturating_duration_since(known));
    }
    lags.sort();
    let (half, most) = (lags[CHANGES / 2], lags[CHANGES - 1]);
    println!("from Nomad's event to ours: p50 {half:?}, max {most:?}");
    // A build may keep the cores busy meanwhile; on a quiet machine it is a millisecond or two.
    assert!(half < Duration::from_millis(50), "{lags:?}");
}
