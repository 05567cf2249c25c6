//! The mesh as files: what the demo writes, and what its reader edits.

use std::{fmt::Write as _, fs, io, net::SocketAddr, path::Path, sync::Arc};

use super::plan::{NAMESPACE, Ports, Speaks, WORKLOADS, Workload, host};

/// The host that is known by DNS only.
pub const OUTSIDE: &str = "outside.example";

/// A file and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Its name in the folder.
    pub name: &'static str,
    /// What is in it.
    pub text: String,
}

/// Who must be named in files that are written at each start.
#[derive(Debug)]
pub struct Addresses<'a> {
    /// Ports of the mesh.
    pub ports: Ports,
    /// Where each workload's application listens.
    pub apps: &'a [(Workload, SocketAddr)],
    /// Where the application outside of the mesh listens.
    pub outside: SocketAddr,
}

/// What depends on addresses; written at each start.
pub fn generated(addresses: &Addresses<'_>) -> Vec<File> {
    vec![
        File { name: "mesh.yaml", text: mesh(addresses) },
        File { name: "services.yaml", text: services(addresses) },
        File { name: "outside.yaml", text: outside(addresses) },
    ]
}

/// What the reader is invited to edit; written where it is not there yet.
pub fn editable() -> Vec<File> {
    vec![
        File { name: "catalog.yaml", text: catalog(None) },
        File { name: "flaky.yaml", text: FLAKY.to_owned() },
        File { name: "ingress.yaml", text: ingress(None) },
        File { name: "reviews.yaml", text: reviews("") },
    ]
}

/// Writes a file so that a reader sees the old text or the new one, never a half.
pub fn write(folder: &Path, file: &File) -> io::Result<()> {
    // The adapter passes over names that begin with a dot.
    let draft = folder.join(format!(".{}.draft", file.name));
    fs::write(&draft, &file.text)?;
    fs::rename(&draft, folder.join(file.name))
}

/// What is wrong with the files that a reader may have edited before.
pub fn findings(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for file in editable() {
        let path = folder.join(file.name);
        // A file that can't be read is the adapter's to report.
        let text = fs::read(&path).unwrap_or_default();
        let parsed = lateen_config::parse(&text, &Arc::from("demo"), &Arc::from(path.to_string_lossy()));
        all.extend(parsed.diagnostics.iter().map(ToString::to_string));
    }
    all
}

fn mesh(Addresses { ports, apps, .. }: &Addresses<'_>) -> String {
    let mut text = format!(
        "# Written anew at each start of the demo, because of its addresses.\n\
         #\n\
         # Nothing is intercepted: an application calls its sidecar on a loopback address, and its sidecar calls it.\n\
         # REGISTRY_ONLY: a host that no file names is answered with 502.\n\
         apiVersion: lateen.io/v1\n\
         kind: MeshConfig\n\
         metadata: {{name: mesh, namespace: istio-system}}\n\
         spec:\n  outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}\n  defaultConfig: {{interceptionMode: NONE}}\n\
         ---\n\
         apiVersion: networking.istio.io/v1\n\
         kind: Gateway\n\
         metadata: {{name: ingress, namespace: {NAMESPACE}}}\n\
         spec:\n  selector: {{app: ingress}}\n  servers:\n  - port: {{number: {ingress}, name: http, protocol: HTTP}}\n    \
         bind: 127.0.0.1\n    hosts: [\"*\"]\n",
        ingress = ports.ingress
    );
    for (workload, app) in *apps {
        let _ = write!(
            text,
            "---\n# {name}: calls enter at {ip}:{port} and go on to the application.\n\
             apiVersion: networking.istio.io/v1\n\
             kind: Sidecar\n\
             metadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
             spec:\n  workloadSelector: {{labels: {{workload: {name}}}}}\n  ingress:\n  \
             - port: {{number: {port}, name: {lower}, protocol: {protocol}}}\n    bind: {ip}\n    captureMode: NONE\n    \
             defaultEndpoint: {app}\n  egress:\n",
            name = workload.name,
            ip = workload.ingress(),
            port = ports.of(workload.speaks),
            lower = workload.speaks.protocol().to_ascii_lowercase(),
            protocol = workload.speaks.protocol(),
        );
        text += &egress(workload, *ports);
    }
    text
}

