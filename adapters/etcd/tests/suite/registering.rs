//! Instances that register themselves, and the command's operations.

use std::time::Duration;

use lateen_adapter_etcd::{
    EndpointSpec, HealthSpec, Settings,
    registry::{Change, Registered, Registration, Registry},
};
use lateen_model::Health;
use lateen_test_servers::{Relay, etcd::Etcd};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::mesh::{Mesh, client};

fn spec(address: &str) -> EndpointSpec {
    EndpointSpec {
        address: address.to_owned(),
        ports: [("http".to_owned(), 80)].into(),
        labels: [("version".to_owned(), "v1".to_owned())].into(),
        locality: "eu/a".to_owned(),
        weight: None,
        health: HealthSpec::Healthy,
        service_account: String::new(),
        network: String::new(),
    }
}

struct Instance {
    stop: Option<oneshot::Sender<()>>,
    told: mpsc::UnboundedReceiver<Registered>,
    task: JoinHandle<()>,
}

impl Instance {
    fn start(flag: &str, name: &str, (lease, drain): (u64, u64)) -> Self {
        let settings = Settings::parse(flag).unwrap();
        let times = (Duration::from_secs(lease), Duration::from_secs(drain));
        let registration =
            Registration::new(&settings, "shop/cart", name, spec(&format!("10.0.0.{name}")), times).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap() };
            registration.run(stopped, |standing| tell.send(standing).unwrap()).await.unwrap();
        });
        Self { stop: Some(stop), told, task }
    }

    async fn until(&mut self, standing: &Registered) {
        while self.told.recv().await.expect("it goes on") != *standing {}
    }

    async fn until_lost(&mut self) {
        while !matches!(self.told.recv().await.expect("it goes on"), Registered::No(_)) {}
    }
}

#[tokio::test]
async fn an_instance_that_dies_is_gone_with_its_lease() {
    let etcd = Etcd::start().await.unwrap();
    let mut mesh = Mesh::synced(&etcd.url()).await;
    let mut dies = Instance::start(&etcd.url(), "1", (2, 0));
    let mut lives = Instance::start(&etcd.url(), "2", (2, 0));
    dies.until(&Registered::Yes).await;
    lives.until(&Registered::Yes).await;
    mesh.until("both", |mesh| mesh.addresses("shop/cart") == ["10.0.0.1", "10.0.0.2"]).await;
    assert_eq!(&*mesh.endpoints("shop/cart")[0].labels["version"], "v1");
    dies.task.abort();
    mesh.until("one", |mesh| mesh.addresses("shop/cart") == ["10.0.0.2"]).await;
    // The other one was kept all the time, three leases long and more.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let events = mesh.events;
    let mut writer = client(&etcd.url()).await;
    crate::mesh::put(&mut writer, "config/end", "kind: end").await;
    mesh.until("the end", |mesh| mesh.document("/lateen/config/end").is_some()).await;
    assert_eq!((mesh.events - events, mesh.addresses("shop/cart").len()), (1, 1));
}

#[tokio::test]
async fn an_instance_that_is_stopped_drains_first() {
    let etcd = Etcd::start().await.unwrap();
    let mut mesh = Mesh::synced(&etcd.url()).await;
    // Draining takes longer than the lease: it has to be kept meanwhile.
    let mut instance = Instance::start(&etcd.url(), "1", (1, 3));
    instance.until(&Registered::Yes).await;
    mesh.until("it", |mesh| mesh.addresses("shop/cart").len() == 1).await;
    let stopped = tokio::time::Instant::now();
    instance.stop.take().unwrap().send(()).unwrap();
    mesh.until("draining", |mesh| mesh.endpoints("shop/cart")[0].health == Health::Draining).await;
    mesh.until("none", |mesh| mesh.endpoints("shop/cart").is_empty()).await;
    assert!(stopped.elapsed() >= Duration::from_secs(3), "gone after {:?}", stopped.elapsed());
    instance.until(&Registered::Removed).await;
    instance.task.await.unwrap();
}

#[tokio::test]
async fn a_lost_lease_is_replaced() {
    let etcd = Etcd::start().await.unwrap();
    let mut mesh = Mesh::synced(&etcd.url()).await;
    let mut instance = Instance::start(&etcd.url(), "1", (3, 0));
    instance.until(&Registered::Yes).await;
    mesh.until("it", |mesh| mesh.addresses("shop/cart").len() == 1).await;
    let mut admin = client(&etcd.url()).await;
    let leases = admin.leases().await.unwrap();
    admin.lease_revoke(leases.leases()[0].id()).await.unwrap();
    mesh.until("none", |mesh| mesh.endpoints("shop/cart").is_empty()).await;
    instance.until(&Registered::Yes).await;
    mesh.until("it again", |mesh| mesh.addresses("shop/cart").len() == 1).await;
    instance.task.abort();
}

/// A lease outlives the member that it was kept through.
#[tokio::test]
async fn another_member_keeps_the_same_lease() {
    let etcd = Etcd::start().await.unwrap();
    let (one, other) = (Relay::to(etcd.address()).await.unwrap(), Relay::to(etcd.address()).await.unwrap());
    let mut mesh = Mesh::synced(&etcd.url()).await;
    let flag = format!("http://{},http://{}", one.address(), other.address());
    let mut instance = Instance::start(&flag, "1", (10, 0));
    instance.until(&Registered::Yes).await;
    mesh.until("it", |mesh| mesh.addresses("shop/cart").len() == 1).await;
    one.cut();
    instance.until_lost().await;
    instance.until(&Registered::Yes).await;
    let leases = client(&etcd.url()).await.leases().await.unwrap();
    assert_eq!(leases.leases().len(), 1);
    instance.stop.take().unwrap().send(()).unwrap();
    instance.until(&Registered::Removed).await;
    mesh.until("none", |mesh| mesh.endpoints("shop/cart").is_empty()).await;
    // It was there all the time.
    assert_eq!(mesh.removed.len(), 2, "{:?}", mesh.removed);
}

#[tokio::test]
async fn keys_are_checked_written_listed_watched_and_removed() {
    let etcd = Etcd::start().await.unwrap();
    let settings = Settings::parse(&etcd.url()).unwrap();
    let mut registry = Registry::connect(&settings).await.unwrap();
    let mut changes = registry.watch("").await.unwrap();
    for (name, value) in [
        ("services/shop/cart", "{ports: [{number: 0}]}"),
        ("services/Shop/cart", "{}"),
        ("endpoints/shop/cart", "{address: a}"),
        ("endpoints/shop/cart/1", "{adress: a}"),
        ("else/x", "x"),
    ] {
        assert!(registry.put(name, value.as_bytes()).await.is_err(), "{name}");
    }
    registry.put("services/shop/cart", b"{ports: [{number: 80}]}").await.unwrap();
    registry.put("config/shop/a.yaml", b"kind: a").await.unwrap();
    let names: Vec<String> = registry.list("").await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["config/shop/a.yaml", "services/shop/cart"]);
    assert_eq!(registry.list("services/").await.unwrap()[0].value, b"{ports: [{number: 80}]}");
    assert_eq!(registry.remove("config/").await.unwrap(), 1);
    assert_eq!(registry.remove("services/shop/car").await.unwrap(), 0);
    let mut seen: Vec<Change> = Vec::new();
    while seen.len() < 3 {
        seen.extend(changes.next().await.unwrap());
    }
    assert_eq!(seen[2], Change { name: "config/shop/a.yaml".to_owned(), value: None });
}
