//! One mesh over all five platforms at once, and over several clusters: whoever calls whom, the answer is the right
//! one's; one service that two platforms know is one host; a platform that goes away takes nothing with it.
//!
//! All runs in a network namespace, because Kubernetes takes no loopback addresses for endpoints; Nomad runs there as
//! root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]
#![allow(clippy::print_stdout, reason = "the matrix is in the output")]

mod clusters;
mod fleet;

use std::{collections::BTreeSet, net::SocketAddr, process::Command};

use anyhow::{Context, ensure};
use lateen_tests::{
    backend::RUNTIME,
    envoy::Envoy,
    http, netns,
    scene::assert_none_rejected,
    server::{self, Server, until},
};
use serde_json::Value;

use crate::fleet::{Fleet, PLATFORMS, SHARED, Workload, host};

#[test]
fn a_client_on_each_platform_calls_a_service_on_each() {
    netns::run("a_client_on_each_platform_calls_a_service_on_each", || {
        RUNTIME.block_on(five_platforms()).unwrap();
    })
    .unwrap();
}

#[test]
fn a_service_in_two_clusters_is_one_host_and_outlives_one_of_them() {
    netns::run("a_service_in_two_clusters_is_one_host_and_outlives_one_of_them", || {
        RUNTIME.block_on(clusters::two_clusters()).unwrap();
    })
    .unwrap();
}

async fn five_platforms() -> anyhow::Result<()> {
    let mut fleet = Fleet::start().await?;
    let mut workloads = Vec::new();
    for platform in PLATFORMS {
        workloads.push(fleet.run(platform).await?);
    }
    let adapters = fleet.adapters();
    let adapters: Vec<&str> = adapters.iter().map(String::as_str).collect();
    let server = Server::start_from(&adapters, fleet.folder(), "127.0.0.1:0", &["--no-state"])?;
    let sidecars = workloads
        .iter()
        .map(|workload| workload.sidecar(server.xds))
        .collect::<anyhow::Result<Vec<Envoy>>>()?;
    for sidecar in &sidecars {
        sidecar.until_ready()?;
    }
    server.until_synced(PLATFORMS.len())?;

    every_pair(&workloads)?;
    for (sidecar, workload) in sidecars.iter().zip(&workloads) {
        let entered =
            sidecar.stat(&format!("cluster.inbound|{}||;.upstream_rq_200", workload.entry.port()))?;
        ensure!(entered >= 5, "{} calls entered the sidecar of {}", entered, workload.name);
    }
    assert_none_rejected(&sidecars);

    one_service_on_two_platforms(&mut fleet, &server, &workloads).await?;
    every_pair(&workloads)?;
    assert_none_rejected(&sidecars);
    Ok(())
}

/// Each calls each, and the matrix is printed.
fn every_pair(workloads: &[Workload]) -> anyhow::Result<()> {
    let names = || workloads.iter().map(|workload| &workload.name);
    let mut answered = 0;
    print!("{:>16}", "from \\ to");
    names().for_each(|name| print!("{name:>16}"));
    for client in workloads {
        print!("\n{:>16}", client.name);
        for name in names() {
            // The first call may come before a health check, or a lease, has been seen by all.
            until(&format!("{} answered by {name}", client.name), || {
                Ok(answered_by(client.egress, &host(name))? == *name)
            })?;
            answered += 1;
            print!("{:>16}", 200);
        }
    }
    println!("\n{answered} of {} pairs", workloads.len() * workloads.len());
    Ok(())
}

/// Kubernetes and Consul each have an instance of one service; then Consul dies.
async fn one_service_on_two_platforms(
    fleet: &mut Fleet,
    server: &Server,
    workloads: &[Workload],
) -> anyhow::Result<()> {
    let places = fleet.share().await?;
    let client = workloads.first().context("a client")?;
    let both = BTreeSet::from(["shared-consul", "shared-kubernetes"].map(str::to_owned));
    until_answered_by(client.egress, &host(SHARED), &both)?;

    // What `lateen config` says of it: both endpoints, each with its place and where it was read.
    let config = Command::new(server::binary())
        .args(["config", "svc-file", "--type", "eds", "--name", &host(SHARED), "--output", "json"])
        .args(["--server", &server.admin.to_string()])
        .output()?;
    ensure!(config.status.success(), "{}", String::from_utf8_lossy(&config.stderr));
    let config: Value = serde_json::from_slice(&config.stdout)?;
    let [assignment] = config["resources"].as_array().map_or(&[][..], Vec::as_slice) else {
        anyhow::bail!("not one host: {config:#}");
    };
    let endpoints = assignment["endpoints"].as_array().context("endpoints")?;
    println!("{:#}", assignment["endpoints"]);
    ensure!(endpoints.len() == places.len(), "{assignment:#}");
    for (platform, address, locality) in &places {
        let of = endpoints.iter().find(|endpoint| endpoint["address"] == address.to_string());
        let of = of.with_context(|| format!("{address} is not there: {assignment:#}"))?;
        ensure!(of["locality"] == *locality, "{of}");
        let origin = of["origin"].as_str().context("an origin")?;
        ensure!(origin.contains(&format!(" of {}=", platform.kind())), "{of}");
    }

    fleet.consul.kill();
    server.until("stale: Consul and nobody else", |server| {
        let stale = stale(server)?;
        ensure!(matches!(&stale[..], [one] if one.starts_with("consul=")), "{stale:?}");
        Ok(true)
    })?;
    until_answered_by(client.egress, &host(SHARED), &both)?;
    // The others are followed all the same.
    fleet.end_shared_pod().await?;
    until_answered_by(client.egress, &host(SHARED), &BTreeSet::from(["shared-consul".to_owned()]))
}

/// Ids of sources that are stale.
fn stale(server: &Server) -> anyhow::Result<Vec<String>> {
    let status = server.status()?;
    let sources = status["sources"].as_array().context("sources")?;
    let stale = sources.iter().filter(|source| !source["stale_ms"].is_null());
    Ok(stale.filter_map(|source| source["id"].as_str()).map(str::to_owned).collect())
}

/// Waits until these answer, all of them and nobody else.
fn until_answered_by(via: SocketAddr, host: &str, names: &BTreeSet<String>) -> anyhow::Result<()> {
    until(&format!("answers of {names:?} and nobody else"), || {
        let answers = (0..20).map(|_| answered_by(via, host)).collect::<anyhow::Result<BTreeSet<_>>>()?;
        ensure!(answers == *names, "{answers:?}");
        Ok(true)
    })
}

/// The name of the backend that answers with 200.
fn answered_by(via: SocketAddr, host: &str) -> anyhow::Result<String> {
    let answer = http::request(via, "GET", "/", &[("host", host)])?;
    ensure!(answer.status == 200, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body)?;
    Ok(body["name"].as_str().context("a name")?.to_owned())
}
