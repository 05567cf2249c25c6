//! Incremental output is byte-equal to a cold compile of the same world, whatever came before; and a read that
//! is not recorded is found out by that.

use std::sync::Arc;

use lateen_model::{
    Document, NodeInfo, ObjectId, ObjectKind, SourceEvent, SourceId, event::Object, hash::SetHash,
};
use lateen_proto::envoy::config::{listener::v3::Listener, route::v3::RouteConfiguration};
use lateen_registry::{Changes, Registry};
use lateen_xds::{ResourceType, View};
use proptest::prelude::*;
use prost::Message as _;

use super::Compiler;
use crate::engine::planted;

mod costs;
mod pins;
mod rejections;
mod replicas;
mod trials;
mod worlds;

/// One document of a small mesh, or its removal.
#[derive(Clone, Debug)]
struct Edit {
    name: String,
    text: Option<String>,
}

fn documents() -> impl Strategy<Value = Edit> {
    let host = (0usize..4).prop_map(|n| format!("s{n}"));
    let service = (host.clone(), 0usize..3, any::<bool>()).prop_map(|(host, ports, headless)| {
        let ports: Vec<String> = (0..=ports)
            .map(|p| format!("{{name: {}-{p}, port: {}}}", ["http", "tcp", "grpc"][p], [80, 9000, 7070][p]))
            .collect();
        let ip = if headless { "None" } else { "10.96.0.1" };
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {host}, namespace: a}}\nspec: {{clusterIP: {ip}, ports: [{}]}}",
            ports.join(", ")
        );
        (format!("service-{host}"), text)
    });
    let slice = (host.clone(), 0usize..4).prop_map(|(host, count)| {
        let all: Vec<String> = (0..count).map(|n| format!("{{addresses: [10.0.0.{}]}}", n + 1)).collect();
        let text = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {host}-x, namespace: a, labels: \
             {{kubernetes.io/service-name: {host}}}}}\naddressType: IPv4\nports: [{{name: http-0, port: 8080}}]\nendpoints: [{}]",
            all.join(", ")
        );
        (format!("slice-{host}"), text)
    });
    let routes = (host.clone(), host.clone(), 1u32..100, prop_oneof![Just("mesh"), Just("edge")]).prop_map(
        |(host, other, weight, gateway)| {
            let text = format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {host}, namespace: a}}\nspec:\n  \
                 hosts: [{host}]\n  gateways: [{gateway}]\n  http: [{{route: [{{destination: {{host: {host}}}, weight: {weight}}}, \
                 {{destination: {{host: {other}}}, weight: {}}}]}}]",
                100 - weight
            );
            (format!("routes-{host}"), text)
        },
    );
    let rule = (prop_oneof![host.clone(), Just("'*.a.svc.cluster.local'".to_owned())], 1u32..9).prop_map(|(host, n)| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r{}, namespace: a}}\nspec:\n  \
             host: {host}\n  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {n}}}}}}}\n  subsets: [{{name: v1, labels: {{version: v1}}}}]",
            host.len()
        );
        (format!("rule-{}", host.len()), text)
    });
    let imports = prop_oneof![
        3 => host.clone().prop_map(|host| format!("./{host}.a.svc.cluster.local")),
        1 => Just("a/*".to_owned()),
        1 => Just("*/*.a.svc.cluster.local".to_owned()),
        1 => Just("b/*', '!*/s1.a.svc.cluster.local".to_owned()),
        1 => Just("~/*".to_owned()),
    ];
    let modes = prop_oneof![Just("ALLOW_ANY"), Just("REGISTRY_ONLY")];
    let sidecar = (imports, modes).prop_map(|(imports, mode)| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: default, namespace: a}}\nspec:\n  \
             outboundTrafficPolicy: {{mode: {mode}}}\n  egress: [{{hosts: ['{imports}']}}]"
        );
        ("sidecar".to_owned(), text)
    });
    let policy = prop_oneof![
        Just(("AuthorizationPolicy", "{rules: [{from: [{source: {namespaces: [b]}}]}]}")),
        Just(("AuthorizationPolicy", "{rules: [{}]}")),
        Just(("PeerAuthentication", "{mtls: {mode: STRICT}}")),
        Just(("PeerAuthentication", "{selector: {matchLabels: {app: edge}}, mtls: {mode: STRICT}}")),
        Just(("RequestAuthentication", "{jwtRules: [{issuer: https://a.example.com}]}")),
    ];
    let policy = policy.prop_map(|(kind, spec)| {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: p, namespace: a}}\nspec: {spec}"
        );
        (format!("policy-{kind}"), text)
    });
    let closed = host.clone().prop_map(|host| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: closed, namespace: a}}\nspec:\n  \
             host: {host}\n  trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}"
        );
        ("rule-closed".to_owned(), text)
    });
    let document = prop_oneof![
        4 => service, 4 => slice, 3 => routes, 2 => rule, 1 => sidecar, 1 => gateways(), 2 => edge_routes(), 2 => entries(),
        2 => policy, 1 => closed,
    ];
    (document, prop::bool::weighted(0.8))
        .prop_map(|((name, text), there)| Edit { name, text: there.then_some(text) })
}

