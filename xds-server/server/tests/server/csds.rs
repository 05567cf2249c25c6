//! CSDS.

use lateen_proto::{
    envoy::{
        admin::v3::ClientResourceStatus,
        service::{
            discovery::v3::DeltaDiscoveryResponse,
            status::v3::{
                ClientStatusRequest, ClientStatusResponse, ConfigStatus, client_config::GenericXdsConfig,
            },
        },
    },
    json::yaml_to_message,
};
use tonic::Code;

use crate::{
    client::{ADS_DELTA, CDS, Call, Client, EDS, LDS, ack, nack, names, node, subscribe},
    rig::{Rig, service},
};

const FETCH: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus";
const STREAM: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus";
const CART: &str = "outbound|80||cart.example";

async fn connected(client: &Client, name: &str) -> (Call, DeltaDiscoveryResponse) {
    let mut call = client.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node(name)), CDS, &[]));
    let response = call.next().await.unwrap();
    (call, response)
}

fn about(yaml: &str) -> ClientStatusRequest {
    yaml_to_message(yaml).unwrap()
}

async fn fetch(client: &Client, yaml: &str) -> ClientStatusResponse {
    client.call(FETCH, &about(yaml)).await.unwrap()
}

fn ids(response: &ClientStatusResponse) -> Vec<&str> {
    response.config.iter().map(|config| config.node.as_ref().unwrap().id.split('~').nth(2).unwrap()).collect()
}

fn entry<'a>(response: &'a ClientStatusResponse, type_url: &str, name: &str) -> &'a GenericXdsConfig {
    let mut all = response.config.iter().flat_map(|config| &config.generic_xds_configs);
    all.find(|config| config.type_url == type_url && config.name == name)
        .unwrap_or_else(|| panic!("{name} is not in {response:?}"))
}

#[tokio::test]
async fn nodes_are_found_by_any_matcher() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    let _streams =
        [connected(&client, "a-1").await, connected(&client, "a-2").await, connected(&client, "b").await];
    assert_eq!(ids(&fetch(&client, "{}").await), ["a-1.shop", "a-2.shop", "b.shop"]);
    let one = "nodeMatchers: [{nodeId: {contains: '~b.'}}, {nodeId: {exact: none}}]";
    assert_eq!(ids(&fetch(&client, one).await), ["b.shop"]);
    assert_eq!(ids(&fetch(&client, "nodeMatchers: [{nodeId: {exact: none}}]").await), [""; 0]);
    let bad = about("nodeMatchers: [{nodeId: {safeRegex: {regex: '('}}}]");
    let end = client.call::<ClientStatusResponse>(FETCH, &bad).await.unwrap_err();
    assert_eq!(end.code, Code::InvalidArgument, "{end:?}");
}

#[tokio::test]
async fn a_resource_is_stale_then_synced_and_not_sent_without_an_answer() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    let (mut call, response) = connected(&client, "a").await;
    let status = fetch(&client, "{}").await;
    let cart = entry(&status, CDS, CART);
    assert_eq!(cart.config_status(), ConfigStatus::Stale);
    assert_eq!(cart.client_status(), ClientResourceStatus::Requested);
    assert_eq!(cart.xds_config.as_ref().unwrap().type_url, CDS);
    call.send(&ack(&response));
    call.send(&subscribe(None, EDS, &["no such cluster"]));
    let missing: DeltaDiscoveryResponse = call.next().await.unwrap();
    assert_eq!(missing.removed_resources, ["no such cluster"]);
    let status = fetch(&client, "excludeResourceContents: true").await;
    let cart = entry(&status, CDS, CART);
    assert_eq!(cart.config_status(), ConfigStatus::Synced);
    assert_eq!(cart.client_status(), ClientResourceStatus::Acked);
    let sent = response.resources.iter().find(|resource| resource.name == CART).unwrap();
    assert_eq!(cart.version_info, sent.version);
    assert_eq!(cart.xds_config, None, "contents were to be left out");
    let missing = entry(&status, EDS, "no such cluster");
    assert_eq!(missing.config_status(), ConfigStatus::NotSent);
    assert_eq!(missing.client_status(), ClientResourceStatus::DoesNotExist);
}

#[tokio::test]
async fn a_rejected_resource_is_in_error_with_the_words_of_the_client() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    let (mut call, response) = connected(&client, "a").await;
    call.send(&ack(&response));
    rig.sources[0].put("till.yaml", &service("till.example", "10.0.0.2"));
    let till: DeltaDiscoveryResponse = call.next().await.unwrap();
    assert_eq!(names(&till), ["outbound|80||till.example"]);
    call.send(&nack(&till, "I don't like it"));
    call.is_quiet().await;
    let status = fetch(&client, "{}").await;
    assert_eq!(entry(&status, CDS, CART).config_status(), ConfigStatus::Synced);
    let rejected = entry(&status, CDS, "outbound|80||till.example");
    assert_eq!(rejected.config_status(), ConfigStatus::Error);
    assert_eq!(rejected.client_status(), ClientResourceStatus::Nacked);
    let error = rejected.error_state.as_ref().unwrap();
    assert_eq!(error.details, "I don't like it");
    assert_eq!(error.version_info, till.resources[0].version);
    assert!(error.failed_configuration.is_some());
}

#[tokio::test]
async fn a_stream_answers_each_request_until_the_client_has_enough() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    let (mut call, response) = connected(&client, "a").await;
    let mut status = client.open(STREAM).await;
    status.send(&about("{}"));
    let first: ClientStatusResponse = status.next().await.unwrap();
    assert_eq!(entry(&first, CDS, CART).config_status(), ConfigStatus::Stale);
    call.send(&ack(&response));
    call.send(&subscribe(None, LDS, &[]));
    call.next::<DeltaDiscoveryResponse>().await.unwrap();
    status.send(&about("{}"));
    let second: ClientStatusResponse = status.next().await.unwrap();
    assert_eq!(entry(&second, CDS, CART).config_status(), ConfigStatus::Synced);
    assert!(second.config[0].generic_xds_configs.iter().any(|config| config.type_url == LDS));
    status.half_close();
    assert_eq!(status.end().await.code, Code::Ok);
}
