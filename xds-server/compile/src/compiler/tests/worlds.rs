//! Worlds in which selection has to choose: equal hosts in several namespaces, rules and routes of three
//! namespaces with different `exportTo`, Sidecars with two listeners, a root namespace, a gateway in it.
//!
//! `PROPTEST_CASES` says how many worlds there are: 1,800 make more than 20,000 changes.

use std::{cell::Cell, sync::Arc};

use lateen_model::NodeInfo;
use proptest::{prelude::*, test_runner::TestRunner};

use super::{Edit, difference, difference_in_portions};

/// As many as the environment asks for, else few.
fn cases() -> u32 {
    let ProptestConfig { cases, .. } = ProptestConfig::default();
    if cases == 256 { 48 } else { cases }
}

fn nodes() -> Vec<Arc<NodeInfo>> {
    let mut edge = NodeInfo::from_id("router~10.0.0.9~edge.root~root.svc.cluster.local");
    edge.labels.insert("app".into(), "edge".into());
    let mut own = NodeInfo::from_id("sidecar~10.0.0.1~w.a~a.svc.cluster.local");
    own.labels.insert("app".into(), "x".into());
    let other = NodeInfo::from_id("sidecar~10.0.0.8~w.b~b.svc.cluster.local");
    let root = NodeInfo::from_id("sidecar~10.0.0.7~w.root~root.svc.cluster.local");
    [edge, own, other, root].map(Arc::new).to_vec()
}

fn documents() -> impl Strategy<Value = Edit> {
    let document = prop_oneof![3 => services(), 4 => entries(), 4 => routes(), 4 => rules(), 2 => sidecars(), 1 => mesh()];
    (document, prop::bool::weighted(0.8))
        .prop_map(|((name, text), there)| Edit { name, text: there.then_some(text) })
}

/// How much is taken over at once: mostly everything.
fn portion() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(usize::MAX), 1 => 1usize..4]
}

fn namespace() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("root")]
}

fn export() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(""), 1 => Just("  exportTo: ['*']\n"), 1 => Just("  exportTo: ['.']\n"),
        1 => Just("  exportTo: [a]\n"), 1 => Just("  exportTo: [a, b]\n"), 1 => Just("  exportTo: ['~']\n")]
}

fn hosts() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("one.x.io"), 2 => Just("two.x.io"), 1 => Just("'*.x.io'"), 1 => Just("s.a"), 1 => Just("s.a.svc.cluster.local"), 1 => Just("'*.s.a.svc.cluster.local'"), 1 => Just("240.0.0.1")]
}

fn object(kind: &str, name: &str, namespace: &str, age: u8, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}, \
         creationTimestamp: '2026-01-01T00:00:0{age}Z'}}\nspec:\n{spec}"
    )
}

fn services() -> impl Strategy<Value = (String, String)> {
    (namespace(), any::<bool>()).prop_map(|(namespace, two)| {
        let (more, ip) = if two { (", {name: tcp, port: 90}", "10.96.0.1") } else { ("", "None") };
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: {namespace}}}\nspec: {{clusterIP: {ip}, ports: [{{name: http, port: 80}}{more}]}}"
        );
        (format!("service-{namespace}"), text)
    })
}

fn entries() -> impl Strategy<Value = (String, String)> {
    let protocol = prop_oneof![3 => Just("HTTP"), 1 => Just("TCP"), 1 => Just("TLS")];
    let address = prop_oneof![2 => Just(""), 2 => Just("  addresses: [240.0.0.1]\n"), 1 => Just("  addresses: [10.0.0.0/8]\n")];
    let all = (hosts(), namespace(), export(), protocol, address, 0u8..3);
    all.prop_map(|(host, namespace, export, protocol, address, age)| {
        let spec = format!(
            "  hosts: [{host}]\n{export}{address}  resolution: STATIC\n  endpoints: [{{address: 10.1.{}.{age}}}]\n  \
             ports: [{{number: 80, name: p, protocol: {protocol}}}]\n",
            namespace.len()
        );
        (
            format!("entry-{namespace}-{age}"),
            object("ServiceEntry", &format!("e{age}"), namespace, age, &spec),
        )
    })
}

