//! The admin port.

use std::time::Duration;

use lateen_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use lateen_xds_server::status::{Difference, Status};
use tokio::time::timeout;

use crate::{
    client::{ADS_DELTA, CDS, PATIENCE, ack, names, node, subscribe},
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

/// Routes of `shop` to a host, at `spec.http[0].route[0].destination.host` in line 5.
fn routes(host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: cart, namespace: shop}}\nspec:\n  \
         http: [{{route: [{{destination: {{host: {host}}}}}]}}]\n  hosts: [cart.example]\n"
    )
}

/// What a mistake of reference does is shown at its line before and after it is made.
#[tokio::test]
async fn a_destination_that_is_not_there_is_shown_at_its_line() {
    let rig = Rig::new().await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("cart-1")), CDS, &[]));
    let response = call.next().await.unwrap();
    call.send(&ack(&response));
    let wrong = "no service gone.example is visible";
    let (status, body) = Rig::answer(rig.propose(&routes("gone.example")).await).await;
    assert_eq!(status, 200, "{body}");
    let difference: Difference = serde_json::from_str(&body).unwrap();
    let found = |findings: &[String], location: &str| {
        let at = format!("{location}:5:40: error LAT3001");
        findings.iter().any(|finding| finding.starts_with(&at) && finding.contains(wrong))
    };
    assert!(found(&difference.findings, "new.yaml"), "{difference:?}");
    // A proposal that is right has none, whatever is wrong already.
    rig.sources[0].put("routes.yaml", &routes("gone.example"));
    let seen = async {
        loop {
            let (_, body) = rig.admin("/debug/status", "localhost").await;
            let status: Status = serde_json::from_str(&body).unwrap();
            if found(&status.findings, "routes.yaml") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let status = timeout(PATIENCE, seen).await.expect("status does not show it");
    assert!(status.errors == 1 && status.sources[0].findings == 1, "{status:?}");
    let (_, body) = Rig::answer(rig.propose(&service("other.example", "10.0.0.2")).await).await;
    let difference: Difference = serde_json::from_str(&body).unwrap();
    assert_eq!(difference.findings, Vec::<String>::new());
    assert!(difference.changes.iter().any(|change| change.name.contains("other.example")), "{difference:?}");
}

/// A large proposal is worked out beside the core: what a source says meanwhile reaches clients before the answer
/// reaches who asked; and one that nobody waits for any more ends.
#[tokio::test]
async fn a_comparison_holds_up_no_change() {
    let rig = Rig::new().await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("cart-1")), CDS, &[]));
    let response: DeltaDiscoveryResponse = call.next().await.unwrap();
    call.send(&ack(&response));
    let hosts: Vec<String> = (0..5_000).map(|number| format!("h{number}.example")).collect();
    let large =
        service("large.example", "10.0.0.3").replace("[large.example]", &format!("[{}]", hosts.join(", ")));
    for _ in 0..3 {
        // Nobody waits for these.
        drop(rig.propose(&large).await);
    }
    let asked = rig.propose(&large).await;
    let answered = tokio::spawn(Rig::answer(asked));
    rig.sources[0].put("more.yaml", &service("more.example", "10.0.0.2"));
    let response: DeltaDiscoveryResponse = call.next().await.unwrap();
    assert!(names(&response).contains(&"outbound|80||more.example"), "{:?}", names(&response));
    assert!(!answered.is_finished(), "the comparison was too short to show anything");
    let (status, _) = rig.admin("/debug/status", "localhost").await;
    assert_eq!((status, answered.is_finished()), (200, false));
    let (status, body) = answered.await.unwrap();
    assert!(status == 200 && body.contains("h4999.example"), "{status}");
}
