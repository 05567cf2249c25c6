//! What one client may do to the server: nothing.

use bytes::Bytes;
use lateen_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tonic::Code;

use crate::{
    client::{ADS_DELTA, ADS_SOTW, CDS, EDS, ask, node, subscribe},
    rig::{Rig, settings},
};

async fn is_served(rig: &Rig) {
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("other")), CDS, &[]));
    assert_eq!(call.next::<DeltaDiscoveryResponse>().await.unwrap().type_url, CDS);
}

#[tokio::test]
async fn a_request_above_the_limit_is_refused() {
    let mut settings = settings();
    settings.limits.request_bytes_max = 10_000;
    let rig = Rig::with(settings).await;
    let names: Vec<String> = (0..1_000).map(|number| format!("outbound|80||host-{number}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), EDS, &names));
    let end = call.end().await;
    assert_eq!(end.code, Code::ResourceExhausted, "{end:?}");
    assert!(end.message.contains("10000"), "{end:?}");
    is_served(&rig).await;
}

#[tokio::test]
async fn a_name_above_the_limit_is_refused() {
    let rig = Rig::new().await;
    let mut call = rig.connect().await.open(ADS_SOTW).await;
    call.send(&ask(Some(node("a")), EDS, &["x".repeat(3_000).as_str()]));
    let end = call.end().await;
    assert!(end.message.contains("2048"), "{end:?}");
    assert_eq!(rig.metric("lateen_xds_refusals_total").await, Some(1));
    is_served(&rig).await;
}

#[tokio::test]
async fn garbage_ends_its_own_stream_or_connection_only() {
    let rig = Rig::new().await;
    let client = rig.connect().await;
    let mut neighbour = client.open(ADS_DELTA).await;
    neighbour.send(&subscribe(Some(node("a")), CDS, &[]));
    neighbour.next::<DeltaDiscoveryResponse>().await.unwrap();
    // Not protobuf; a compressed message; a message that is cut off.
    for (bytes, code) in [
        (&b"\0\0\0\0\x05\xff\xff\xff\xff\xff"[..], Code::InvalidArgument),
        (&b"\x01\0\0\0\x01x"[..], Code::Unimplemented),
        (&b"\0\0\0\0\x09x"[..], Code::Internal),
    ] {
        for path in [ADS_DELTA, ADS_SOTW] {
            let mut call = client.open(path).await;
            call.send_bytes(Bytes::from_static(bytes));
            call.half_close();
            assert_eq!(call.end().await.code, code, "{bytes:?}");
        }
    }
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &[0xff; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff",
    ] {
        let lateen_xds_server::listen::ListenAddress::Tcp(address) = rig.xds[0] else { panic!("not TCP") };
        let mut raw = TcpStream::connect(address).await.unwrap();
        // The server may have closed already.
        let _ = raw.write_all(bytes).await;
        let _ = raw.shutdown().await;
    }
    is_served(&rig).await;
    neighbour.is_quiet().await;
}

#[tokio::test]
async fn streams_are_counted_and_an_ended_one_makes_room() {
    let mut settings = settings();
    settings.limits.streams_max = 2;
    let rig = Rig::with(settings).await;
    let client = rig.connect().await;
    let (mut first, mut second) = (client.open(ADS_DELTA).await, client.open(ADS_SOTW).await);
    first.accepted().await;
    second.accepted().await;
    let end = client.open(ADS_DELTA).await.end().await;
    assert_eq!(end.code, Code::ResourceExhausted, "{end:?}");
    first.half_close();
    assert_eq!(first.end().await.code, Code::Ok);
    // One that was refused for its request makes room as well, though its client says nothing of leaving.
    second.send(&ask(None, CDS, &[]));
    assert_eq!(second.end().await.code, Code::InvalidArgument);
    rig.metric_is("pilot_xds", 0).await;
    let mut room = 0;
    for _ in 0..100 {
        let mut call = client.open(ADS_DELTA).await;
        call.send(&subscribe(Some(node("a")), CDS, &[]));
        if call.next::<DeltaDiscoveryResponse>().await.is_ok() {
            room += 1;
            if room == 2 {
                return;
            }
            std::mem::forget(call);
        }
    }
    panic!("two streams have ended, and there is room for {room}");
}
