//! Objects of the truth table, one in a line.

use std::fmt::Write as _;

use super::HOST;

/// A document from a line: `KIND NAMESPACE/NAME`, then words: `host=` (else [`HOST`]), `to=` (its `exportTo`),
/// `age=` (seconds), `port=` (else 80), `subsets=`, `max=` (connections), `balance=`, `select=` (the value of the label `app`), `hosts=`
/// (of an egress listener, once for each).
pub(super) fn object(line: &str) -> String {
    let mut words = line.split(' ');
    let (kind, id) = (words.next().unwrap(), words.next().unwrap());
    let (namespace, name) = id.split_once('/').unwrap();
    let words: Vec<(&str, &str)> = words.map(|word| word.split_once('=').unwrap()).collect();
    let word = |name: &str| words.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let list = |text: &str| text.split(',').map(|entry| format!("'{entry}'")).collect::<Vec<_>>().join(", ");
    let mut spec = String::new();
    let mut add = |line: String| writeln!(spec, "  {line}").unwrap();
    let host = word("host").unwrap_or(HOST);
    let kind = match kind {
        "service" => {
            return format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{ports: [{{port: 80, name: http}}]}}\n"
            );
        }
        "consumer" => {
            let age = word("age").unwrap();
            return format!(
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: {namespace}, \
                 creationTimestamp: '2026-01-01T00:00:0{age}Z'}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: api, namespace: a}}]\n  \
                 rules: [{{backendRefs: [{{name: api, namespace: a, port: 80}}]}}]\n"
            );
        }
        "entry" => {
            add(format!(
                "hosts: [{}]\n  resolution: NONE\n  ports: [{{number: {}, name: http, protocol: HTTP}}]",
                list(host),
                word("port").unwrap_or("80")
            ));
            "ServiceEntry"
        }
        "routes" => {
            add(format!("hosts: [{}]\n  http: [{{route: [{{destination: {{host: {HOST}}}}}]}}]", list(host)));
            "VirtualService"
        }
        "streams" => {
            add(format!("hosts: [{}]\n  tcp: [{{route: [{{destination: {{host: {HOST}}}}}]}}]", list(host)));
            "VirtualService"
        }
        "rule" => {
            add(format!("host: '{host}'"));
            if let Some(subsets) = word("subsets") {
                let subsets: Vec<_> = subsets
                    .split(',')
                    .map(|name| format!("{{name: {name}, labels: {{version: {name}}}}}"))
                    .collect();
                add(format!("subsets: [{}]", subsets.join(", ")));
            }
            if let Some(max) = word("max") {
                add(format!("trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {max}}}}}}}"));
            }
            if let Some(balance) = word("balance") {
                add(format!("trafficPolicy: {{loadBalancer: {{simple: {balance}}}}}"));
            }
            if let Some(app) = word("select") {
                add(format!("workloadSelector: {{matchLabels: {{app: {app}}}}}"));
            }
            "DestinationRule"
        }
        "sidecar" => {
            let mut listeners: Vec<_> =
                words.iter().filter(|(key, _)| *key == "hosts").map(|(_, hosts)| *hosts).collect();
            if listeners.is_empty() {
                listeners.push("*/*");
            }
            add("egress:".to_owned());
            for (number, hosts) in listeners.iter().enumerate() {
                let is_last = number + 1 == listeners.len();
                let port = if is_last {
                    String::new()
                } else {
                    format!("port: {{number: {}, name: http-{number}, protocol: HTTP}}, ", 9000 + number)
                };
                add(format!("- {{{port}hosts: [{}]}}", list(hosts)));
            }
            if let Some(app) = word("select") {
                add(format!("workloadSelector: {{labels: {{app: {app}}}}}"));
            }
            "Sidecar"
        }
        other => panic!("no kind {other}"),
    };
    if let Some(to) = word("to") {
        add(format!("exportTo: [{}]", list(to)));
    }
    let age =
        word("age").map(|age| format!(", creationTimestamp: '2026-01-01T00:00:0{age}Z'")).unwrap_or_default();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}{age}}}\nspec:\n{spec}"
    )
}
