//! Services and endpoints from the objects that users and platforms write.

use std::{collections::BTreeSet, sync::Arc};

use lateen_model::{
    Address, Endpoint, Health, Locality, ObjectId, ObjectKind, Port, Protocol, Resolution, Service,
    SourceEvent, event::Object, service::Visibility,
};
use lateen_registry::FactKey;

use crate::feed::{Feed, apply, host, keys, remove, source, text, upsert};

const REVIEWS: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, labels: {team: books}}
spec:
  clusterIP: 10.0.0.9
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: metrics, port: 9090, appProtocol: http2}
  - {name: db, port: 3306}
  - {name: dns-udp, port: 53, protocol: UDP}
  - {name: grpc-web-x, port: 81}
  - {name: other, port: 82}
";

const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: reviews-1
  namespace: shop
  labels: {kubernetes.io/service-name: reviews, endpointslice.kubernetes.io/managed-by: x, version: v1}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.2], zone: a, targetRef: {kind: Pod, name: reviews-abc}}
- {addresses: [10.1.0.1], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.1.0.3], conditions: {ready: false}}
";

const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: reviews-abc
  namespace: shop
  labels: {app: reviews, version: v2, topology.kubernetes.io/region: eu}
spec: {serviceAccountName: reader}
status: {phase: Running, podIP: 10.1.0.2}
";

const REVIEWS_HOST: &str = "reviews.shop.svc.cluster.local";

#[test]
fn a_service_of_kubernetes_is_a_service() {
    let feed = Feed::of(REVIEWS);
    let service = feed.service(REVIEWS_HOST);
    assert_eq!((service.namespace.as_str(), &*service.name), ("shop", "reviews"));
    assert_eq!(service.addresses, ["10.0.0.9".into()]);
    assert_eq!((service.resolution, service.external), (Resolution::Static, false));
    assert_eq!(service.export_to, Visibility::All);
    let ports: Vec<_> = service.ports.iter().map(|port| (port.number, port.protocol, port.target)).collect();
    assert_eq!(
        ports,
        [
            (80, Protocol::Http, Some(8080)),
            (9090, Protocol::Http2, None),
            (3306, Protocol::Tcp, None),
            (53, Protocol::Udp, None),
            (81, Protocol::GrpcWeb, None),
            (82, Protocol::Unknown, None),
        ]
    );
    assert_eq!((service.origin.to_string().as_str(), &*service.origin.source), ("all.yaml:2:1", "file:mesh"));
}

#[test]
fn headless_and_external_services_are_resolved_differently() {
    let feed = Feed::of(&text(&[
        "{apiVersion: v1, kind: Service, metadata: {name: h}, spec: {clusterIP: None, ports: [{port: 1}]}}\n",
        "{apiVersion: v1, kind: Service, metadata: {name: e, annotations: {networking.istio.io/exportTo: '., other'}}, \
         spec: {type: ExternalName, externalName: DB.example.com., ports: [{port: 5432, name: tcp}]}}\n",
    ]));
    assert_eq!(feed.service("h.default.svc.cluster.local").resolution, Resolution::None);
    let external = feed.service("e.default.svc.cluster.local");
    assert_eq!((external.resolution, external.external), (Resolution::Dns, true));
    assert_eq!(external.export_to, Visibility::Namespaces(["default".into(), "other".into()].into()));
    assert_eq!(
        feed.shown("e.default.svc.cluster.local", "default"),
        ["db.example.com [tcp=5432] [] Healthy"]
    );
}

#[test]
fn endpoints_take_labels_from_their_pods() {
    let mut feed = Feed::of(&text(&[REVIEWS, SLICE]));
    let unhealthy =
        ["10.1.0.1 [http=8080] [version=v1] Draining", "10.1.0.3 [http=8080] [version=v1] Unhealthy"];
    let shown = feed.shown(REVIEWS_HOST, "shop");
    assert_eq!(shown, [unhealthy[0], "10.1.0.2 [http=8080] [version=v1] Healthy", unhealthy[1]]);

    let changes = feed.put("pod.yaml", POD);
    assert_eq!(keys(&changes), [FactKey::Endpoints(host(REVIEWS_HOST), "shop".into())]);
    let endpoints = feed.endpoints(REVIEWS_HOST, "shop");
    let with_pod = &endpoints[1];
    assert_eq!(&*with_pod.labels["version"], "v2");
    assert_eq!(&*with_pod.service_account, "reader");
    assert_eq!(with_pod.locality, Locality::parse("eu/a"));

    // What a pod's status says beside its addresses is nothing to its services.
    let changes = feed.put("pod.yaml", &POD.replace("phase: Running", "phase: Pending"));
    assert!(changes.is_empty(), "{changes:?}");
    feed.apply(crate::feed::remove("pod.yaml"));
    assert_eq!(feed.shown(REVIEWS_HOST, "shop"), shown);
}

