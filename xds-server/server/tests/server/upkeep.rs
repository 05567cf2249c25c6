//! What must not grow, or run in circles.

use std::time::Duration;

use lateen_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;

use crate::{
    client::{ADS_DELTA, CDS, EDS, LDS, ack, names, node, subscribe},
    rig::{Rig, service, settings},
};

/// Turns of the core within a second in which nothing happens; the questions of the test are among them.
const TURNS_MAX: u64 = 20;

async fn turns_in_a_second(rig: &Rig) -> u64 {
    let before = rig.metric("lateen_core_turns_total").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.metric("lateen_core_turns_total").await.unwrap() - before
}

#[tokio::test]
async fn names_that_clients_made_up_are_forgotten() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    let made_up =
        |from: usize| -> Vec<String> { (from..from + 12_000).map(|n| format!("made-up-{n}")).collect() };
    let mut keeper = client.open(ADS_DELTA).await;
    keeper.send(&subscribe(Some(node("keeper")), EDS, &["outbound|80||cart.example", "kept"]));
    let response = keeper.next().await.unwrap();
    keeper.send(&ack(&response));
    for round in 0..4 {
        let all = made_up(round * 12_000);
        let wanted: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut call = client.open(ADS_DELTA).await;
        call.send(&subscribe(Some(node("inventor")), EDS, &wanted));
        let response: DeltaDiscoveryResponse = call.next().await.unwrap();
        assert!(!response.removed_resources.is_empty());
        assert!(rig.metric("lateen_xds_names").await >= Some(12_000));
        call.half_close();
        call.end().await;
    }
    // 48,000 were made up; never more than one client's were in use.
    assert!(rig.metric("lateen_xds_names").await < Some(40_000));
    keeper.send(&subscribe(None, CDS, &[]));
    let clusters: DeltaDiscoveryResponse = keeper.next().await.unwrap();
    assert!(names(&clusters).contains(&"outbound|80||cart.example"));
    keeper.send(&ack(&clusters));
    // What the other client asks for is known by its name still.
    rig.sources[0].put("cart.yaml", &service("cart.example", "10.0.0.9"));
    let response: DeltaDiscoveryResponse = keeper.next().await.unwrap();
    assert_eq!((response.type_url.as_str(), names(&response)), (EDS, vec!["outbound|80||cart.example"]));
}

#[tokio::test]
async fn a_stream_that_waits_for_an_answer_costs_nothing() {
    let rig = Rig::new().await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), CDS, &[]));
    call.next::<DeltaDiscoveryResponse>().await.unwrap();
    // Listeners wait for the clusters to be acknowledged, or for a deadline.
    call.send(&subscribe(None, LDS, &[]));
    let turns = turns_in_a_second(&rig).await;
    assert!(turns < TURNS_MAX, "{turns} turns");
}

#[tokio::test]
async fn streams_that_wait_for_the_first_listing_cost_nothing() {
    let rig = Rig::waiting(settings(), 1).await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), CDS, &[]));
    call.accepted().await;
    // Longer than an epoch of the budget.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let turns = turns_in_a_second(&rig).await;
    assert!(turns < TURNS_MAX, "{turns} turns");
}
