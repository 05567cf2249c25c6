//! How long a large cluster takes, and how much memory.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use lateen_test_servers::kubernetes::User;

use crate::cluster::{Cluster, Core, service, slice};

/// Resident memory of this process in kB.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn fill(cluster: &Cluster, services: usize, slices_each: usize) {
    let writes = (0..services).flat_map(|n| (0..=slices_each).map(move |part| (n, part)));
    stream::iter(writes)
        .for_each_concurrent(8, async |(n, part)| {
            let name = format!("s{n}");
            if part == 0 {
                cluster.put(&service("default", &name)).await;
                return;
            }
            let addresses: Vec<String> =
                (1..=10).map(|host| format!("10.{}.{}.{host}", n % 250, part)).collect();
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            cluster.put(&slice("default", &format!("{name}-{part}"), &name, &addresses)).await;
        })
        .await;
}

async fn measure(services: usize, slices_each: usize, limit: Duration) {
    let cluster = Cluster::start().await;
    fill(&cluster, services, slices_each).await;
    let objects = services * (slices_each + 1);
    let (before, began) = (resident_kb(), Instant::now());
    let mut core = Core::listen(&cluster.flag(User::Admin, None));
    core.forgets = true;
    core.until("the first listing", Core::is_synced).await;
    let took = began.elapsed();
    let grown = resident_kb().saturating_sub(before);
    let slices = core.held.keys().filter(|name| name.starts_with("EndpointSlice.")).count();
    assert!(slices >= services * slices_each, "{slices}");
    println!(
        "{services} services, {} slices: first listing {took:?}; {grown} kB, {} kB per 1,000 objects, with the names that the test keeps",
        services * slices_each,
        grown * 1000 / u64::try_from(objects).unwrap()
    );
    assert!(took < limit, "{took:?}");
    core.forgets = false;
    let mut lags = Vec::new();
    for round in 0..50 {
        let name = format!("s{}-1", round % services);
        let address = format!("10.251.0.{}", round + 1);
        let began = Instant::now();
        cluster.put(&slice("default", &name, &format!("s{}", round % services), &[&address])).await;
        let written = began.elapsed();
        let name = format!("EndpointSlice.discovery.k8s.io/default/{name}");
        core.until("the change", |core| core.held[&name]["endpoints"][0]["addresses"][0] == *address).await;
        lags.push((began.elapsed().saturating_sub(written), written));
    }
    lags.sort();
    let (median, worst) = (lags[lags.len() / 2], lags[lags.len() - 1]);
    println!("a change of a slice, after its write was answered: median {:?}, worst {:?}", median.0, worst.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_a_hundred_services() {
    measure(100, 5, Duration::from_secs(5)).await;
}

/// `LATEEN_SCALE=long cargo test --release … -- --ignored row_13`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes 6,000 objects first; for a release build"]
async fn row_13_a_thousand_services_and_five_thousand_slices() {
    measure(1000, 5, Duration::from_secs(5)).await;
}
