//! Rows 10 and 13 of the list of faults, as clients see them (docs/adapters/faults.md).

use std::time::{Duration, Instant};

use lateen_model::{ObjectId, ObjectKind, SourceEvent};
use lateen_proto::envoy::{
    config::endpoint::v3::ClusterLoadAssignment, service::discovery::v3::DeltaDiscoveryResponse,
};
use lateen_registry::GuardSettings;
use prost::Message;

use crate::{
    client::{ADS_DELTA, CDS, Call, EDS, ack, names, node, subscribe},
    rig::{Rig, service, settings},
};

const FLAPPING: &str = "outbound|80||flapping.example";
const STEADY: &str = "outbound|80||steady.example";

/// Address of the endpoint that a response has for a cluster, if it has the cluster.
fn endpoint_in(response: &DeltaDiscoveryResponse, cluster: &str) -> Option<String> {
    let resource = response.resources.iter().find(|resource| resource.name == cluster)?;
    let body = resource.resource.as_ref().unwrap();
    let endpoints = ClusterLoadAssignment::decode(&*body.value).unwrap();
    let text = format!("{:?}", endpoints.endpoints);
    let (_, after) = text.split_once("address: \"")?;
    Some(after.split_once('"')?.0.to_owned())
}

/// Row 10: an instance flaps much faster than ten times a second. The newest state of what flaps is sent when the
/// client has taken the last one, so that nothing piles up, and a change of another service comes as fast as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_a_flapping_instance_delays_nobody_else() {
    const CHANGES: usize = 40;
    let rig = Rig::waiting(settings(), 1).await;
    let (flapping, steady) = (service("flapping.example", "10.0.0.1"), service("steady.example", "10.1.0.0"));
    rig.sources[0].list(&[("flapping.yaml", flapping), ("steady.yaml", steady)]);
    rig.metric_is("lateen_ready", 1).await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), EDS, &[FLAPPING, STEADY]));
    let first: DeltaDiscoveryResponse = call.next().await.unwrap();
    call.send(&ack(&first));

    let (mut flaps, mut told, mut lags) = (0_u32, 0, Vec::new());
    for change in 1..=CHANGES {
        let address = format!("10.1.0.{change}");
        for _ in 0..25 {
            flaps += 1;
            rig.sources[0]
                .put("flapping.yaml", &service("flapping.example", &format!("10.0.0.{}", flaps % 2 + 1)));
        }
        let began = Instant::now();
        rig.sources[0].put("steady.yaml", &service("steady.example", &address));
        loop {
            let response: DeltaDiscoveryResponse = call.next().await.unwrap();
            call.send(&ack(&response));
            told += u32::from(endpoint_in(&response, FLAPPING).is_some());
            if endpoint_in(&response, STEADY).is_some_and(|now| now == address) {
                break;
            }
        }
        lags.push(began.elapsed());
    }
    rig.sources[0].put("flapping.yaml", &service("flapping.example", "10.0.0.99"));
    loop {
        let response: DeltaDiscoveryResponse = call.next().await.unwrap();
        call.send(&ack(&response));
        if endpoint_in(&response, FLAPPING).is_some_and(|now| now == "10.0.0.99") {
            break;
        }
    }
    call.is_quiet().await;
    lags.sort();
    let (half, most) = (lags[CHANGES / 2], lags[CHANGES - 1]);
    println!("{flaps} flaps, told {told} times; the other service's changes: p50 {half:?}, max {most:?}");
    assert!(told < flaps / 2, "{told} of {flaps} flaps were told: nothing was taken together");
    // A build may keep the cores busy meanwhile; on a quiet machine it is a few milliseconds.
    assert!(half < Duration::from_millis(250), "{lags:?}");
}

/// Waits for a marker that was put last: what came before it was dealt with.
async fn until_marked(rig: &Rig, call: &mut Call, marker: &str) -> Vec<String> {
    let host = format!("{marker}.example");
    rig.sources[0].put(&format!("{marker}.yaml"), &service(&host, "10.9.9.9"));
    let (mut seen, mut removed) = (Vec::new(), Vec::new());
    while !seen.contains(&format!("outbound|80||{host}")) {
        let response: DeltaDiscoveryResponse = call.next().await.unwrap();
        call.send(&ack(&response));
        seen.extend(names(&response).into_iter().map(str::to_owned));
        removed.extend(response.removed_resources.clone());
    }
    assert!(removed.is_empty(), "{removed:?}");
    seen
}

