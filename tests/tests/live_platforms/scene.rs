//! A platform, a server that reads it, and a stock Envoy with a tap before it.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use lateen_proto::envoy::{
    config::{
        core::v3::{HealthStatus, address, socket_address::PortSpecifier},
        endpoint::v3::{ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier},
    },
    service::discovery::v3::DeltaDiscoveryResponse,
};
use lateen_tests::{
    envoy::Envoy,
    load::Load,
    mesh::{self, EDGE},
    server::{Server, until},
    tap::{Exchange, Tap},
};
use prost::Message;

use crate::{
    platform::{Change, Platform, WEB},
    watch::Watch,
};

/// What clients ask the gateway for.
const HOST: &str = "shop.example.com";
/// Changes that are measured.
const CHANGES: usize = 100;
/// Instances that are replaced.
const INSTANCES: usize = 4;
/// Requests a second, and the connections that they come on.
const LOAD: (u32, usize) = (200, 8);

/// All that runs.
pub struct Scene<P> {
    tap: Tap,
    envoy: Envoy,
    gateway: SocketAddr,
    // The server ends before what it reads.
    _server: Server,
    watch: Watch,
    platform: P,
    _folder: tempfile::TempDir,
}

/// How long a change took.
#[derive(Clone, Copy, Debug)]
struct Lag {
    /// From the answer to who made it until the platform told of it.
    platform: Duration,
    /// From then until Envoy's acknowledgement.
    ours: Duration,
}

impl<P: Platform> Scene<P> {
    /// One instance, `old-0`, answers requests.
    pub async fn start(mut platform: P) -> anyhow::Result<Self> {
        let port = mesh::free_port();
        platform.configure("gateway", &mesh::gateway(port)).await?;
        platform.configure("web", &mesh::split("web", "edge", HOST, &[(WEB, 100)])).await?;
        let watch = platform.watch().await?;
        platform.start("old-0").await?;
        let folder = tempfile::tempdir()?;
        let server =
            Server::start_from(&[&platform.adapter()], folder.path(), "127.0.0.1:0", &["--no-state"])?;
        let tap = Tap::start(server.xds, true)?;
        let envoy = Envoy::start(tap.address, &EDGE)?;
        envoy.until_ready()?;
        let gateway = SocketAddr::from(([127, 0, 0, 1], port));
        let scene = Self { platform, watch, tap, envoy, gateway, _server: server, _folder: folder };
        scene.until_as_meant("old-0", Change::Comes)?;
        Ok(scene)
    }

    /// Instances come and go; each of these changes is told by the platform and acknowledged by Envoy.
    pub async fn measures_a_hundred_changes(&mut self) -> anyhow::Result<()> {
        let mut lags = Vec::new();
        while lags.len() < CHANGES {
            let names: Vec<String> = (0..P::AT_ONCE).map(|at| format!("m-{}", lags.len() / 2 + at)).collect();
            for change in [Change::Comes, Change::Goes] {
                let mut written = Vec::new();
                for name in &names {
                    let began = Instant::now();
                    match change {
                        Change::Comes => self.platform.start(name).await?,
                        Change::Goes => self.platform.drain(name).await?,
                    }
                    written.push((name, began, Instant::now()));
                }
                for (name, began, written) in written {
                    let told = self.until_told(name, change, began)?;
                    let acknowledged = self.until_acknowledged(name, change, began)?;
                    lags.push(Lag {
                        platform: told.saturating_duration_since(written),
                        ours: acknowledged.saturating_duration_since(told),
                    });
                }
            }
            for name in &names {
                self.platform.end(name).await?;
            }
        }
        self.report(&lags)
    }

    fn report(&self, lags: &[Lag]) -> anyhow::Result<()> {
        let at = |of: fn(&Lag) -> Duration, percent: usize| {
            let mut all: Vec<Duration> = lags.iter().map(of).collect();
            all.sort();
            all[(all.len() * percent).div_ceil(100).saturating_sub(1)]
        };
        let [ours, platform] = [|lag: &Lag| lag.ours, |lag: &Lag| lag.platform];
        let p99 = at(ours, 99);
        println!(
            "{}: {} changes, from its notification to Envoy's ACK: p50 {:.1?}, p99 {p99:.1?}; its own delay, from \
             its answer to the writer to its notification: p50 {:.1?}, p99 {:.1?}",
            P::NAME,
            lags.len(),
            at(ours, 50),
            at(platform, 50),
            at(platform, 99),
        );
        ensure!(self.envoy.rejected()? == 0, "rejected: {}", self.envoy.rejections());
        if let Some(most) = std::env::var_os("LATEEN_LAG_MS_MAX") {
            let most = Duration::from_millis(most.to_str().context("a number")?.parse()?);
            ensure!(p99 <= most, "{}: p99 {p99:?} is more than {most:?}", P::NAME);
        }
        Ok(())
    }

