//! A gentle load: requests start at a fixed pace, whether or not the ones before have been answered.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::client::Http;

/// Requests under way at once; beyond, a request is not made and counts as failed.
const UNDER_WAY_MAX: usize = 500;

/// What happened within a second.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Second {
    /// Answers by the version of the catalog that took part in it.
    versions: BTreeMap<String, u64>,
    /// Answers in which something failed.
    failed: u64,
}

impl Second {
    fn add(&mut self, outcome: Option<String>) {
        match outcome {
            Some(version) => *self.versions.entry(version).or_default() += 1,
            None => self.failed += 1,
        }
    }

    fn line(&self) -> String {
        let all = self.versions.values().sum::<u64>() + self.failed;
        let versions: Vec<String> =
            self.versions.iter().map(|(version, count)| format!("{version} {count}")).collect();
        let versions = if versions.is_empty() { "-".to_owned() } else { versions.join(", ") };
        format!("{all} requests/s   catalog: {versions}   failed: {}", self.failed)
    }
}

/// Sends `rate` requests per second to the gateway and prints a line for each second, until it is dropped.
pub async fn run(gateway: SocketAddr, rate: u32) {
    if rate == 0 {
        return std::future::pending().await;
    }
    let client = Http::new(gateway);
    let mut pace = interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut print = interval(Duration::from_secs(1));
    print.tick().await;
    let mut requests = JoinSet::new();
    let mut second = Second::default();
    loop {
        tokio::select! {
            _ = pace.tick() => {
                if requests.len() < UNDER_WAY_MAX {
                    let client = client.clone();
                    requests.spawn(async move { page(&client).await });
                } else {
                    second.add(None);
                }
            }
            Some(done) = requests.join_next() => second.add(done.ok().flatten()),
            _ = print.tick() => println!("{}", std::mem::take(&mut second).line()),
        }
    }
}

/// The version of the catalog on one page, where all of it went well.
async fn page(client: &Http) -> Option<String> {
    let answer = client.get("shop.localhost", "/", &[]).await.ok()?;
    let page = answer.json();
    let well = |service: &str| page[service]["status"] == 200;
    let all = answer.status.is_success() && ["catalog", "reviews", "flaky"].into_iter().all(well);
    (all && page["ledger"]["instance"].is_string())
        .then(|| page["catalog"]["version"].as_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_a_line() {
        let mut second = Second::default();
        assert_eq!(second.line(), "0 requests/s   catalog: -   failed: 0");
        for outcome in [Some("v1"), Some("v2"), Some("v1"), None] {
            second.add(outcome.map(str::to_owned));
        }
        assert_eq!(second.line(), "4 requests/s   catalog: v1 2, v2 1   failed: 1");
    }
}