/// Row 13: what is too large, no text, or badly named is a finding with its place, and takes nothing else along;
/// what the same document said before stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_what_is_bad_hides_nothing_else() {
    let rig = Rig::waiting(settings(), 1).await;
    let good = service("good.example", "10.0.0.1");
    let before = service("before.example", "10.0.0.2");
    rig.sources[0].list(&[("good.yaml", good.clone()), ("b.yaml", before.clone())]);
    rig.metric_is("lateen_ready", 1).await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), CDS, &["*"]));
    let first: DeltaDiscoveryResponse = call.next().await.unwrap();
    call.send(&ack(&first));

    let named = |name: &str| before.replace("name: before-example", &format!("name: {name}"));
    let hosted = |host: &str| before.replace("hosts: [before.example]", &format!("hosts: [{host}]"));
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("too large", [before.as_bytes(), &vec![b'#'; 17 << 20]].concat()),
        (
            "not UTF-8",
            before.replace("before.example", "caf\u{e9}.example").chars().map(|c| c as u8).collect(),
        ),
        ("name of 254", named(&"x".repeat(254)).into_bytes()),
        ("control character in a name", named("\"a\\u0007b\"").into_bytes()),
        ("confusable in a name", named("p\u{430}y").into_bytes()),
        ("host of 300", hosted(&format!("{}.example", vec!["abcdefghi"; 30].join("."))).into_bytes()),
        ("control character in a host", hosted("\"a\\u0000.example\"").into_bytes()),
        ("confusable in a host", hosted("b\u{435}fore.example").into_bytes()),
        ("right-to-left mark in a host", hosted("\"before\\u200f.example\"").into_bytes()),
    ];
    for (at, (what, text)) in bad.iter().enumerate() {
        // Under another name it is another object, and the one before is gone: that is what was said.
        let file = if what.ends_with("a name") || what.starts_with("name") { "c.yaml" } else { "b.yaml" };
        rig.sources[0].put_bytes(file, text);
        let seen = until_marked(&rig, &mut call, &format!("marker{at}")).await;
        assert_eq!(seen.len(), 1, "{what}: {seen:?}");
        let (_, status) = rig.admin("/debug/status", "localhost").await;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let findings = status["findings"].to_string();
        assert!(findings.contains(file), "{what}: {findings}");
        rig.sources[0].put("b.yaml", &before);
    }
    let id = ObjectId { kind: ObjectKind::Document, name: "c.yaml".into() };
    rig.sources[0].say(vec![SourceEvent::Remove { id }]);
    // An annotation of a megabyte is large and lawful: it is taken, and costs its neighbours nothing.
    let annotated = format!("metadata: {{annotations: {{a: {}}}, ", "x".repeat(1 << 20));
    rig.sources[0].put("b.yaml", &before.replace("metadata: {", &annotated));
    until_marked(&rig, &mut call, "last").await;
    let (_, status) = rig.admin("/debug/status", "localhost").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["findings"].as_array().map(Vec::len), Some(0), "{status}");
}

/// Row 13: ten thousand services, and one with fifty thousand endpoints, whose change concerns its own clients only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_many_services_and_a_very_large_one() {
    const SERVICES: usize = 10_000;
    const ENDPOINTS: usize = 50_000;
    let mut settings = settings();
    settings.core.guard = GuardSettings { confirm_ms: 0, ..GuardSettings::default() };
    let rig = Rig::waiting(settings, 1).await;
    let address = |n: usize| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    let large = |endpoints: usize| {
        let endpoints = (0..endpoints).map(|n| format!("{{address: {}}}", address(n))).collect::<Vec<_>>();
        service("large.example", "10.0.0.1").replace("{address: 10.0.0.1}", &endpoints.join(", "))
    };
    let mut documents: Vec<(String, String)> = (0..SERVICES)
        .map(|n| (format!("s{n}.yaml"), service(&format!("s{n}.example"), &address(n))))
        .collect();
    documents.push(("large.yaml".to_owned(), large(ENDPOINTS)));
    let began = Instant::now();
    let listing: Vec<_> = documents.into_iter().collect();
    rig.sources[0]
        .list(&listing.iter().map(|(name, text)| (name.as_str(), text.clone())).collect::<Vec<_>>());
    rig.metric_is("lateen_ready", 1).await;
    println!("{SERVICES} services and {ENDPOINTS} endpoints taken in {:?}", began.elapsed());

    let (mut small, mut large_one) =
        (rig.connect().await.open(ADS_DELTA).await, rig.connect().await.open(ADS_DELTA).await);
    small.send(&subscribe(Some(node("a")), EDS, &["outbound|80||s7.example"]));
    large_one.send(&subscribe(Some(node("b")), EDS, &["outbound|80||large.example"]));
    let first: DeltaDiscoveryResponse = small.next().await.unwrap();
    small.send(&ack(&first));
    let response: DeltaDiscoveryResponse = large_one.next().await.unwrap();
    large_one.send(&ack(&response));
    let count = |response: &DeltaDiscoveryResponse| -> usize {
        let body = response.resources[0].resource.as_ref().unwrap();
        let endpoints = ClusterLoadAssignment::decode(&*body.value).unwrap().endpoints;
        endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum()
    };
    assert_eq!(count(&response), ENDPOINTS);
    let began = Instant::now();
    rig.sources[0].put("large.yaml", &large(ENDPOINTS - 1));
    let response: DeltaDiscoveryResponse = large_one.next().await.unwrap();
    assert_eq!(count(&response), ENDPOINTS - 1);
    println!("one endpoint of {ENDPOINTS} less: told after {:?}", began.elapsed());
    small.is_quiet().await;
}
