//! What a change costs, in memos that are computed, and what is held at all.

use super::*;
use crate::{compiler::Sweep, table::TableKey};

/// A mesh that only grows.
struct Mesh {
    registry: Registry,
    compiler: Compiler,
}

impl Mesh {
    /// Of these documents, with the usual nodes.
    fn new(documents: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut mesh =
            Self { registry: Registry::new(&[SourceId("test".into())]), compiler: Compiler::new() };
        for (name, text) in documents {
            apply(&mut mesh.registry, &Edit { name, text: Some(text) });
        }
        for node in nodes() {
            let handle = mesh.compiler.attach(mesh.registry.world(), &node);
            mesh.compiler.subscribe_all(mesh.registry.world(), handle);
        }
        mesh.compiler.take_changed();
        mesh
    }

    /// How many memos a document makes compute.
    fn cost(&mut self, (name, text): (String, String)) -> u64 {
        let before = self.compiler.evaluations();
        let changes = apply(&mut self.registry, &Edit { name, text: Some(text) });
        self.compiler.apply(self.registry.world(), &changes);
        self.compiler.evaluations() - before
    }

    /// How many memos of their own the tables have: of the gateway, and of the sidecars in namespaces `a` and `b`.
    fn members(&self) -> [usize; 3] {
        let members = |of: &dyn Fn(&TableKey) -> bool| {
            let tables = self.compiler.tables.iter().flatten().filter(|table| of(&table.key));
            tables.map(|table| table.members.len()).sum()
        };
        let outbound = |name: &'static str| move |key: &TableKey| matches!(key, TableKey::Outbound(view) if view.namespace.as_str() == name);
        [
            members(&|key| matches!(key, TableKey::Gateway(_))),
            members(&outbound("a")),
            members(&outbound("b")),
        ]
    }
}

fn service(n: usize) -> (String, String) {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: a}}\nspec: {{clusterIP: 10.96.0.1, ports: \
         [{{name: http, port: 80}}]}}"
    );
    (format!("service-{n}"), text)
}

fn slice(n: usize, last: u8) -> (String, String) {
    let text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{n}-x, namespace: a, labels: \
         {{kubernetes.io/service-name: s{n}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: \
         [{{addresses: [10.1.0.{last}]}}]"
    );
    (format!("slice-{n}"), text)
}

fn edge(servers: &str) -> (String, String) {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: a}}\nspec:\n  selector: \
         {{app: edge}}\n  servers: [{servers}]"
    );
    ("gateway".to_owned(), text)
}

fn server(n: usize) -> String {
    format!("{{port: {{number: 80, name: http-{n}, protocol: HTTP}}, hosts: ['*.d{n}.io']}}")
}

fn edge_route(n: usize, prefix: &str) -> (String, String) {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{n}, namespace: a}}\nspec:\n  hosts: \
         [r{n}.d{}.io]\n  gateways: [edge]\n  http: [{{match: [{{uri: {{prefix: /{prefix}}}}}], route: [{{destination: {{host: \
         s0}}}}]}}]",
        n % 4
    );
    (format!("route-{n}"), text)
}

#[test]
fn an_endpoint_change_costs_one_evaluation() {
    let mut mesh = Mesh::new([service(0), slice(0, 1)]);
    assert_eq!(mesh.cost(slice(0, 2)), 1);
    let delivery = mesh.compiler.take_changed();
    assert!(delivery.changed.iter().all(|(_, kind, _)| *kind == ResourceType::Endpoints));
    assert_eq!(delivery.changed.len(), 2, "one for each endpoint table that shows it: {delivery:?}");
}

#[test]
fn a_route_of_a_gateway_costs_its_hosts_and_no_other() {
    for routes in [4, 40] {
        let servers = (0..4).map(server).collect::<Vec<_>>().join(", ");
        let all = (0..routes).map(|n| edge_route(n, "old"));
        let mut mesh = Mesh::new([service(0), edge(&servers)].into_iter().chain(all));
        assert_eq!(
            mesh.members()[0],
            1 + 4 + routes,
            "a socket, the servers' own hosts, the hosts of routes"
        );
        assert_eq!(mesh.cost(edge_route(1, "new")), 2, "what the host has, and its virtual host");
        assert_eq!(mesh.compiler.take_changed().changed.len(), 1, "the route configuration");
        assert_eq!(mesh.cost(edge_route(routes, "new")), 2, "a new host");
        assert_eq!(mesh.members()[0], 1 + 4 + routes + 1);
    }
}

