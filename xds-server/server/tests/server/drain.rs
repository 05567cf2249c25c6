//! The end.

use std::time::{Duration, Instant};

use lateen_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use lateen_xds_server::listen::ListenAddress;
use tokio::net::TcpStream;
use tonic::Code;

use crate::{
    client::{ADS_DELTA, CDS, Client, PATIENCE, names, node, subscribe},
    rig::{Rig, settings},
};

#[tokio::test]
async fn streams_end_in_order_and_nobody_new_is_accepted() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    let mut answered = client.open(ADS_DELTA).await;
    answered.send(&subscribe(Some(node("a")), CDS, &[]));
    answered.next::<DeltaDiscoveryResponse>().await.unwrap();
    // A response waits in the server: this client's window is shut until after the stop.
    let mut shut = h2::client::Builder::new();
    shut.initial_window_size(0);
    let slow_client = Client::connect_with(&rig.xds[0], &shut).await;
    let mut slow = slow_client.open(ADS_DELTA).await;
    slow.send(&subscribe(Some(node("b")), CDS, &[]));
    slow.accepted().await;
    rig.metric_is("pilot_xds_pushes_total{type=\"cds\"}", 2).await;
    let ListenAddress::Tcp(address) = rig.xds[0] else { panic!("not TCP") };

    rig.stop();
    let end = answered.end().await;
    assert_eq!(end.code, Code::Unavailable, "{end:?}");
    assert!(end.message.contains("shutting down"), "{end:?}");
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, refused).await.expect("connections are still accepted");
    slow_client.open_window();
    let response: DeltaDiscoveryResponse = slow.next().await.unwrap();
    assert!(names(&response).contains(&"outbound|80||cart.example"));
    assert_eq!(slow.end().await.code, Code::Unavailable);
    drop((client, answered, slow_client, slow));
    rig.ended().await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_waited_for_no_longer_than_said() {
    let mut settings = settings();
    settings.drain = Duration::from_millis(500);
    let rig = Rig::with(settings).await;
    let mut shut = h2::client::Builder::new();
    shut.initial_window_size(0);
    let mut stuck = Client::connect_with(&rig.xds[0], &shut).await.open(ADS_DELTA).await;
    stuck.send(&subscribe(Some(node("a")), CDS, &[]));
    stuck.accepted().await;
    rig.metric_is("pilot_xds_pushes_total{type=\"cds\"}", 1).await;
    let began = Instant::now();
    rig.stop();
    rig.ended().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(500), "it was not waited for: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