    /// Under load every instance is replaced by a new one, one by one with drain; then one goes away by itself.
    pub async fn replaces_every_instance_and_loses_one(&mut self) -> anyhow::Result<()> {
        for at in 1..INSTANCES {
            self.platform.start(&format!("old-{at}")).await?;
        }
        for at in 1..INSTANCES {
            self.until_as_meant(&format!("old-{at}"), Change::Comes)?;
        }
        let load = Load::start(self.gateway, HOST, LOAD.0, LOAD.1);
        load.wait(100)?;
        let mut gone = Vec::new();
        for at in 0..INSTANCES {
            let (old, new) = (format!("old-{at}"), format!("new-{at}"));
            self.platform.start(&new).await?;
            self.until_as_meant(&new, Change::Comes)?;
            let address = self.address(&old)?;
            self.platform.drain(&old).await?;
            self.until_gone(&old, address)?;
            // What it had taken on before, it ends.
            load.wait(40)?;
            self.platform.end(&old).await?;
            gone.push(P::answers_as(&old, address));
        }
        let address = self.address("new-0")?;
        self.platform.fail("new-0").await?;
        self.until_gone("new-0", address)?;
        gone.push(P::answers_as("new-0", address));

        load.wait(40)?;
        let before = load.outcome();
        load.wait(200)?;
        let after = load.stop();
        println!(
            "{}: {} requests while {INSTANCES} instances were replaced and one was lost, {} failed, {} retried by \
             Envoy; slowest {:.1?}",
            P::NAME,
            after.ok + after.failed,
            after.failed,
            self.envoy.stats_ending(".upstream_rq_retry")?,
            after.slowest,
        );
        after.assert_none_failed();
        for name in gone {
            let of = |outcome: &lateen_tests::load::Outcome| outcome.by_backend.get(&name).copied();
            ensure!(of(&before).is_some(), "{name} has never answered: {:?}", before.by_backend);
            ensure!(of(&before) == of(&after), "{name} still answers: {:?}", after.by_backend);
        }
        Ok(())
    }

    fn address(&self, name: &str) -> anyhow::Result<SocketAddr> {
        self.watch.all(|seen| self.platform.address(name, seen)).with_context(|| format!("{name} is nowhere"))
    }

    fn until_told(&self, name: &str, change: Change, began: Instant) -> anyhow::Result<Instant> {
        until_some(&format!("told by the platform: {name} {change:?}"), || {
            self.watch.since(began, |seen| self.platform.told(name, change, seen))
        })
        .with_context(|| self.watch.since(began, |seen| format!("it said {seen:#?}")))
    }

    fn until_acknowledged(&self, name: &str, change: Change, began: Instant) -> anyhow::Result<Instant> {
        until_some(&format!("acknowledged by Envoy: {name} {change:?}"), || {
            let address = self.address(name).ok()?;
            let fits = |exchange: &Exchange| {
                let there = healthy(exchange)?.contains(&address);
                (there == (change == Change::Comes)).then_some(exchange.acknowledged)
            };
            let mut since = |exchange: &Exchange| if exchange.sent < began { None } else { fits(exchange) };
            self.tap.find(&mut since).flatten()
        })
    }

    /// Waits until Envoy has acknowledged that an instance is there, or is not.
    fn until_as_meant(&self, name: &str, change: Change) -> anyhow::Result<()> {
        until(&format!("in Envoy: {name} {change:?}"), || {
            let address = self.address(name)?;
            let held = self.held();
            ensure!(
                held.contains(&address) == (change == Change::Comes),
                "{address}, and Envoy has {held:?}"
            );
            Ok(true)
        })
    }

    fn until_gone(&self, name: &str, address: SocketAddr) -> anyhow::Result<()> {
        until(&format!("gone from Envoy: {name}"), || Ok(!self.held().contains(&address)))
    }

    /// The instances that Envoy has acknowledged last.
    fn held(&self) -> BTreeSet<SocketAddr> {
        let mut held = BTreeSet::new();
        self.tap.find(|exchange| {
            if let (Some(now), Some(_)) = (healthy(exchange), exchange.acknowledged) {
                held = now;
            }
            None::<()>
        });
        held
    }
}

/// Waits until there is something.
fn until_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let mut found = None;
    until(what, || {
        found = find();
        Ok(found.is_some())
    })?;
    found.context("it was there")
}

/// Where the instances are that may get requests, if the response is about them.
fn healthy(exchange: &Exchange) -> Option<BTreeSet<SocketAddr>> {
    if !exchange.head.type_url.ends_with("ClusterLoadAssignment") {
        return None;
    }
    let response = DeltaDiscoveryResponse::decode(exchange.message.clone()).ok()?;
    let assignment = response.resources.into_iter().find_map(|resource| {
        let assignment = ClusterLoadAssignment::decode(resource.resource?.value).ok()?;
        assignment.cluster_name.contains(WEB).then_some(assignment)
    })?;
    let endpoints = assignment.endpoints.into_iter().flat_map(|locality| locality.lb_endpoints);
    Some(endpoints.filter_map(address_if_healthy).collect())
}

fn address_if_healthy(endpoint: LbEndpoint) -> Option<SocketAddr> {
    let takes_requests = [HealthStatus::Unknown, HealthStatus::Healthy];
    let status = HealthStatus::try_from(endpoint.health_status).ok()?;
    let HostIdentifier::Endpoint(endpoint) = endpoint.host_identifier? else { return None };
    let address::Address::SocketAddress(socket) = endpoint.address?.address? else { return None };
    let PortSpecifier::PortValue(port) = socket.port_specifier? else { return None };
    let address = SocketAddr::new(socket.address.parse().ok()?, u16::try_from(port).ok()?);
    takes_requests.contains(&status).then_some(address)
}
