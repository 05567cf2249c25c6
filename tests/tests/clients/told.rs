//! Our server with resources that are told ready-made (`lateen conformance serve`), for what no source compiles yet.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
};

use anyhow::Context;
use lateen_conformance::control::{Change, Connect, Control, RawResource, ResourceKey, XdsConfig};
use lateen_proto::json;
use lateen_tests::{
    backend::RUNTIME,
    process::Process,
    server::{self, until},
};
use serde_json::{Value, json};

/// A running server.
pub struct Told {
    process: Process,
    pub xds: SocketAddr,
    control: SocketAddr,
}

impl Told {
    /// Starts one at an address, `127.0.0.1:0` for a port that the system chooses.
    pub fn start(at: &str) -> Self {
        let mut command = Command::new(server::binary());
        command
            .args(["--log", "off", "conformance", "serve", "--listen", at, "--control", "127.0.0.1:0"])
            .stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command).unwrap();
        let mut lines = BufReader::new(process.child().stdout.take().unwrap()).lines();
        let mut address = |prefix: &str| -> anyhow::Result<SocketAddr> {
            let line = lines.next().context("lateen ended")??;
            Ok(line.strip_prefix(prefix).with_context(|| line.clone())?.parse()?)
        };
        let (xds, control) = (address("xDS on ").unwrap(), address("control on ").unwrap());
        Self { process, xds, control }
    }

    /// Adds or replaces resources of a node, in one step.
    pub fn put(&self, node: &str, resources: &[Value]) {
        let put = resources.iter().map(resource).collect();
        let control = Connect::new(self.control.to_string());
        RUNTIME.block_on(control.apply(node, Change { put, ..Change::default() })).unwrap();
    }

    /// The server is to end, without a word, when a client asks for this.
    pub fn stop_on_request(&self, type_name: &str, name: &str) {
        let key = ResourceKey { type_url: type_url(type_name), name: name.to_owned() };
        let control = XdsConfig::new(self.control.to_string(), BTreeSet::new());
        RUNTIME.block_on(control.stop_on_request(key)).unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) {
        until("ended", || Ok(self.process.child().try_wait()?.is_some())).unwrap();
    }
}

pub fn type_url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

/// A resource as JSON with its `@type`; its name is where its type has it.
fn resource(body: &Value) -> RawResource {
    let name = body.get("cluster_name").or_else(|| body.get("name")).and_then(Value::as_str).unwrap();
    RawResource::new(name, json::json_to_any(body).unwrap())
}

/// `{"ads": {}}`, where resources of clients with one stream come from.
pub fn ads() -> Value {
    json!({ "ads": {}, "resource_api_version": "V3" })
}

/// A cluster whose endpoints come from `source`.
pub fn cluster(name: &str, source: &Value) -> Value {
    json!({
        "@type": type_url("envoy.config.cluster.v3.Cluster"),
        "name": name,
        "type": "EDS",
        "eds_cluster_config": { "eds_config": source, "service_name": name },
    })
}

/// One endpoint on 127.0.0.1, with what gRPC wants: a locality and a weight.
pub fn endpoints(cluster: &str, port: u16) -> Value {
    json!({
        "@type": type_url("envoy.config.endpoint.v3.ClusterLoadAssignment"),
        "cluster_name": cluster,
        "endpoints": [{
            "locality": { "region": "r1" },
            "load_balancing_weight": 1,
            "lb_endpoints": [{ "endpoint": { "address": address(port) } }],
        }],
    })
}

/// A port of 127.0.0.1.
pub fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

/// Routes of any domain.
pub fn routes(name: &str, routes: &Value) -> Value {
    json!({
        "@type": type_url("envoy.config.route.v3.RouteConfiguration"),
        "name": name,
        "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }],
    })
}

/// A connection manager with filters before the router. `routes` is `rds` or `route_config` with its value.
pub fn manager(routes: (&str, Value), filters: &[Value]) -> Value {
    let last =
        filter("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", &json!({}));
    let mut manager = json!({
        "@type": type_url("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "test",
        "http_filters": ([filters, &[last]].concat()),
    });
    manager[routes.0] = routes.1;
    manager
}

/// An HTTP filter.
pub fn filter(name: &str, type_name: &str, config: &Value) -> Value {
    let mut typed = config.clone();
    typed["@type"] = type_url(type_name).into();
    json!({ "name": name, "typed_config": typed })
}
