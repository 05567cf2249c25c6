//! Leadership.

use std::time::Duration;

use lateen_adapter_consul::Leadership;
use lateen_test_servers::consul::{Consul, Options};
use tokio::time::{Instant, timeout};

const KEY: &str = "lateen/leader";

fn contender(consul: &Consul, name: &str) -> Leadership {
    Leadership::from_flag(&consul.url(), KEY, name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_and_another_one_follows() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let (mut one, mut two) = (contender(&consul, "one"), contender(&consul, "two"));
    one.acquire().await.unwrap();
    assert_eq!(consul.ask("GET", "/v1/kv/lateen/leader?raw", "").await.unwrap(), "one");
    let waiting = timeout(Duration::from_secs(2), two.acquire()).await;
    assert!(waiting.is_err(), "two lead");
    // Given up: the other one leads at once.
    let given_up = Instant::now();
    let (released, acquired) = tokio::join!(one.release(), two.acquire());
    released.unwrap();
    acquired.unwrap();
    assert!(given_up.elapsed() < Duration::from_secs(5), "{:?}", given_up.elapsed());
    // Dead: the other one leads when its session is over.
    drop(two);
    timeout(Duration::from_secs(40), one.acquire()).await.unwrap().unwrap();
    assert_eq!(consul.ask("GET", "/v1/kv/lateen/leader?raw", "").await.unwrap(), "one");
    // And keeps it for longer than a session lasts by itself.
    assert!(timeout(Duration::from_secs(22), one.lost()).await.is_err(), "lost without a reason");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_that_was_taken_away_is_noticed() {
    let consul = Consul::start(Options::default()).await.unwrap();
    let mut one = contender(&consul, "one");
    one.acquire().await.unwrap();
    consul.ask("DELETE", "/v1/kv/lateen/leader", "").await.unwrap();
    timeout(Duration::from_secs(10), one.lost()).await.unwrap();
    one.acquire().await.unwrap();
}

/// Whoever can't reach Consul must stop leading before another one may begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_consul_nobody_leads() {
    let mut consul = Consul::start(Options { durable: true, ..Options::default() }).await.unwrap();
    let mut one = contender(&consul, "one");
    one.acquire().await.unwrap();
    consul.kill();
    timeout(Duration::from_secs(11), one.lost()).await.unwrap();
    let acquiring = timeout(Duration::from_mins(1), one.acquire());
    let back = async {
        consul.restart().await.unwrap();
    };
    let (acquired, ()) = tokio::join!(Box::pin(acquiring), Box::pin(back));
    acquired.unwrap().unwrap();
}
