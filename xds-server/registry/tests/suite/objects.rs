//! Routing objects, and what happens when objects conflict or can't be read.

use lateen_config::Kind;
use lateen_model::{Diagnostic, Severity, SourceEvent, diagnostic::Code, service::Visibility};
use lateen_registry::{Fact, FactKey, GatewayId};

use crate::feed::{Feed, apply, host, id, key, keys, listing, names, remove, shared, source, text, upsert};

fn virtual_service(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n{spec}"
    )
}

fn rule(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{host: {host}}}\n"
    )
}

fn routes(feed: &Feed, of: &str) -> Vec<String> {
    let found = feed.world().virtual_services(&host(of));
    found.map(|all| names(all.iter().map(|one| one.key.name.clone()))).unwrap_or_default()
}

const ROUTE: &str = "  http: [{route: [{destination: {host: reviews}}]}]\n";

#[test]
fn routes_are_found_by_host_and_gateway() {
    let feed = Feed::of(&text(&[
        &virtual_service("b", &format!("  hosts: [Reviews, '*.example.com']\n{ROUTE}")),
        &virtual_service("a", &format!("  hosts: [reviews]\n  gateways: [mesh, edge, infra/main]\n{ROUTE}")),
        &virtual_service(
            "outside",
            &format!("  hosts: [reviews]\n  gateways: [edge]\n  exportTo: ['.']\n{ROUTE}"),
        ),
        &virtual_service("part", "  http: [{route: [{destination: {host: reviews}}]}]\n"),
    ]));
    assert_eq!(routes(&feed, "reviews.shop.svc.cluster.local"), ["a", "b"]);
    assert_eq!(routes(&feed, "*.example.com"), ["b"]);
    let at = |namespace: &str, name: &str| {
        let id = GatewayId { namespace: namespace.into(), name: name.into() };
        let world = feed.world();
        let hosts = world.hosts_of_gateway(&id).map(|host| FactKey::GatewayRoutes(id.clone(), host.clone()));
        let lists = hosts.filter_map(|key| world.get(&key).cloned().and_then(Fact::virtual_services));
        let all: std::collections::BTreeSet<String> =
            lists.flat_map(|all| all.iter().map(|one| one.key.name.clone()).collect::<Vec<_>>()).collect();
        (!all.is_empty()).then(|| names(all))
    };
    assert_eq!(at("shop", "edge"), Some(names(["a", "outside"])));
    assert_eq!(at("infra", "main"), Some(names(["a"])));
    let one = |name: &str| {
        let found = feed.world().get(&FactKey::VirtualService(key(Kind::VirtualService, "shop", name)));
        found.cloned().and_then(Fact::virtual_service).unwrap()
    };
    assert!(one("part").spec.hosts.is_empty(), "a delegate is found by its name");
    assert_eq!(one("outside").export_to, Visibility::Namespaces(["shop".into()].into()));
    assert_eq!(
        names(feed.world().hosts().map(lateen_model::Host::as_str)),
        ["*.example.com", "reviews.shop.svc.cluster.local"]
    );
}

#[test]
fn rules_sidecars_and_gateways_are_found() {
    let feed = Feed::of(&text(&[
        &rule("b", "reviews"),
        &rule("a", "reviews.shop.svc.cluster.local"),
        &rule("wild", "'*.shop.svc.cluster.local'"),
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: shop}\nspec: {egress: [{hosts: ['./*']}]}\n",
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: infra}\nspec:\n  selector: {istio: ingress}\n  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n",
    ]));
    assert!(feed.findings().is_empty(), "{:?}", feed.findings());
    let rules = |of: &str| {
        let found = feed.world().destination_rules(&host(of)).unwrap();
        names(found.iter().map(|one| one.key.name.clone()))
    };
    assert_eq!(rules("reviews.shop.svc.cluster.local"), ["a", "b"]);
    assert_eq!(rules("*.shop.svc.cluster.local"), ["wild"]);
    let fact = |key: FactKey| feed.world().get(&key).cloned().unwrap();
    assert_eq!(fact(FactKey::Sidecars("shop".into())).sidecars().unwrap().len(), 1);
    let gateways = fact(FactKey::Gateways).gateways().unwrap();
    assert_eq!(gateways[0].id.to_string(), "infra/edge");
    assert_eq!(&*gateways[0].selector["istio"], "ingress");
    assert!(fact(FactKey::Gateway(gateways[0].id.clone())).gateway().is_some());
}

