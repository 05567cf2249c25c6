use std::collections::{BTreeMap, BTreeSet};

use lateen_xds::ResourceType::{Cluster, Endpoints, Listener, RouteConfiguration};
use serde_json::Value;

use super::{
    super::cold::{Resources, compile, view, with_sidecar, world},
    nodes, resources,
};
use crate::translate::{EndpointView, Families, OutboundView};

/// Every golden case with every node of it.
fn all_cases() -> Vec<(String, Resources)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut all = Vec::new();
    for case in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("outbound-") {
            continue;
        }
        let text = std::fs::read_to_string(case.join("input.yaml")).unwrap();
        let world = world(&text);
        for node in nodes(&text) {
            all.push((format!("{name}/{}", node.workload), resources(&world, &node)));
        }
    }
    assert!(!all.is_empty());
    all
}

#[test]
fn references_are_closed() {
    for (case, made) in all_cases() {
        assert!(made.dangling.is_empty(), "{case}: {:?}", made.dangling);
    }
}

#[test]
fn every_assignment_has_its_cluster_and_every_eds_cluster_its_assignment() {
    for (case, made) in all_cases() {
        let by_eds = made
            .names(Cluster)
            .into_iter()
            .filter(|name| made.json(Cluster, name).get("type").and_then(Value::as_str) == Some("EDS"));
        assert_eq!(by_eds.collect::<Vec<_>>(), made.names(Endpoints), "{case}");
    }
}

#[test]
fn a_domain_stands_in_one_virtual_host_of_a_route_configuration() {
    for (case, made) in all_cases() {
        for name in made.names(RouteConfiguration) {
            let mut seen = BTreeSet::new();
            for host in made.json(RouteConfiguration, name)["virtual_hosts"].as_array().into_iter().flatten()
            {
                for domain in host["domains"].as_array().unwrap() {
                    assert!(seen.insert(domain.to_string()), "{case} {name}: {domain} twice");
                }
            }
        }
    }
}

#[test]
fn two_filter_chains_of_a_listener_never_match_the_same() {
    for (case, made) in all_cases() {
        for name in made.names(Listener) {
            let listener = made.json(Listener, name);
            let mut seen = BTreeSet::new();
            for chain in listener["filter_chains"].as_array().into_iter().flatten() {
                let matched = chain["filter_chain_match"].to_string();
                assert!(seen.insert(matched.clone()), "{case} {name}: {matched} twice");
            }
        }
    }
}

#[test]
fn compiling_twice_gives_the_same_bytes() {
    for ((case, one), (_, other)) in all_cases().into_iter().zip(all_cases()) {
        assert_eq!(one.by_name, other.by_name, "{case}");
    }
}

fn default_view(text: &str, view: &OutboundView) -> Resources {
    compile(&world(text), view, &EndpointView::default())
}

const TWO_SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: a, namespace: one}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: alias, namespace: one}
spec:
  hosts: [a.one]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
";

#[test]
fn a_short_name_that_is_a_host_belongs_to_that_host() {
    let made = default_view(TWO_SERVICES, &view("one"));
    let hosts = made.json(RouteConfiguration, "80")["virtual_hosts"].clone();
    let domains = |name: &str| {
        let host = hosts.as_array().unwrap().iter().find(|host| host["name"] == name).unwrap();
        host["domains"].clone()
    };
    assert_eq!(domains("a.one:80"), serde_json::json!(["a.one"]));
    assert_eq!(
        domains("a.one.svc.cluster.local:80"),
        serde_json::json!(["a.one.svc.cluster.local", "a.one.svc", "a"])
    );
}

#[test]
fn a_view_of_another_namespace_has_the_same_clusters_and_no_bare_name() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: a, namespace: one}
spec: {ports: [{name: http, port: 80}]}
";
    let (here, there) = (default_view(text, &view("one")), default_view(text, &view("two")));
    assert_eq!(here.by_name.len(), there.by_name.len());
    let name = "outbound|80||a.one.svc.cluster.local";
    assert_eq!(here.json(Cluster, name), there.json(Cluster, name));
    let domains = &there.json(RouteConfiguration, "80")["virtual_hosts"][0]["domains"];
    assert_eq!(*domains, serde_json::json!(["a.one.svc.cluster.local", "a.one.svc", "a.one"]));
}

#[test]
fn nothing_captured_means_no_socket_for_captured_connections() {
    let text = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: bound, namespace: one}
spec:
  egress:
  - {port: {number: 9080, protocol: HTTP, name: http}, captureMode: NONE, hosts: ['*/*']}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: one}
spec: {ports: [{name: http, port: 80}]}
";
    let made = default_view(text, &with_sidecar(view("one"), "bound"));
    assert_eq!(made.names(Listener), ["127.0.0.1_9080"]);
    let routes = made.json(RouteConfiguration, "9080");
    // A connection that was made to the proxy has no other destination to be passed on to.
    assert_eq!(routes["virtual_hosts"][1]["name"], "block_all");
}

#[test]
fn a_node_with_both_families_listens_on_both() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: a, namespace: one}
spec: {ports: [{name: http, port: 80}]}
";
    let mut dual = view("one");
    dual.families = Families::Dual;
    let made = default_view(text, &dual);
    for name in made.names(Listener) {
        let also = &made.json(Listener, name)["additional_addresses"][0]["address"]["socket_address"];
        assert_eq!(also["address"], "::", "{name}");
    }
}

