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

/// A service `a` at an address, and a slice of it with these fields.
fn sliced(service: &str, slice: &str) -> Feed {
    Feed::of(&text(&[
        &format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {{clusterIP: 10.0.0.9, {service}}}}}\n"
        ),
        &format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a-1, labels: \
             {{kubernetes.io/service-name: a}}}}, addressType: IPv4, {slice}}}\n"
        ),
    ]))
}

const A: &str = "a.default.svc.cluster.local";

#[test]
fn a_slice_without_a_port_number_has_no_endpoint() {
    let one = "ports: [{name: http, port: 80}]";
    for ports in
        ["", "ports: null,", "ports: [],", "ports: [{name: http}],", "ports: [{name: http, port: null}],"]
    {
        let feed = sliced(one, &format!("{ports} endpoints: [{{addresses: [10.0.0.1]}}]"));
        assert_eq!(feed.shown(A, "default"), Vec::<String>::new(), "{ports}");
        let findings = feed.findings().join("\n");
        assert!(findings.contains("LAT2407") && findings.contains("10.0.0.1"), "{ports}: {findings}");
    }
    let two = "ports: [{name: http, port: 80}, {name: db, port: 90}]";
    let feed =
        sliced(two, "ports: [{name: http}, {name: db, port: 91}], endpoints: [{addresses: [10.0.0.1]}]");
    assert_eq!(feed.shown(A, "default"), ["10.0.0.1 [db=91] [] Healthy"]);
    assert_eq!(feed.findings().len(), 1);
    // A slice of UDP alone is for others.
    let feed = sliced(
        "ports: [{name: dns, port: 53, protocol: UDP}]",
        "ports: [{name: dns, port: 53, protocol: UDP}], endpoints: [{addresses: [10.0.0.1]}]",
    );
    assert_eq!((feed.shown(A, "default"), feed.findings()), (vec![], vec![]));
}

/// What an adapter says of instances of `a`.
fn instances(addresses: &[&str], port: u16) -> SourceEvent {
    let endpoint = |address: &&str| Endpoint {
        address: Address::parse(address),
        ports: Arc::new([("".into(), port)].into()),
        labels: Arc::default(),
        locality: Locality::default(),
        network: "".into(),
        weight: 1,
        health: Health::Healthy,
        service_account: "".into(),
        origin: lateen_model::Origin {
            source: "consul".into(),
            location: "node/a".into(),
            line: 0,
            column: 0,
        },
    };
    let id = ObjectId { kind: ObjectKind::Endpoints, name: "a".into() };
    let endpoints = addresses.iter().map(endpoint).collect();
    SourceEvent::Upsert {
        id,
        object: Object::Endpoints { host: host(A), namespace: "default".into(), endpoints },
    }
}

#[test]
fn what_is_no_address_is_left_out_and_the_rest_serves() {
    let mut feed =
        sliced("ports: [{port: 80}]", "ports: [{port: 8080}], endpoints: [{addresses: [10.0.0.1]}]");
    let good = ["10.0.0.1 [=8080] [] Healthy"];
    for name in ["localhost", "010.0.0.1", "[::1]", "", "0.0.0.0", "::", "224.0.0.1", "a b", "unix://x"] {
        feed.apply(instances(&[name], 8080));
        assert_eq!(feed.shown(A, "default"), good, "{name}");
        let findings = feed.findings();
        assert!(findings.len() == 1 && findings[0].contains("LAT2407"), "{name}: {findings:?}");
        assert!(findings[0].starts_with("node/a: "), "{name}: {findings:?}");
    }
    // Out of range, or not given.
    feed.apply(instances(&["10.0.0.2"], 0));
    assert_eq!(feed.shown(A, "default"), good);
    assert!(feed.findings().join("").contains("from 1 to 65535"), "{:?}", feed.findings());
    // As many as there are, the list of findings is short.
    let many: Vec<String> = (0..1_000).map(|number| format!("n{number}.example")).collect();
    feed.apply(instances(&many.iter().map(String::as_str).collect::<Vec<_>>(), 8080));
    assert!(
        feed.findings().len() <= 20 && feed.findings().join("").contains("980 more"),
        "{:?}",
        feed.findings()
    );
    let mut feed =
        sliced("ports: [{port: 80}]", "ports: [{port: 8080}], endpoints: [{addresses: [10.0.0.1]}]");
    feed.apply(instances(&["n.example"], 8080));
    feed.apply(instances(&["10.0.0.2"], 8080));
    assert_eq!((feed.findings(), feed.shown(A, "default").len()), (vec![], 2));
    // A slice of names.
    feed.put(
        "names.yaml",
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a-2, labels: \
         {kubernetes.io/service-name: a}}, addressType: FQDN, ports: [{port: 8080}], endpoints: \
         [{addresses: [localhost]}]}\n",
    );
    assert_eq!(feed.shown(A, "default").len(), 2);
    assert!(feed.findings().join("").contains("names.yaml:1:1"), "{:?}", feed.findings());
}

