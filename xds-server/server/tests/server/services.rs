//! Health and reflection.

use lateen_xds_server::csds;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::rig::{Rig, service, settings};

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

#[tokio::test]
async fn serving_is_said_after_the_first_listing_of_every_source_and_until_the_stop() {
    let rig = Rig::waiting(settings(), 2).await;
    let client = rig.connect().await;
    let request = HealthCheckRequest::default();
    let first: HealthCheckResponse = client.call(CHECK, &request).await.unwrap();
    assert_eq!(first.status(), ServingStatus::NotServing);
    let mut watch = client.open(WATCH).await;
    watch.send(&request);
    watch.half_close();
    assert_eq!(watch.next::<HealthCheckResponse>().await.unwrap().status(), ServingStatus::NotServing);
    rig.sources[0].list(&[]);
    rig.metric_is("lateen_ready", 0).await;
    rig.sources[1].list(&[("cart.yaml", service("cart.example", "10.0.0.1"))]);
    assert_eq!(watch.next::<HealthCheckResponse>().await.unwrap().status(), ServingStatus::Serving);
    rig.stop();
    assert_eq!(watch.next::<HealthCheckResponse>().await.unwrap().status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_knows_its_types() {
    let rig = Rig::waiting(settings(), 1).await;
    let mut call = rig.connect().await.open(REFLECT).await;
    let mut ask = async |request| {
        call.send(&ServerReflectionRequest { host: String::new(), message_request: Some(request) });
        call.next::<ServerReflectionResponse>().await.unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list");
    };
    let services: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for wanted in [
        lateen_xds_server::service::ADS,
        csds::SERVICE,
        "envoy.service.cluster.v3.ClusterDiscoveryService",
        "envoy.service.route.v3.VirtualHostDiscoveryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(services.contains(&wanted), "{wanted} is not among {services:?}");
    }
    assert!(!services.contains(&"envoy.service.ratelimit.v3.RateLimitService"), "not served: {services:?}");
    for symbol in
        [lateen_xds_server::service::ADS, "envoy.config.cluster.v3.Cluster", "grpc.health.v1.Health"]
    {
        let answer = ask(MessageRequest::FileContainingSymbol(symbol.to_owned())).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{symbol}: {answer:?}");
    }
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let rig = Rig::waiting(settings(), 1).await;
    let end = rig.connect().await.open("/envoy.service.none.v3.None/Nothing").await.end().await;
    assert_eq!(end.code, Code::Unimplemented);
}