#[test]
fn selectors_of_clients_are_counted() {
    let labelled = |name: &str, app: &str| {
        virtual_service(
            name,
            &format!(
                "  hosts: [reviews]\n  http: [{{match: [{{sourceLabels: {{app: {app}}}}}], route: [{{destination: {{host: reviews}}}}]}}]\n"
            ),
        )
    };
    let mut feed = Feed::new();
    let selectors = |feed: &Feed| {
        let found = feed.world().get(&FactKey::SourceSelectors).cloned().and_then(Fact::source_selectors);
        found.map(|all| names(all.iter().map(|one| one.labels["app"].to_string()))).unwrap_or_default()
    };
    feed.put("a.yaml", &labelled("a", "web"));
    assert_eq!(selectors(&feed), ["web"]);
    let changes = feed.put("b.yaml", &labelled("b", "web"));
    assert!(!changes.facts.contains(&FactKey::SourceSelectors), "{changes:?}");
    feed.put("c.yaml", &labelled("c", "batch"));
    assert_eq!(selectors(&feed), ["batch", "web"]);
    feed.apply(remove("a.yaml"));
    feed.apply(remove("c.yaml"));
    assert_eq!(selectors(&feed), ["web"]);
    feed.apply(remove("b.yaml"));
    assert_eq!(feed.world().get(&FactKey::SourceSelectors), None);
}

#[test]
fn selectors_are_asked_of_those_clients_that_they_can_matter_to() {
    let routes = |name: &str, spec: &str| {
        virtual_service(
            name,
            &format!(
                "{spec}  http: [{{match: [{{sourceLabels: {{app: {name}}}}}], route: [{{destination: {{host: reviews}}}}]}}]\n"
            ),
        )
    };
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: a}\nspec: \
                {host: reviews, workloadSelector: {matchLabels: {app: rule}}}\n";
    let mesh = "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {name: istio}\nspec: \
                {defaultVirtualServiceExportTo: ['.']}\n";
    let mut feed = Feed::new();
    feed.put("rule.yaml", rule);
    feed.put("public.yaml", &routes("public", "  hosts: [reviews]\n"));
    feed.put("private.yaml", &routes("private", "  hosts: [reviews]\n  exportTo: [c]\n"));
    feed.put("edge.yaml", &routes("edge", "  hosts: [reviews]\n  gateways: [edge]\n"));
    feed.put("delegate.yaml", &routes("delegate", "  exportTo: [c]\n"));
    let asked = |feed: &Feed, namespace: &str, is_gateway: bool| {
        let found = feed.world().get(&FactKey::SourceSelectors).cloned().and_then(Fact::source_selectors);
        let namespace = namespace.into();
        let all = found.into_iter().flat_map(|all| all.iter().cloned().collect::<Vec<_>>());
        let all = all.filter(|one| one.asks(&namespace, is_gateway)).map(|one| one.labels["app"].to_string());
        names(all.collect::<std::collections::BTreeSet<_>>())
    };
    assert_eq!(asked(&feed, "a", false), ["delegate", "public", "rule"]);
    assert_eq!(asked(&feed, "b", false), ["delegate", "public"]);
    assert_eq!(asked(&feed, "c", false), ["delegate", "private", "public"]);
    assert_eq!(asked(&feed, "a", true), ["rule"]);
    assert!(asked(&feed, "b", true).is_empty());
    // What has no exportTo of its own follows the mesh, and leaves as it came.
    feed.put("mesh.yaml", mesh);
    assert_eq!(asked(&feed, "b", false), ["delegate"]);
    for name in ["mesh", "rule", "public", "private", "edge", "delegate"] {
        feed.apply(remove(&format!("{name}.yaml")));
    }
    assert_eq!(feed.world().get(&FactKey::SourceSelectors), None);
}

