//! Documents of a mesh whose every address is on 127.0.0.1, as text.

use std::{fmt::Write as _, net::TcpListener};

use crate::backend::Backend;

/// A port that was free a moment ago, for a listener that a configuration must name.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A `ServiceEntry` in namespace `shop`: `host`, port 80 named `name` after its protocol, at the backends.
pub fn service(host: &str, protocol: &str, backends: &[&Backend]) -> String {
    let ports: Vec<(u16, &str)> = backends.iter().map(|backend| (backend.port(), &*backend.name)).collect();
    service_at(host, protocol, &ports)
}

/// As [`service`], at ports of 127.0.0.1, each with the value of its label `version`.
pub fn service_at(host: &str, protocol: &str, ports: &[(u16, &str)]) -> String {
    let name = host.split('.').next().unwrap_or(host);
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  hosts: [{host}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{number: 80, name: \
         {lower}, protocol: {protocol}}}]\n  endpoints:\n",
        lower = protocol.to_ascii_lowercase()
    );
    for (port, version) in ports {
        let _ = writeln!(
            text,
            "  - {{address: 127.0.0.1, ports: {{{}: {port}}}, labels: {{version: {version}}}}}",
            protocol.to_ascii_lowercase()
        );
    }
    text
}

/// A `Gateway` named `edge` in `shop`, for nodes labelled `app=edge`: HTTP on 127.0.0.1 for any host.
pub fn gateway(port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
         selector: {{app: edge}}\n  servers:\n  - port: {{number: {port}, name: http, protocol: HTTP}}\n    bind: \
         127.0.0.1\n    hosts: [\"*\"]\n"
    )
}

/// A `Sidecar` in `shop` for nodes labelled `app=NAME`: what it may call, through a listener on 127.0.0.1.
pub fn sidecar(app: &str, egress_port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {app}, namespace: shop}}\nspec:\n  \
         workloadSelector: {{labels: {{app: {app}}}}}\n  egress:\n  - port: {{number: {egress_port}, protocol: HTTP, \
         name: http}}\n    bind: 127.0.0.1\n    captureMode: NONE\n    hosts: [\"./*\"]\n"
    )
}

/// A `VirtualService` in `shop`: `host` (on `gateway`, `mesh` or `edge`) goes to `destinations` by weight.
pub fn split(name: &str, gateway: &str, host: &str, destinations: &[(&str, u32)]) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  hosts: [{host}]\n  gateways: [{gateway}]\n  http:\n  - route:\n"
    );
    for (destination, weight) in destinations {
        let _ = writeln!(text, "    - {{destination: {{host: {destination}}}, weight: {weight}}}");
    }
    text
}

/// Flags of `lateen bootstrap` for the gateway that [`gateway`] is for.
pub const EDGE: [&str; 7] = ["--gateway", "--name", "edge", "--namespace", "shop", "--label", "app=edge"];

/// Flags of `lateen bootstrap` for a sidecar in `shop`.
pub const APP: [&str; 6] = ["--name", "app", "--namespace", "shop", "--label", "app=app"];
