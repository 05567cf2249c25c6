//! A client that does not read.

use lateen_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;

use crate::{
    client::{ADS_DELTA, CDS, Client, ack, names, node, subscribe},
    rig::{Rig, service, settings},
};

const OTHERS: u64 = 50;
const SERVICES: usize = 400;

#[tokio::test]
async fn a_client_that_never_reads_holds_up_nobody() {
    let mut settings = settings();
    // One response of all clusters uses it up.
    settings.core.in_flight_bytes_max = 64 << 10;
    let rig = Rig::waiting(settings, 1).await;
    let hosts: Vec<String> = (0..SERVICES).map(|number| format!("svc-{number:03}.example")).collect();
    let documents: Vec<(&str, String)> =
        hosts.iter().map(|host| (host.as_str(), service(host, "10.0.0.1"))).collect();
    rig.sources[0].list(&documents);
    // HTTP/2 windows of no byte: whatever is sent to these clients stays in the server.
    let mut shut = h2::client::Builder::new();
    shut.initial_window_size(0);
    let mut silent = Vec::new();
    for number in 0..3 {
        let mut call = Client::connect_with(&rig.xds[0], &shut).await.open(ADS_DELTA).await;
        call.send(&subscribe(Some(node(&format!("silent-{number}"))), CDS, &[]));
        call.accepted().await;
        silent.push(call);
    }
    rig.metric_is("pilot_xds_pushes_total{type=\"cds\"}", 3).await;
    let mut others = Vec::new();
    for number in 0..OTHERS {
        let mut call = rig.connect().await.open(ADS_DELTA).await;
        call.send(&subscribe(Some(node(&format!("reader-{number}"))), CDS, &[]));
        others.push(call);
    }
    for call in &mut others {
        let response: DeltaDiscoveryResponse = call.next().await.unwrap();
        assert!(response.resources.len() >= SERVICES);
        call.send(&ack(&response));
    }
    for round in 0..3 {
        let host = format!("new-{round}.example");
        rig.sources[0].put(&host, &service(&host, "10.0.0.1"));
        for call in &mut others {
            let response: DeltaDiscoveryResponse = call.next().await.unwrap();
            assert_eq!(names(&response), [format!("outbound|80||{host}")]);
            call.send(&ack(&response));
        }
    }
    // What was written is given back, and the silent ones do not count for ever.
    rig.metric_is("pilot_xds", OTHERS + 3).await;
    rig.sources[0].put("last.yaml", &service("last.example", "10.0.0.1"));
    for call in &mut others {
        call.next::<DeltaDiscoveryResponse>().await.unwrap();
    }
}
