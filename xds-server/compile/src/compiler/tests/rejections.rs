//! Whose word counts about a version.

use lateen_xds::{Acked, Guilty, Resource};

use super::*;
use crate::NodeHandle;

/// Among the nodes.
const SIDECAR: usize = 1;

struct Mesh {
    registry: Registry,
    compiler: Compiler,
    nodes: Vec<NodeHandle>,
    cluster: Arc<Resource>,
}

impl Mesh {
    fn new() -> Self {
        let mut registry = Registry::new(&[SourceId("test".into())]);
        let mut compiler = Compiler::new();
        let nodes = nodes().iter().map(|node| compiler.attach(registry.world(), node)).collect::<Vec<_>>();
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: s0, namespace: a}\nspec: {clusterIP: 10.96.0.1, ports: \
                    [{name: http-0, port: 80}]}";
        let changes = apply(&mut registry, &Edit { name: "service".to_owned(), text: Some(text.to_owned()) });
        compiler.apply(registry.world(), &changes);
        let name = compiler.names().find("outbound|80||s0.a.svc.cluster.local").unwrap();
        let cluster = compiler.view(nodes[SIDECAR]).get(ResourceType::Cluster, name).unwrap().clone();
        Self { registry, compiler, nodes, cluster }
    }

    fn acked(&mut self) {
        let Resource { kind, name, version, .. } = *self.cluster;
        self.compiler.acked(self.nodes[SIDECAR], &Acked { kind, name, version });
    }

    fn nacked(&mut self, principal: &str) {
        let Resource { kind, name, version, .. } = *self.cluster;
        let guilty = Guilty { kind, name, version, message: "bad".into(), accepted: None };
        self.compiler.nacked(self.nodes[SIDECAR], &principal.into(), &guilty);
    }

    fn condemned(&self) -> bool {
        self.compiler.view(self.nodes[SIDECAR]).condemned(&self.cluster)
    }
}

#[test]
fn two_who_reject_what_nobody_has_accepted_condemn_it() {
    let mut mesh = Mesh::new();
    mesh.nacked("one");
    mesh.nacked("one");
    assert!(!mesh.condemned(), "one odd client");
    mesh.nacked("two");
    assert!(mesh.condemned());
    mesh.acked();
    assert!(!mesh.condemned(), "it works for somebody");
}

#[test]
fn what_works_for_anybody_is_taken_from_nobody() {
    let mut mesh = Mesh::new();
    mesh.acked();
    for principal in 0..10 {
        mesh.nacked(&principal.to_string());
    }
    assert!(!mesh.condemned());
}

#[test]
fn a_rejection_ends_with_its_client_and_with_its_resource() {
    let mut mesh = Mesh::new();
    mesh.nacked("one");
    assert_eq!(mesh.compiler.findings().count(), 1);
    let node = mesh.nodes[SIDECAR];
    mesh.compiler.detach(node);
    assert_eq!(mesh.compiler.findings().count(), 0, "nobody rejects it any more");

    let mut mesh = Mesh::new();
    mesh.nacked("one");
    let gone = apply(&mut mesh.registry, &Edit { name: "service".to_owned(), text: None });
    mesh.compiler.apply(mesh.registry.world(), &gone);
    assert_eq!(mesh.compiler.findings().count(), 0, "it does not exist any more");
}

#[test]
fn what_was_accepted_before_a_restart_is_not_condemned_by_who_rejects_first() {
    let mut before = Mesh::new();
    before.acked();
    let accepted = before.compiler.take_accepted();
    assert!(!accepted.is_empty());
    let mut mesh = Mesh::new();
    mesh.compiler.remember(&accepted);
    mesh.nacked("one");
    mesh.nacked("two");
    assert!(!mesh.condemned());
}

#[test]
fn a_rejection_ends_when_its_client_reads_tables_without_it() {
    let mut mesh = Mesh::new();
    mesh.nacked("one");
    let named = |mesh: &Mesh| mesh.compiler.findings().filter(|f| f.code == super::super::REJECTED).count();
    assert_eq!(named(&mesh), 1);
    for (hosts, rejections) in [("./*", 1), ("nowhere/*", 0)] {
        // Another sidecar is another view.
        let name = if rejections == 0 { "nothing" } else { "own" };
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: a}}\nspec: {{egress: \
             [{{hosts: ['{hosts}']}}]}}"
        );
        let before = mesh.compiler.tables_of(mesh.nodes[SIDECAR]);
        let changes = apply(&mut mesh.registry, &Edit { name: "sidecar".to_owned(), text: Some(text) });
        mesh.compiler.apply(mesh.registry.world(), &changes);
        assert_ne!(mesh.compiler.tables_of(mesh.nodes[SIDECAR]), before);
        assert_eq!(named(&mesh), rejections, "{hosts}");
    }
}

/// How often tables are looked at while workloads with inbound listeners of their own reject them, get others that
/// they reject as well, and go.
fn looked_at(workloads: usize) -> u64 {
    let mut registry = Registry::new(&[SourceId("test".into())]);
    let mut compiler = Compiler::new();
    let mut nodes = Vec::new();
    let edit = |n: usize, port: usize| {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: a}}\nspec: {{clusterIP: 10.96.0.1, ports: \
             [{{name: http, port: 80}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: \
             s{n}-x, namespace: a, labels: {{kubernetes.io/service-name: s{n}}}}}\naddressType: IPv4\nports: [{{name: http, \
             port: {port}}}]\nendpoints: [{{addresses: [10.1.0.{n}]}}]"
        );
        Edit { name: format!("s{n}"), text: Some(text) }
    };
    for n in 0..workloads {
        apply(&mut registry, &edit(n, 8_000 + n));
        let info = NodeInfo::from_id(&format!("sidecar~10.1.0.{n}~c{n}.a~a.svc.cluster.local"));
        nodes.push(compiler.attach(registry.world(), &Arc::new(info)));
    }
    let name = compiler.names().find("virtualInbound").unwrap();
    let reject_all = |compiler: &mut Compiler| {
        for (n, node) in nodes.iter().enumerate() {
            // Until the client says that it rejects every composition.
            for _ in 0..100 {
                let listener = compiler.view(*node).get(ResourceType::Listener, name).unwrap().clone();
                let Resource { kind, name, version, .. } = *listener;
                let before = compiler.rejected_by(*node, kind).count();
                let guilty = Guilty { kind, name, version, message: "bad".into(), accepted: None };
                compiler.nacked(*node, &n.to_string().into(), &guilty);
                if compiler.rejected_by(*node, kind).count() > before {
                    break;
                }
            }
            assert!(compiler.rejected_by(*node, ResourceType::Listener).count() > 0, "{n}");
        }
    };
    reject_all(&mut compiler);
    for n in 0..workloads {
        let changes = apply(&mut registry, &edit(n, 9_000 + n));
        compiler.apply(registry.world(), &changes);
    }
    assert_eq!(compiler.rejected().count(), 0, "they end with what they were about");
    reject_all(&mut compiler);
    for node in &nodes {
        compiler.detach(*node);
    }
    assert_eq!(compiler.rejected().count(), 0, "and with who rejected it");
    compiler.rejections_looked_at()
}

#[test]
fn a_rejection_costs_what_is_rejected_and_not_all_who_have_the_name() {
    let (few, many) = (looked_at(20), looked_at(80));
    assert!(few > 0 && many <= 5 * few, "{few} for 20 workloads, {many} for 80");
}