#[test]
fn labels_of_failover_are_gathered_from_rules_and_mesh() {
    let mut feed = Feed::of(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: reviews\n  trafficPolicy:\n    outlierDetection: {consecutive5xxErrors: 1}\n    loadBalancer: {localityLbSetting: {failoverPriority: [rack, 'topology.istio.io/network=n']}}\n",
    );
    let labels = |feed: &Feed| {
        let found = feed.world().get(&FactKey::FailoverLabels).cloned().and_then(Fact::failover_labels);
        found.map(|all| names(all.iter())).unwrap_or_default()
    };
    assert_eq!(labels(&feed), ["rack", "topology.istio.io/network"], "{:?}", feed.findings());
    feed.put("mesh.yaml", "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {name: istio}\nspec: {localityLbSetting: {failoverPriority: [room]}}\n");
    assert_eq!(labels(&feed), ["rack", "room", "topology.istio.io/network"]);
}

#[test]
fn policies_are_found_by_kind_and_namespace() {
    let policy = |name: &str, action: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{action: {action}}}\n"
        )
    };
    let peer = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: strict, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n";
    let mut feed = Feed::of(&text(&[&policy("b", "DENY"), peer]));
    let cell = FactKey::Policies(Kind::AuthorizationPolicy, "shop".into());
    let found = |feed: &Feed| {
        let all = feed.world().get(&cell).cloned().and_then(Fact::policies);
        all.map(|all| names(all.iter().map(|one| one.key.name.clone()))).unwrap_or_default()
    };
    assert_eq!(found(&feed), ["b"]);
    let changes = feed.put("a.yaml", &policy("a", "ALLOW"));
    assert_eq!(changes.facts.iter().collect::<Vec<_>>(), [&cell]);
    assert_eq!(found(&feed), ["a", "b"]);
    feed.apply(remove("a.yaml"));
    assert_eq!(found(&feed), ["b"]);
    assert!(feed.world().get(&FactKey::Policies(Kind::PeerAuthentication, "shop".into())).is_some());
    assert_eq!(feed.world().get(&FactKey::Policies(Kind::PeerAuthentication, "other".into())), None);
}

#[test]
fn the_mesh_has_defaults_and_gives_them() {
    let mut feed = Feed::of(&rule("a", "reviews"));
    assert_eq!(feed.world().mesh(), std::sync::Arc::default());
    let mesh = "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {name: istio}\nspec: {defaultDestinationRuleExportTo: ['.'], rootNamespace: root}\n";
    let changes = feed.put("mesh.yaml", mesh);
    let rules = FactKey::DestinationRules(host("reviews.shop.svc.cluster.local"));
    assert_eq!(keys(&changes), [FactKey::Mesh, rules]);
    assert_eq!(feed.world().mesh().root_namespace, "root");
    let visible = |feed: &Feed| {
        feed.world().destination_rules(&host("reviews.shop.svc.cluster.local")).unwrap()[0].export_to.clone()
    };
    assert_eq!(visible(&feed), Visibility::Namespaces(["shop".into()].into()));
    // The same configuration once more: the first one counts.
    let changes =
        feed.put("z.yaml", &mesh.replace("name: istio", "name: istio-z").replace("root}", "other}"));
    assert!(changes.is_empty(), "{changes:?}");
    assert!(feed.findings().join("").contains("LAT2402"), "{:?}", feed.findings());
    feed.apply(remove("mesh.yaml"));
    assert_eq!(feed.world().mesh().root_namespace, "other");
    feed.apply(remove("z.yaml"));
    assert_eq!(visible(&feed), Visibility::All);
}

#[test]
fn of_two_objects_with_one_name_the_first_source_counts() {
    let (first, second) = (source("file:one"), source("file:two"));
    let mut feed = Feed::new();
    feed.registry = lateen_registry::Registry::new(&[first.clone(), second.clone()]);
    let holder = |feed: &Feed| {
        let rules = feed.world().destination_rules(&host("reviews.shop.svc.cluster.local")).unwrap();
        rules.iter().map(|rule| format!("{} {}", rule.origin.source, rule.origin)).collect::<Vec<_>>()
    };
    apply(&mut feed.registry, &second, upsert("b.yaml", &rule("a", "reviews")));
    assert_eq!(holder(&feed), ["file:two b.yaml:1:1"]);
    assert!(feed.findings().is_empty());
    apply(&mut feed.registry, &first, upsert("z.yaml", &rule("a", "reviews")));
    assert_eq!(holder(&feed), ["file:one z.yaml:1:1"]);
    let findings = feed.findings();
    assert_eq!(findings.len(), 1);
    for part in ["LAT2401", "b.yaml:1:1", "z.yaml:1:1", "file:one"] {
        assert!(findings[0].contains(part), "{findings:?}");
    }
    apply(&mut feed.registry, &first, remove("z.yaml"));
    assert_eq!(holder(&feed), ["file:two b.yaml:1:1"]);
    assert!(feed.findings().is_empty());
}