#[test]
fn an_endpoint_change_touches_its_service_only() {
    let mut feed = Feed::new();
    feed.put("services.yaml", &text(&[REVIEWS, &REVIEWS.replace("reviews", "ratings")]));
    feed.put("slice.yaml", SLICE);
    let at = |ip: &str| FactKey::ServicesAt(ip.parse().unwrap());
    let changes = feed.put("slice.yaml", &SLICE.replace("10.1.0.3", "10.1.0.4"));
    let endpoints = FactKey::Endpoints(host(REVIEWS_HOST), "shop".into());
    assert_eq!(changes.facts, BTreeSet::from([endpoints.clone(), at("10.1.0.3"), at("10.1.0.4")]));
    let services = feed.world().get(&at("10.1.0.4")).cloned().unwrap().services_at().unwrap();
    assert_eq!(*services, [(host(REVIEWS_HOST), "shop".into())]);
    assert_eq!(feed.world().get(&at("10.1.0.3")), None);

    let changes = feed.apply(crate::feed::remove("slice.yaml"));
    assert_eq!(feed.world().get(&endpoints), None);
    assert_eq!(changes.facts.len(), 4);
}

const EXTERNAL: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external, namespace: shop}
spec:
  hosts: [API.example.com, api2.example.com]
  addresses: [240.0.0.1]
  exportTo: ['.']
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 443, name: tls, protocol: TLS}]
";

#[test]
fn a_service_entry_is_a_service_for_each_host() {
    let feed = Feed::of(EXTERNAL);
    for name in ["api.example.com", "api2.example.com"] {
        let service = feed.service(name);
        assert_eq!((service.resolution, service.external), (Resolution::Dns, true));
        assert_eq!(service.export_to, Visibility::Namespaces(["shop".into()].into()));
        assert_eq!(feed.shown(name, "shop"), [format!("{name} [tls=443] [] Healthy")]);
    }
}

#[test]
fn endpoints_of_an_entry_are_addresses_names_and_sockets() {
    let feed = Feed::of(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: shop}
spec:
  hosts: [e.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8000}, {number: 90, name: tcp, protocol: TCP}]
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}, locality: eu/a/b, weight: 3, network: n, serviceAccount: sa}
  - {address: 'fd00::1', ports: {http: 8001}}
",
    );
    assert!(!feed.service("e.example").external);
    let endpoints = feed.endpoints("e.example", "shop");
    let first = &endpoints[0];
    assert_eq!(crate::feed::show(first), "10.0.0.1 [http=8000,tcp=90] [version=v1] Healthy");
    assert_eq!((first.weight, &*first.network, &*first.service_account), (3, "n", "sa"));
    assert_eq!(first.locality, Locality::parse("eu/a/b"));
    assert_eq!(first.origin.line, 11);
    assert_eq!(crate::feed::show(&endpoints[1]), "fd00::1 [http=8001,tcp=90] [] Healthy");
    assert_eq!(endpoints[1].weight, 1);

    let socket = Feed::of(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: shop}
spec:
  hosts: [u.example]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 'unix:///run/u.sock'}]
",
    );
    assert_eq!(socket.endpoints("u.example", "shop")[0].address, Address::Unix("/run/u.sock".into()));
}

const SELECTING: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: selecting, namespace: shop}
spec:
  hosts: [s.example]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {labels: {app: s}}
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8000}]
";

fn workload(name: &str, address: &str, app: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: shop}}
spec: {{address: {address}, labels: {{app: {app}}}}}
"
    )
}

