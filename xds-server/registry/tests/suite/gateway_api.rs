//! Objects of the Gateway API arrive as Istio objects.

use lateen_registry::{Fact, FactKey};

use crate::feed::{Feed, host, names, remove};

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  gatewayClassName: lateen
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: shop}}}}}
";

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: infra}]
  hostnames: [shop.example.com]
  rules: [{backendRefs: [{name: reviews, port: 80}]}]
";

fn namespace(team: &str) -> String {
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{team: {team}}}}}}}\n")
}

fn bound(feed: &Feed) -> Vec<String> {
    let gateways = feed.world().get(&FactKey::Gateways).cloned().and_then(Fact::gateways).unwrap_or_default();
    let of = gateways.iter().filter_map(|gateway| {
        let hosts: Vec<String> =
            feed.world().hosts_of_gateway(&gateway.id).map(ToString::to_string).collect();
        (!hosts.is_empty()).then_some(hosts)
    });
    of.flatten().collect()
}

#[test]
fn routes_follow_their_gateway_and_its_rules() {
    let mut feed = Feed::new();
    feed.put("route.yaml", ROUTE);
    assert!(bound(&feed).is_empty());
    feed.put("gateway.yaml", GATEWAY);
    let gateways = feed.world().get(&FactKey::Gateways).cloned().and_then(Fact::gateways).unwrap();
    assert_eq!(names(gateways.iter().map(|gateway| gateway.id.to_string())), ["infra/edge~http"]);
    assert!(bound(&feed).iter().all(|host| host != "shop.example.com"), "the namespace is not allowed yet");
    feed.put("namespace.yaml", &namespace("shop"));
    assert!(
        bound(&feed).contains(&"shop.example.com".to_owned()),
        "{:?} {:?}",
        bound(&feed),
        feed.findings()
    );
    feed.put("namespace.yaml", &namespace("other"));
    assert!(bound(&feed).iter().all(|host| host != "shop.example.com"));
    feed.put("namespace.yaml", &namespace("shop"));
    feed.apply(remove("route.yaml"));
    assert!(bound(&feed).iter().all(|host| host != "shop.example.com"));
    feed.apply(remove("gateway.yaml"));
    assert_eq!(feed.world().get(&FactKey::Gateways), None);
}

#[test]
fn routes_of_a_service_are_routes_of_the_mesh() {
    let mesh = ROUTE.replace(
        "parentRefs: [{name: edge, namespace: infra}]",
        "parentRefs: [{group: '', kind: Service, name: reviews}]",
    );
    let mut feed = Feed::of(&mesh);
    let found = feed.world().virtual_services(&host("reviews.shop.svc.cluster.local")).unwrap();
    assert_eq!(found[0].origins[0].to_string(), "all.yaml:2:1", "findings name the original");
    // Only the routes of one parent are converted again.
    let changes = feed.put("all.yaml", &mesh.replace("port: 80", "port: 81"));
    assert_eq!(changes.facts.len(), 2, "{changes:?}");
    feed.apply(remove("all.yaml"));
    assert_eq!(feed.world().hosts().len(), 0);
}
