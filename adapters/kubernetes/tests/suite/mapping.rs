//! What of the cluster reaches the mesh, and what goes back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lateen_adapter::{Adapter, Because, ObjectStatus, ParentStatus, Unresolved, status_feed};
use lateen_adapter_kubernetes::KubernetesAdapter;
use lateen_config::Kind;
use lateen_model::{ObjectId, ObjectKind};
use lateen_test_servers::kubernetes::{Options, User};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cluster::{Cluster, Core, PATIENCE, namespace, service, virtual_service};

/// Every kind that is understood is followed, under the same plural and group.
#[test]
fn every_kind_that_is_read_is_defined_or_built_in() {
    let mut known: BTreeMap<(String, String), String> = crate::cluster::manifest("crds.yaml")
        .iter()
        .map(|definition| {
            let text = |at: &str| definition.pointer(at).unwrap().as_str().unwrap().to_owned();
            ((text("/spec/group"), text("/spec/names/kind")), text("/spec/names/plural"))
        })
        .collect();
    for (group, kind, plural) in [
        ("", "Service", "services"),
        ("", "Namespace", "namespaces"),
        ("", "Pod", "pods"),
        ("", "Secret", "secrets"),
        ("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    ] {
        known.insert((group.to_owned(), kind.to_owned()), plural.to_owned());
    }
    for kind in Kind::ALL {
        let plural = known.remove(&(kind.group().to_owned(), kind.as_str().to_owned()));
        assert_eq!(plural.as_deref(), Some(kind.plural()), "{kind}");
    }
    assert!(known.is_empty(), "{known:?} is defined and not read");
}

/// The controllers make a slice of a pod; a node gives it its region; what stops being ready is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_service_become_endpoints_with_their_place() {
    let cluster = Cluster::bare(Options { controllers: true }).await;
    let node = |region: &str| {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n1", "labels": {
                "topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": "eu-a",
            }},
        })
    };
    cluster.put(&node("eu")).await;
    let mut with_selector = service("default", "web");
    with_selector["spec"]["selector"] = json!({"app": "web"});
    cluster.put(&with_selector).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"app": "web", "version": "v1"}},
        "spec": {"nodeName": "n1", "serviceAccountName": "web", "containers": [{"name": "c", "image": "i"}]},
    });
    cluster.put(&pod).await;
    let mut core = Core::synced(&cluster.flag(User::Admin, None)).await;
    let status = |ready: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "default"},
            "status": {
                "phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}],
                "conditions": [{"type": "Ready", "status": ready}],
            },
        })
    };
    cluster.put_status(&status("True")).await;
    let endpoint = |core: &Core| -> Option<Value> {
        let slice = core
            .held
            .iter()
            .find(|(name, _)| name.starts_with("EndpointSlice.discovery.k8s.io/default/web-"))?;
        slice.1["endpoints"].get(0).cloned()
    };
    core.until("a ready endpoint", |core| endpoint(core).is_some_and(|e| e["conditions"]["ready"] == true))
        .await;
    let found = endpoint(&core).unwrap();
    assert_eq!(found["addresses"], json!(["10.1.2.3"]));
    assert_eq!(found["zone"], "eu-a");
    assert_eq!(found["deprecatedTopology"], json!({"topology.kubernetes.io/region": "eu"}));
    let pod = &core.held["Pod/default/web-1"];
    assert_eq!((&pod["spec"]["serviceAccountName"], &pod["spec"]["nodeName"]), (&json!("web"), &json!("n1")));
    assert_eq!(pod["metadata"]["labels"]["version"], "v1");
    cluster.put(&node("us")).await;
    let region = json!({"topology.kubernetes.io/region": "us"});
    core.until("the new region", |core| endpoint(core).is_some_and(|e| e["deprecatedTopology"] == region))
        .await;
    cluster.put_status(&status("False")).await;
    core.until("an endpoint that is not ready", |core| {
        endpoint(core).is_some_and(|e| e["conditions"]["ready"] == false)
    })
    .await;
    cluster.delete(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "default"}})).await;
    core.until("no endpoint", |core| !core.has("Pod/default/web-1") && endpoint(core).is_none()).await;
}