#[test]
fn selectors_find_workloads_whichever_comes_first() {
    let endpoints = FactKey::Endpoints(host("s.example"), "shop".into());
    let mut feed = Feed::of(SELECTING);
    assert!(feed.shown("s.example", "shop").is_empty());
    let changes = feed.put("w1.yaml", &workload("w1", "10.0.0.1", "s"));
    assert_eq!(keys(&changes), [endpoints.clone(), FactKey::ServicesAt("10.0.0.1".parse().unwrap())]);
    assert!(feed.put("w2.yaml", &workload("w2", "10.0.0.2", "other")).is_empty());
    feed.put("w2.yaml", &workload("w2", "10.0.0.2", "s"));
    assert_eq!(
        feed.shown("s.example", "shop"),
        ["10.0.0.1 [http=8000] [app=s] Healthy", "10.0.0.2 [http=8000] [app=s] Healthy"]
    );
    feed.put("w1.yaml", &workload("w1", "10.0.0.1", "left"));
    assert_eq!(feed.shown("s.example", "shop"), ["10.0.0.2 [http=8000] [app=s] Healthy"]);
    feed.put("all.yaml", &SELECTING.replace("app: s", "app: left"));
    assert_eq!(feed.shown("s.example", "shop"), ["10.0.0.1 [http=8000] [app=left] Healthy"]);
    feed.put("all.yaml", &SELECTING.replace("namespace: shop", "namespace: elsewhere"));
    assert!(feed.shown("s.example", "elsewhere").is_empty(), "selectors stay in their namespace");
}

#[test]
fn pods_are_selected_by_entries_and_workload_entries_by_services() {
    let mut feed = Feed::of(&text(&[&SELECTING.replace("app: s", "app: reviews"), POD]));
    assert_eq!(
        feed.shown("s.example", "shop"),
        ["10.1.0.2 [http=8000] [app=reviews,topology.kubernetes.io/region=eu,version=v2] Healthy"]
    );
    feed.put("service.yaml", &text(&[
        "{apiVersion: v1, kind: Service, metadata: {name: k, namespace: shop}, spec: {selector: {app: s}, ports: [{port: 80, targetPort: 81, name: http}]}}\n",
        &workload("w1", "10.0.0.1", "s"),
        &POD.replace("app: reviews", "app: s").replace("reviews-abc", "direct"),
    ]));
    // The pod comes by its slices, not by the selector.
    assert_eq!(feed.shown("k.shop.svc.cluster.local", "shop"), ["10.0.0.1 [http=81] [app=s] Healthy"]);
}

#[test]
fn definitions_in_two_namespaces_stay_apart() {
    let second = EXTERNAL.replace("namespace: shop", "namespace: other").replace("name: external", "name: a");
    let feed = Feed::of(&text(&[EXTERNAL, &second]));
    let namespaces: Vec<_> =
        feed.services("api.example.com").iter().map(|s| s.namespace.to_string()).collect();
    assert_eq!(namespaces, ["other", "shop"], "by namespace, as both are of one age");
    assert_eq!(feed.endpoints("api.example.com", "other").len(), 1);
}

fn endpoint(ip: &str, port: &str) -> Endpoint {
    Endpoint {
        address: Address::Ip(ip.parse().unwrap()),
        ports: Arc::new([(port.into(), 7000)].into()),
        labels: Arc::default(),
        locality: Locality::default(),
        network: "".into(),
        weight: 1,
        health: Health::Healthy,
        service_account: "".into(),
        origin: lateen_model::Origin {
            source: "consul".into(),
            location: "reviews".into(),
            line: 0,
            column: 0,
        },
    }
}

