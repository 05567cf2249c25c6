//! The tour as assertions. Each one edits the files as a reader would, waits for what it then observes (bounded, by
//! polling), and says what it saw. The files are put back at the end, however it ends.

mod edits;
mod policies;
mod protocols;
mod routes;

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures::{StreamExt, stream};

use self::edits::Editor;
use super::{
    Running,
    client::{Answer, Http, header_map},
    plan::{SHOP, host},
};

/// How long something may take to be observed.
const LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(20);

/// What the checks work with.
struct Tour<'a> {
    running: &'a Running,
    editor: Editor<'a>,
    /// Calls as the shop makes them: through its sidecar.
    shop: Http,
    /// Calls from outside, through the gateway.
    gateway: Http,
    /// Where the shop's sidecar takes calls to services that speak HTTP, and to the ledger.
    egress: SocketAddr,
    egress_tcp: SocketAddr,
}

/// What a check saw.
type Seen = anyhow::Result<String>;

/// Runs all checks; did all pass?
pub async fn run(running: &Running) -> anyhow::Result<bool> {
    let egress = SocketAddr::new(SHOP.egress(), running.ports.http);
    let mut tour = Tour {
        running,
        editor: Editor::new(&running.folder)?,
        shop: Http::new(egress),
        gateway: Http::new(running.gateway()),
        egress,
        egress_tcp: SocketAddr::new(SHOP.egress(), running.ports.tcp),
    };
    let mut report = Report::default();
    let tour = &mut tour;
    report.add("page through gateway and sidecars", routes::page(tour)).await;
    report.add("an edit is in effect at once", routes::live_edit(tour)).await;
    report.add("90/10 split", routes::split(tour)).await;
    report.add("route by header", routes::by_header(tour)).await;
    report.add("header operations", routes::header_operations(tour)).await;
    report.add("redirect", routes::redirect(tour)).await;
    report.add("rewrite", routes::rewrite(tour)).await;
    report.add("direct response", routes::direct_response(tour)).await;
    report.add("CORS preflight", routes::cors(tour)).await;
    report.add("retry on 503", policies::retry(tour)).await;
    report.add("timeout", policies::timeout(tour)).await;
    report.add("fault: abort", policies::fault_abort(tour)).await;
    report.add("fault: delay", policies::fault_delay(tour)).await;
    report.add("mirror", policies::mirror(tour)).await;
    report.add("circuit breaker overflow", policies::circuit_breaker(tour)).await;
    report.add("outlier ejection and return", policies::outlier(tour)).await;
    report.add("HTTP/2", protocols::http2(tour)).await;
    report.add("gRPC unary", protocols::grpc_unary(tour)).await;
    report.add("gRPC server streaming", protocols::grpc_server_streaming(tour)).await;
    report.add("gRPC both ways", protocols::grpc_both_ways(tour)).await;
    report.add("WebSocket", protocols::websocket(tour)).await;
    report.add("TCP", protocols::tcp(tour)).await;
    report.add("ServiceEntry by DNS", protocols::by_dns(tour)).await;
    report.add("REGISTRY_ONLY blocks an unknown host", protocols::unknown_host(tour)).await;
    report.add("no Envoy rejected anything", protocols::nothing_rejected(tour)).await;
    tour.editor.restore()?;
    let Report { passed, failed } = report;
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

#[derive(Debug, Default)]
struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    async fn add(&mut self, name: &str, check: impl Future<Output = Seen>) {
        let begun = Instant::now();
        let outcome = check.await;
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(seen) => {
                self.passed += 1;
                println!("√ {name:<38} {seen}  ({seconds:.1} s)");
            }
            Err(error) => {
                self.failed += 1;
                println!("× {name:<38} {error:#}  ({seconds:.1} s)");
            }
        }
    }
}

