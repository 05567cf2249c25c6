use std::collections::HashMap;

use serde_json::json;

use super::*;

#[derive(Default)]
struct Known(HashMap<String, Alloc>);

impl Facts for Known {
    fn alloc(&self, id: &str) -> Option<&Alloc> {
        self.0.get(id)
    }

    fn zone(&self, node: &str) -> Arc<str> {
        format!("zone-of-{node}").into()
    }
}

fn rules() -> Rules {
    let hosts = crate::config::Settings::parse("http://x").unwrap().hosts;
    Rules { source: "nomad=http://x".into(), hosts, port: 80 }
}

fn registration(alloc: &str, label: &str, port: i64, tags: &[&str]) -> Registration {
    serde_json::from_value(json!({
        "ID": format!("_nomad-task-{alloc}-group-web-web-{label}"), "ServiceName": "web", "Namespace": "prod",
        "NodeID": "n", "Datacenter": "dc1", "AllocID": alloc, "JobID": "shop", "Tags": tags,
        "Address": "10.0.0.7", "Port": port, "CreateIndex": 7, "ModifyIndex": 9,
    }))
    .unwrap()
}

fn alloc(value: serde_json::Value) -> Alloc {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_registration_is_an_endpoint() {
    let one = registration("a1", "http", 28338, &["version=v1", "blue", "lateen-weight=7"]);
    let (service, endpoints) = service(&rules(), ("prod", "web"), &[one], &Known::default());
    assert_eq!(service.host.as_str(), "web.prod.svc.cluster.local");
    let [port] = service.ports.as_slice() else { panic!("{service:?}") };
    assert_eq!((port.number, &*port.name, port.protocol), (80, "http", Protocol::Http));
    let [endpoint] = endpoints.as_slice() else { panic!("{endpoints:?}") };
    assert_eq!(endpoint.address.to_string(), "10.0.0.7");
    assert_eq!(endpoint.ports.get("http"), Some(&28338));
    assert_eq!(endpoint.locality.to_string(), "dc1/zone-of-n/");
    assert_eq!((endpoint.weight, endpoint.health), (7, Health::Healthy));
    let labels: Vec<_> = endpoint.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["blue=", "lateen-weight=7", "nomad-job=shop", "version=v1"]);
}

#[test]
fn ports_of_one_allocation_are_one_endpoint() {
    let both = [
        registration("a1", "grpc", 9001, &["lateen-port=9000"]),
        registration("a1", "http", 9002, &[]),
        registration("a1", "admin", 9003, &[]),
        registration("a2", "http", 9004, &["protocol=tcp", "lateen-host=Shop.Example"]),
    ];
    let (service, endpoints) = service(&rules(), ("prod", "web"), &both, &Known::default());
    assert_eq!(service.host.as_str(), "shop.example");
    let ports: Vec<_> = service.ports.iter().map(|port| (port.number, &*port.name, port.protocol)).collect();
    // `admin` has no number to call it by.
    assert_eq!(ports, [(80, "http", Protocol::Tcp), (9000, "grpc", Protocol::Grpc)]);
    let ports: Vec<usize> = endpoints.iter().map(|endpoint| endpoint.ports.len()).collect();
    assert_eq!(ports, [3, 1]);
}

#[test]
fn two_instances_in_one_allocation_stay_two() {
    let both = [registration("a1", "http", 9001, &[]), registration("a1", "http", 9002, &[])];
    let (_, endpoints) = service(&rules(), ("prod", "web"), &both, &Known::default());
    assert_eq!(endpoints.len(), 2);
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let mut list: Vec<_> = (0..20)
        .map(|n| {
            registration(
                &format!("a{n}"),
                "http",
                9000 + n,
                &[if n % 2 == 0 { "protocol=grpc" } else { "x" }],
            )
        })
        .collect();
    let forwards = service(&rules(), ("prod", "web"), &list, &Known::default());
    list.reverse();
    assert_eq!(service(&rules(), ("prod", "web"), &list, &Known::default()), forwards);
}

#[test]
fn nonsense_is_left_out_and_breaks_nothing() {
    let mut odd = registration("", "", 0, &["", "=", "=x", "lateen-port=70000", "lateen-weight=-1"]);
    let none = service(&rules(), ("prod", "web"), std::slice::from_ref(&odd), &Known::default());
    assert_eq!((none.0.ports.len(), none.1.len()), (0, 1), "the registry says why it can't be reached");
    assert_eq!(none.1[0].ports.values().copied().collect::<Vec<_>>(), [0]);
    odd.port = 80;
    odd.id = "é".to_owned();
    odd.address = "not an ip\u{0}".to_owned();
    let (service, endpoints) = service(&rules(), ("prod", "web"), &[odd], &Known::default());
    assert_eq!((service.ports.len(), endpoints.len()), (1, 1));
    assert_eq!(endpoints[0].labels.len(), 3, "{:?}", endpoints[0].labels);
}

#[test]
fn labels_of_ports_are_found_whatever_the_names_hold() {
    let known = alloc(json!({ "ID": "a1", "TaskGroup": "web" }));
    for (label, expected) in [("http", "http"), ("a-web-b", "a-web-b"), ("", "")] {
        assert_eq!(port_label(&registration("a1", label, 1, &[]), Some(&known)), expected);
    }
    assert_eq!(port_label(&registration("a1", "http", 1, &[]), None), "http");
}

#[test]
fn health_is_that_of_the_allocation() {
    let judge = |desired: &str, client: &str, more: serde_json::Value| {
        let mut value =
            json!({ "ID": "a", "DesiredStatus": desired, "ClientStatus": client, "CreateIndex": 5 });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        health(&alloc(value))
    };
    let new = json!({ "DeploymentID": "d", "AllocModifyIndex": 5, "DeploymentStatus": null });
    let taken_over = json!({ "DeploymentID": "d", "AllocModifyIndex": 9, "DeploymentStatus": null });
    let bad = json!({ "DeploymentStatus": { "Healthy": false } });
    let good = json!({ "DeploymentID": "d", "AllocModifyIndex": 5, "DeploymentStatus": { "Healthy": true } });
    let moving = json!({ "DesiredTransition": { "Migrate": true }, "DeploymentStatus": { "Healthy": true } });
    let none = json!({ "DesiredTransition": null });
    assert_eq!(judge("run", "running", none.clone()), Health::Healthy);
    assert_eq!(judge("run", "running", good), Health::Healthy);
    assert_eq!(judge("run", "running", taken_over), Health::Healthy);
    assert_eq!(judge("run", "running", new), Health::Unhealthy);
    assert_eq!(judge("run", "running", bad), Health::Unhealthy);
    assert_eq!(judge("run", "running", moving), Health::Draining);
    assert_eq!(judge("stop", "running", none.clone()), Health::Draining);
    assert_eq!(judge("evict", "running", none.clone()), Health::Draining);
    for status in ["pending", "complete", "failed", "lost", "unknown", "a new word"] {
        assert_eq!(judge("run", status, none.clone()), Health::Unhealthy);
    }
}