/// Two gateways, each with a server or two: of a port, of hosts, for HTTP, with a redirect, for TCP, or for TLS that ends
/// here, is closed, or is passed through.
fn gateways() -> impl Strategy<Value = (String, String)> {
    let hosts =
        prop_oneof![Just("'*'"), Just("'*.x.io', 'b/*'"), Just("one.x.io"), Just("./*.x.io, '*-odd.x.io'"),];
    let server = (8080u16..8082, hosts, 0usize..6).prop_map(|(port, hosts, kind)| {
        let (protocol, tls) = [
            ("HTTP", ""),
            ("HTTP", ", tls: {httpsRedirect: true}"),
            ("TCP", ""),
            ("HTTPS", ", tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}"),
            ("HTTPS", ", tls: {mode: MUTUAL, credentialName: c}"),
            ("TCP", ", tls: {mode: PASSTHROUGH}"),
        ][kind];
        format!("number: {port}, protocol: {protocol}}}, hosts: [{hosts}]{tls}}}")
    });
    (prop_oneof![Just("edge"), Just("other")], proptest::collection::vec(server, 1..3)).prop_map(
        |(name, servers)| {
            let number = |(number, server)| format!("{{port: {{name: p-{number}, {server}");
            let servers: Vec<String> = servers.into_iter().enumerate().map(number).collect();
            let text = format!(
                "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: a}}\nspec:\n  \
                 selector: {{app: edge}}\n  servers: [{}]",
                servers.join(", ")
            );
            (format!("gateway-{name}"), text)
        },
    )
}

/// Routes of the gateways: exact hosts and wildcards, of two namespaces, HTTP and TCP.
fn edge_routes() -> impl Strategy<Value = (String, String)> {
    let hosts = prop_oneof![
        Just("one.x.io"),
        Just("two.x.io, one.x.io"),
        Just("'*.x.io'"),
        Just("'*'"),
        Just("'*-odd.x.io', 'a-odd.x.io'"),
    ];
    let gateways = prop_oneof![Just("a/edge"), Just("a/other"), Just("a/edge, a/other, mesh")];
    let namespace = prop_oneof![Just("a"), Just("b")];
    (0usize..3, namespace, hosts, gateways, 0usize..4, 0usize..3, any::<bool>()).prop_map(
        |(n, namespace, hosts, gateways, to, kind, exported)| {
            let to = format!("destination: {{host: s{to}.a.svc.cluster.local, port: {{number: 80}}}}");
            let routes = [
                format!("http: [{{route: [{{{to}}}]}}]"),
                format!("http: [{{match: [{{uri: {{prefix: /{n}}}}}], route: [{{{to}}}]}}]"),
                format!("tcp: [{{route: [{{{to}}}]}}]"),
            ];
            let export = if exported { "" } else { "  exportTo: ['.']\n" };
            let text = format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: edge-{n}, namespace: {namespace}}}\nspec:\n  \
                 hosts: [{hosts}]\n  gateways: [{gateways}]\n{export}  {}",
                routes[kind]
            );
            (format!("edge-{namespace}-{n}"), text)
        },
    )
}

/// Hosts that several namespaces define, for some or for all.
fn entries() -> impl Strategy<Value = (String, String)> {
    let host = prop_oneof![Just("s1.a.svc.cluster.local"), Just("one.x.io"), Just("'*.x.io'")];
    let namespace = prop_oneof![Just("a"), Just("b")];
    (host, namespace, prop_oneof![Just("'*'"), Just("."), Just("a")]).prop_map(|(host, namespace, export)| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{}, namespace: {namespace}}}\nspec: \
             {{hosts: [{host}], exportTo: [{export}], resolution: NONE, ports: [{{number: 80, name: http, protocol: HTTP}}]}}",
            host.len()
        );
        (format!("entry-{namespace}-{}", host.len()), text)
    })
}