fn routes() -> impl Strategy<Value = (String, String)> {
    let gateways = prop_oneof![3 => Just(""), 1 => Just("  gateways: [root/edge, mesh]\n"), 1 => Just("  gateways: [edge.root]\n")];
    let kind = 0usize..6;
    (hosts(), hosts(), namespace(), export(), gateways, kind, 0u8..3).prop_map(
        |(host, to, namespace, export, gateways, kind, age)| {
            let to = format!("route: [{{destination: {{host: {}}}}}]", to.replace("'*.", "'one."));
            let routes = [
                format!("http: [{{{to}}}]"),
                format!("http: [{{match: [{{sourceLabels: {{app: x}}}}, {{sourceNamespace: b}}], {to}}}]"),
                format!("http: [{{match: [{{port: 81}}, {{gateways: [edge.root]}}], {to}}}]"),
                format!("http: [{{match: [{{uri: {{prefix: /a}}}}], delegate: {{name: r0, namespace: a}}}}, {{{to}}}]"),
                format!("tcp: [{{{to}}}]"),
                format!("tls: [{{match: [{{sniHosts: [{host}]}}], {to}}}]"),
            ];
            let hosts = if age == 0 && kind < 3 { String::new() } else { format!("  hosts: [{host}]\n{gateways}") };
            let spec = format!("{hosts}{export}  {}\n", routes[kind]);
            (format!("routes-{namespace}-{age}"), object("VirtualService", &format!("r{age}"), namespace, age, &spec))
        },
    )
}

fn rules() -> impl Strategy<Value = (String, String)> {
    let host = prop_oneof![3 => hosts(), 1 => Just("'*.io'"), 1 => Just("'*'")];
    (host, namespace(), export(), 0usize..4, 0u8..3).prop_map(|(host, namespace, export, kind, age)| {
        let what = [
            format!("  subsets: [{{name: v{age}, labels: {{v: v{age}}}}}]\n"),
            format!("  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {}}}}}}}\n", age + 1),
            "  trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}\n".to_owned(),
            "  workloadSelector: {matchLabels: {app: x}}\n  subsets: [{name: mine, labels: {v: v}}]\n"
                .to_owned(),
        ];
        let spec = format!("  host: {host}\n{export}{}", what[kind]);
        (
            format!("rule-{namespace}-{age}"),
            object("DestinationRule", &format!("d{age}"), namespace, age, &spec),
        )
    })
}

fn sidecars() -> impl Strategy<Value = (String, String)> {
    let imports = || {
        prop_oneof![
            Just("'*/*'"),
            Just("'./*'"),
            Just("'b/*', 'root/*'"),
            Just("'a/one.x.io'"),
            Just("'*/two.x.io', '~b/*.x.io'"),
        ]
    };
    (imports(), imports(), namespace(), any::<bool>(), any::<bool>()).prop_map(
        |(first, second, namespace, own_port, selects)| {
            let own = if own_port {
                format!("  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{first}]}}\n")
            } else {
                String::new()
            };
            let select =
                if selects && namespace != "root" { "  workloadSelector: {labels: {app: x}}\n" } else { "" };
            let spec = format!("{select}  egress:\n{own}  - {{hosts: [{second}]}}\n");
            (
                format!("sidecar-{namespace}-{selects}"),
                object("Sidecar", &format!("s-{selects}"), namespace, 0, &spec),
            )
        },
    )
}

fn mesh() -> impl Strategy<Value = (String, String)> {
    prop_oneof![Just("root"), Just("b")].prop_map(|root| {
        let gateway = object(
            "Gateway",
            "edge",
            "root",
            0,
            "  selector: {app: edge}\n  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]\n",
        );
        let text = format!(
            "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {{name: istio}}\nspec: {{rootNamespace: {root}}}\n---\n{gateway}"
        );
        ("mesh".to_owned(), text)
    })
}

#[test]
#[allow(clippy::print_stderr, reason = "how much was tried, for whoever asks for more")]
fn selection_is_the_same_step_by_step_and_at_once() {
    let changes = Cell::new(0);
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(proptest::collection::vec(documents(), 1..24), portion()), |(edits, portion)| {
            changes.set(changes.get() + edits.len());
            prop_assert_eq!(difference_in_portions(&nodes(), &edits, portion), None);
            Ok(())
        })
        .unwrap();
    eprintln!("{} changes in {} worlds", changes.get(), cases());
}

#[test]
fn a_listener_with_equal_bytes_in_two_views_keeps_its_own_references() {
    let e = |name: &str, text: String| Edit { name: name.to_owned(), text: Some(text) };
    let edits = vec![
        e("service-a", "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: a}\nspec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}".into()),
        e("entry-a-0", object("ServiceEntry", "e0", "a", 0, "  hosts: [two.x.io]\n  exportTo: ['.']\n  resolution: STATIC\n  endpoints: [{address: 10.1.1.0}]\n  ports: [{number: 80, name: p, protocol: HTTP}]\n")),
        e("entry-a-1", object("ServiceEntry", "e1", "a", 1, "  hosts: [one.x.io]\n  resolution: STATIC\n  endpoints: [{address: 10.1.1.1}]\n  ports: [{number: 80, name: p, protocol: TCP}]\n")),
        e("routes-a-0", object("VirtualService", "r0", "a", 0, "  hosts: [one.x.io]\n  tcp: [{route: [{destination: {host: two.x.io}}]}]\n")),
    ];
    // `two.x.io` is seen in its own namespace only, and both listeners name its cluster.
    assert_eq!(difference(&nodes(), &edits), None);
}
