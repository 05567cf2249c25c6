//! Streams: what is answered, refused and held back.

use lateen_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use tonic::Code;

use crate::{
    client::{ADS_DELTA, ADS_SOTW, CDS, Client, EDS, LDS, RDS, ack, ack_all, ask, names, node, subscribe},
    rig::{Rig, service, settings},
};

const CART: &str = "outbound|80||cart.example";
/// The services of types with one stream each: type, service, method without its prefix, names to ask for.
const SEPARATE: [(&str, &str, &str, &[&str]); 4] = [
    (CDS, "envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters", &[]),
    (EDS, "envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints", &[CART]),
    (LDS, "envoy.service.listener.v3.ListenerDiscoveryService", "Listeners", &[]),
    (RDS, "envoy.service.route.v3.RouteDiscoveryService", "Routes", &["80"]),
];

#[tokio::test]
async fn nothing_is_sent_before_every_source_is_listed() {
    let rig = Rig::waiting(settings(), 2).await;
    let client = rig.connect().await;
    let (mut delta, mut sotw) = (client.open(ADS_DELTA).await, client.open(ADS_SOTW).await);
    delta.send(&subscribe(Some(node("a")), CDS, &[]));
    sotw.send(&ask(Some(node("b")), CDS, &[]));
    rig.sources[0].list(&[("cart.yaml", service("cart.example", "10.0.0.1"))]);
    delta.is_quiet().await;
    sotw.is_quiet().await;
    rig.sources[1].list(&[]);
    let response: DeltaDiscoveryResponse = delta.next().await.unwrap();
    assert!(names(&response).contains(&CART), "{:?}", names(&response));
    assert_eq!(response.control_plane.unwrap().identifier, "test");
    let response: DiscoveryResponse = sotw.next().await.unwrap();
    assert!(!response.resources.is_empty());
}

#[tokio::test]
async fn the_first_request_must_say_who_it_is() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    for node in [None, Some(lateen_proto::envoy::config::core::v3::Node::default())] {
        let mut call = client.open(ADS_DELTA).await;
        call.send(&subscribe(node.clone(), CDS, &[]));
        let end = call.end().await;
        assert_eq!(end.code, Code::InvalidArgument, "{end:?}");
        assert!(end.message.contains("node"), "{end:?}");
        let mut call = client.open(ADS_SOTW).await;
        call.send(&ask(node, CDS, &[]));
        assert_eq!(call.end().await.code, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn an_aggregated_request_must_name_its_type() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    for path in [ADS_DELTA, ADS_SOTW] {
        let mut call = client.open(path).await;
        call.send(&ask(Some(node("a")), "", &[]));
        let end = call.end().await;
        assert_eq!(end.code, Code::InvalidArgument, "{path} {end:?}");
    }
}

#[tokio::test]
async fn an_unknown_type_leaves_the_others_alone() {
    let rig = Rig::new().await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), "type.googleapis.com/example.Unknown", &["x"]));
    call.is_quiet().await;
    call.send(&subscribe(None, CDS, &[]));
    let response: DeltaDiscoveryResponse = call.next().await.unwrap();
    assert_eq!(response.type_url, CDS);
    call.send(&ack(&response));
    call.send(&subscribe(None, "type.googleapis.com/example.Unknown", &["y"]));
    call.is_quiet().await;
    rig.sources[0].put("till.yaml", &service("till.example", "10.0.0.2"));
    let response: DeltaDiscoveryResponse = call.next().await.unwrap();
    assert_eq!(names(&response), ["outbound|80||till.example"]);
}

#[tokio::test]
async fn each_type_is_served_on_a_stream_of_its_own() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    for (type_url, service, method, wanted) in SEPARATE {
        let mut delta = client.open(&format!("/{service}/Delta{method}")).await;
        delta.send(&subscribe(Some(node("delta")), type_url, wanted));
        let response: DeltaDiscoveryResponse = delta.next().await.unwrap();
        assert_eq!(response.type_url, type_url);
        assert!(!response.resources.is_empty(), "{type_url}");
        delta.send(&ack(&response));

        let mut sotw = client.open(&format!("/{service}/Stream{method}")).await;
        // The type may be left out where the service implies it.
        sotw.send(&ask(Some(node("sotw")), "", wanted));
        let response: DiscoveryResponse = sotw.next().await.unwrap();
        assert_eq!(response.type_url, type_url);
        assert!(!response.resources.is_empty(), "{type_url}");
        sotw.send(&ack_all(&response, wanted));
        delta.is_quiet().await;
        sotw.is_quiet().await;
        sotw.send(&ask(None, "type.googleapis.com/example.Unknown", &[]));
        assert_eq!(sotw.end().await.code, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_change_reaches_streams_of_both_variants() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    let (mut delta, mut sotw) = (client.open(ADS_DELTA).await, client.open(ADS_SOTW).await);
    delta.send(&subscribe(Some(node("a")), EDS, &[CART]));
    let before: DeltaDiscoveryResponse = delta.next().await.unwrap();
    delta.send(&ack(&before));
    sotw.send(&ask(Some(node("b")), EDS, &[CART]));
    let first: DiscoveryResponse = sotw.next().await.unwrap();
    sotw.send(&ack_all(&first, &[CART]));
    rig.sources[0].put("cart.yaml", &service("cart.example", "10.0.0.9"));
    let after: DeltaDiscoveryResponse = delta.next().await.unwrap();
    assert_eq!(names(&after), [CART]);
    assert_ne!(after.resources[0].version, before.resources[0].version);
    let second: DiscoveryResponse = sotw.next().await.unwrap();
    assert_ne!(second.version_info, first.version_info);
}

#[tokio::test]
async fn a_client_that_closes_its_half_is_told_ok() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    let mut silent = client.open(ADS_DELTA).await;
    silent.half_close();
    assert_eq!(silent.end().await.code, Code::Ok);
    let mut answered = client.open(ADS_SOTW).await;
    answered.send(&ask(Some(node("a")), CDS, &[]));
    answered.next::<DiscoveryResponse>().await.unwrap();
    answered.half_close();
    assert_eq!(answered.end().await.code, Code::Ok);
    rig.metric_is("pilot_xds", 0).await;
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xds.sock");
    let address = lateen_xds_server::listen::ListenAddress::Unix(path.clone());
    let mut settings = settings();
    settings.xds.push(address.clone());
    let rig = Rig::with(settings).await;
    for address in &rig.xds {
        let mut call = Client::connect(address).await.open(ADS_DELTA).await;
        call.send(&subscribe(Some(node("a")), CDS, &[]));
        assert!(names(&call.next().await.unwrap()).contains(&CART));
    }
    rig.stop();
    rig.ended().await.unwrap();
    assert!(!path.exists(), "the socket is left behind");
}
