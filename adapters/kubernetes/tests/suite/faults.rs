//! Rows of the table of faults, each with its number.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use lateen_test_servers::{
    Relay,
    kubernetes::{Options, User},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::cluster::{Cluster, Core, manifest, namespace, service, slice, virtual_service};

const SLICE: &str = "EndpointSlice.discovery.k8s.io/default/a-1";
const WEB: &str = "VirtualService.networking.istio.io/default/web";

/// Rows 1 and 12: the server is killed and comes back over the same data; nothing shrinks meanwhile, and what was
/// changed while nobody looked is there afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_1_a_server_that_is_killed_removes_nothing() {
    let mut cluster = Cluster::start().await;
    cluster.put(&service("default", "a")).await;
    cluster.put(&virtual_service("default", "web", "web")).await;
    let mut core = Core::synced(&cluster.flag(User::Admin, None)).await;
    let before = core.held.clone();
    cluster.servers.kill();
    core.until("the failure", |core| core.stale.is_some()).await;
    assert_eq!(core.held, before);
    cluster.servers.restart().await.unwrap();
    core.until("the recovery", |core| core.stale.is_none() && core.is_synced()).await;
    assert_eq!(core.held, before);
    cluster.put(&service("default", "b")).await;
    core.until("the new service", |core| core.has("Service/default/b")).await;
}

/// Row 2: a server that is not there at the start says nothing, least of all that it is empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_2_no_server_at_the_start_sends_nothing() {
    let mut cluster = Cluster::start().await;
    cluster.servers.kill();
    let mut core = Core::listen(&cluster.flag(User::Admin, None));
    core.until("the failure", |core| core.stale.is_some()).await;
    assert!(core.synced.is_empty() && core.told.is_empty(), "{:?}", core.told);
    cluster.servers.restart().await.unwrap();
    core.until("the first listing", |core| core.is_synced() && core.stale.is_none()).await;
    assert!(core.has("Service/default/kubernetes"));
}

/// Row 4: an old snapshot is put back, so that versions count from before. What there is then is what counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_4_a_cluster_that_is_put_back_is_read_as_it_is() {
    let mut cluster = Cluster::start().await;
    cluster.put(&virtual_service("default", "web", "old")).await;
    cluster.servers.save().await.unwrap();
    let mut core = Core::synced(&cluster.flag(User::Admin, None)).await;
    for round in 0..30 {
        cluster.put(&virtual_service("default", "web", &format!("web{round}"))).await;
    }
    cluster.put(&virtual_service("default", "later", "later")).await;
    core.until("the later one", |core| core.has("VirtualService.networking.istio.io/default/later")).await;
    cluster.servers.put_back().await.unwrap();
    core.until("the old state", |core| {
        core.held.get(WEB).is_some_and(|web| web["spec"]["hosts"][0] == "old")
    })
    .await;
    core.until("the end of the listing", |core| core.is_synced() && core.stale.is_none()).await;
    assert!(!core.has("VirtualService.networking.istio.io/default/later"));
    // Changes are heard although their versions were used before.
    cluster.put(&virtual_service("default", "web", "new")).await;
    core.until("the change", |core| core.held[WEB]["spec"]["hosts"][0] == "new").await;
}

/// Row 6: what happened while the connection was away is compacted, so the watch can't go on; the kind is listed
/// anew, and an object that was deleted meanwhile is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_6_a_version_that_is_compacted_is_listed_anew() {
    let mut cluster = Cluster::start().await;
    for name in ["web", "old"] {
        cluster.put(&virtual_service("default", name, name)).await;
    }
    let relay = Relay::to(cluster.servers.address()).await.unwrap();
    let mut core = Core::synced(&cluster.flag(User::Admin, Some(relay.address()))).await;
    relay.cut();
    core.until("the failure", |core| core.stale.is_some()).await;
    cluster.delete(&virtual_service("default", "old", "old")).await;
    for round in 0..20 {
        cluster.put(&virtual_service("default", "web", &format!("web{round}"))).await;
    }
    // A server that starts after the compaction has nothing of it in its own memory either.
    cluster.servers.kill();
    cluster.servers.compact().unwrap();
    cluster.servers.restart().await.unwrap();
    relay.restore();
    core.until("the newest", |core| core.held.get(WEB).is_some_and(|web| web["spec"]["hosts"][0] == "web19"))
        .await;
    core.until("the end of the listing", |core| core.is_synced() && core.stale.is_none()).await;
    assert!(!core.has("VirtualService.networking.istio.io/default/old"));
}