fn egress(workload: &Workload, ports: Ports) -> String {
    if *workload != super::plan::SHOP {
        return "  # It calls nobody.\n  - {captureMode: NONE, hosts: [\"~/*\"]}\n".to_owned();
    }
    let ip = workload.egress();
    let callees = |tcp: bool| {
        let mut hosts: Vec<String> = WORKLOADS
            .iter()
            .filter(|callee| *callee != workload && (callee.speaks == Speaks::Tcp) == tcp)
            .map(|callee| format!("./{}", host(callee.service)))
            .collect();
        hosts.dedup();
        hosts.join(", ")
    };
    format!(
        "  # Services that speak HTTP share a listener; the Host header tells them apart.\n  \
         - port: {{number: {http}, name: http, protocol: HTTP}}\n    bind: {ip}\n    captureMode: NONE\n    \
         hosts: [{http_hosts}, ./{OUTSIDE}]\n  \
         - port: {{number: {tcp}, name: tcp, protocol: TCP}}\n    bind: {ip}\n    captureMode: NONE\n    \
         hosts: [{tcp_hosts}]\n",
        http = ports.http,
        tcp = ports.tcp,
        http_hosts = callees(false),
        tcp_hosts = callees(true),
    )
}

fn services(Addresses { ports, .. }: &Addresses<'_>) -> String {
    let mut text = "# Written anew at each start of the demo, because of its addresses.\n#\n# The services: each endpoint \
                    is where calls enter the sidecar of an instance.\n"
        .to_owned();
    let mut last = "";
    for workload in &WORKLOADS {
        let (protocol, port) = (workload.speaks.protocol(), ports.of(workload.speaks));
        if workload.service != last {
            last = workload.service;
            let _ = write!(
                text,
                "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
                 metadata: {{name: {last}, namespace: {NAMESPACE}}}\n\
                 spec:\n  hosts: [{host}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
                 ports: [{{number: {port}, name: {lower}, protocol: {protocol}}}]\n  endpoints:\n",
                host = host(last),
                lower = protocol.to_ascii_lowercase(),
            );
        }
        let _ = writeln!(
            text,
            "  - {{address: {ip}, labels: {{workload: {name}, version: {version}}}}}",
            ip = workload.ingress(),
            name = workload.name,
            version = workload.version
        );
    }
    text
}

fn outside(Addresses { ports, outside, .. }: &Addresses<'_>) -> String {
    format!(
        "# Written anew at each start of the demo, because of its addresses.\n#\n\
         # A service outside of the mesh, whose address Envoy asks DNS for.\n\
         apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: outside, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [{OUTSIDE}]\n  location: MESH_EXTERNAL\n  resolution: DNS\n  \
         ports: [{{number: {http}, name: http, protocol: HTTP}}]\n  \
         endpoints: [{{address: localhost, ports: {{http: {port}}}}}]\n",
        http = ports.http,
        port = outside.port(),
    )
}

/// How requests to the catalog are routed at first.
pub const CATALOG_ROUTES: &str = "  # Who sends `x-demo-user: tester` sees the next version.
  - match: [{headers: {x-demo-user: {exact: tester}}}]
    route: [{destination: {host: catalog, subset: v2}}]
  # Everyone else: change these numbers while the demo runs.
  - route:
    - {destination: {host: catalog, subset: v1}, weight: 90}
    - {destination: {host: catalog, subset: v2}, weight: 10}
";

/// How the gateway routes at first.
pub const INGRESS_ROUTES: &str = "  - match: [{uri: {prefix: /chat}}]
    route: [{destination: {host: chat}}]
  - route: [{destination: {host: shop}}]
";

/// A route that answers with a text: the check sees by it that an edit has arrived.
fn marker(edit: Option<u32>) -> String {
    edit.map_or_else(String::new, |edit| {
        format!(
            "  - match: [{{uri: {{exact: {EDIT_PATH}}}}}]\n    \
             directResponse: {{status: 200, body: {{string: \"{edit}\"}}}}\n"
        )
    })
}

/// The path of the marker.
pub const EDIT_PATH: &str = "/_edit";

/// The catalog's file, with other routes: `(number of the edit, routes)`.
pub fn catalog(edit: Option<(u32, &str)>) -> String {
    let routes = edit.map_or(CATALOG_ROUTES, |(_, routes)| routes);
    format!(
        "# The catalog has two versions. Edit this file while the demo runs: it is in effect as soon as it is saved.\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: catalog, namespace: {NAMESPACE}}}\n\
         spec:\n  host: catalog\n  subsets:\n  - {{name: v1, labels: {{version: v1}}}}\n  \
         - {{name: v2, labels: {{version: v2}}}}\n\
         ---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: catalog, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [catalog]\n  http:\n{marker}{routes}",
        marker = marker(edit.map(|(number, _)| number)),
    )
}

/// The gateway's routes, or others.
pub fn ingress(edit: Option<(u32, &str)>) -> String {
    let routes = edit.map_or(INGRESS_ROUTES, |(_, routes)| routes);
    format!(
        "# What the ingress gateway does: WebSocket to the chat, the rest to the shop. Try a redirect, a rewrite, CORS.\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: ingress, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [\"*\"]\n  gateways: [ingress]\n  http:\n{marker}{routes}",
        marker = marker(edit.map(|(number, _)| number)),
    )
}

/// The file of the reviews: its policy, in the YAML flow style; empty is none.
pub fn reviews(policy: &str) -> String {
    let policy =
        if policy.is_empty() { "{connectionPool: {http: {http2MaxRequests: 1024}}}" } else { policy };
    format!(
        "# The reviews speak HTTP/2. With `http2MaxRequests: 1` a second request at the same time is refused (503).\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec:\n  host: reviews\n  trafficPolicy: {policy}\n"
    )
}

const FLAKY: &str = "\
# One request in twenty fails: the retry hides it. An instance that fails five times in a row gets no requests for a
# while: break one with the URL that the demo prints, and watch.
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: flaky, namespace: demo}
spec:
  host: flaky
  trafficPolicy:
    outlierDetection:
      consecutive5xxErrors: 5
      interval: 1s
      baseEjectionTime: 3s
      maxEjectionPercent: 100
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: flaky, namespace: demo}
spec:
  hosts: [flaky]
  http:
  # Without a retry, to see it as it is.
  - match: [{headers: {x-demo-retry: {exact: \"off\"}}}]
    route: [{destination: {host: flaky}}]
    retries: {attempts: 0}
  - route: [{destination: {host: flaky}}]
    timeout: 2s
    retries: {attempts: 3, retryOn: \"5xx\"}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<File> {
        let app: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        let apps: Vec<(Workload, SocketAddr)> = WORKLOADS.iter().map(|workload| (*workload, app)).collect();
        let ports = Ports { http: 8000, tcp: 9000, ingress: 8080 };
        let mut files = generated(&Addresses { ports, apps: &apps, outside: app });
        files.extend(editable());
        let edits = [catalog(Some((1, CATALOG_ROUTES))), ingress(Some((2, INGRESS_ROUTES)))];
        files.extend(edits.map(|text| File { name: "edit.yaml", text }));
        files
    }

    #[test]
    fn every_file_is_understood_without_findings() {
        for File { name, text } in files() {
            let parsed = lateen_config::parse(text.as_bytes(), &Arc::from("file"), &Arc::from(name));
            assert!(parsed.diagnostics.is_empty(), "{name}: {:#?}\n{text}", parsed.diagnostics);
            assert!(!parsed.objects.is_empty(), "{name}");
        }
    }

    #[test]
    fn editable_files_name_no_address() {
        for File { name, text } in editable() {
            assert!(!text.contains("127."), "{name}");
        }
    }
}
