//! Meshes of many objects, for what measures and counts.

use lateen_model::{Document, NodeInfo, ObjectId, ObjectKind, SourceEvent, event::Object};

fn upsert(name: &str, text: String) -> SourceEvent {
    let object = Object::Document(Document { body: text.into_bytes().into() });
    SourceEvent::Upsert { id: ObjectId { kind: ObjectKind::Document, name: name.into() }, object }
}

pub(crate) fn service(n: usize) -> SourceEvent {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: ns{}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n",
        n % 40
    );
    upsert(&format!("service/{n}"), text)
}

pub(crate) fn slice(n: usize, last: usize) -> SourceEvent {
    let endpoints = |ip: usize| format!("{{addresses: [10.{}.{}.{ip}]}}", n / 256, n % 256);
    let all = [1, 2, 3, 4, last].map(endpoints).join(", ");
    let text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{n}-1, namespace: ns{}, labels: {{kubernetes.io/service-name: s{n}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{all}]\n",
        n % 40
    );
    upsert(&format!("slice/{n}"), text)
}

pub(crate) fn route(n: usize, weight: usize) -> SourceEvent {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{n}, namespace: ns{}}}\nspec:\n  hosts: [s{n}]\n  http:\n  - route:\n    - {{destination: {{host: s{n}}}, weight: {weight}}}\n    - {{destination: {{host: other}}, weight: {}}}\n",
        n % 40,
        100 - weight
    );
    upsert(&format!("route/{n}"), text)
}

const SERVERS: usize = 100;

/// A gateway with so many servers, each for its own domain.
pub(crate) fn gateway(servers: usize) -> SourceEvent {
    let server = |n: usize| {
        format!(
            "  - {{port: {{number: 80, name: http-{n}, protocol: HTTP}}, hosts: ['*.d{n}.example.com']}}\n"
        )
    };
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: ns0}}\nspec:\n  selector: {{app: edge}}\n  servers:\n{}",
        (0..servers).map(server).collect::<String>()
    );
    upsert("gateway", text)
}

/// A route of the gateway, with a host of its own.
pub(crate) fn edge_route(n: usize, servers: usize, weight: usize) -> SourceEvent {
    let to =
        |service: usize| format!("destination: {{host: s{service}.ns{}.svc.cluster.local}}", service % 40);
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: e{n}, namespace: ns{}}}\nspec:\n  hosts: [r{n}.d{}.example.com]\n  gateways: [ns0/edge]\n  http:\n  - route:\n    - {{{}, weight: {weight}}}\n    - {{{}, weight: {}}}\n",
        n % 40,
        n % servers,
        to(n % SERVERS),
        to((n + 1) % SERVERS),
        100 - weight
    );
    upsert(&format!("edge/{n}"), text)
}

/// One of several gateways whose servers of HTTPS share a port.
pub(crate) fn shared_gateway(n: usize, change: usize) -> SourceEvent {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge{n}, namespace: ns0}}\nspec:\n  selector: {{app: edge}}\n  servers:\n  - port: {{number: 443, name: https, protocol: HTTPS}}\n    hosts: [h{n}.example.com, c{change}.h{n}.example.com]\n    tls: {{mode: SIMPLE, serverCertificate: /c, privateKey: /k}}\n"
    );
    upsert(&format!("gateway/{n}"), text)
}

/// A server whose TLS ends elsewhere.
fn passthrough() -> SourceEvent {
    let text = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: ns0}\nspec:\n  selector: {app: edge}\n  servers:\n  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ['*.example.com'], tls: {mode: PASSTHROUGH}}\n";
    upsert("gateway", text.to_owned())
}

/// A route of its connections for one name.
pub(crate) fn name_route(n: usize, weight: usize) -> SourceEvent {
    let to = |n: usize| {
        let service = n % SERVERS;
        format!("destination: {{host: s{service}.ns{}.svc.cluster.local}}", service % 40)
    };
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: e{n}, namespace: ns{}}}\nspec:\n  hosts: [h{n}.example.com]\n  gateways: [ns0/edge]\n  tls:\n  - match: [{{sniHosts: [h{n}.example.com]}}]\n    route:\n    - {{{}, weight: {weight}}}\n    - {{{}, weight: {}}}\n",
        n % 40,
        to(n),
        to(n + 1),
        100 - weight
    );
    upsert(&format!("edge/{n}"), text)
}

