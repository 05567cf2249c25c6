//! Leadership on a real Nomad.

#![allow(clippy::unwrap_used, reason = "a test that can't reach its server has failed")]

use std::time::{Duration, Instant};

use lateen_adapter_nomad::Leadership;
use lateen_test_servers::nomad::{Nomad, Options};

const TTL: Duration = Duration::from_secs(10);

fn candidate(nomad: &Nomad, name: &str) -> Leadership {
    Leadership::new(&nomad.url(), "lateen/leader", name, TTL).unwrap()
}

async fn until_leader(candidate: &mut Leadership) {
    let end = Instant::now() + Duration::from_secs(40);
    while !candidate.is_leader().await.unwrap() {
        assert!(Instant::now() < end, "nobody gave the lock");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn one_leads_until_it_gives_up_or_dies() {
    let nomad = Nomad::start(Options::default()).await.unwrap();
    let (mut first, mut second) = (candidate(&nomad, "first"), candidate(&nomad, "second"));
    assert!(first.is_leader().await.unwrap());
    assert!(!second.is_leader().await.unwrap());
    // Longer than the lock lives without being renewed.
    let end = Instant::now() + TTL + TTL / 2;
    while Instant::now() < end {
        assert!(first.is_leader().await.unwrap());
        assert!(!second.is_leader().await.unwrap());
        tokio::time::sleep(first.is_due()).await;
    }
    assert_eq!(nomad.get("/v1/var/lateen/leader").await.unwrap()["Items"]["leader"], "first");
    first.release().await.unwrap();
    until_leader(&mut second).await;
    assert!(!first.is_leader().await.unwrap());
    // It dies: nobody renews.
    drop(second);
    let since = Instant::now();
    until_leader(&mut first).await;
    println!("taken over after {:?}", since.elapsed());
}

#[tokio::test]
async fn an_unreachable_nomad_is_an_error_and_no_answer() {
    let [port] = lateen_test_servers::free_ports().unwrap();
    let flag = format!("http://127.0.0.1:{port}");
    let mut alone = Leadership::new(&flag, "lateen/leader", "alone", TTL).unwrap();
    alone.is_leader().await.unwrap_err();
}
