//! What holds for every sequence of events.

use std::collections::BTreeMap;

use lateen_config::parse;
use lateen_model::{SourceEvent, SourceId};
use lateen_registry::{Registry, World};
use proptest::{collection, prelude::*, sample::select};

use crate::feed::{apply, listing, remove, scope, source, upsert};

/// Objects that meet each other in all the ways there are: same names, same hosts, selectors and selected.
fn pool() -> Vec<String> {
    let mut pool = Vec::new();
    let mut add = |text: String| pool.push(text);
    for n in 1..=2 {
        for namespace in ["x", "y"] {
            add(format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: a, namespace: {namespace}, labels: {{n: '{n}'}}}}\nspec: {{selector: {{app: a{n}}}, ports: [{{name: http{n}, port: 80, targetPort: 808{n}}}]}}\n"
            ));
            add(format!(
                "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w{n}, namespace: {namespace}}}\nspec: {{address: 10.0.0.{n}, labels: {{app: a{n}}}}}\n"
            ));
            add(format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{n}, namespace: {namespace}}}\nspec: {{hosts: [e.example, f{n}.example], location: MESH_INTERNAL, resolution: STATIC, workloadSelector: {{labels: {{app: a1}}}}, ports: [{{number: 8{n}, name: http, protocol: HTTP}}]}}\n"
            ));
            add(format!(
                "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s{n}, namespace: {namespace}}}\nspec: {{egress: [{{hosts: ['./*']}}]}}\n"
            ));
        }
        add(format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a, namespace: x}}\nspec: {{type: ExternalName, externalName: n{n}.example, ports: [{{name: tcp, port: 9{n}}}]}}\n"
        ));
        add(format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a, namespace: x}}\nspec: {{hosts: [a.x.svc.cluster.local, e.example], location: MESH_INTERNAL, resolution: STATIC, ports: [{{number: 80, name: web, protocol: TCP}}], endpoints: [{{address: 10.0.0.{n}}}, {{address: 10.0.0.3}}]}}\n"
        ));
        // A definition without endpoints, whose name for the port is another.
        add(format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: n{n}, namespace: x}}\nspec: {{hosts: [a.x.svc.cluster.local], location: MESH_INTERNAL, resolution: NONE, ports: [{{number: 80, name: http{}, protocol: HTTP}}]}}\n",
            3 - n
        ));
        add(format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: a-1, namespace: x, labels: {{kubernetes.io/service-name: a}}}}\naddressType: IPv4\nports: [{{name: http{n}, port: 8080}}]\nendpoints: [{{addresses: [10.0.0.{n}], targetRef: {{kind: Pod, name: p}}}}, {{addresses: [10.0.0.9]}}]\n"
        ));
        add(format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: x, labels: {{app: a{n}}}}}\nspec: {{serviceAccountName: s{n}}}\nstatus: {{phase: Running, podIP: 10.0.0.{n}}}\n"
        ));
        add(format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: x}}\nspec: {{hosts: [a, '*.example'], gateways: [mesh, g{n}], http: [{{match: [{{sourceLabels: {{app: a{n}}}}}], route: [{{destination: {{host: a}}}}]}}]}}\n"
        ));
        add(format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{n}, namespace: y}}\nspec: {{hosts: [a.x.svc.cluster.local], exportTo: ['.'], http: [{{route: [{{destination: {{host: b{n}}}}}]}}]}}\n"
        ));
        add(format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d{n}, namespace: x}}\nspec: {{host: a, trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 1}}, loadBalancer: {{localityLbSetting: {{failoverPriority: [l{n}]}}}}}}}}\n"
        ));
        add(format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g{n}, namespace: x}}\nspec: {{selector: {{g: '{n}'}}, servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]}}\n"
        ));
        add(format!(
            "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {{name: istio}}\nspec: {{rootNamespace: r{n}, defaultServiceExportTo: ['{}']}}\n",
            if n == 1 { "." } else { "y" }
        ));
        add(format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: x, labels: {{team: t{n}}}}}\n"));
        add(format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: x}}\ntype: Opaque\nstringData: {{password: p{n}}}\n"
        ));
        add(format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: y}}\nspec: {{gatewayClassName: lateen, listeners: [{{name: l{n}, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{from: Selector, selector: {{matchLabels: {{team: t1}}}}}}}}}}]}}\n"
        ));
        add(format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: h{n}, namespace: x}}\nspec: {{parentRefs: [{{name: edge, namespace: y}}, {{group: '', kind: Service, name: a}}], hostnames: [h.example], rules: [{{backendRefs: [{{name: a, namespace: y, port: 80}}]}}]}}\n"
        ));
    }
    add("apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: grant, namespace: y}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: x}], to: [{group: '', kind: Service}]}\n".to_owned());
    pool
}