impl Tour<'_> {
    /// GETs from a service as the shop does.
    async fn get(&self, service: &str, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        Ok(self.shop.get(&host(service), path, headers).await?)
    }

    /// GETs many times, some at once; the answers with how long each took, in any order.
    async fn many(
        &self,
        service: &str,
        headers: &[(&str, &str)],
        count: usize,
        at_once: usize,
    ) -> anyhow::Result<Vec<(Answer, Duration)>> {
        let (name, headers) = (host(service), header_map(headers)?);
        let requests = stream::iter(0..count).map(|_| {
            let (name, headers) = (name.clone(), headers.clone());
            async move {
                let begun = Instant::now();
                let answer = self.shop.call("GET", &name, "/", headers, LIMIT).await?;
                Ok::<_, anyhow::Error>((answer, begun.elapsed()))
            }
        });
        let answers: Vec<_> = requests.buffer_unordered(at_once).collect().await;
        answers.into_iter().collect()
    }

    /// Gives the catalog other routes and waits until the shop's sidecar has them; returns how long that took.
    async fn route_catalog(&mut self, routes: &str) -> anyhow::Result<Duration> {
        let edit = self.editor.catalog(routes)?;
        let name = host("catalog");
        arrived(&self.shop, &name, edit).await.context("the catalog's new routes did not arrive")
    }

    /// Gives the gateway other routes and waits until it has them.
    async fn route_gateway(&mut self, routes: &str) -> anyhow::Result<Duration> {
        let edit = self.editor.ingress(routes)?;
        arrived(&self.gateway, "shop.localhost", edit)
            .await
            .context("the gateway's new routes did not arrive")
    }
}

async fn arrived(client: &Http, name: &str, edit: u32) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let wanted = edit.to_string();
    until(async || {
        let answer = client.get(name, super::mesh::EDIT_PATH, &[]).await?;
        Ok((answer.text() == wanted).then_some(()))
    })
    .await?;
    Ok(begun.elapsed())
}

/// Looks again and again until there is something, at most for [`LIMIT`].
async fn until<T>(mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        let last = match look().await {
            Ok(Some(seen)) => return Ok(seen),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if begun.elapsed() > LIMIT {
            return match last {
                Some(error) => Err(error.context(format!("not within {LIMIT:?}"))),
                None => anyhow::bail!("not within {LIMIT:?}"),
            };
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Is a count within three standard deviations of what a share of all would be? Says so with figures.
fn within_three_sigma(count: usize, all: usize, share: f64) -> Result<String, String> {
    #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
    let (count, all) = (count as f64, all as f64);
    let (mean, sigma) = (all * share, (all * share * (1.0 - share)).sqrt());
    let text = format!(
        "{count} of {all} ({:.1} %), expected {mean:.0} ± {:.0} (3σ)",
        100.0 * count / all,
        3.0 * sigma
    );
    if (count - mean).abs() <= 3.0 * sigma { Ok(text) } else { Err(text) }
}

/// Measures a share. Fair dice are outside of 3σ once in 370 times, so that a miss is measured once more, and said.
async fn share(
    expected: f64,
    mut measure: impl AsyncFnMut() -> anyhow::Result<(usize, usize)>,
) -> anyhow::Result<String> {
    let (count, all) = measure().await?;
    match within_three_sigma(count, all, expected) {
        Ok(text) => Ok(text),
        Err(first) => {
            let (count, all) = measure().await?;
            match within_three_sigma(count, all, expected) {
                Ok(text) => Ok(format!("{text}; measured twice, at first {first}")),
                Err(second) => anyhow::bail!("{first}; again: {second}"),
            }
        }
    }
}

/// The status must be this.
fn expect_status(answer: &Answer, status: u16) -> anyhow::Result<()> {
    let body: String = answer.text().chars().take(200).collect();
    ensure!(answer.status == status, "status {} instead of {status}: {body}", answer.status.as_u16());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_sigma_of_a_tenth_of_two_thousand_is_forty() {
        assert!(within_three_sigma(200, 2000, 0.1).is_ok());
        assert!(within_three_sigma(240, 2000, 0.1).is_ok());
        assert!(within_three_sigma(160, 2000, 0.1).is_ok());
        assert!(within_three_sigma(241, 2000, 0.1).is_err());
        assert!(within_three_sigma(159, 2000, 0.1).is_err());
    }

    #[tokio::test]
    async fn a_share_is_measured_at_most_twice() {
        let mut counts = vec![200, 300].into_iter();
        assert!(
            share(0.1, async || Ok((counts.next_back().unwrap(), 2000))).await.unwrap().contains("twice")
        );
        let mut counts = vec![300, 300].into_iter();
        assert!(share(0.1, async || Ok((counts.next().unwrap(), 2000))).await.is_err());
    }
}