#[test]
fn in_one_source_the_older_object_counts_and_then_the_first_place() {
    let mut feed = Feed::new();
    let dated = |time: &str| {
        rule("a", "reviews").replace("name: a", &format!("name: a, creationTimestamp: '{time}'"))
    };
    let place = |feed: &Feed| {
        feed.world().destination_rules(&host("reviews.shop.svc.cluster.local")).unwrap()[0].origin.to_string()
    };
    feed.put("a.yaml", &dated("2026-02-01T00:00:00Z"));
    feed.put("b.yaml", &dated("2026-01-01T00:00:00Z"));
    assert_eq!(place(&feed), "b.yaml:1:1");
    feed.put("a.yaml", &dated("2026-01-01T00:00:00Z"));
    assert_eq!(place(&feed), "a.yaml:1:1");
}

#[test]
fn an_invalid_object_keeps_its_last_good_form_and_its_neighbours_go_on() {
    let mut feed = Feed::of(&text(&[&rule("a", "reviews"), &rule("b", "ratings")]));
    let holds = |feed: &Feed, of: &str| {
        let rules = feed.world().destination_rules(&host(&format!("{of}.shop.svc.cluster.local")));
        rules.map_or(0, |rules| rules.len())
    };
    let bad = rule("a", "reviews").replace("host: reviews", "hosst: reviews");
    let changes = feed.put("all.yaml", &text(&[&bad, &rule("b", "details")]));
    assert_eq!((holds(&feed, "reviews"), holds(&feed, "ratings"), holds(&feed, "details")), (1, 0, 1));
    assert_eq!(changes.facts.len(), 2, "{changes:?}");
    let findings = feed.findings();
    assert!(findings[0].contains("all.yaml:4:") && findings[0].contains("hosst"), "{findings:?}");

    // A text that can't be read to its end keeps what was in it; one that can, and lacks an object, removes it.
    let changes = feed.put("all.yaml", "apiVersion: networking.istio.io/v1\nkind: {\n");
    assert!(changes.is_empty(), "{changes:?}");
    assert!(feed.findings()[0].contains("LAT1003"), "{:?}", feed.findings());
    let changes = feed.put("all.yaml", "\u{0}\u{1}");
    assert!(changes.is_empty(), "{changes:?}");
    feed.put("all.yaml", &rule("b", "details"));
    assert_eq!((holds(&feed, "reviews"), holds(&feed, "details")), (0, 1));
    assert!(feed.findings().is_empty());
}

#[test]
fn a_text_that_is_bad_as_a_whole_changes_nothing_and_is_found_with_its_line() {
    let good = text(&[&rule("a", "reviews"), &rule("b", "ratings")]);
    let bomb = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |bomb, n| {
        format!("{bomb}a{n}: &a{n} [{}]\n", [format!("*a{}", n - 1).as_str(); 9].join(", "))
    });
    let deep = "[".repeat(100_000);
    let wide = format!("# {}\n", "x".repeat(20 << 20));
    let bad: &[(&str, &[u8], &str)] = &[
        ("cut", b"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a", ":3:"),
        ("tabs", b"apiVersion: v1\nkind: Service\nmetadata:\n\tname: a\n", ":4:"),
        ("bomb", bomb.as_bytes(), ":"),
        ("deep", deep.as_bytes(), ":1:"),
        ("large", wide.as_bytes(), ""),
        ("not UTF-8", b"apiVersion: v1\nkind: \xff\xfe\n", ":2:"),
        (
            "unknown kind",
            b"apiVersion: networking.istio.io/v1\nkind: DestinationRul\nmetadata: {name: a}\n",
            ":2:",
        ),
    ];
    for (what, body, place) in bad {
        let mut feed = Feed::of(&good);
        let object = lateen_model::event::Object::Document(lateen_model::Document { body: (*body).into() });
        let changes = feed.apply(SourceEvent::Upsert { id: id("all.yaml"), object });
        assert!(changes.is_empty(), "{what}: {changes:?}");
        let findings = feed.findings();
        assert!(
            findings.iter().any(|finding| finding.contains(&format!("all.yaml{place}"))),
            "{what}: {findings:?}"
        );
        assert!(
            !feed.put("all.yaml", &rule("a", "reviews")).is_empty(),
            "{what}: it is read again when it is good"
        );
        assert!(feed.findings().is_empty(), "{what}");
    }
}