/// Row 6: the kinds are defined later, and taken away again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_6_kinds_that_are_defined_later_are_found() {
    let cluster = Cluster::bare(Options::default()).await;
    let mut core = Core::synced(&cluster.flag(User::Admin, None)).await;
    assert_eq!(core.stale, None, "that a kind is not defined is no failure");
    assert_eq!(core.synced.get("VirtualService.networking.istio.io/"), Some(&1));
    cluster.define().await;
    let began = Instant::now();
    cluster.put(&virtual_service("default", "web", "web")).await;
    core.until("the object", |core| core.has(WEB)).await;
    println!("an object of a kind that was just defined: {:?} after it was written", began.elapsed());
    let definition = manifest("crds.yaml")
        .into_iter()
        .find(|definition| definition["spec"]["names"]["kind"] == "VirtualService")
        .unwrap();
    cluster.delete(&definition).await;
    core.until("the end of the object", |core| !core.has(WEB)).await;
    assert_eq!(core.stale, None);
}

/// Rows 6 and 12: too many requests; the wait that the server names is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_6_a_busy_server_is_left_alone_as_long_as_it_says() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut text = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    text.extend_from_slice(&buffer[..count]);
                    if text.ends_with(b"\r\n\r\n") {
                        let request = String::from_utf8(std::mem::take(&mut text)).unwrap();
                        let _ = tell.send((Instant::now(), request));
                        let answer = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 4\r\n\r\nbusy";
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: t, cluster: {{server: \"http://{address}\"}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: t, context: {{cluster: t, user: u}}}}]\ncurrent-context: t\n"
    );
    std::fs::write(&path, text).unwrap();
    let mut core = Core::listen(&format!("?kubeconfig={}", path.display()));
    core.until("the failure", |core| core.stale.as_deref().is_some_and(|why| why.contains("busy"))).await;
    let mut times = Vec::new();
    while times.len() < 3 {
        let (when, request) = asked.recv().await.unwrap();
        if request.starts_with("GET /api/v1/services?") {
            times.push(when);
        }
    }
    server.abort();
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_secs(2), "{:?}", pair[1] - pair[0]);
    }
    assert!(core.synced.is_empty());
}

/// Row 12: the server is stopped, connections stay open. It is found out, and everything goes on afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_server_that_hangs_is_noticed() {
    let cluster = Cluster::start().await;
    cluster.put(&virtual_service("default", "web", "web")).await;
    let mut core = Core::synced(&cluster.flag(User::Admin, None)).await;
    let before = core.held.clone();
    cluster.servers.pause().unwrap();
    let began = Instant::now();
    core.until("the failure", |core| core.stale.is_some()).await;
    println!("a server that hangs is noticed after {:?}", began.elapsed());
    assert_eq!(core.held, before);
    cluster.servers.resume().unwrap();
    core.until("the recovery", |core| core.stale.is_none() && core.is_synced()).await;
    assert_eq!(core.held, before);
    cluster.put(&virtual_service("default", "web", "new")).await;
    core.until("the change", |core| core.held[WEB]["spec"]["hosts"][0] == "new").await;
}

/// Row 12: half-open connections, as when a gateway between forgets them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_half_open_connections_are_noticed() {
    let cluster = Cluster::start().await;
    cluster.put(&virtual_service("default", "web", "web")).await;
    let relay = Relay::to(cluster.servers.address()).await.unwrap();
    let mut core = Core::synced(&cluster.flag(User::Admin, Some(relay.address()))).await;
    relay.hang();
    core.until("the failure", |core| core.stale.is_some()).await;
    cluster.put(&virtual_service("default", "web", "new")).await;
    assert!(core.has(WEB));
    relay.restore();
    core.until("the change", |core| core.held[WEB]["spec"]["hosts"][0] == "new").await;
    core.until("the recovery", |core| core.stale.is_none()).await;
}