#[test]
fn a_service_of_two_platforms_is_one() {
    let mut feed = Feed::of(&text(&[REVIEWS, SLICE]));
    let consul = source("consul");
    let translated = |service: &Service| SourceEvent::Upsert {
        id: ObjectId { kind: ObjectKind::Service, name: "reviews".into() },
        object: Object::Service(Arc::new(service.clone())),
    };
    let mut service = feed.service(REVIEWS_HOST);
    service.ports = vec![
        Port { number: 80, name: "web".into(), protocol: Protocol::Tcp, target: None },
        Port { number: 7070, name: "extra".into(), protocol: Protocol::Http, target: None },
    ];
    service.origin.location = "reviews".into();
    apply(&mut feed.registry, &consul, translated(&service));
    let event = |ips: &[&str]| SourceEvent::Upsert {
        id: ObjectId { kind: ObjectKind::Endpoints, name: "reviews".into() },
        object: Object::Endpoints {
            host: host(REVIEWS_HOST),
            namespace: "shop".into(),
            endpoints: ips.iter().map(|ip| endpoint(ip, "web")).collect(),
        },
    };
    apply(&mut feed.registry, &consul, event(&["10.9.0.1", "10.1.0.2"]));

    let merged = feed.service(REVIEWS_HOST);
    assert_eq!(merged.ports[0].protocol, Protocol::Http, "the first source's port counts");
    assert_eq!(merged.ports.len(), 7);
    let finding = feed.findings().join("\n");
    assert!(finding.contains("LAT2403") && finding.contains("port 80"), "{finding}");
    let shown = feed.shown(REVIEWS_HOST, "shop");
    // The port is found by the first definition's name for it; other ports, another endpoint.
    assert!(shown.contains(&"10.9.0.1 [http=7000,web=7000] [] Healthy".to_owned()), "{shown:?}");
    assert_eq!(shown.len(), 5, "{shown:?}");
    let origins: BTreeSet<String> = feed
        .endpoints(REVIEWS_HOST, "shop")
        .iter()
        .map(|endpoint| endpoint.origin.source.to_string())
        .collect();
    assert_eq!(origins.len(), 2);

    // One of them goes: what the other says stays.
    feed.apply(crate::feed::remove("all.yaml"));
    assert_eq!(feed.service(REVIEWS_HOST).ports.len(), 2);
    assert_eq!(feed.shown(REVIEWS_HOST, "shop").len(), 2);
    assert!(feed.findings().is_empty());
    for kind in [ObjectKind::Service, ObjectKind::Endpoints] {
        let id = ObjectId { kind, name: "reviews".into() };
        apply(&mut feed.registry, &consul, SourceEvent::Remove { id });
    }
    assert!(feed.services(REVIEWS_HOST).is_empty() && feed.shown(REVIEWS_HOST, "shop").is_empty());
    assert_eq!(feed.world().hosts().len(), 0);
}

#[test]
fn what_two_clusters_say_of_one_service_is_both_theirs() {
    let sources = [source("kubernetes=east"), source("kubernetes=west")];
    let mut registry = lateen_registry::Registry::new(&sources);
    let slice = |ip: &str| SLICE.replace("10.1.0.2", ip);
    for (source, ip) in sources.iter().zip(["10.1.0.2", "10.2.0.2"]) {
        for (name, text) in [("service", REVIEWS.to_owned()), ("slice", slice(ip)), ("pod", POD.to_owned())] {
            apply(&mut registry, source, upsert(name, &text));
        }
    }
    // The pod of the same name is another one in the other cluster.
    let labels = POD.replace("version: v2", "version: v3");
    apply(&mut registry, &sources[1], upsert("pod", &labels));
    let found = |registry: &lateen_registry::Registry| -> BTreeSet<(String, String)> {
        let set = registry.world().endpoints(&host(REVIEWS_HOST), &"shop".into());
        let endpoints = set.iter().flat_map(|set| set.iter());
        let healthy = endpoints.filter(|endpoint| endpoint.health == Health::Healthy);
        healthy
            .map(|endpoint| (endpoint.origin.source.to_string(), endpoint.labels["version"].to_string()))
            .collect()
    };
    let of = |source: &str, version: &str| (source.to_owned(), version.to_owned());
    let both = BTreeSet::from([of("kubernetes=east", "v2"), of("kubernetes=west", "v3")]);
    assert_eq!(found(&registry), both);
    assert_eq!(registry.diagnostics().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);

    // What is proposed stands for both.
    let proposed: [(Arc<str>, Arc<[u8]>); 1] = [("new.yaml".into(), slice("10.3.0.2").into_bytes().into())];
    let (world, _) = registry.propose(&source("proposal"), &proposed);
    let set = world.endpoints(&host(REVIEWS_HOST), &"shop".into()).unwrap();
    assert!(set.iter().all(|endpoint| &*endpoint.origin.source == "proposal"));

    apply(&mut registry, &sources[0], remove("slice"));
    assert_eq!(found(&registry), BTreeSet::from([of("kubernetes=west", "v3")]));
}
