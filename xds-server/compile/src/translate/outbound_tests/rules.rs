use std::collections::BTreeSet;

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
