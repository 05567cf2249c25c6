//! Small worlds of several namespaces, each from a number: what clients see there depends on visibility, precedence
//! and merging.

use std::fmt::Write as _;

const NAMESPACES: [&str; 4] = ["shop", "bank", "other", "istio-system"];
const HOSTS: [&str; 6] = [
    "web.shop.svc.cluster.local",
    "cart.bank.svc.cluster.local",
    "api.example.com",
    "db.example.com",
    "x.internal.test",
    "pay.other.svc.cluster.local",
];

/// The hosts that clients ask for.
pub fn hosts() -> impl Iterator<Item = &'static str> {
    HOSTS.into_iter().chain(["web", "web.shop", "cart.bank", "nobody.example.com"])
}

/// A source of choices: `SplitMix64`, so that a number means the same world for ever.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        let at = usize::try_from(self.below(all.len() as u64)).unwrap_or(0);
        all.get(at).copied().unwrap_or_default()
    }
}

/// A world in the making.
struct Making {
    choices: Choices,
    text: String,
    created: u32,
}

/// The world of this number: Istio's objects as YAML documents, with the clients in comments before them.
pub fn world(number: u64) -> String {
    let mut text = String::new();
    for namespace in ["shop", "bank", "other"] {
        let _ = writeln!(
            text,
            "# node: sidecar~10.1.0.1~app.{namespace}~{namespace}.svc.cluster.local app=client"
        );
    }
    text.push_str("# node: router~10.1.0.2~edge.istio-system~istio-system.svc.cluster.local app=edge\n");
    let mut making = Making { choices: Choices(number), text, created: 0 };
    making.services();
    for _ in 0..making.choices.below(4) {
        making.rule();
    }
    for _ in 0..=making.choices.below(4) {
        making.routes();
    }
    for _ in 0..making.choices.below(3) {
        making.sidecar();
    }
    making.gateway();
    making.text
}

