//! What equal workloads share.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use lateen_model::NodeInfo;
use lateen_registry::Registry;
use lateen_xds::{ResourceType, View};

use super::{Edit, apply};
use crate::Compiler;

const REPLICAS: u32 = 2_000;

fn address(index: u32) -> String {
    format!("10.{}.{}.{}", 1 + (index >> 16), (index >> 8) & 255, index & 255)
}

fn edit(name: &str, text: String) -> Edit {
    Edit { name: name.to_owned(), text: Some(text) }
}

fn mesh() -> Vec<Edit> {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: a}\nspec:\n  \
        clusterIP: 10.96.0.1\n  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp-db, port: 3306}]";
    let mut slice =
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: cart-1, namespace: a, \
        labels: {kubernetes.io/service-name: cart}}\naddressType: IPv4\nports: [{name: http, port: 8080}, \
        {name: tcp-db, port: 3306}]\nendpoints:\n"
            .to_owned();
    for index in 0..REPLICAS {
        writeln!(slice, "- {{addresses: [{}]}}", address(index)).unwrap();
    }
    vec![edit("service", service.to_owned()), edit("slice", slice)]
}

/// The distinct bodies of each resource that the nodes have.
fn bodies(compiler: &Compiler, handles: &[crate::NodeHandle]) -> BTreeMap<(ResourceType, String), usize> {
    let mut distinct: BTreeMap<(ResourceType, String), BTreeSet<*const u8>> = BTreeMap::new();
    for handle in handles {
        let view = compiler.view(*handle);
        for kind in [ResourceType::Listener, ResourceType::Cluster, ResourceType::ExtensionConfig] {
            view.members(kind, &mut |name, resource| {
                let key = (kind, compiler.names().text(name).to_string());
                distinct.entry(key).or_default().insert(resource.body.bytes().as_ptr());
            });
        }
    }
    distinct.into_iter().map(|(key, bodies)| (key, bodies.len())).collect()
}

#[test]
fn equal_replicas_share_the_bytes_of_what_comes_to_them_and_of_their_policies() {
    let mut registry = Registry::new(&[lateen_model::SourceId("test".into())]);
    for edit in mesh() {
        apply(&mut registry, &edit);
    }
    let mut compiler = Compiler::new();
    let node =
        |index| NodeInfo::from_id(&format!("sidecar~{}~cart-{index}.a~a.svc.cluster.local", address(index)));
    let handles: Vec<_> =
        (0..REPLICAS).map(|index| compiler.attach(registry.world(), &Arc::new(node(index)))).collect();
    let all = bodies(&compiler, &handles);
    let inbound = [
        (ResourceType::Listener, "virtualInbound"),
        (ResourceType::Cluster, "inbound|8080||"),
        (ResourceType::Cluster, "inbound|3306||"),
        (ResourceType::Cluster, "InboundPassthroughCluster"),
        (ResourceType::ExtensionConfig, "lateen.authentication"),
        (ResourceType::ExtensionConfig, "lateen.authorization"),
    ];
    for (kind, name) in inbound {
        assert_eq!(all.get(&(kind, name.to_owned())), Some(&1), "{kind} {name} of {all:?}");
    }

    // A policy costs each replica its small entries, and compiles each body once.
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: a}\n\
        spec: {rules: [{from: [{source: {namespaces: [b]}}]}]}";
    let before = compiler.evaluations();
    let changes = apply(&mut registry, &edit("policy", policy.to_owned()));
    compiler.apply(registry.world(), &changes);
    let cost = compiler.evaluations() - before;
    assert!(cost <= 2 * u64::from(REPLICAS) + 20, "{cost} evaluations for {REPLICAS} replicas");
    for (kind, name) in inbound {
        assert_eq!(bodies(&compiler, &handles).get(&(kind, name.to_owned())), Some(&1), "{kind} {name}");
    }
}