/// The filter chains of a listener, by name.
fn chains(made: &Resources, listener: &str) -> BTreeMap<String, Value> {
    let listener = made.json(Listener, listener);
    let all = listener["filter_chains"].as_array().into_iter().flatten();
    let all: Vec<_> = all.map(|chain| (chain["name"].as_str().unwrap().to_owned(), chain.clone())).collect();
    let by_name: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(by_name.len(), all.len(), "a name twice");
    by_name
}

fn entry(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: one}}\nspec: \
         {{hosts: [{name}.example.com], resolution: NONE, {spec}}}\n"
    )
}

fn headless(name: &str, instances: &[String]) -> String {
    let all: Vec<_> = instances.iter().map(|ip| format!("{{addresses: [{ip}]}}")).collect();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: one}}\nspec: {{clusterIP: None, ports: \
         [{{name: tcp, port: 3306}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, \
         namespace: one, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: tcp, port: \
         3306}}]\nendpoints: [{}]\n",
        all.join(", ")
    )
}

#[test]
fn a_service_that_comes_leaves_the_chains_of_others_as_they_are() {
    let tls = "ports: [{number: 443, name: tls, protocol: TLS}]";
    let before: Vec<String> = ["m", "n"].map(|name| entry(name, tls)).to_vec();
    let before_it = default_view(&before.concat(), &view("one"));
    let old = chains(&before_it, "0.0.0.0_443");
    assert_eq!(old.len(), 2);
    for name in ["a", "z"] {
        let made = default_view(&(before.concat() + &entry(name, tls)), &view("one"));
        let new = chains(&made, "0.0.0.0_443");
        assert_eq!(new.len(), 3);
        assert!(old.iter().all(|(name, chain)| new.get(name) == Some(chain)), "{old:#?} {new:#?}");
    }
}

#[test]
fn an_instance_that_comes_leaves_the_chains_of_others_as_they_are() {
    let instances = |count: usize| -> Vec<String> {
        (0..count).map(|n| format!("10.3.{}.{}", n / 250, n % 250)).collect()
    };
    let of = |count| chains(&default_view(&headless("db", &instances(count)), &view("one")), "0.0.0.0_3306");
    let (few, more) = (of(9), of(10));
    assert_eq!((few.len(), more.len()), (9, 10));
    assert!(few.iter().all(|(name, chain)| more.get(name) == Some(chain)), "{few:#?} {more:#?}");
    // Of very many only those end that share a chain with the new one, and there are not more chains.
    let (many, and_one) = (of(1000), of(1001));
    assert!(many.len() <= 256 && and_one.len() <= 256, "{} {}", many.len(), and_one.len());
    let changed = many.iter().filter(|(name, chain)| and_one.get(*name) != Some(chain)).count();
    assert!(changed <= 1, "{changed}");
}

#[test]
fn whose_name_comes_first_opens_nothing_that_is_closed() {
    let closed = |host: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: closed, namespace: one}}\nspec: \
             {{host: {host}, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}\n"
        )
    };
    let route = |from: &str, to: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: routes, namespace: one}}\nspec: \
             {{hosts: [{from}], tcp: [{{route: [{{destination: {{host: {to}, port: {{number: 1}}}}}}]}}]}}\n"
        )
    };
    let tcp = |addresses: &str| format!("ports: [{{number: 3306, name: tcp, protocol: TCP}}]{addresses}");
    let ip = || vec!["10.3.0.1".to_owned()];
    for (open, shut) in [("a", "b"), ("b", "a")] {
        let (closed_host, far) = (format!("{shut}.example.com"), "far.example.com");
        let by_address =
            entry(open, &tcp(", addresses: [10.0.0.1/8]")) + &entry(shut, &tcp(", addresses: [10.0.0.0/8]"));
        let routed = entry(open, &tcp("")) + &entry(shut, &tcp("")) + &route(&closed_host, far);
        let worlds = [
            entry(open, &tcp("")) + &entry(shut, &tcp("")) + &closed(&closed_host),
            routed
                + &entry("far", "addresses: [10.9.9.9], ports: [{number: 1, name: tcp, protocol: TCP}]")
                + &closed(far),
            headless(open, &ip()) + &headless(shut, &ip()) + &closed(shut),
            by_address + &closed(&closed_host),
        ];
        for world in worlds {
            let made = default_view(&world, &view("one"));
            let listener = made.json(Listener, "0.0.0.0_3306");
            let text = listener.to_string();
            assert!(text.contains("\"cluster\":\"BlackHoleCluster\""), "{open} {world}: {listener:#}");
            assert!(!text.contains("\"cluster\":\"outbound|"), "{open} {world}: {listener:#}");
            let lost: Vec<_> = made.findings.iter().filter(|found| found.code.0 == "LAT3003").collect();
            assert!(lost.len() == 1 && lost[0].origin.is_some(), "{open} {world}: {lost:?}");
            assert!(lost[0].message.contains("they end"), "{open} {world}: {lost:?}");
        }
    }
}