#[test]
fn a_server_of_a_gateway_costs_the_hosts_of_its_route_configuration() {
    let own_port = "{port: {number: 81, name: own, protocol: HTTP}, hosts: ['*.d3.io']}";
    let servers = (0..3).map(server).collect::<Vec<_>>().join(", ");
    let all = (0..40).map(|n| edge_route(n, "old"));
    let documents = [service(0), edge(&format!("{servers}, {own_port}"))];
    let mut mesh = Mesh::new(documents.into_iter().chain(all));
    let more = own_port.replace("'*.d3.io'", "'*.d3.io', own.io");
    let cost = mesh.cost(edge(&format!("{servers}, {more}")));
    // The plan, the servers of two route configurations, two sockets with a listener each, the ten hosts of the
    // server's domain, its own two: not the thirty of the other servers.
    assert!((13..=25).contains(&cost), "{cost}");
}

#[test]
fn a_view_holds_what_it_sees() {
    let narrow = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: narrow, namespace: b}\nspec: {egress: \
                  [{hosts: [a/s3.a.svc.cluster.local, 'c/*']}]}";
    let private = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: p, namespace: c}\nspec: {hosts: \
                   [p.io], exportTo: [.], resolution: NONE, ports: [{number: 80, name: http, protocol: HTTP}]}";
    let documents = [("narrow".to_owned(), narrow.to_owned()), ("private".to_owned(), private.to_owned())];
    let mut mesh = Mesh::new((0..20).map(service).chain(documents));
    assert_eq!(mesh.members(), [0, 20, 1]);
    mesh.cost(service(20));
    assert_eq!(mesh.members(), [0, 21, 1]);
    let public = private.replace("exportTo: [.], ", "");
    mesh.cost(("private".to_owned(), public));
    assert_eq!(mesh.members(), [0, 22, 2]);
    let wider = narrow.replace("a/s3.a.svc.cluster.local", "'*/*.a.svc.cluster.local'");
    mesh.cost(("narrow".to_owned(), wider));
    assert_eq!(mesh.members(), [0, 22, 22]);
}

#[test]
fn selectors_of_another_namespace_split_no_table() {
    let rule = |namespace: &str, n: usize| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r{n}, namespace: {namespace}}}\nspec: \
             {{host: s0.a.svc.cluster.local, workloadSelector: {{matchLabels: {{app: w{n}}}}}}}"
        );
        (format!("rule-{namespace}-{n}"), text)
    };
    let tables = |namespace: &str| {
        let mut mesh = Mesh::new([service(0)].into_iter().chain((0..8).map(|n| rule(namespace, n))));
        for n in 0..8 {
            let mut node = NodeInfo::from_id(&format!("sidecar~10.0.1.{n}~w{n}.q~q.svc.cluster.local"));
            node.labels.insert("app".into(), format!("w{n}").into());
            mesh.compiler.attach(mesh.registry.world(), &Arc::new(node));
        }
        let tables = mesh.compiler.tables.iter().flatten();
        let of_q = |key: &TableKey| matches!(key, TableKey::Outbound(view) if view.namespace.as_str() == "q");
        tables.filter(|table| of_q(&table.key)).count()
    };
    assert_eq!(tables("a"), 1);
    assert_eq!(tables("q"), 8);
}

#[test]
fn a_setting_that_closes_many_clusters_is_told_once() {
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: mutual, namespace: a}\nspec: \
                {host: '*.a.svc.cluster.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}";
    let mesh = Mesh::new((0..40).map(service).chain([("rule".to_owned(), rule.to_owned())]));
    let told: Vec<_> = mesh.compiler.findings().collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].message.contains("clusters of *.a.svc.cluster.local are closed"), "{told:?}");
}

#[test]
fn what_may_be_gone_is_looked_for_when_there_is_twice_as_much() {
    let mut sweep = Sweep::default();
    assert!(sweep.is_due(2048));
    sweep.done(2048);
    assert!(!sweep.is_due(2048), "as many come as go: not for each of them");
    assert!(!sweep.is_due(4095) && sweep.is_due(4096));
}
