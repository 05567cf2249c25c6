//! What goes wrong with a platform, on a real Nomad: rows 1 to 12 of the list of faults, as far as they concern it.
//! (Row 3, lists that shrink, is the core's; 5 to 7 and 14 are other platforms'.)

#![allow(clippy::unwrap_used, reason = "a test that can't reach its server has failed")]

mod common;

use std::{fs, net::SocketAddr, time::Duration};

use common::Heard;
use lateen_model::Health;
use lateen_test_servers::{
    Relay, free_ports,
    nomad::{Nomad, Options, WebJob},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// Shorter than usual, but longer than the 10 s between Nomad's heartbeats.
const HEARTBEAT: &str = "heartbeat-timeout=12";

const RULES: &str = r#"
namespace "*" {
  policy = "read"
  variables {
    path "lateen/config/*" {
      capabilities = ["list", "read"]
    }
  }
}
node {
  policy = "read"
}
"#;

fn waiting(name: &str) -> WebJob {
    WebJob { command: Some("exec sleep 1000".to_owned()), ..WebJob::new(name) }
}

async fn with_web(options: Options) -> Nomad {
    let nomad = Nomad::start(options).await.unwrap();
    nomad.run(&waiting("web")).await.unwrap();
    nomad.put_variable("lateen/config/a", &json!({ "x": "1" })).await.unwrap();
    nomad
}

/// What it said before, and nothing removed.
fn has_all(heard: &Heard) -> bool {
    heard.health("default/web") == [Health::Healthy]
        && heard.documents.len() == 1
        && heard.services.len() == 1
        && heard.removals == 0
}

async fn all(flag: &str) -> Heard {
    let mut heard = Heard::synced(flag).await;
    heard.until("service and document", has_all).await;
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn row_1_an_agent_that_dies_takes_nothing_with_it() {
    let mut nomad = with_web(Options { persistent: true, ..Options::default() }).await;
    let mut heard = all(&nomad.url()).await;
    nomad.kill();
    heard.until("the failure", |heard| heard.failed.is_some()).await;
    assert!(has_all(&heard));
    nomad.restart().await.unwrap();
    heard.until("the recovery", |heard| heard.failed.is_none()).await;
    heard.until_healthy("default/web", 1).await;
    assert!(has_all(&heard), "{} removals", heard.removals);
    nomad.put_variable("lateen/config/a", &json!({ "x": "2" })).await.unwrap();
    heard.until("the change", |heard| heard.documents["default/lateen/config/a#x"] == "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_an_agent_that_is_not_there_at_first_is_not_an_empty_one() {
    let [port] = free_ports().unwrap();
    let mut heard = Heard::start(&format!("http://127.0.0.1:{port}"));
    heard.until("the failure", |heard| heard.failed.is_some()).await;
    assert_eq!((heard.events, heard.synced), (0, 0));
}

/// Also a restart with other data: what is listed then is what there is.
#[tokio::test(flavor = "multi_thread")]
async fn row_4_an_index_that_goes_back_means_other_data() {
    let mut nomad = with_web(Options::default()).await;
    let mut heard = all(&nomad.url()).await;
    // In memory only: all is forgotten.
    nomad.restart().await.unwrap();
    nomad.put_variable("lateen/config/b", &json!({ "y": "3" })).await.unwrap();
    heard
        .until("the new data", |heard| {
            heard.failed.is_none()
                && heard.services.is_empty()
                && heard.documents.keys().map(|name| &**name).eq(["default/lateen/config/b#y"])
        })
        .await;
}

/// Passes requests on, but for the event stream: that is answered with heartbeats only, and half a line.
async fn without_events(nomad: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let count = client.read(&mut head).await.unwrap_or(0);
                head.truncate(count);
                if head.starts_with(b"GET /v1/event/stream") {
                    let answer =
                        b"HTTP/1.1 200 OK\r\n\r\n{}\n\nthis is no JSON\n{\"Index\":1,\"Events\":[{\"Ind";
                    client.write_all(answer).await.unwrap();
                    return std::future::pending().await;
                }
                let mut server = TcpStream::connect(nomad).await.unwrap();
                server.write_all(&head).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn row_8_events_that_do_not_come_are_missed_and_made_good() {
    let nomad = Nomad::start(Options::default()).await.unwrap();
    let mut heard = Heard::synced(&format!("http://{}", without_events(nomad.address()).await)).await;
    let mut job = waiting("web");
    nomad.run(&job).await.unwrap();
    heard.until_healthy("default/web", 1).await;
    job.count = 3;
    nomad.run(&job).await.unwrap();
    heard.until_healthy("default/web", 3).await;
    nomad.stop(&job).await.unwrap();
    heard.until("no service", |heard| heard.services.is_empty()).await;
    assert_eq!(heard.failed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_8_what_happens_between_two_streams_is_listed() {
    let nomad = with_web(Options::default()).await;
    let relay = Relay::to(nomad.address()).await.unwrap();
    let mut heard = all(&format!("http://{}", relay.address())).await;
    relay.cut();
    heard.until("the failure", |heard| heard.failed.is_some()).await;
    assert!(has_all(&heard));
    nomad.run(&waiting("other")).await.unwrap();
    nomad.stop(&waiting("web")).await.unwrap();
    let gone = nomad.until("no web", |nomad| async move {
        Ok(nomad.instances("default", "web").await?.is_empty().then_some(()))
    });
    gone.await.unwrap();
    relay.restore();
    heard.until_healthy("default/other", 1).await;
    heard.until("no web", |heard| !heard.services.contains_key("default/web")).await;
    heard.until("the recovery", |heard| heard.failed.is_none()).await;
}

/// The same name again and again, and an instance whose registration changes all the time: nothing is left over,
/// and another service is not held up.
#[tokio::test(flavor = "multi_thread")]
async fn rows_9_and_10_a_name_that_comes_and_goes() {
    let nomad = Nomad::start(Options::default()).await.unwrap();
    let mut heard = Heard::synced(&nomad.url()).await;
    let mut job = waiting("web");
    for change in 0..60 {
        if change % 15 == 14 {
            nomad.stop(&job).await.unwrap();
        }
        job.tags = vec![format!("change={change}")];
        nomad.run(&job).await.unwrap();
    }
    nomad.run(&waiting("quiet")).await.unwrap();
    heard.until_healthy("default/quiet", 1).await;
    heard.until("the last", |heard| heard.labels("default/web", "change") == ["59"]).await;
    heard.until_healthy("default/web", 1).await;
    let fresh = Heard::synced(&nomad.url()).await;
    assert_eq!(heard.endpoints, fresh.endpoints);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_12_a_connection_that_is_half_open_is_found_by_its_silence() {
    let nomad = with_web(Options::default()).await;
    let relay = Relay::to(nomad.address()).await.unwrap();
    let mut heard = all(&format!("http://{}?{HEARTBEAT}", relay.address())).await;
    relay.hang();
    heard.until("the failure", |heard| heard.failed.is_some()).await;
    assert!(heard.failed.as_deref().unwrap().contains("no answer within 12s"), "{:?}", heard.failed);
    assert!(has_all(&heard));
    relay.restore();
    heard.until("the recovery", |heard| heard.failed.is_none()).await;
    assert!(has_all(&heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_12_an_agent_that_hangs_is_found_by_its_silence() {
    let nomad = with_web(Options::default()).await;
    let mut heard = all(&format!("{}?{HEARTBEAT}", nomad.url())).await;
    nomad.pause().unwrap();
    heard.until("the failure", |heard| heard.failed.is_some()).await;
    assert!(has_all(&heard));
    nomad.resume().unwrap();
    heard.until("the recovery", |heard| heard.failed.is_none()).await;
    assert!(has_all(&heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_12_a_token_that_loses_its_rights_removes_nothing() {
    let nomad = with_web(Options { acl: true, ..Options::default() }).await;
    nomad.put_policy("mesh", RULES).await.unwrap();
    let (accessor, secret) = nomad.make_token("mesh").await.unwrap();
    let file = nomad.folder().join("token");
    fs::write(&file, &secret).unwrap();
    let flag = format!("{}?token-file={}", nomad.url(), file.display());
    let mut heard = all(&flag).await;

    // Lists are empty then, not refused.
    nomad.put_policy("mesh", "node { policy = \"read\" }").await.unwrap();
    heard.until("a refusal", |heard| heard.failed.as_ref().is_some_and(|why| why.contains("403"))).await;
    assert!(has_all(&heard));
    nomad.put_policy("mesh", RULES).await.unwrap();
    heard.until("the recovery", |heard| heard.failed.is_none()).await;
    assert!(has_all(&heard), "{} removals", heard.removals);

    // Variables alone: services go on, configuration stays.
    nomad.put_policy("mesh", "namespace \"*\" { policy = \"read\" }").await.unwrap();
    // Nomad tells nobody; it shows with the next change, or when the blocking query is asked again.
    let mut change = 1;
    while heard.failed.is_none() {
        change += 1;
        assert!(change < 300, "nothing was refused");
        nomad.put_variable("lateen/config/a", &json!({ "x": change.to_string() })).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        heard.drain();
    }
    assert!(heard.failed.as_ref().unwrap().contains("403"), "{:?}", heard.failed);
    assert!(has_all(&heard));
    nomad.put_policy("mesh", RULES).await.unwrap();
    heard.until("the recovery", |heard| heard.failed.is_none()).await;
    assert!(has_all(&heard), "{} removals", heard.removals);

    nomad.delete_token(&accessor).await.unwrap();
    heard.until("a refusal", |heard| heard.failed.as_ref().is_some_and(|why| why.contains("403"))).await;
    assert!(has_all(&heard));
    let (_, secret) = nomad.make_token("mesh").await.unwrap();
    fs::write(&file, secret).unwrap();
    heard.until("the recovery with the new token", |heard| heard.failed.is_none()).await;
    assert!(has_all(&heard), "{} removals", heard.removals);
}

/// Without a token an ACL cluster gives empty lists, with status 200.
#[tokio::test(flavor = "multi_thread")]
async fn row_12_no_token_is_not_an_empty_platform() {
    let nomad = with_web(Options { acl: true, ..Options::default() }).await;
    let mut heard = Heard::start(&nomad.url());
    heard.until("a refusal", |heard| heard.failed.as_ref().is_some_and(|why| why.contains("403"))).await;
    assert_eq!((heard.events, heard.synced), (0, 0));
}