#[test]
fn the_pool_is_valid() {
    for text in pool() {
        let parsed = parse(text.as_bytes(), &"s".into(), &"l".into());
        assert!(parsed.invalid.is_empty() && parsed.objects.len() == 1, "{text}\n{:?}", parsed.diagnostics);
    }
}

const SOURCES: [&str; 3] = ["one", "two", "three"];

fn sources() -> Vec<SourceId> {
    SOURCES.iter().map(|name| source(name)).collect()
}

/// A document: some objects, each in its place whatever stands before it, and each at most once.
fn document() -> impl Strategy<Value = String> {
    collection::vec(select(pool()), 0..5).prop_map(|objects| {
        let mut names = std::collections::BTreeSet::new();
        let unique = objects.into_iter().filter(|text| {
            let parsed = parse(text.as_bytes(), &"s".into(), &"l".into());
            names.insert(parsed.objects[0].key.clone())
        });
        unique.collect::<Vec<_>>().join("---\n")
    })
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, String, String),
    Remove(usize, String),
    /// Lists this state, and thereby removes all else.
    List(usize, BTreeMap<String, String>),
    /// Lists what is there.
    Resync(usize),
    Fail(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || select(vec!["a.yaml".to_owned(), "b.yaml".to_owned(), "c.yaml".to_owned()]);
    let which = || 0..SOURCES.len();
    prop_oneof![
        8 => (which(), name(), document()).prop_map(|(source, name, text)| Step::Put(source, name, text)),
        3 => (which(), name()).prop_map(|(source, name)| Step::Remove(source, name)),
        1 => (which(), collection::btree_map(name(), document(), 0..3)).prop_map(|(source, state)| Step::List(source, state)),
        1 => which().prop_map(Step::Resync),
        1 => which().prop_map(Step::Fail),
    ]
}

type States = Vec<BTreeMap<String, String>>;

fn list(state: &BTreeMap<String, String>) -> Vec<SourceEvent> {
    listing(&state.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>())
}

/// Does a step to the registry and to the plain state.
fn perform(registry: &mut Registry, states: &mut States, step: &Step) {
    match step {
        Step::Put(at, name, text) => {
            states[*at].insert(name.clone(), text.clone());
            apply(registry, &source(SOURCES[*at]), upsert(name, text));
        }
        Step::Remove(at, name) => {
            states[*at].remove(name);
            apply(registry, &source(SOURCES[*at]), remove(name));
        }
        Step::List(at, state) => {
            states[*at].clone_from(state);
            for event in list(state) {
                apply(registry, &source(SOURCES[*at]), event);
            }
        }
        Step::Resync(at) => {
            let before = registry.world().revision();
            for event in list(&states[*at]) {
                apply(registry, &source(SOURCES[*at]), event);
            }
            assert_eq!(registry.world().revision(), before, "a resync changed something");
        }
        Step::Fail(at) => {
            let before = registry.world().clone();
            apply(registry, &source(SOURCES[*at]), SourceEvent::Resync(scope("")));
            registry.source_failed(&source(SOURCES[*at]), "gone", 0);
            assert_eq!(*registry.world(), before);
        }
    }
}