/// A `Sidecar` for a namespace of clients, which imports ten hosts.
pub(crate) fn sidecar(n: usize, services: usize) -> SourceEvent {
    let host = |at: usize| {
        let service = (n * 31 + at * 97) % services;
        format!("\"*/s{service}.ns{}.svc.cluster.local\"", service % 40)
    };
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: narrow, namespace: team{n}}}\nspec: {{egress: [{{hosts: [{}]}}]}}\n",
        (0..10).map(host).collect::<Vec<_>>().join(", ")
    );
    upsert(&format!("sidecar/{n}"), text)
}

/// One object with so many hosts: a `VirtualService` of the mesh, a `ServiceEntry`, or a `Gateway`.
pub(crate) fn large(what: &str, hosts: usize, weight: usize) -> SourceEvent {
    let hosts: Vec<String> = (0..hosts).map(|n| format!("h{n}.d{}.example.com", n % 1000)).collect();
    let hosts = hosts.join(", ");
    let text = match what {
        "hosts" => format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: large, namespace: ns0}}\nspec:\n  hosts: [{hosts}]\n  http:\n  - route:\n    - {{destination: {{host: s0}}, weight: {weight}}}\n    - {{destination: {{host: s40}}, weight: {}}}\n",
            100 - weight
        ),
        "entry" => format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: large, namespace: ns0}}\nspec:\n  hosts: [{hosts}]\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  resolution: STATIC\n  location: MESH_INTERNAL\n  endpoints: [{{address: 10.200.0.{weight}}}]\n"
        ),
        _ => format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: ns0}}\nspec:\n  selector: {{app: edge}}\n  servers:\n  - {{port: {{number: {}, name: http, protocol: HTTP}}, hosts: [{hosts}]}}\n",
            8000 + weight
        ),
    };
    upsert("large", text)
}

/// One after the other, as adapters bring them: they are not all there at one time.
type Events = Box<dyn Iterator<Item = SourceEvent>>;

/// The mesh, and the nodes that are connected to it.
pub(crate) fn mesh(what: &str, size: usize, views: usize) -> (Events, Vec<NodeInfo>) {
    let services = |count: usize| (0..count).flat_map(|n| [service(n), slice(n, 5), route(n, 50)]);
    match what {
        "gateway" => {
            let routes = (0..size).map(move |n| edge_route(n, views, 50));
            let mut node = NodeInfo::from_id("router~10.255.0.1~edge.ns0~ns0.svc.cluster.local");
            node.labels.insert("app".into(), "edge".into());
            (Box::new(services(SERVERS).chain([gateway(views)]).chain(routes)), vec![node])
        }
        "gateways" | "names" => {
            let mut node = NodeInfo::from_id("router~10.255.0.1~edge.ns0~ns0.svc.cluster.local");
            node.labels.insert("app".into(), "edge".into());
            let own: Events = if what == "names" {
                Box::new(std::iter::once(passthrough()).chain((0..size).map(|n| name_route(n, 50))))
            } else {
                Box::new((0..size).map(|n| shared_gateway(n, 50)))
            };
            (Box::new(services(SERVERS).chain(own)), vec![node])
        }
        "sidecars" => {
            let node = |n: usize| {
                NodeInfo::from_id(&format!(
                    "sidecar~10.255.{}.{}~c.team{n}~team{n}.svc.cluster.local",
                    n / 256,
                    n % 256
                ))
            };
            let sidecars = (0..views).map(move |n| sidecar(n, size));
            (Box::new(services(size).chain(sidecars)), (0..views).map(node).collect())
        }
        "hosts" | "entry" | "servers" => {
            let sidecar = |n: usize| {
                NodeInfo::from_id(&format!("sidecar~10.255.0.{n}~c{n}.ns{n}~ns{n}.svc.cluster.local"))
            };
            let mut edge = NodeInfo::from_id("router~10.255.0.1~edge.ns0~ns0.svc.cluster.local");
            edge.labels.insert("app".into(), "edge".into());
            let node = |n| if what == "servers" { edge.clone() } else { sidecar(n) };
            (Box::new(services(SERVERS).chain([large(what, size, 50)])), (0..views).map(node).collect())
        }
        _ => {
            let node = |n: usize| {
                NodeInfo::from_id(&format!("sidecar~10.255.0.{n}~c{n}.ns{n}~ns{n}.svc.cluster.local"))
            };
            (Box::new(services(size)), (0..views).map(node).collect())
        }
    }
}