#[test]
fn a_key_given_twice_concerns_its_object_only() {
    let mut feed = Feed::of(&text(&[&rule("a", "reviews"), &rule("b", "ratings")]));
    let twice = rule("a", "details").replace("{host: details}", "{host: details, host: other}");
    let changes = feed.put("all.yaml", &text(&[&twice, &rule("b", "productpage")]));
    let of = |name: &str| FactKey::DestinationRules(host(&format!("{name}.shop.svc.cluster.local")));
    assert_eq!(keys(&changes), [of("productpage"), of("ratings")]);
    assert!(feed.world().get(&of("reviews")).is_some());
    assert!(feed.findings()[0].contains("all.yaml:4:"), "{:?}", feed.findings());
}

#[test]
fn what_cannot_be_read_keeps_what_it_said() {
    let mut feed = Feed::new();
    let good = rule("a", "reviews");
    for event in listing(&[("a.yaml", &good), ("b.yaml", &rule("b", "ratings"))]) {
        feed.apply(event);
    }
    let diagnostic = Diagnostic {
        code: Code("LAT3001"),
        severity: Severity::Error,
        object: None,
        origin: None,
        path: String::new(),
        message: "permission denied".to_owned(),
        hint: None,
    };
    let invalid = |name: &str| SourceEvent::Invalid { id: id(name), diagnostic: diagnostic.clone() };
    assert!(feed.apply(invalid("a.yaml")).is_empty());
    assert!(feed.apply(invalid("never-read.yaml")).is_empty());
    assert_eq!(feed.findings().len(), 2);
    // In a listing it counts as seen; what is not seen is gone.
    let listing = [
        SourceEvent::Resync(crate::feed::scope("")),
        invalid("a.yaml"),
        SourceEvent::Synced(crate::feed::scope("")),
    ];
    let changes: Vec<_> = listing.into_iter().map(|event| feed.apply(event)).collect();
    assert_eq!(keys(&changes[2]), [FactKey::DestinationRules(host("ratings.shop.svc.cluster.local"))]);
    assert_eq!(feed.findings().len(), 1);
    // The same text again: the finding goes, and that is all.
    assert!(feed.put("a.yaml", &good).is_empty());
    assert!(feed.findings().is_empty());
}

#[test]
fn routes_that_compete_for_a_port_of_a_gateway_are_told_as_long_as_they_do() {
    let gateway = |hosts: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
             servers:\n  - {{port: {{number: 3306, name: db, protocol: TCP}}, hosts: ['{hosts}']}}\n  \
             - {{port: {{number: 5432, name: other, protocol: TCP}}, hosts: ['*']}}\n"
        )
    };
    let routes = |name: &str, wanted: &str| {
        virtual_service(
            name,
            &format!(
                "  hosts: [{name}.example.com]\n  gateways: [edge]\n  tcp:\n  - match: [{{{wanted}}}]\n    \
                 route: [{{destination: {{host: {name}}}}}]\n"
            ),
        )
    };
    let mut feed = Feed::new();
    feed.put("edge.yaml", &gateway("*"));
    feed.put("a.yaml", &routes("a", "port: 3306"));
    feed.put("b.yaml", &routes("b", "port: 5432"));
    feed.put("c.yaml", &routes("c", "port: 3306, destinationSubnets: [10.0.0.0/8]"));
    assert!(feed.findings().is_empty(), "{:?}", feed.findings());
    feed.put("d.yaml", &routes("d", ""));
    let found = feed.findings();
    assert_eq!(found.len(), 2, "{found:?}");
    for (port, first) in [("3306", "shop/a"), ("5432", "shop/b")] {
        let told = found.iter().find(|finding| finding.contains(port)).unwrap();
        assert!(told.starts_with("d.yaml:8:") && told.contains("LAT2410") && told.contains(first), "{told}");
    }
    // Another server's hosts, and another object, end it.
    feed.put("edge.yaml", &gateway("a.example.com"));
    assert_eq!(feed.findings().len(), 1);
    feed.apply(remove("b.yaml"));
    assert!(feed.findings().is_empty(), "{:?}", feed.findings());
}

