//! The admin port.

use lateen_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;

use crate::{
    client::{ADS_DELTA, CDS, ack, node, subscribe},
    rig::{Rig, service, settings},
};

#[tokio::test]
async fn ready_after_the_first_listing() {
    let rig = Rig::waiting(settings(), 2).await;
    rig.sources[0].list(&[]);
    let (status, body) = rig.admin("/ready", "localhost").await;
    assert_eq!(status, 503);
    assert!(body.contains("memory:1"), "{body}");
    rig.sources[1].list(&[("cart.yaml", service("cart.example", "10.0.0.1"))]);
    rig.metric_is("lateen_ready", 1).await;
    assert_eq!(rig.admin("/ready", "localhost").await.0, 200);
}

#[tokio::test]
async fn requests_for_other_hosts_are_refused() {
    let rig = Rig::new().await;
    for host in ["localhost", "localhost:15014", "127.0.0.1:1", "[::1]:15014", "[::1]"] {
        assert_eq!(rig.admin("/metrics", host).await.0, 200, "{host}");
    }
    for host in ["example.com", "localhost.example.com", "10.0.0.1", "127.0.0.1.example.com:80", ""] {
        assert_eq!(rig.admin("/metrics", host).await.0, 403, "{host}");
    }
}

#[tokio::test]
async fn pushes_are_counted_by_type() {
    let rig = Rig::new().await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), CDS, &[]));
    let response: DeltaDiscoveryResponse = call.next().await.unwrap();
    call.send(&ack(&response));
    assert_eq!(rig.metric("pilot_xds_pushes_total{type=\"cds\"}").await, Some(1));
    assert!(rig.metric("lateen_xds_push_bytes_total{type=\"cds\"}").await > Some(100));
    rig.metric_is("lateen_xds_ack_seconds_count", 1).await;
    assert_eq!(rig.metric("pilot_xds").await, Some(1));
}

#[tokio::test]
async fn status_and_config_tell_of_a_connected_node() {
    let rig = Rig::new().await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("cart-1")), CDS, &[]));
    let response = call.next().await.unwrap();
    call.send(&ack(&response));
    rig.metric_is("lateen_xds_ack_seconds_count", 1).await;
    let (_, status) = rig.admin("/debug/status", "localhost").await;
    assert!(status.contains("cart-1.shop") && status.contains("SYNCED"), "{status}");
    let (_, config) = rig.admin("/debug/config?node=cart-1", "localhost").await;
    assert!(config.contains("outbound|80||cart.example") && config.contains("cart.yaml:"), "{config}");
    let (status, error) = rig.admin("/debug/config?node=nobody", "localhost").await;
    assert_eq!(status, 404);
    assert!(error.contains("nobody"), "{error}");
}
