//! What a server means a node to have, and what its Envoy says it has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{
    envoy::Envoy,
    http,
    server::{Server, until},
};

/// Resources by type (`CDS`, `EDS`, `LDS`, `RDS`, `ECDS`) and name.
pub type Resources = BTreeMap<(String, String), Resource>;

/// One resource.
#[derive(Clone, PartialEq, Debug)]
pub struct Resource {
    /// The version that it was sent with.
    pub version: String,
    /// The resource as JSON.
    pub body: Value,
}

/// The id of the node that these flags of `lateen bootstrap` make.
pub fn node_id(flags: &[&str]) -> String {
    let value = |flag: &str, default: &'static str| {
        let at = flags.iter().position(|word| *word == flag);
        at.and_then(|at| flags.get(at + 1)).map_or_else(|| default.to_owned(), |value| (*value).to_owned())
    };
    let role = if flags.contains(&"--gateway") { "router" } else { "sidecar" };
    let (ip, name) = (value("--ip", "127.0.0.1"), value("--name", "app"));
    let namespace = value("--namespace", "default");
    let domain = value("--domain", "cluster.local");
    format!("{role}~{ip}~{name}.{namespace}~{namespace}.svc.{domain}")
}

/// What the server means the node to have.
pub fn meant(server: &Server, node: &str) -> anyhow::Result<Resources> {
    let answer = http::get(server.admin, &format!("/debug/config?node={node}"))?;
    ensure!(answer.status == 200, "{answer:?}");
    let config: Value = serde_json::from_str(&answer.body)?;
    let resources = config["resources"].as_array().context("resources")?;
    let text = |resource: &Value, key: &str| resource[key].as_str().unwrap_or_default().to_owned();
    let entry = |resource: &Value| {
        let key = (text(resource, "kind"), text(resource, "name"));
        (key, Resource { version: text(resource, "version"), body: resource["body"].clone() })
    };
    let mut all: Resources = resources.iter().map(entry).collect();
    // As endpoints and routes, filters that come by ECDS are had when a listener refers to them.
    let slots = all.iter().any(|((kind, _), body)| kind == "LDS" && names_slot(&body.body));
    all.retain(|(kind, _), _| kind != "ECDS" || slots);
    // A route configuration that no listener names is meant too, but nobody asks for it.
    let mut named = BTreeSet::new();
    for (_, listener) in all.iter().filter(|((kind, _), _)| kind == "LDS") {
        name_routes(&listener.body, &mut named);
    }
    all.retain(|(kind, name), _| kind != "RDS" || named.contains(name));
    Ok(all)
}

/// Adds the route configurations that a part of a listener names.
fn name_routes(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            named.extend(fields.get("route_config_name").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| name_routes(value, named));
        }
        Value::Array(items) => items.iter().for_each(|value| name_routes(value, named)),
        _ => {}
    }
}

/// Has it a filter whose content comes by ECDS?
fn names_slot(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.contains_key("config_discovery") || fields.values().any(names_slot),
        Value::Array(items) => items.iter().any(names_slot),
        _ => false,
    }
}

/// What an Envoy has from xDS: dynamic clusters, listeners, route configurations, endpoints and filters.
pub fn held(envoy: &Envoy) -> anyhow::Result<Resources> {
    let dump = envoy.config_dump()?;
    let mut held = Resources::new();
    for section in dump["configs"].as_array().context("configs")? {
        for (key, kind, body, name) in [
            ("dynamic_active_clusters", "CDS", "cluster", "name"),
            ("dynamic_warming_clusters", "CDS", "cluster", "name"),
            ("dynamic_listeners", "LDS", "listener", "name"),
            ("dynamic_route_configs", "RDS", "route_config", "name"),
            ("dynamic_endpoint_configs", "EDS", "endpoint_config", "cluster_name"),
            ("ecds_filters", "ECDS", "ecds_filter", "name"),
        ] {
            for entry in section[key].as_array().into_iter().flatten() {
                let state = entry.get("active_state").or(entry.get("warming_state")).unwrap_or(entry);
                let Some(name) = state[body][name].as_str() else { continue };
                let version = state["version_info"].as_str().unwrap_or_default().to_owned();
                let resource = Resource { version, body: state[body].clone() };
                held.insert((kind.to_owned(), name.to_owned()), resource);
            }
        }
    }
    let inline: Vec<String> = held.iter().filter_map(inline_endpoints).collect();
    for name in inline {
        held.remove(&("EDS".to_owned(), name));
    }
    Ok(held)
}