fn nodes() -> Vec<Arc<NodeInfo>> {
    let mut edge = NodeInfo::from_id("router~10.0.0.9~edge.a~a.svc.cluster.local");
    edge.labels.insert("app".into(), "edge".into());
    let sidecar = NodeInfo::from_id("sidecar~10.0.0.1~s0.a~a.svc.cluster.local");
    let other = NodeInfo::from_id("sidecar~10.0.0.8~x.b~b.svc.cluster.local");
    [edge, sidecar, other].map(Arc::new).to_vec()
}

fn apply(registry: &mut Registry, edit: &Edit) -> Changes {
    let id = ObjectId { kind: ObjectKind::Document, name: edit.name.as_str().into() };
    let event = match &edit.text {
        Some(text) => {
            let object = Object::Document(Document { body: text.as_bytes().into() });
            SourceEvent::Upsert { id, object }
        }
        None => SourceEvent::Remove { id },
    };
    registry.apply(&SourceId("test".into()), event, 0)
}

/// Applies the edits one by one; the first difference to a cold compile, if there is one.
fn difference(nodes: &[Arc<NodeInfo>], edits: &[Edit]) -> Option<String> {
    difference_in_portions(nodes, edits, usize::MAX)
}

/// The same where changes of more cells, and tables with more new members, are taken over in portions: each World
/// on the way is compared, with the tables that have all their members, and the last one with that of a registry
/// that takes over all at once.
fn difference_in_portions(nodes: &[Arc<NodeInfo>], edits: &[Edit], portion: usize) -> Option<String> {
    let mut registry = Registry::new(&[SourceId("test".into())]);
    let mut whole = registry.clone();
    registry.set_portion(portion);
    let mut compiler = Compiler::new();
    compiler.set_portion(portion);
    let handles: Vec<_> = nodes.iter().map(|node| compiler.attach(registry.world(), node)).collect();
    for (step, edit) in edits.iter().enumerate() {
        let mut changes = apply(&mut registry, edit);
        apply(&mut whole, edit);
        loop {
            compiler.apply(registry.world(), &changes);
            for handle in &handles {
                compiler.subscribe_all(registry.world(), *handle);
            }
            if let Some(keys) = against_cold(&compiler, registry.world(), nodes, &handles) {
                return Some(format!("step {step}, {edit:?}: {keys}"));
            }
            if compiler.is_behind() {
                compiler.advance(registry.world(), portion);
                changes = Changes::default();
            } else if registry.is_behind() {
                changes = registry.advance(portion);
            } else {
                break;
            }
        }
        if registry.world() != whole.world() {
            return Some(format!("step {step}, {edit:?}: another world"));
        }
    }
    None
}

/// What differs for the nodes whose tables are complete.
fn against_cold(
    compiler: &Compiler,
    world: &lateen_registry::World,
    nodes: &[Arc<NodeInfo>],
    handles: &[crate::NodeHandle],
) -> Option<String> {
    let (cold, cold_handles) = Compiler::cold(world, nodes);
    for ((warm, cold_handle), node) in handles.iter().zip(&cold_handles).zip(nodes) {
        if !compiler.is_complete(*warm) {
            continue;
        }
        let (left, right) = (compiler.contents(*warm), cold.contents(*cold_handle));
        if left != right {
            let keys: Vec<_> =
                left.keys().chain(right.keys()).filter(|k| left.get(*k) != right.get(*k)).collect();
            return Some(format!("node {}: {keys:?}", node.id));
        }
        references(compiler, *warm);
        let twice = twice(compiler, *warm);
        if !twice.is_empty() {
            return Some(format!("node {}: {twice:?}", node.id));
        }
    }
    None
}

/// What Envoy would refuse a whole resource for: a domain in two virtual hosts, or a match of two filter chains. And names
/// of chains are those of one.
fn twice(compiler: &Compiler, handle: crate::NodeHandle) -> Vec<String> {
    let view = compiler.view(handle);
    let mut found = Vec::new();
    let mut check = |of: &str, all: Vec<String>| {
        let mut seen = std::collections::BTreeSet::new();
        found.extend(
            all.into_iter().filter(|one| !seen.insert(one.clone())).map(|one| format!("{of}: {one}")),
        );
    };
    view.members(ResourceType::RouteConfiguration, &mut |name, resource| {
        let routes = RouteConfiguration::decode(resource.body.bytes()).unwrap();
        let domains = routes.virtual_hosts.iter().flat_map(|host| host.domains.clone());
        check(compiler.names().text(name), domains.collect());
    });
    view.members(ResourceType::Listener, &mut |name, resource| {
        let chains = Listener::decode(resource.body.bytes()).unwrap().filter_chains;
        let matched = chains.iter().map(|chain| format!("{:?}", chain.filter_chain_match));
        check(compiler.names().text(name), matched.collect());
        let outbound =
            chains.iter().filter(|chain| !chain.name.is_empty() && !chain.name.starts_with("virtual"));
        check(compiler.names().text(name), outbound.map(|chain| chain.name.clone()).collect());
    });
    found
}