#[test]
fn names_are_for_services_that_resolve_them() {
    let entry = |resolution: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: e, namespace: shop}}
spec:
  hosts: [e.example]
  resolution: {resolution}
  workloadSelector: {{labels: {{app: e}}}}
  ports: [{{number: 80, name: http, protocol: HTTP}}]
"
        )
    };
    let workload = "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w, namespace: shop}
spec: {address: db.example.com, labels: {app: e}, weight: 4294967295}
";
    let mut feed = Feed::of(workload);
    feed.put("entry.yaml", &entry("DNS"));
    assert_eq!(feed.shown("e.example", "shop"), ["db.example.com [http=80] [app=e] Healthy"]);
    assert_eq!(feed.endpoints("e.example", "shop")[0].weight, 65_535);
    assert!(feed.findings().join("").contains("LAT2408"), "{:?}", feed.findings());
    // The definition alone changes: its endpoints are looked at again.
    feed.put("entry.yaml", &entry("STATIC"));
    assert_eq!(feed.shown("e.example", "shop"), Vec::<String>::new());
    assert!(feed.findings().join("").contains("LAT2407"), "{:?}", feed.findings());
    feed.put("entry.yaml", &entry("DNS"));
    assert_eq!(feed.shown("e.example", "shop").len(), 1);
}

#[test]
fn udp_beside_tcp_is_another_port() {
    let both = "ports: [{name: dns, port: 53, protocol: UDP, targetPort: 5353}, {name: dns-tcp, port: 53, targetPort: 5354}]";
    let feed = sliced(
        both,
        "ports: [{name: dns, port: 5353, protocol: UDP}, {name: dns-tcp, port: 5354}], endpoints: [{addresses: [10.0.0.1]}]",
    );
    assert_eq!(feed.shown(A, "default"), ["10.0.0.1 [dns-tcp=5354] [] Healthy"]);
    let service = feed.service(A);
    assert_eq!(service.port(53).map(|port| (&*port.name, port.target)), Some(("dns-tcp", Some(5354))));
    assert_eq!(service.only_port().map(|port| port.number), Some(53));
    // The same in two objects of one service.
    let entry = |name: &str, protocol: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}}, spec: {{hosts: [x.example], \
             ports: [{{number: 53, name: {name}, protocol: {protocol}}}]}}}}\n"
        )
    };
    let feed = Feed::of(&text(&[&entry("one", "UDP"), &entry("two", "TCP")]));
    assert_eq!(feed.service("x.example").ports.len(), 2);
    assert_eq!(feed.findings(), Vec::<String>::new());
}

#[test]
fn labels_of_a_workload_are_those_of_both_places() {
    let feed = Feed::of(&text(&[
        "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: e}, spec: {hosts: [e.example], \
         resolution: STATIC, workloadSelector: {labels: {app: e, version: v2}}, \
         ports: [{number: 80, name: http, protocol: HTTP}]}}\n",
        "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: w, labels: {version: v2, zone: z}}, \
         spec: {address: 10.0.0.1, labels: {app: e, version: v1}}}\n",
    ]));
    assert_eq!(feed.shown("e.example", "default"), ["10.0.0.1 [http=80] [app=e,version=v2,zone=z] Healthy"]);
}

#[test]
fn those_that_have_a_virtual_address_are_in_order() {
    let entry = |name: &str, address: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}}, spec: {{hosts: \
             [{name}.example], addresses: ['{address}'], ports: [{{number: 80, name: http, protocol: HTTP}}]}}}}\n"
        )
    };
    let mut feed = Feed::new();
    let owners = |feed: &Feed| {
        let fact = feed.world().get(&FactKey::AddressOf("240.0.0.1".parse().unwrap())).cloned();
        let all = fact.and_then(lateen_registry::Fact::services_at).unwrap_or_default();
        all.iter().map(|(host, namespace)| format!("{namespace}/{host}")).collect::<Vec<_>>()
    };
    feed.put("b.yaml", &entry("b", "240.0.0.1"));
    assert_eq!(owners(&feed), ["default/b.example"]);
    feed.put("a.yaml", &entry("a", "240.0.0.1"));
    assert_eq!(owners(&feed), ["default/a.example", "default/b.example"]);
    feed.put("a.yaml", &entry("a", "240.0.0.0/8"));
    assert_eq!(owners(&feed), ["default/b.example"]);
    feed.apply(remove("b.yaml"));
    assert!(owners(&feed).is_empty());
}
