//! The cases for clients tell a client that is right from ones that are not, and stock Envoy passes them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lateen_conformance::{
    case::Variant,
    client::{self, Client, Command, bootstrap::Kind},
    context::Patience,
    message::Response,
    run::{Options, RunResult, Verdict},
    wire::{self, Incoming, RawStream},
};
use lateen_proto::{
    any,
    envoy::{
        config::{cluster::v3::Cluster, core::v3::Node},
        service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    },
    google::rpc::Status,
};
use lateen_tests::envoy;
use lateen_xds::ResourceType;
use prost::Message;

/// What a client does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    AckWithOldNonce,
    NoNack,
    NackWithNewVersion,
    AnswersTwice,
    NoNode,
    ForgetsVersion,
    KeepsNonce,
    NeverReturns,
    NoBackoff,
}

/// A client of clusters only, in state of the world over the aggregated stream.
async fn clusters(server: SocketAddr, fault: Fault) {
    let (mut version, mut nonce) = (String::new(), String::new());
    loop {
        let pause = if fault == Fault::NoBackoff { 5 } else { 300 };
        if let Ok(channel) = wire::connect(&server.to_string()).await {
            let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
            let mut stream = RawStream::open(channel, path.parse().unwrap(), 8);
            if fault == Fault::ForgetsVersion {
                version.clear();
            }
            if fault != Fault::KeepsNonce {
                nonce.clear();
            }
            let node = Node { id: "in-test".to_owned(), ..Node::default() };
            let node = (fault != Fault::NoNode).then_some(node);
            let _ = stream.send(request(node, &version, &nonce, None)).await;
            while let Some(Incoming::Message(bytes, at)) = stream.next().await {
                let old = std::mem::take(&mut nonce);
                // Names that can't be read make the whole unreadable, but for its version and nonce.
                let good =
                    Response::sotw(bytes.clone(), at).is_ok_and(|r| is_good(&r)) || fault == Fault::NoNack;
                let DiscoveryResponse { version_info: new_version, nonce: new_nonce, .. } =
                    DiscoveryResponse::decode(bytes).unwrap();
                nonce = new_nonce;
                if good || fault == Fault::NackWithNewVersion {
                    version = new_version;
                }
                let said = if fault == Fault::AckWithOldNonce { &old } else { &nonce };
                let error =
                    (!good).then(|| Status { code: 3, message: "refused".to_owned(), ..Status::default() });
                for _ in 0..=u8::from(fault == Fault::AnswersTwice) {
                    let _ = stream.send(request(None, &version, said, error.clone())).await;
                }
            }
        }
        if fault == Fault::NeverReturns {
            return;
        }
        // The client's own backoff.
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

fn is_good(response: &Response) -> bool {
    let clusters: Result<Vec<Cluster>, _> =
        response.resources.iter().map(|r| any::unpack(r.body.as_ref().unwrap())).collect();
    let mut names: Vec<_> = response.names();
    names.sort_unstable();
    clusters.is_ok() && names.windows(2).all(|pair| pair[0] != pair[1])
}

fn request(node: Option<Node>, version: &str, nonce: &str, error_detail: Option<Status>) -> bytes::Bytes {
    let request = DiscoveryRequest {
        version_info: version.to_owned(),
        node,
        type_url: ResourceType::Cluster.info().url.to_owned(),
        response_nonce: nonce.to_owned(),
        error_detail,
        ..DiscoveryRequest::default()
    };
    request.encode_to_vec().into()
}

/// The runs of cases that need no more of a client than clusters.
async fn judged(fault: Fault, cases: &[&str]) -> Vec<RunResult> {
    let start: Arc<client::Start> = Arc::new(move |server, _: Variant| Box::pin(clusters(server, fault)));
    let options = Options {
        filter: cases.iter().map(|case| format!("{case}/sotw-ads")).collect(),
        concurrency: 16,
        patience: Patience { within: Duration::from_secs(3), quiet: Duration::from_millis(300) },
        ..Options::default()
    };
    client::run(&Client::Task(start), &options, |_| {}).await
}

fn failed(results: &[RunResult]) -> Vec<&str> {
    let mut failed: Vec<_> =
        results.iter().filter(|r| r.verdict != Verdict::Passed).map(|r| r.instance.case.id).collect();
    failed.sort_unstable();
    failed
}

const OF_CLUSTERS: [&str; 18] = [
    "P1", "P2", "P3", "P9", "P10", "P11", "Q1", "Q2", "Q3", "R1", "R2", "R3", "R4", "R5", "R6", "R7", "P5",
    "P8",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_right_client_passes() {
    let results = judged(Fault::None, &OF_CLUSTERS).await;
    assert_eq!(results.len(), OF_CLUSTERS.len());
    assert!(failed(&results).is_empty(), "{results:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_told_by_its_case() {
    for (fault, case) in [
        (Fault::AckWithOldNonce, "P1"),
        (Fault::NoNack, "P9"),
        (Fault::NackWithNewVersion, "P5"),
        (Fault::AnswersTwice, "P3"),
        (Fault::NoNode, "Q1"),
        (Fault::ForgetsVersion, "R5"),
        (Fault::KeepsNonce, "R6"),
        (Fault::NeverReturns, "R1"),
        (Fault::NoBackoff, "R7"),
    ] {
        let results = judged(fault, &[case]).await;
        assert_eq!(failed(&results), [case], "{fault:?} is not told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_envoy_passes_in_all_variants() {
    let envoy = envoy::binary().unwrap();
    let flags = "-c {bootstrap} --admin-address-path {admin} --concurrency 1 --use-dynamic-base-id";
    let mut words = vec![envoy.to_string_lossy().into_owned()];
    words.extend(flags.split(' ').map(str::to_owned));
    let client = Client::Command(Command { words, bootstrap: Kind::Envoy });
    let options = Options {
        concurrency: 8,
        patience: Patience { within: Duration::from_secs(15), quiet: Duration::from_millis(500) },
        ..Options::default()
    };
    let results = client::run(&client, &options, |_| {}).await;
    assert_eq!(results.len(), client::select(&options).len());
    let wrong: Vec<_> = results.iter().filter(|r| matches!(r.verdict, Verdict::Failed { .. })).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