/// What is served is closed under reference (I-3), and the digest of references is that of all of them.
fn references(compiler: &Compiler, handle: crate::NodeHandle) {
    let view = compiler.view(handle);
    for kind in [ResourceType::Listener, ResourceType::RouteConfiguration] {
        view.members(kind, &mut |name, resource| {
            let mut digest = SetHash::default();
            resource.refs.visit(&mut |target| {
                target.add_to(&mut digest);
                let there = view.get(target.kind, target.name).is_some();
                assert!(
                    there,
                    "{kind} {} names {} {} which does not exist",
                    compiler.names().text(name),
                    target.kind,
                    compiler.names().text(target.name)
                );
            });
            assert_eq!(resource.refs.digest(), digest, "{kind} {}", compiler.names().text(name));
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn incremental_is_byte_equal_to_cold(edits in proptest::collection::vec(documents(), 1..20)) {
        prop_assert_eq!(difference(&nodes(), &edits), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn each_portion_is_a_world_of_its_own(edits in proptest::collection::vec(documents(), 1..16), portion in 0usize..4) {
        prop_assert_eq!(difference_in_portions(&nodes(), &edits, portion), None);
    }
}

/// Does the oracle find out that the reads of these keys are not recorded?
fn is_found_out(forget: planted::Forget) -> bool {
    planted::FORGET.set(Some(forget));
    let config = ProptestConfig { cases: 200, max_shrink_iters: 0, ..ProptestConfig::default() };
    let caught = proptest::test_runner::TestRunner::new(config).run(
        &proptest::collection::vec(documents(), 1..20),
        |edits| {
            prop_assert_eq!(difference(&nodes(), &edits), None);
            Ok(())
        },
    );
    planted::FORGET.set(None);
    caught.is_err()
}

#[test]
fn an_unrecorded_read_of_a_fact_is_found_out() {
    assert!(is_found_out(|key| key.starts_with("DestinationRules(")));
}

#[test]
fn an_unrecorded_read_of_a_memo_is_found_out() {
    let edit = |name: &str, text: String| Edit { name: name.to_owned(), text: Some(text) };
    let entry = |name: &str, port: &str| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: a}}\nspec: {{hosts: \
             [{name}.io], resolution: NONE, ports: [{{number: 443, name: {port}, protocol: TLS}}]}}"
        );
        edit(name, text)
    };
    let sidecar = |mode: &str| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: default, namespace: a}}\nspec: \
             {{outboundTrafficPolicy: {{mode: {mode}}}}}"
        );
        edit("sidecar", text)
    };
    let gateway = |redirect: bool| {
        let tls = if redirect { ", tls: {httpsRedirect: true}" } else { "" };
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: a}}\nspec:\n  selector: \
             {{app: edge}}\n  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [one.io]{tls}}}]"
        );
        edit("gateway", text)
    };
    let planted: [(planted::Forget, Vec<Edit>); 3] = [
        // A second host contributes to the listener of the first.
        (|key| key.starts_with("Parts("), vec![entry("one", "tls"), entry("two", "tls")]),
        (|key| key.starts_with("Scope("), vec![sidecar("ALLOW_ANY"), sidecar("REGISTRY_ONLY")]),
        (|key| key.starts_with("GatewayServers("), vec![gateway(false), gateway(true)]),
    ];
    for (at, (forget, edits)) in planted.into_iter().enumerate() {
        assert_eq!(difference(&nodes(), &edits), None, "{at}");
        planted::FORGET.set(Some(forget));
        let found = difference(&nodes(), &edits);
        planted::FORGET.set(None);
        assert!(found.is_some(), "nobody noticed plant {at}");
    }
}

#[test]
fn an_ended_compilation_stops_between_two_memos() {
    let mut registry = Registry::new(&[SourceId("test".into())]);
    for number in 0..50 {
        let text = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: n{number}, namespace: a}}, spec: {{clusterIP: None, \
             ports: [{{name: http, port: 80}}]}}}}"
        );
        apply(&mut registry, &Edit { name: format!("n{number}"), text: Some(text) });
    }
    let whole = Compiler::cold(registry.world(), &nodes()).0.evaluations();
    let mut ended = Compiler::new();
    ended.end_when(Arc::new(std::sync::atomic::AtomicBool::new(true)));
    for node in nodes() {
        ended.attach(registry.world(), &node);
    }
    assert!(whole > 50 && ended.evaluations() < 10, "{} of {whole}", ended.evaluations());
}