/// Of all secrets only those that a gateway names are read, from when it names them until it does not any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_that_a_gateway_names_and_no_others() {
    let cluster = Cluster::start().await;
    let secret = |name: &str, value: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"},
            "stringData": {"tls.crt": value},
        })
    };
    for name in ["named", "other", "private"] {
        cluster.put(&secret(name, "1")).await;
    }
    let gateway = |credential: &str| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": {"name": "g", "namespace": "default"},
            "spec": {"servers": [{
                "port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"],
                "tls": {"mode": "SIMPLE", "credentialName": credential},
            }]},
        })
    };
    cluster.put(&gateway("named")).await;
    let mut core = Core::synced(&cluster.flag(User::Admin, None)).await;
    let secrets = |core: &Core| -> Vec<String> {
        core.held.keys().filter_map(|name| name.strip_prefix("Secret/default/")).map(str::to_owned).collect()
    };
    assert_eq!(secrets(&core), ["named"], "the first listing has it");
    let before = core.held["Secret/default/named"].clone();
    cluster.put(&secret("named", "2")).await;
    core.until("the new certificate", |core| core.held["Secret/default/named"] != before).await;
    cluster.put(&gateway("other")).await;
    core.until("the other one", |core| secrets(core) == ["other"]).await;
    cluster.put(&gateway("later")).await;
    core.until("none", |core| secrets(core).is_empty()).await;
    cluster.put(&secret("later", "1")).await;
    core.until("one that was made later", |core| secrets(core) == ["later"]).await;
    assert!(!core.told.iter().any(|name| name.contains("private")));
    assert_eq!(core.stale, None);
}

/// Only the namespaces that were chosen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_namespaces_are_not_read() {
    let cluster = Cluster::start().await;
    for name in ["shop", "pay", "other"] {
        cluster.put(&namespace(name)).await;
        cluster.put(&service(name, "a")).await;
    }
    let flag = format!("{}&namespaces=shop,pay", cluster.flag(User::Admin, None));
    let core = Core::synced(&flag).await;
    let services: Vec<&String> = core.held.keys().filter(|name| name.starts_with("Service/")).collect();
    assert_eq!(services, ["Service/pay/a", "Service/shop/a"]);
}

fn id(name: &str) -> ObjectId {
    ObjectId { kind: ObjectKind::Document, name: name.into() }
}

