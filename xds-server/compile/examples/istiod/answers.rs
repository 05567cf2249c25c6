//! What a client of a world is told, brought to lines that can be compared: which route, cluster, policy and
//! endpoints each host has. Reads Envoy's resources as JSON, whoever made them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::world;

/// What routes without settings of their own do.
const USUAL: &str =
    "timeout 0s retries 2 on connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// The resources of one client.
#[derive(Default)]
pub struct Resources {
    pub routes: Vec<Value>,
    pub clusters: Vec<Value>,
    pub endpoints: Vec<Value>,
}

/// Lines that say what the client is told; the workload and namespace of its node id stand before each.
pub fn lines(id: &str, resources: &Resources) -> BTreeSet<String> {
    let client = id.split('~').nth(2).unwrap_or(id);
    let mut lines = BTreeSet::new();
    let mut clusters = BTreeSet::new();
    for routes in &resources.routes {
        let name = text(&routes["name"]);
        let Some(port) = (match name {
            "80" => Some(80),
            "9000" => Some(9000),
            "http.8080" => Some(8080),
            _ => None,
        }) else {
            continue;
        };
        for host in world::hosts() {
            let answer = match virtual_host(routes, host, port) {
                Some(found) => all_routes(found, &mut clusters),
                None => continue,
            };
            // Without a route nothing but 404 comes of it, as without the virtual host.
            if !answer.is_empty() {
                lines.insert(format!("{client} {host}:{port} {answer}"));
            }
        }
    }
    for cluster in &resources.clusters {
        let name = text(&cluster["name"]);
        if clusters.contains(name) {
            lines.insert(format!("{client} {name} {}", policy(cluster)));
        }
    }
    for assignment in &resources.endpoints {
        let name = text(&assignment["clusterName"]);
        if clusters.contains(name) {
            lines.insert(format!("{client} {name} at {}", addresses(assignment)));
        }
    }
    let known: BTreeSet<&str> = resources.clusters.iter().map(|cluster| text(&cluster["name"])).collect();
    for absent in clusters.iter().filter(|name| !known.contains(name.as_str())) {
        lines.insert(format!("{client} {absent} is not there"));
    }
    lines
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// As Envoy chooses: exact, then the longest `*suffix`, then the longest `prefix*`, then `*`.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-field-config-route-v3-virtualhost-domains>
fn virtual_host<'a>(routes: &'a Value, host: &str, port: u16) -> Option<&'a Value> {
    let header = if port == 80 || routes["ignorePortInHostMatching"] == true {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let rank = |domain: &str| match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        _ if domain.eq_ignore_ascii_case(&header) => Some((3, domain.len())),
        (Some(""), _) => Some((0, 0)),
        (Some(suffix), _) if header.ends_with(suffix) && header.len() > suffix.len() => {
            Some((2, suffix.len()))
        }
        (_, Some(prefix)) if header.starts_with(prefix) && header.len() > prefix.len() => {
            Some((1, prefix.len()))
        }
        _ => None,
    };
    let best = |found: &Value| list(&found["domains"]).iter().filter_map(|domain| rank(text(domain))).max();
    list(&routes["virtualHosts"])
        .iter()
        .filter_map(|found| Some((best(found)?, found)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, found)| found)
}

/// The routes up to the first that matches everything: no request comes to those after it.
fn all_routes(found: &Value, clusters: &mut BTreeSet<String>) -> String {
    let all = list(&found["routes"]);
    let end = all.iter().position(|route| conditions(&route["match"]).is_empty());
    let reached = all.iter().take(end.map_or(all.len(), |end| end + 1));
    reached.map(|route| one_route(route, clusters)).collect::<Vec<_>>().join(" ; ")
}

fn conditions(matched: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    for key in ["prefix", "path", "pathSeparatedPrefix"] {
        if let Some(path) = matched[key].as_str().filter(|path| *path != "/" || key == "path") {
            parts.push(format!("{key}={path}"));
        }
    }
    parts.extend(list(&matched["headers"]).iter().map(|header| format!("header {}", text(&header["name"]))));
    parts
}

fn one_route(route: &Value, clusters: &mut BTreeSet<String>) -> String {
    let mut parts = conditions(&route["match"]);
    if let Some(redirect) = route.get("redirect") {
        parts.push(format!("redirect {}", text(&redirect["pathRedirect"])));
    }
    if let Some(answer) = route.get("directResponse") {
        parts.push(format!("answer {}", answer["status"]));
    }
    if let Some(action) = route.get("route") {
        let single = action["cluster"].as_str().map(|name| (name, None));
        let weighted = list(&action["weightedClusters"]["clusters"])
            .iter()
            .map(|part| (text(&part["name"]), part["weight"].as_u64()));
        for (name, weight) in single.into_iter().chain(weighted) {
            clusters.insert(name.to_owned());
            parts.push(weight.map_or_else(|| format!("-> {name}"), |weight| format!("-> {name} x{weight}")));
        }
        parts.extend(effort(action));
    }
    parts.join(" ")
}

/// How long a request may take and how often it is tried, where that is not as for all routes.
fn effort(action: &Value) -> Option<String> {
    let timeout = action["timeout"].as_str().unwrap_or("none");
    let retry = &action["retryPolicy"];
    let effort = format!("timeout {timeout} retries {} on {}", retry["numRetries"], text(&retry["retryOn"]));
    (effort != USUAL).then_some(effort)
}

fn policy(cluster: &Value) -> String {
    let limits = list(&cluster["circuitBreakers"]["thresholds"]).first().unwrap_or(&Value::Null);
    let limit = |key: &str| match limits[key].as_u64() {
        None | Some(4_294_967_295) => "-".to_owned(),
        Some(most) => most.to_string(),
    };
    let outlier =
        cluster.get("outlierDetection").filter(|outlier| outlier.as_object().is_some_and(|o| !o.is_empty()));
    format!(
        "{} {} connections {} pending {} outlier {}",
        text(&cluster["type"]),
        cluster["lbPolicy"].as_str().unwrap_or("ROUND_ROBIN"),
        limit("maxConnections"),
        limit("maxPendingRequests"),
        outlier.map_or("-".to_owned(), |outlier| outlier["consecutive5xx"].to_string()),
    )
}

fn addresses(assignment: &Value) -> String {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for locality in list(&assignment["endpoints"]) {
        for endpoint in list(&locality["lbEndpoints"]) {
            let socket = &endpoint["endpoint"]["address"]["socketAddress"];
            let address = format!("{}:{}", text(&socket["address"]), socket["portValue"]);
            *all.entry(address).or_default() += endpoint["loadBalancingWeight"].as_u64().unwrap_or(1);
        }
    }
    all.into_keys().collect::<Vec<_>>().join(" ")
}