/// A World built at once from a state.
fn cold(states: &States) -> World {
    let mut registry = Registry::new(&sources());
    for (name, state) in SOURCES.iter().zip(states) {
        for event in list(state) {
            registry.apply(&source(name), event, 0);
        }
    }
    registry.world().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any sequence of events the World is the one built cold from the final state, and each step's changes
    /// are exactly the differences (which `apply` checks).
    #[test]
    fn the_world_depends_on_the_state_only(steps in collection::vec(step(), 1..25)) {
        let mut registry = Registry::new(&sources());
        let mut states: States = vec![BTreeMap::new(); SOURCES.len()];
        for step in &steps {
            perform(&mut registry, &mut states, step);
        }
        prop_assert_eq!(registry.world(), &cold(&states));
    }

    /// Events of different sources may come in any order.
    #[test]
    fn the_order_of_sources_is_irrelevant(
        steps in collection::vec(step(), 1..15),
        order in collection::vec(any::<prop::sample::Index>(), 15),
    ) {
        let mut straight = Registry::new(&sources());
        let mut states: States = vec![BTreeMap::new(); SOURCES.len()];
        for step in &steps {
            perform(&mut straight, &mut states, step);
        }
        let source_of = |step: &Step| match step {
            Step::Put(at, ..) | Step::Remove(at, _) | Step::List(at, _) | Step::Resync(at) | Step::Fail(at) => *at,
        };
        let mut queues: Vec<Vec<Step>> = vec![Vec::new(); SOURCES.len()];
        for step in steps.iter().rev() {
            queues[source_of(step)].push(step.clone());
        }
        let mut mixed = Registry::new(&sources());
        let mut states: States = vec![BTreeMap::new(); SOURCES.len()];
        for index in &order {
            let open: Vec<usize> = (0..queues.len()).filter(|at| !queues[*at].is_empty()).collect();
            if !open.is_empty()
                && let Some(step) = queues[open[index.index(open.len())]].pop()
            {
                perform(&mut mixed, &mut states, &step);
            }
        }
        prop_assert_eq!(straight.world(), mixed.world());
    }

    /// A bad object takes nothing away from its neighbours.
    #[test]
    fn a_bad_object_hides_no_good_one(good in document(), at in 0_usize..3, broken in select(pool())) {
        // No object may have such a name; comments of as many lines stand for it in the comparison.
        let bad = broken.replacen("metadata: {name: ", "metadata: {name: B_", 1);
        prop_assert_ne!(&bad, &broken);
        // Where nothing else configures the mesh, what this one says of namespaces counts.
        prop_assume!(!broken.contains("MeshConfig") || good.contains("MeshConfig"));
        let comment: String = bad.lines().map(|_| "# nothing\n").collect();
        let with = |other: &str| {
            let mut parts: Vec<&str> = good.split("---\n").collect();
            parts.insert(at.min(parts.len()), other);
            parts.join("---\n")
        };
        let world = |text: &str| {
            let mut registry = Registry::new(&sources());
            registry.apply(&source("one"), upsert("a.yaml", text), 0);
            registry.world().clone()
        };
        prop_assert_eq!(world(&with(&bad)), world(&with(&comment)));
    }

    /// What was good stays when all of it turns bad, whatever else happens to the text.
    #[test]
    fn last_good_stays(good in document(), cut in any::<prop::sample::Index>()) {
        let mut registry = Registry::new(&sources());
        registry.apply(&source("one"), upsert("a.yaml", &good), 0);
        let before = registry.world().clone();
        let cut = cut.index(good.len() + 1);
        // A half-written text that ends where no text may end.
        let half = format!("{}\n}}]\"", good.get(..cut).unwrap_or_default());
        let parsed = parse(half.as_bytes(), &"one".into(), &"a.yaml".into());
        prop_assert!(!parsed.invalid.is_empty());
        registry.apply(&source("one"), upsert("a.yaml", &half), 0);
        prop_assert_eq!(&before, registry.world());
    }
}