fn binding(role: &str) -> serde_json::Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "mesh"}],
    })
}

fn role_without(resource: &str) -> serde_json::Value {
    let mut role = manifest("rbac.yaml")
        .into_iter()
        .find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "lateen")
        .unwrap();
    for rule in role["rules"].as_array_mut().unwrap() {
        rule["resources"].as_array_mut().unwrap().retain(|name| name != resource);
    }
    role["rules"].as_array_mut().unwrap().retain(|rule| !rule["resources"].as_array().unwrap().is_empty());
    role
}

/// Rows 6 and 12: a kind that may not be listed is reported, the others go on, and permission that comes is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_one_kind_that_is_forbidden_holds_no_other_back() {
    let cluster = Cluster::start().await;
    cluster.put(&service("default", "a")).await;
    cluster.put(&role_without("services")).await;
    cluster.put(&binding("lateen")).await;
    let mut core = Core::listen(&cluster.flag(User::Mesh, None));
    core.until("the others", |core| core.is_synced() && core.stale.is_some()).await;
    let why = core.stale.clone().unwrap();
    assert!(why.contains("may not list /api/v1/services"), "{why}");
    assert!(!core.synced.contains_key("Service/"), "what may not be read is not said to be empty");
    cluster.put(&virtual_service("default", "web", "web")).await;
    core.until("a change of another kind", |core| core.has(WEB)).await;
    cluster.put(&role_without("nothing")).await;
    core.until("permission", |core| core.has("Service/default/a") && core.stale.is_none()).await;
}

/// Row 12: the token is not known any more. What was said stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_a_token_that_is_revoked_removes_nothing() {
    let mut cluster = Cluster::start().await;
    cluster.put(&role_without("nothing")).await;
    cluster.put(&binding("lateen")).await;
    cluster.put(&namespace("shop")).await;
    let mut core = Core::synced(&cluster.flag(User::Mesh, None)).await;
    let before = core.held.clone();
    assert!(before.contains_key("Namespace/shop"));
    cluster.servers.revoke(User::Mesh).unwrap();
    cluster.servers.kill();
    cluster.servers.restart().await.unwrap();
    let unknown = |core: &Core| core.stale.as_deref().is_some_and(|why| why.contains("does not know us"));
    core.until("the refusal", unknown).await;
    assert_eq!(core.held, before);
}

/// Row 9: an object that is deleted and made again under its name is the new one in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_9_delete_and_create_of_one_name() {
    let cluster = Cluster::start().await;
    let mut core = Core::synced(&cluster.flag(User::Admin, None)).await;
    for round in 0..20 {
        cluster.put(&virtual_service("default", "web", &format!("web{round}"))).await;
        if round < 19 {
            cluster.delete(&virtual_service("default", "web", "")).await;
        }
    }
    let uid = cluster.get(&virtual_service("default", "web", "")).await["metadata"]["uid"].clone();
    core.until("the last one", |core| core.held.get(WEB).is_some_and(|web| web["metadata"]["uid"] == uid))
        .await;
}

/// Row 10: an endpoint that flaps costs its own slice and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_a_flapping_endpoint_concerns_its_slice_only() {
    let cluster = Cluster::start().await;
    cluster.put(&service("default", "a")).await;
    let mut core = Core::synced(&cluster.flag(User::Admin, None)).await;
    core.told.clear();
    for round in 0..30 {
        let mut slice = slice("default", "a-1", "a", &["10.1.0.1"]);
        slice["endpoints"][0]["conditions"]["ready"] = json!(round % 2 == 1);
        cluster.put(&slice).await;
    }
    cluster.put(&virtual_service("default", "web", "web")).await;
    core.until("what came last", |core| {
        core.has(WEB)
            && core.held.get(SLICE).is_some_and(|slice| slice["endpoints"][0]["conditions"]["ready"] == true)
    })
    .await;
    core.told.retain(|name| name != SLICE && name != WEB);
    assert_eq!(core.told, [""; 0]);
}