/// Conditions of the Gateway API, in the form that the server's definitions of the kinds take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_of_the_gateway_api_are_written_per_listener_and_parent() {
    let cluster = Cluster::start().await;
    let named = |kind: &str, name: &str, spec: Value| {
        let mut object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        });
        if kind == "GatewayClass" {
            object["metadata"].as_object_mut().unwrap().remove("namespace");
        }
        object
    };
    let class = named("GatewayClass", "lateen", json!({"controllerName": "lateen.io/gateway-controller"}));
    let others = named("GatewayClass", "others", json!({"controllerName": "example.com/controller"}));
    let gateway = |name: &str, class: &str| {
        let listeners = json!([{"name": "web", "protocol": "HTTP", "port": 80}]);
        named("Gateway", name, json!({"gatewayClassName": class, "listeners": listeners}))
    };
    let (ours, theirs) = (gateway("edge", "lateen"), gateway("theirs", "others"));
    let route = named(
        "HTTPRoute",
        "web",
        json!({
            "parentRefs": [{"name": "edge", "sectionName": "web"}],
            "rules": [{"backendRefs": [{"name": "nowhere", "port": 80}]}],
        }),
    );
    for object in [&class, &others, &ours, &theirs, &route] {
        cluster.put(object).await;
    }
    let flag = format!("{}&lease-namespace=default", cluster.flag(User::Admin, None));
    let (sink, feed) = status_feed();
    let mut adapter = KubernetesAdapter::from_flag(&flag).unwrap();
    adapter.statuses(feed);
    let mut core = Core::listen_to(adapter);
    core.until("the first listing", Core::is_synced).await;
    let accepted = ObjectStatus { accepted: true, generation: Some(1), ..ObjectStatus::default() };
    let parent = ParentStatus {
        kind: "Gateway",
        namespace: "default".to_owned(),
        name: "edge".to_owned(),
        known: true,
        refused: None,
        unresolved: Some(Because {
            reason: Unresolved::BackendNotFound,
            message: "there is no Service default/nowhere".to_owned(),
        }),
    };
    let of_gateway = ObjectStatus { listeners: Arc::new([("web".to_owned(), 1)].into()), ..accepted.clone() };
    let of_route = ObjectStatus { parents: Arc::from([parent]), ..accepted.clone() };
    // The last one in order is the route: when it is written, all are.
    sink.publish([
        (id("GatewayClass.gateway.networking.k8s.io/lateen"), Some(Arc::new(accepted.clone()))),
        (id("GatewayClass.gateway.networking.k8s.io/others"), Some(Arc::new(accepted))),
        (id("Gateway.gateway.networking.k8s.io/default/edge"), Some(Arc::new(of_gateway.clone()))),
        (id("Gateway.gateway.networking.k8s.io/default/theirs"), Some(Arc::new(of_gateway))),
        (id("HTTPRoute.gateway.networking.k8s.io/default/web"), Some(Arc::new(of_route))),
    ]);
    let written = timeout(PATIENCE, async {
        loop {
            let object = cluster.get(&route).await;
            if object["status"]["parents"].as_array().is_some_and(|parents| !parents.is_empty()) {
                return object;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let route = written.await.expect("the route's status is written");
    let states = |conditions: &Value| -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let ours = conditions.as_array().unwrap().iter();
        let ours = ours.filter(|condition| condition["observedGeneration"] == 1);
        ours.map(|condition| (text(&condition["type"]), text(&condition["status"]))).collect()
    };
    let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let parent = &route["status"]["parents"][0];
    assert_eq!(parent["parentRef"]["sectionName"], "web");
    assert_eq!(states(&parent["conditions"]), expected(&[("Accepted", "True"), ("ResolvedRefs", "False")]));
    assert_eq!(parent["conditions"][1]["reason"], "BackendNotFound");
    let edge = cluster.get(&ours).await["status"].clone();
    assert_eq!(states(&edge["conditions"]), expected(&[("Accepted", "True"), ("Programmed", "True")]));
    assert_eq!(
        (&edge["listeners"][0]["name"], &edge["listeners"][0]["attachedRoutes"]),
        (&json!("web"), &json!(1))
    );
    assert_eq!(states(&cluster.get(&class).await["status"]["conditions"]), expected(&[("Accepted", "True")]));
    // What is another controller's has nothing of ours: neither Accepted nor Programmed is true of it.
    for object in [&others, &theirs] {
        let conditions = cluster.get(object).await["status"]["conditions"].clone();
        let ours = conditions.as_array().into_iter().flatten().any(|condition| condition["status"] == "True");
        assert!(!ours, "{conditions}");
    }
}

/// The rights that are delivered are enough, for a service account and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_that_are_delivered_are_enough() {
    let cluster = Cluster::start().await;
    for object in crate::cluster::manifest("rbac.yaml") {
        cluster.put(&object).await;
    }
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600},
    });
    let request = http::Request::post("/api/v1/namespaces/lateen-system/serviceaccounts/lateen/token")
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&body).unwrap())
        .unwrap();
    let made: Value = cluster.client.request(request).await.unwrap();
    let admin = std::fs::read_to_string(cluster.servers.kubeconfig(User::Admin)).unwrap();
    let text = admin.replace(cluster.servers.token(User::Admin), made["status"]["token"].as_str().unwrap());
    assert_ne!(text, admin);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, text).unwrap();
    let route = virtual_service("default", "web", "web");
    cluster.put(&route).await;
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g", "namespace": "default"},
        "spec": {"servers": [{
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"],
            "tls": {"mode": "SIMPLE", "credentialName": "web"},
        }]},
    });
    cluster.put(&gateway).await;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web", "namespace": "default"}});
    cluster.put(&secret).await;
    let (sink, feed) = status_feed();
    let flag = format!("?kubeconfig={}&lease-namespace=lateen-system", path.display());
    let mut adapter = KubernetesAdapter::from_flag(&flag).unwrap();
    adapter.statuses(feed);
    let mut core = Core::listen_to(adapter);
    core.until("the first listing", Core::is_synced).await;
    assert_eq!((&core.stale, core.invalid.len()), (&None, 0), "{:?}", core.invalid);
    assert!(core.has("Secret/default/web"));
    let status = ObjectStatus { accepted: true, generation: Some(1), ..ObjectStatus::default() };
    sink.publish([(id("VirtualService.networking.istio.io/default/web"), Some(Arc::new(status)))]);
    let written = timeout(PATIENCE, async {
        while cluster.get(&route).await["status"]["observedGeneration"] != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    written.await.expect("the status is written");
}

/// One of two replicas writes, and when it goes the other takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_writes_status_and_another_follows_it() {
    let cluster = Cluster::start().await;
    let route = virtual_service("default", "web", "web");
    cluster.put(&route).await;
    let flag = format!("{}&lease-namespace=default", cluster.flag(User::Admin, None));
    let replica = || {
        let (sink, feed) = status_feed();
        let mut adapter = KubernetesAdapter::from_flag(&flag).unwrap();
        adapter.statuses(feed);
        (sink, Core::listen_to(adapter))
    };
    let status = |generation, accepted| {
        let status = ObjectStatus { accepted, generation: Some(generation), ..ObjectStatus::default() };
        [(id("VirtualService.networking.istio.io/default/web"), Some(Arc::new(status)))]
    };
    let holder = async || {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "lateen-status", "namespace": "default"},
        });
        cluster.get(&lease).await["spec"]["holderIdentity"].clone()
    };
    let until = async |what: &str, is: &dyn Fn(&Value) -> bool| {
        let waited = timeout(PATIENCE, async {
            loop {
                let object = cluster.get(&route).await;
                if is(&object["status"]) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
    };
    let (first_sink, mut first) = replica();
    first.until("the first listing", Core::is_synced).await;
    first_sink.publish(status(1, true));
    until("the first status", &|status| status["observedGeneration"] == 1).await;
    let object = cluster.get(&route).await;
    assert_eq!(object["status"]["conditions"][0]["status"], "True");
    let leader = holder().await;

    // That status was written is no news of the object.
    first.told.clear();
    let (second_sink, mut second) = replica();
    second.until("the first listing", Core::is_synced).await;
    second_sink.publish(status(2, false));
    // The first is the leader still, and writes what it is told.
    first_sink.publish(status(3, true));
    until("the leader's word", &|status| status["observedGeneration"] == 3).await;
    assert_eq!(holder().await, leader);
    cluster.put(&service("default", "after")).await;
    first.until("what came after", |core| core.has("Service/default/after")).await;
    assert_eq!(first.told, ["Service/default/after"]);

    // The core goes first, as in a shutdown: the lease is released, and the other one need not wait.
    drop(first_sink);
    until("the other one's word", &|status| status["observedGeneration"] == 2).await;
    assert_ne!(holder().await, leader);
    assert_eq!(cluster.get(&route).await["status"]["conditions"][0]["status"], "False");
}
