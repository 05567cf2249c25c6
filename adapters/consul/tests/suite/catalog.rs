//! Services and instances.

use std::time::{Duration, Instant};

use lateen_model::{Health, ObjectKind, Protocol};
use lateen_test_servers::{
    Relay,
    consul::{Consul, Options},
};

use crate::observed::Observed;

pub(crate) async fn register(consul: &Consul, body: &str) {
    consul.ask("PUT", "/v1/agent/service/register", body).await.unwrap();
}

/// An instance with a check that the test speaks for.
pub(crate) async fn register_checked(consul: &Consul, name: &str, id: &str, address: &str) {
    let body = format!(
        r#"{{"Name":"{name}","ID":"{id}","Address":"{address}","Port":8080,
            "Check":{{"CheckID":"check-{id}","TTL":"1h","Status":"passing"}}}}"#
    );
    register(consul, &body).await;
}

pub(crate) async fn set_health(consul: &Consul, id: &str, verdict: &str) {
    consul.ask("PUT", &format!("/v1/agent/check/{verdict}/check-{id}"), "").await.unwrap();
}

pub(crate) async fn deregister(consul: &Consul, id: &str) {
    consul.ask("PUT", &format!("/v1/agent/service/deregister/{id}"), "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_comes_changes_and_goes() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let mut mesh = Observed::listed(&consul.url()).await;
    assert!(mesh.services.is_empty(), "Consul's own service is none of the mesh");
    let body = |weight: u32| {
        format!(
            r#"{{"Name":"web","ID":"web1","Address":"10.0.0.1","Port":8080,"Tags":["version=v1","http"],
                "Meta":{{"team":"a"}},"Weights":{{"Passing":{weight},"Warning":1}},
                "Locality":{{"Region":"eu","Zone":"z1"}},
                "Check":{{"CheckID":"check-web1","TTL":"1h","Status":"passing"}}}}"#
        )
    };
    register(&consul, &body(3)).await;
    mesh.until("the service", |mesh| mesh.health("default/web") == [Health::Healthy]).await;
    let service = mesh.services["default/web"].clone();
    assert_eq!(service.host.as_str(), "web.default.svc.cluster.local");
    assert_eq!((service.ports[0].number, service.ports[0].protocol), (80, Protocol::Http));
    let endpoint = mesh.endpoints["default/web"][0].clone();
    assert_eq!((endpoint.address.to_string().as_str(), endpoint.weight), ("10.0.0.1", 3));
    assert_eq!(endpoint.ports.get("").copied(), Some(8080));
    assert_eq!(endpoint.locality.to_string(), "eu/z1/");
    assert_eq!(endpoint.labels.get("version").map(AsRef::as_ref), Some("v1"));
    assert_eq!(endpoint.labels.get("team").map(AsRef::as_ref), Some("a"));

    register(&consul, &body(7)).await;
    mesh.until("another weight", |mesh| mesh.endpoints["default/web"][0].weight == 7).await;
    set_health(&consul, "web1", "fail").await;
    mesh.until("a failing check", |mesh| mesh.health("default/web") == [Health::Unhealthy]).await;
    set_health(&consul, "web1", "warn").await;
    mesh.until("a warning", |mesh| {
        mesh.health("default/web") == [Health::Healthy] && mesh.endpoints["default/web"][0].weight == 1
    })
    .await;
    consul.ask("PUT", "/v1/agent/service/maintenance/web1?enable=true&reason=x", "").await.unwrap();
    mesh.until("maintenance", |mesh| mesh.health("default/web") == [Health::Draining]).await;
    consul.ask("PUT", "/v1/agent/service/maintenance/web1?enable=false", "").await.unwrap();
    mesh.until("no maintenance", |mesh| mesh.health("default/web") == [Health::Healthy]).await;

    register_checked(&consul, "web", "web2", "10.0.0.2").await;
    mesh.until("a second instance", |mesh| mesh.health("default/web").len() == 2).await;
    deregister(&consul, "web1").await;
    mesh.until("one instance", |mesh| mesh.health("default/web").len() == 1).await;
    assert_eq!(mesh.endpoints["default/web"][0].address.to_string(), "10.0.0.2");
    deregister(&consul, "web2").await;
    mesh.until("none", |mesh| mesh.services.is_empty() && mesh.endpoints.is_empty()).await;
    assert_eq!(mesh.listings, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_changed_is_told() {
    let consul = Consul::start(Options::default()).await.unwrap();
    for name in ["one", "two"] {
        register_checked(&consul, name, name, "10.0.0.1").await;
    }
    let mut mesh = Observed::listed(&consul.url()).await;
    mesh.told.clear();
    // Output of a check is news to Consul, and none to us.
    consul.ask("PUT", "/v1/agent/check/pass/check-one?note=still%20here", "").await.unwrap();
    set_health(&consul, "two", "fail").await;
    mesh.until("the change", |mesh| mesh.health("default/two") == [Health::Unhealthy]).await;
    consul.ask("PUT", "/v1/kv/lateen/config/a", "kind: A").await.unwrap();
    mesh.until("the document", |mesh| mesh.documents.contains_key("lateen/config/a")).await;
    assert_eq!(
        mesh.told,
        [
            (ObjectKind::Endpoints, "default/two".to_owned()),
            (ObjectKind::Document, "lateen/config/a".to_owned())
        ]
    );
}

/// From the answer to the write until the core has it; Consul's own part is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_arrive_at_once() {
    let consul = Consul::start(Options::default()).await.unwrap();
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    let mut mesh = Observed::listed(&consul.url()).await;
    let mut times = Vec::new();
    for round in 0..100 {
        let (verdict, is) =
            if round % 2 == 0 { ("fail", Health::Unhealthy) } else { ("pass", Health::Healthy) };
        let start = Instant::now();
        set_health(&consul, "web1", verdict).await;
        mesh.until("the change", |mesh| mesh.health("default/web") == [is]).await;
        times.push(start.elapsed());
        // Slower than churn, which is paced.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    times.sort_unstable();
    println!("check → event over Consul: p50 {:?}, p99 {:?}, max {:?}", times[49], times[98], times[99]);
    assert!(times[98] < Duration::from_secs(1), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_services_than_questions_that_wait() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let names: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
    for name in &names {
        register_checked(&consul, name, name, "10.0.0.1").await;
    }
    let mut mesh = Observed::listed(&format!("{}?watches=2", consul.url())).await;
    assert_eq!(mesh.services.len(), 6);
    for name in &names {
        set_health(&consul, name, "fail").await;
    }
    let all = |mesh: &Observed, is: Health| {
        names.iter().all(|name| mesh.health(&format!("default/{name}")) == [is])
    };
    mesh.until("all failing", |mesh| all(mesh, Health::Unhealthy)).await;
    // A new address, and one that goes, of those that have no question of their own.
    register_checked(&consul, "s5", "s5", "10.0.0.5").await;
    mesh.until("another address", |mesh| mesh.endpoints["default/s5"][0].address.to_string() == "10.0.0.5")
        .await;
    deregister(&consul, "s4").await;
    mesh.until("one less", |mesh| mesh.services.len() == 5).await;
    for name in ["s0", "s1"] {
        deregister(&consul, name).await;
    }
    mesh.until("others get the place", |mesh| mesh.services.len() == 3).await;
    set_health(&consul, "s3", "pass").await;
    mesh.until("a change of another", |mesh| mesh.health("default/s3") == [Health::Healthy]).await;
    assert_eq!((mesh.listings, mesh.failed.as_ref()), (1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_unix_socket() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let mut mesh = Observed::listed(&format!("unix://{}", consul.socket().display())).await;
    register_checked(&consul, "web", "web1", "10.0.0.1").await;
    mesh.until("the service", |mesh| mesh.services.contains_key("default/web")).await;
}

/// Nothing is lost, whatever the order, with connections cut now and then, and with more services than questions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_end_as_a_fresh_list() {
    let operations: usize =
        std::env::var("LATEEN_CONTRACT_OPERATIONS").map_or(1000, |text| text.parse().unwrap());
    let consul = Consul::start(Options::default()).await.unwrap();
    let relay = Relay::to(consul.address()).await.unwrap();
    let flag = |watches: usize| format!("http://{}?watches={watches}", relay.address());
    let mut own = Observed::listed(&flag(20)).await;
    let mut shared = Observed::listed(&flag(3)).await;
    let mut chance = Chance(7);
    let mut registered = std::collections::BTreeSet::new();
    for operation in 0..operations {
        let (name, id) = (format!("s{}", chance.below(8)), format!("i{}", chance.below(20)));
        match chance.below(100) {
            0 => {
                relay.cut();
                for mesh in [&mut own, &mut shared] {
                    mesh.until("the failure", |mesh| mesh.failed.is_some()).await;
                }
                relay.restore();
                for mesh in [&mut own, &mut shared] {
                    mesh.until("the recovery", |mesh| mesh.failed.is_none()).await;
                }
            }
            1..30 => {
                if registered.remove(&id) {
                    deregister(&consul, &id).await;
                }
            }
            30..70 if registered.contains(&id) => {
                let verdict = ["pass", "warn", "fail"][chance.below(3)];
                set_health(&consul, &id, verdict).await;
            }
            _ => {
                // An id that is registered again may move to another service.
                register_checked(&consul, &name, &id, &format!("10.0.0.{}", operation % 250)).await;
                registered.insert(id);
            }
        }
    }
    let fresh = Observed::listed(&consul.url()).await;
    for mesh in [&mut own, &mut shared] {
        // The origins name their source, which is another address.
        mesh.until("what a fresh listing says", |mesh| shape(mesh) == shape(&fresh)).await;
    }
    assert!(!fresh.services.is_empty());
}

/// All that is to be equal but names of sources.
fn shape(mesh: &Observed) -> Vec<String> {
    let endpoints = mesh.endpoints.iter().flat_map(|(name, all)| {
        all.iter()
            .map(move |e| format!("{name} {} {:?} {} {:?}", e.address, e.health, e.weight, e.origin.location))
    });
    mesh.services.keys().cloned().chain(endpoints).collect()
}

/// Looks random and is the same every time. <https://prng.di.unimi.it/splitmix64.c>
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }
}
