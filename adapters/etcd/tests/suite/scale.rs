//! A hundred thousand endpoints.

use std::time::Duration;

use etcd_client::{Client, Txn, TxnOp};
use lateen_test_servers::etcd::Etcd;
use tokio::time::Instant;

use crate::mesh::{Mesh, client, put};

const SERVICES: usize = 1000;
const INSTANCES: usize = 100;
/// Operations that etcd takes in one transaction.
const AT_ONCE: usize = 128;

fn value(service: usize, instance: usize) -> String {
    let (a, b) = (service / 250, service % 250);
    format!(
        "{{\"address\":\"10.{a}.{b}.{}\",\"ports\":{{\"http\":8080}},\"labels\":{{\"app\":\"s{service}\",\
         \"version\":\"v1\"}},\"locality\":\"eu/{}\",\"weight\":1}}",
        instance + 1,
        instance % 3
    )
}

async fn fill(writer: &mut Client) {
    let all = (0..SERVICES).flat_map(|service| (0..INSTANCES).map(move |instance| (service, instance)));
    let all: Vec<(usize, usize)> = all.collect();
    for part in all.chunks(AT_ONCE) {
        let puts: Vec<TxnOp> = part
            .iter()
            .map(|(service, instance)| {
                let key = format!("/lateen/endpoints/shop/s{service}/i{instance:03}");
                TxnOp::put(key, value(*service, *instance), None)
            })
            .collect();
        writer.txn(Txn::new().and_then(puts)).await.unwrap();
    }
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Processor time of this process, user and system.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    // Linux tells it in hundredths of a second.
    Duration::from_millis(ticks * 10)
}

/// Row 13.
#[tokio::test(flavor = "multi_thread")]
async fn row_13_a_hundred_thousand_endpoints() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    fill(&mut writer).await;
    let before = resident();
    let (began, busy_before) = (Instant::now(), busy());
    let mut mesh = Mesh::synced(&etcd.url()).await;
    let listed = began.elapsed();
    let worked = busy().saturating_sub(busy_before);
    let grown = resident().saturating_sub(before);
    let endpoints: usize =
        (0..SERVICES).map(|service| mesh.endpoints(&format!("shop/s{service}")).len()).sum();
    assert_eq!(endpoints, SERVICES * INSTANCES);

    let mut times = Vec::new();
    for n in 0..100_u32 {
        let service = n as usize * 7 % SERVICES;
        let name = format!("shop/s{service}");
        let weight = n + 2;
        let text = value(service, 5).replace("\"weight\":1", &format!("\"weight\":{weight}"));
        let written = Instant::now();
        put(&mut writer, &format!("endpoints/{name}/i005"), text).await;
        mesh.until("the change", |mesh| mesh.endpoints(&name).iter().any(|e| e.weight == weight)).await;
        times.push(written.elapsed());
    }
    times.sort();
    println!(
        "{endpoints} endpoints of {SERVICES} services: listed in {listed:?} with {worked:?} of work, memory of adapter and test +{} MB; \
         a change from put to event: median {:?}, 99th of 100 {:?}",
        grown >> 20,
        times[50],
        times[98]
    );
    // Comparing all of it tells nothing, as nothing is different.
    let events = mesh.events;
    put(&mut writer, "config/end", "kind: end").await;
    mesh.until("the end", |mesh| mesh.document("/lateen/config/end").is_some()).await;
    assert_eq!(mesh.events - events, 1);
    assert!(listed < Duration::from_mins(1));
}