impl Making {
    /// Begins a document of a kind in a namespace; the spec follows.
    fn document(&mut self, kind: &str, name: &str, namespace: &str) {
        self.created += 1;
        // Some of one age, so that names decide.
        let minute = if self.choices.chance(20) { 1 } else { self.choices.below(50) + 1 };
        let first = if self.created == 1 { "" } else { "---\n" };
        let _ = write!(
            self.text,
            "{first}apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  \
             creationTimestamp: \"2024-01-01T00:{minute:02}:00Z\"\nspec:\n"
        );
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.text, "  {text}");
    }

    fn export(&mut self) {
        if self.choices.chance(40) {
            let to = self.choices.of(&[".", ".", "*", "shop", "bank"]);
            self.line(&format!("exportTo: [\"{to}\"]"));
        }
    }

    fn services(&mut self) {
        for (number, host) in HOSTS.into_iter().enumerate() {
            let own = host.split('.').nth(1).filter(|_| host.ends_with("svc.cluster.local"));
            let first = own.unwrap_or_else(|| self.choices.of(&NAMESPACES));
            // Two definitions in one namespace would be told apart by nothing.
            let second = self.choices.of(&NAMESPACES);
            let twice = self.choices.chance(35) && second != first;
            let both = [first, second];
            for (copy, namespace) in both.into_iter().take(if twice { 2 } else { 1 }).enumerate() {
                self.document("ServiceEntry", &format!("s{number}-{copy}"), namespace);
                self.line(&format!("hosts: [{host}]"));
                self.line(&format!("addresses: [10.9.{number}.{}]", copy + 1));
                self.line("location: MESH_INTERNAL");
                self.line("resolution: STATIC");
                self.line("ports:");
                self.line("- {number: 80, name: http, protocol: HTTP, targetPort: 8080}");
                if self.choices.chance(30) {
                    self.line("- {number: 9000, name: http-admin, protocol: HTTP}");
                }
                self.line("endpoints:");
                for version in 1..=2 + self.choices.below(2) {
                    self.line(&format!(
                        "- {{address: 10.{number}.{copy}.{version}, labels: {{version: v{version}}}}}"
                    ));
                }
                self.export();
            }
        }
    }

    fn rule(&mut self) {
        let (number, namespace) = (self.created, self.choices.of(&NAMESPACES));
        let host = if self.choices.chance(25) {
            self.choices.of(&["*.example.com", "*.svc.cluster.local", "*.shop.svc.cluster.local"])
        } else {
            self.choices.of(&HOSTS)
        };
        self.document("DestinationRule", &format!("r{number}"), namespace);
        self.line(&format!("host: \"{host}\""));
        if self.choices.chance(60) {
            self.line("trafficPolicy:");
            if self.choices.chance(50) {
                let simple = self.choices.of(&["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"]);
                self.line(&format!("  loadBalancer: {{simple: {simple}}}"));
            }
            let most = self.choices.below(90) + 10;
            self.line(&format!("  connectionPool: {{tcp: {{maxConnections: {most}}}}}"));
            if self.choices.chance(25) {
                self.line("  outlierDetection: {consecutive5xxErrors: 3}");
            }
            if self.choices.chance(20) {
                self.line("  portLevelSettings:");
                self.line("  - {port: {number: 9000}, connectionPool: {http: {http1MaxPendingRequests: 5}}}");
            }
        }
        let subsets = self.choices.below(3);
        if subsets > 0 {
            self.line("subsets:");
            for version in 1..=subsets {
                self.line(&format!("- {{name: v{version}, labels: {{version: v{version}}}}}"));
            }
        }
        self.export();
    }

    fn routes(&mut self) {
        let (number, namespace) = (self.created, self.choices.of(&NAMESPACES));
        self.document("VirtualService", &format!("v{number}"), namespace);
        let host = if self.choices.chance(15) {
            self.choices.of(&["*.example.com", "*.internal.test"])
        } else {
            self.choices.of(&HOSTS)
        };
        self.line(&format!("hosts: [\"{host}\"]"));
        match self.choices.below(4) {
            0 => self.line("gateways: [istio-system/edge]"),
            1 => self.line("gateways: [mesh, istio-system/edge]"),
            _ => {}
        }
        self.line("http:");
        if self.choices.chance(40) {
            let path = self.choices.of(&["/a", "/b/", "/"]);
            self.line(&format!("- match: [{{uri: {{prefix: {path}}}}}]"));
            if self.choices.chance(25) {
                self.line("  redirect: {uri: /moved}");
            } else {
                self.destinations();
            }
        }
        if self.choices.chance(20) {
            let from = self.choices.of(&NAMESPACES);
            self.line(&format!("- match: [{{sourceNamespace: {from}}}]"));
            self.destinations();
        }
        self.line("- name: rest");
        if self.choices.chance(30) {
            self.line("  timeout: 3s");
        }
        if self.choices.chance(20) {
            self.line("  retries: {attempts: 4, retryOn: 5xx}");
        }
        self.destinations();
        self.export();
    }

    fn destinations(&mut self) {
        self.line("  route:");
        let parts = if self.choices.chance(30) { 2 } else { 1 };
        for part in 0..parts {
            let host = self.choices.of(&HOSTS);
            let subset = match self.choices.below(4) {
                0 => ", subset: v1",
                1 => ", subset: v2",
                _ => "",
            };
            let port = if self.choices.chance(40) { ", port: {number: 80}" } else { "" };
            let weight = if parts == 2 { format!(", weight: {}", 30 + 40 * part) } else { String::new() };
            self.line(&format!("  - {{destination: {{host: {host}{subset}{port}}}{weight}}}"));
        }
    }

    fn sidecar(&mut self) {
        let (number, namespace) = (self.created, self.choices.of(&NAMESPACES));
        self.document("Sidecar", &format!("d{number}"), namespace);
        let mut hosts = std::collections::BTreeSet::new();
        for _ in 0..=self.choices.below(3) {
            hosts.insert(self.choices.of(&[
                "./*",
                "shop/*",
                "bank/*",
                "*/api.example.com",
                "*/*.example.com",
                "istio-system/*",
                "other/*",
                "shop/web.shop.svc.cluster.local",
            ]));
        }
        let hosts: Vec<String> = hosts.into_iter().map(|host| format!("\"{host}\"")).collect();
        self.line(&format!("egress: [{{hosts: [{}]}}]", hosts.join(", ")));
        if self.choices.chance(30) {
            self.line("outboundTrafficPolicy: {mode: REGISTRY_ONLY}");
        }
    }

    fn gateway(&mut self) {
        self.document("Gateway", "edge", "istio-system");
        let hosts =
            self.choices.of(&["\"*\"", "\"shop/*\"", "\"*.example.com\"", "\"api.example.com\"", "\"./*\""]);
        self.line("selector: {app: edge}");
        self.line(&format!(
            "servers: [{{port: {{number: 8080, name: http, protocol: HTTP}}, hosts: [{hosts}]}}]"
        ));
    }
}