#[test]
fn routes_that_compete_for_a_name_in_tls_are_told_as_long_as_they_do() {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec:\n  \
                   servers:\n  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ['*.example.com'], tls: {mode: PASSTHROUGH}}\n  \
                   - {port: {number: 444, name: tcp, protocol: TCP}, hosts: ['*.example.com'], tls: {mode: PASSTHROUGH}}\n";
    let routes = |name: &str, wanted: &str| {
        virtual_service(
            name,
            &format!(
                "  hosts: ['*.example.com']\n  gateways: [edge]\n  tls:\n  - match: [{{{wanted}}}]\n    \
                 route: [{{destination: {{host: {name}}}}}]\n"
            ),
        )
    };
    let mut feed = Feed::new();
    feed.put("edge.yaml", gateway);
    feed.put("a.yaml", &routes("a", "port: 443, sniHosts: [a.example.com]"));
    feed.put("b.yaml", &routes("b", "port: 444, sniHosts: [A.example.com]"));
    feed.put(
        "c.yaml",
        &routes("c", "port: 443, sniHosts: [c.example.com], destinationSubnets: [10.0.0.0/8]"),
    );
    feed.put("d.yaml", &routes("d", "port: 443, sniHosts: [c.example.com, '*.example.com']"));
    assert!(feed.findings().is_empty(), "{:?}", feed.findings());
    feed.put(
        "e.yaml",
        &routes("e", "sniHosts: [x.example.com, a.example.com], destinationSubnets: [10.0.0.0/8]"),
    );
    let found = feed.findings();
    assert_eq!(found.len(), 2, "{found:?}");
    for (port, first) in [("443", "shop/a"), ("444", "shop/b")] {
        let told = found.iter().find(|finding| finding.contains(port)).unwrap();
        assert!(told.starts_with("e.yaml:8:") && told.contains("LAT2410") && told.contains(first), "{told}");
        assert!(told.contains("for a.example.com to port"), "{told}");
    }
    feed.apply(remove("a.yaml"));
    assert_eq!(feed.findings().len(), 1);
    feed.apply(remove("e.yaml"));
    assert!(feed.findings().is_empty(), "{:?}", feed.findings());
}

#[test]
fn who_takes_the_host_of_another_namespace_is_told_as_long_as_it_does() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: bank}\nspec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}\n";
    let routes = |export: &str| {
        virtual_service(
            "pay",
            &format!(
                "  hosts: [x.y, pay.bank.svc.cluster.local]\n{export}  http: [{{route: [{{destination: {{host: a}}}}]}}]\n"
            ),
        )
    };
    let mut feed = Feed::new();
    feed.put("pay.yaml", &routes(""));
    assert!(feed.findings().is_empty());
    feed.put("bank.yaml", service);
    let found = feed.findings();
    assert!(
        found.len() == 1 && found[0].starts_with("pay.yaml:5:") && found[0].contains("LAT2013"),
        "{found:?}"
    );
    feed.put("pay.yaml", &routes("  exportTo: ['.']\n"));
    assert!(feed.findings().is_empty(), "{:?}", feed.findings());
    let silent = routes("").replace("name: pay,", "name: pay, annotations: {lateen.io/ignore: LAT2013},");
    feed.put("pay.yaml", &silent);
    assert!(feed.findings().is_empty(), "{:?}", feed.findings());
    // An entry over a platform's service holds for its own namespace only, and says so.
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: pay, namespace: shop}\nspec: {hosts: [pay.bank.svc.cluster.local], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}\n";
    feed.put("entry.yaml", entry);
    let found = feed.findings();
    assert!(
        found.iter().any(|it| it.starts_with("entry.yaml:4:16:") && it.contains("clients of shop only")),
        "{found:?}"
    );
    // It stands at the host, of each entry that has it, as long as that wants to hear of it.
    let later = entry.replace("hosts: [", "hosts: [other.example, ").replace("{name: pay", "{name: pay-2");
    feed.put("later.yaml", &later);
    let found = feed.findings();
    let told = |found: &[String], name: &str, place: &str| {
        let object = format!("ServiceEntry shop/{name}:");
        found.iter().any(|it| it.contains(&object) && it.contains(place))
    };
    assert!(
        found.len() == 2
            && told(&found, "pay", "at spec.hosts[0]")
            && told(&found, "pay-2", "at spec.hosts[1]"),
        "{found:?}"
    );
    let silent =
        |text: &str| text.replace("namespace: shop", "namespace: shop, annotations: {lateen.io/ignore: ''}");
    feed.put("later.yaml", &silent(&later));
    assert_eq!(feed.findings().len(), 1, "{:?}", feed.findings());
    feed.put("entry.yaml", &silent(entry));
    assert!(feed.findings().is_empty(), "{:?}", feed.findings());
}