/// Envoy lists the endpoints of every cluster; those of clusters without EDS are part of the cluster.
fn inline_endpoints(((kind, name), resource): (&(String, String), &Resource)) -> Option<String> {
    (kind == "CDS" && resource.body["type"] != "EDS").then(|| name.clone())
}

/// Waits until an Envoy has exactly the resources that the server means it to have.
///
/// Endpoints and routes are had when something refers to them; the server names only those that are.
pub fn until_equal(server: &Server, envoy: &Envoy, node: &str) -> anyhow::Result<()> {
    until("the same names in Envoy as meant", || {
        let (meant, held) = (names(&meant(server, node)?), names(&held(envoy)?));
        let missing: Vec<_> = meant.difference(&held).collect();
        let surplus: Vec<_> = held.difference(&meant).collect();
        ensure!(
            missing.is_empty() && surplus.is_empty(),
            "missing in Envoy {missing:?}, surplus {surplus:?}"
        );
        Ok(true)
    })
}

fn names(resources: &Resources) -> BTreeSet<(String, String)> {
    resources.keys().cloned().collect()
}

/// Differences of contents: each resource that Envoy has otherwise than it was meant.
///
/// Envoy prints what it was sent, but in another form of JSON: both are brought to one. Versions are compared when
/// each resource has its own (`delta`); a state of the world has one for all resources of a type.
pub fn different(meant: &Resources, held: &Resources, delta: bool) -> Vec<String> {
    let mut different = Vec::new();
    for (key, meant) in meant {
        let Some(held) = held.get(key) else { continue };
        // Envoy does not print the version of endpoints.
        if delta && key.0 != "EDS" && held.version != meant.version {
            different.push(format!("{key:?}: version {} in Envoy, meant {}", held.version, meant.version));
        }
        let form = if key.0 == "EDS" { addresses } else { plain };
        let (meant, held) = (form(&meant.body), form(&held.body));
        if meant != held {
            different.push(format!("{key:?}: {}", first_difference("", &meant, &held)));
        }
    }
    different
}

/// JSON of a message in one form: names in snake case, as protobuf's JSON mapping leaves two.
/// <https://protobuf.dev/programming-guides/json/>
fn plain(body: &Value) -> Value {
    match body {
        Value::Object(fields) => fields.iter().map(|(name, value)| plain_field(snake(name), value)).collect(),
        Value::Number(number) => number.as_f64().into(),
        Value::Array(all) => all.iter().map(plain).collect(),
        other => other.clone(),
    }
}

fn plain_field(name: String, value: &Value) -> (String, Value) {
    // Envoy prints no private key, not even the name of its file.
    let value = if name == "private_key" { "[redacted]".into() } else { plain(value) };
    (name, value)
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Addresses of an assignment: what Envoy prints of endpoints is what it made of them, with their health.
fn addresses(assignment: &Value) -> Value {
    let mut found = BTreeSet::new();
    for locality in plain(assignment)["endpoints"].as_array().into_iter().flatten() {
        for endpoint in locality["lb_endpoints"].as_array().into_iter().flatten() {
            found.insert(format!("{} {}", locality["locality"], endpoint["endpoint"]["address"]));
        }
    }
    found.into_iter().collect()
}

/// Where two values differ first, and how.
fn first_difference(path: &str, meant: &Value, held: &Value) -> String {
    match (meant, held) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let key = keys.into_iter().find(|key| a.get(*key) != b.get(*key)).map_or("", String::as_str);
            let of = |all: &serde_json::Map<String, Value>| all.get(key).cloned().unwrap_or_default();
            first_difference(&format!("{path}.{key}"), &of(a), &of(b))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let at = (0..a.len()).find(|at| a[*at] != b[*at]).unwrap_or_default();
            first_difference(&format!("{path}[{at}]"), &a[at], &b[at])
        }
        _ => format!("{path} is {held}, meant {meant}"),
    }
}