#[test]
fn servers_of_one_port_tell_of_competing_routes_once() {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec:\n  servers:\n  \
                   - {port: {number: 3306, name: a, protocol: TCP}, bind: 10.0.0.1, hosts: ['*']}\n  \
                   - {port: {number: 3306, name: b, protocol: TCP}, bind: 10.0.0.2, hosts: ['*']}\n";
    let routes = |name: &str| {
        virtual_service(
            name,
            "  hosts: ['*']\n  gateways: [edge]\n  tcp:\n  - match: [{port: 3306}, {destinationSubnets: [10.0.0.0/8]}]\n    \
             route: [{destination: {host: a}}]\n",
        )
    };
    let feed = Feed::of(&text(&[gateway, &routes("a"), &routes("b")]));
    let found = feed.findings();
    assert_eq!(found.iter().filter(|it| it.contains("LAT2410")).count(), 2, "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn an_unchanged_object_in_a_changed_text_is_no_change() {
    let mut feed = Feed::of(&text(&[&rule("a", "reviews"), &rule("b", "ratings")]));
    let changes = feed.put("all.yaml", &text(&[&rule("a", "reviews"), &rule("b", "details")]));
    let of = |name: &str| FactKey::DestinationRules(host(&format!("{name}.shop.svc.cluster.local")));
    assert_eq!(keys(&changes), [of("details"), of("ratings")]);
    // A platform's own counters are no change either.
    let counted = |n: u32| {
        rule("a", "reviews").replace("name: a", &format!("name: a, resourceVersion: '{n}', generation: {n}"))
    };
    feed.put("a.yaml", &counted(1));
    assert!(feed.put("a.yaml", &counted(2)).is_empty());
}

#[test]
fn a_proposal_changes_a_copy() {
    let feed = Feed::of(&rule("a", "reviews"));
    let proposed = [("new.yaml".into(), shared(&rule("a", "ratings"))), ("bad.yaml".into(), shared("x: ["))];
    let (world, findings) = feed.registry.propose(&source("proposal"), &proposed);
    let of = |name: &str| host(&format!("{name}.shop.svc.cluster.local"));
    assert!(world.destination_rules(&of("ratings")).is_some());
    assert!(
        world.destination_rules(&of("reviews")).is_none(),
        "the proposal replaces the object of its name"
    );
    assert!(feed.world().destination_rules(&of("reviews")).is_some());
    assert!(findings.iter().all(|finding| finding.to_string().starts_with("bad.yaml")), "{findings:?}");
    assert_eq!(findings.len(), 1);
}

#[test]
fn namespaces_are_facts_and_so_is_that_there_is_a_secret_but_not_what_it_holds() {
    let mut feed = Feed::of(&text(&[
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}\n",
        "{apiVersion: v1, kind: Secret, metadata: {name: tls, namespace: shop}, type: Opaque, stringData: {password: hunter2}}\n",
    ]));
    let namespace =
        feed.world().get(&FactKey::Namespace("shop".into())).cloned().unwrap().namespace().unwrap();
    assert_eq!(namespace.labels["team"], "a");
    let secret =
        feed.world().get(&FactKey::Secret("shop".into(), "tls".into())).cloned().unwrap().secret().unwrap();
    assert_eq!(feed.registry.secrets().get(&secret).unwrap().get("password"), Some(&b"hunter2"[..]));
    assert!(!format!("{:?}", feed.registry).contains("hunter2"), "secrets are not printed");

    // Another content is another version; who knows the old one gets nothing rather than something else.
    feed.put(
        "all.yaml",
        "{apiVersion: v1, kind: Secret, metadata: {name: tls, namespace: shop}, type: Opaque, stringData: {password: new}}",
    );
    let known =
        feed.world().get(&FactKey::Secret("shop".into(), "tls".into())).cloned().unwrap().secret().unwrap();
    assert_ne!(known.version, secret.version);
    assert_eq!(feed.registry.secrets().get(&secret), None);
    assert!(feed.registry.secrets().get(&known).is_some());
    feed.put("all.yaml", "");
    assert_eq!(feed.registry.secrets().get(&known), None);
}

#[test]
fn only_the_mesh_s_namespace_configures_the_mesh() {
    let mesh = |namespace: &str| {
        format!(
            "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {{name: a, namespace: {namespace}, creationTimestamp: \
             '2020-01-01T00:00:00Z'}}\nspec: {{defaultServiceExportTo: ['~']}}\n"
        )
    };
    let mut feed = Feed::of(&mesh("tenant"));
    assert!(feed.world().mesh().default_service_export_to.is_empty());
    let findings = feed.findings();
    assert!(findings.len() == 1 && findings[0].contains("LAT2409"), "{findings:?}");
    feed.put("mesh.yaml", &mesh("istio-system"));
    assert_eq!(feed.world().mesh().default_service_export_to, ["~"]);
}

#[test]
fn what_was_never_readable_keeps_what_protects() {
    // Two without a name, at the same place of two files.
    let mut feed = Feed::new();
    let policy = |app: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{namespace: shop}}\nspec: \
             {{selector: {{matchLabels: {{app: {app}}}}}, action: DENY, rules: [{{}}]}}\n"
        )
    };
    feed.put("a.yaml", &policy("a"));
    feed.put("b.yaml", &policy("b"));
    let key = FactKey::Policies(Kind::AuthorizationPolicy, "shop".into());
    let policies = feed.world().get(&key).cloned().and_then(Fact::policies);
    assert_eq!(policies.map(|policies| policies.len()), Some(2));

    // A rule that asks for TLS, until it can be read.
    let rule = |more: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: b, namespace: shop}}\nspec: \
             {{host: b, trafficPolicy: {{{more}}}}}\n"
        )
    };
    let key = FactKey::DestinationRules(host("b.shop.svc.cluster.local"));
    let shown = |feed: &Feed| {
        let rules = feed.world().get(&key).cloned().and_then(Fact::destination_rules)?;
        let tls = rules[0].spec.traffic_policy.as_ref()?.tls.as_ref()?;
        Some((rules[0].unreadable, tls.mode.as_str()))
    };
    feed.put("c.yaml", &rule("conectionPool: {}, tls: {mode: ISTIO_MUTUAL}"));
    assert_eq!(shown(&feed), Some((true, "ISTIO_MUTUAL")));
    feed.put("c.yaml", &rule("tls: {mode: SIMPLE}"));
    assert_eq!(shown(&feed), Some((false, "SIMPLE")));
    feed.put("c.yaml", &rule("conectionPool: {}, tls: {mode: ISTIO_MUTUAL}"));
    assert_eq!(shown(&feed), Some((false, "SIMPLE")), "the last good form");

    // The mesh's configuration: what can be read of it, but one without errors counts before.
    let mesh = |name: &str, spec: &str| {
        format!(
            "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {{name: {name}, namespace: istio-system}}\nspec: {spec}\n"
        )
    };
    let root = |feed: &Feed| match feed.world().get(&FactKey::Mesh) {
        Some(Fact::Mesh(mesh)) => mesh.root_namespace.clone(),
        other => panic!("{other:?}"),
    };
    feed.put("d.yaml", &mesh("a", "{rootNamespace: bad-root, proxyListenPort: 70000}"));
    assert_eq!(root(&feed), "bad-root");
    feed.put("e.yaml", &mesh("b", "{rootNamespace: good-root, newer: 1}"));
    assert_eq!(root(&feed), "good-root");
}
