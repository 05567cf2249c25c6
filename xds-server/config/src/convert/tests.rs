//! Conversions of whole documents, shown as one line per route.

mod backends;
mod changes;

use std::{collections::BTreeMap, fmt::Write as _};

use super::*;
use crate::{istio::*, object::ConfigObject, parse};

/// Converts every parent in the text and shows what comes out.
fn check(text: &str) -> String {
    let parsed = parse(text.as_bytes(), &"test".into(), &"mesh.yaml".into());
    let mut out = String::new();
    for diagnostic in &parsed.diagnostics {
        writeln!(out, "parse: {diagnostic}").unwrap();
    }
    let of_kind = |kind| parsed.objects.iter().filter(move |object| object.key.kind == kind);
    let grants: Vec<&ParsedObject> = of_kind(Kind::ReferenceGrant).collect();
    let labels: BTreeMap<&str, &BTreeMap<String, String>> =
        of_kind(Kind::Namespace).map(|object| (&*object.key.name, &object.meta.labels)).collect();
    let namespace_labels = |name: &str| labels.get(name).copied();
    let mut by_parent: BTreeMap<Parent, Vec<&ParsedObject>> = BTreeMap::new();
    for object in &parsed.objects {
        for parent in parents(object) {
            by_parent.entry(parent).or_default().push(object);
        }
    }
    for (parent, routes) in &by_parent {
        let around =
            Surroundings { grants: &grants, namespace_labels: &namespace_labels, domain: "cluster.local" };
        let converted = match parent {
            Parent::Gateway { namespace, name } => {
                let Some(gateway) =
                    of_kind(Kind::Gateway).find(|g| g.key.namespace == *namespace && g.key.name == *name)
                else {
                    continue;
                };
                let ConfigObject::Gateway(spec) = &gateway.spec else { unreachable!() };
                let class =
                    of_kind(Kind::GatewayClass).find(|class| class.key.name == spec.gateway_class_name);
                let class = class.map(|class| match &class.spec {
                    ConfigObject::GatewayClass(class) => &**class,
                    _ => unreachable!(),
                });
                super::gateway(&GatewayInput { gateway, class, routes, around })
            }
            Parent::Service { namespace, name, routes: of } => {
                mesh(&MeshInput { namespace, name, routes_namespace: of, routes, around })
            }
        };
        show(&converted, &mut out);
    }
    out
}

fn show(converted: &Converted, out: &mut String) {
    for derived in &converted.objects {
        let key = &derived.object.key;
        let lines: Vec<String> = derived.origins.iter().map(|origin| origin.line.to_string()).collect();
        writeln!(out, "{key} (lines {})", lines.join(", ")).unwrap();
        match &derived.object.spec {
            ConfigObject::IstioGateway(gateway) => show_gateway(gateway, out),
            ConfigObject::VirtualService(service) => {
                writeln!(
                    out,
                    "  hosts {:?} gateways {:?} export {:?}",
                    service.hosts, service.gateways, service.export_to
                )
                .unwrap();
                for route in &service.http {
                    show_route(route, out);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    for (listener, count) in &converted.attached {
        writeln!(out, "attached {listener}: {count}").unwrap();
    }
    for finding in &converted.findings {
        writeln!(out, "{finding}").unwrap();
    }
}

fn show_gateway(gateway: &Gateway, out: &mut String) {
    writeln!(out, "  selector {:?}", gateway.selector).unwrap();
    for server in &gateway.servers {
        let port = server.port.as_ref().unwrap();
        write!(out, "  {} {} {:?}", port.number, port.protocol, server.hosts).unwrap();
        if let Some(tls) = &server.tls {
            write!(out, " {} {:?} {}", tls.mode.as_str(), tls.credential_names, tls.server_certificate)
                .unwrap();
        }
        writeln!(out, "{}", if server.closed { " closed" } else { "" }).unwrap();
    }
}

fn text(matched: &StringMatch) -> String {
    match matched {
        StringMatch::Exact(text) => format!("={text}"),
        StringMatch::Prefix(text) => format!("{text}*"),
        StringMatch::Regex(text) => format!("~{text}"),
        StringMatch::Present => "?".to_owned(),
    }
}

fn show_route(route: &HttpRoute, out: &mut String) {
    write!(out, "  {}:", route.name).unwrap();
    for matched in &route.matches {
        write!(out, " [{}", matched.uri.as_ref().map(text).unwrap_or_default()).unwrap();
        if let Some(method) = &matched.method {
            write!(out, " method{}", text(method)).unwrap();
        }
        for (name, value) in &matched.headers {
            write!(out, " {name}{}", text(value)).unwrap();
        }
        for (name, value) in &matched.query_params {
            write!(out, " ?{name}{}", text(value)).unwrap();
        }
        if let Some(port) = matched.port {
            write!(out, " port {port}").unwrap();
        }
        write!(out, "]").unwrap();
    }
    write!(out, " ->").unwrap();
    for target in &route.route {
        let destination = target.destination.as_ref().unwrap();
        let port = destination.port.as_ref().unwrap().number;
        write!(out, " {}:{port} x{}", destination.host, target.weight.unwrap()).unwrap();
        if let Some(headers) = &target.headers {
            write!(out, " {:?}", headers.request.as_ref().unwrap().set).unwrap();
        }
    }
    if let Some(answer) = &route.direct_response {
        write!(out, " {}", answer.status.unwrap()).unwrap();
    }
    if let Some(redirect) = &route.redirect {
        let HttpRedirect { uri, authority, port, derive_port, scheme, redirect_code, prefix_rewrite, .. } =
            &**redirect;
        write!(
            out,
            " redirect {redirect_code:?} {scheme}://{authority} {port:?} {derive_port:?} uri={uri} prefix={prefix_rewrite}"
        )
        .unwrap();
    }
    if let Some(HttpRewrite { uri, authority, uri_regex_rewrite, .. }) = route.rewrite.as_deref() {
        let full = uri_regex_rewrite.as_ref().map(|rewrite| (&rewrite.pattern, &rewrite.rewrite));
        write!(out, " rewrite host={authority} prefix={uri} full={full:?}").unwrap();
    }
    if let Some(Headers { request, response, .. }) = route.headers.as_deref() {
        for (side, change) in [("request", request), ("response", response)] {
            if let Some(change) = change {
                write!(out, " {side} set {:?} add {:?} remove {:?}", change.set, change.add, change.remove)
                    .unwrap();
            }
        }
    }
    if let Some(share) = route.share {
        write!(out, " upto {}", share.upto).unwrap();
    }
    for mirror in &route.mirrors {
        let host = &mirror.destination.as_ref().unwrap().host;
        write!(out, " mirror {host} {:?}", mirror.percentage.as_ref().map(|percent| percent.value)).unwrap();
    }
    if let Some(cors) = &route.cors_policy {
        let origins: Vec<String> = cors.allow_origins.iter().map(text).collect();
        write!(out, " cors {origins:?} {:?}", cors.max_age).unwrap();
    }
    if let Some(timeout) = route.timeout {
        write!(out, " timeout {timeout:?}").unwrap();
    }
    if let Some(HttpRetry { attempts, per_try_timeout, retry_on, backoff, .. }) = route.retries.as_deref() {
        write!(out, " retry {attempts} {per_try_timeout:?} {retry_on} {backoff:?}").unwrap();
    }
    writeln!(out).unwrap();
}

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: web}
spec:
  gatewayClassName: lateen
  listeners:
  - {name: http, port: 8080, protocol: HTTP}
";

#[test]
fn rules_of_all_routes_of_a_host_are_sorted_by_precedence() {
    let text = format!(
        "{GATEWAY}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: b, namespace: web, creationTimestamp: 2024-01-02T00:00:00Z}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [shop.example.com]
  rules:
  - backendRefs: [{{name: default, port: 80}}]
  - matches:
    - path: {{type: PathPrefix, value: /cart}}
      headers: [{{name: X-Canary, value: 'yes'}}]
    backendRefs: [{{name: canary, port: 80}}]
  - matches:
    - path: {{type: PathPrefix, value: /cart}}
      method: POST
    - path: {{type: PathPrefix, value: /cart}}
      queryParams: [{{name: v, value: '2'}}]
    backendRefs: [{{name: v2, port: 80, weight: 9}}, {{name: v3, port: 80}}, {{name: none, port: 80, weight: 0}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: a, namespace: web, creationTimestamp: 2024-01-01T00:00:00Z}}
spec:
  parentRefs: [{{name: edge, sectionName: http}}]
  hostnames: [shop.example.com, '*.example.com']
  rules:
  - matches:
    - path: {{type: Exact, value: /cart}}
    - path: {{type: RegularExpression, value: '/c.*'}}
    - path: {{type: PathPrefix, value: /cart/}}
    backendRefs: [{{name: a, port: 80}}]
  - backendRefs: []
"
    );
    insta::assert_snapshot!(check(&text));
}

#[test]
fn filters_timeouts_and_retries() {
    let text = format!(
        "{GATEWAY}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: f, namespace: web}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
  - matches: [{{path: {{value: /rewrite}}}}]
    filters:
    - {{type: URLRewrite, urlRewrite: {{hostname: in.example.com, path: {{type: ReplacePrefixMatch, replacePrefixMatch: /new}}}}}}
    - {{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: X-A, value: '1'}}, {{name: x-a, value: '2'}}], remove: [X-B]}}}}
    - {{type: RequestMirror, requestMirror: {{backendRef: {{name: copy, port: 80}}, fraction: {{numerator: 1, denominator: 8}}}}}}
    backendRefs:
    - name: a
      port: 80
      filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: X-Backend, value: a}}]}}}}]
    timeouts: {{request: 10s, backendRequest: 2s}}
    retry: {{codes: [503], attempts: 3, backoff: 100ms}}
  - matches: [{{path: {{value: /strip}}}}]
    filters:
    - {{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /}}}}}}
    backendRefs: [{{name: a, port: 80}}]
  - matches: [{{path: {{value: /full}}}}]
    filters:
    - {{type: URLRewrite, urlRewrite: {{path: {{type: ReplaceFullPath, replaceFullPath: /one}}}}}}
    - {{type: CORS, cors: {{allowOrigins: ['https://*.example.com', 'https://a.b']}}}}
    backendRefs: [{{name: a, port: 80}}]
  - matches: [{{path: {{value: /old}}}}]
    filters:
    - {{type: RequestRedirect, requestRedirect: {{scheme: https, path: {{type: ReplacePrefixMatch, replacePrefixMatch: /new}}, statusCode: 301}}}}
  - matches: [{{path: {{value: /away}}}}]
    filters:
    - {{type: RequestRedirect, requestRedirect: {{hostname: example.org, path: {{type: ReplaceFullPath, replaceFullPath: /here}}}}}}
  - matches: [{{path: {{value: /p}}}}]
    filters:
    - {{type: RequestRedirect, requestRedirect: {{scheme: https, port: 8443}}}}
"
    );
    insta::assert_snapshot!(check(&text));
}

#[test]
fn references_across_namespaces_need_a_grant() {
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs: [{name: db, namespace: data, port: 80}]
";
    let grant = "apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: data}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: web}]
  to: [{group: '', kind: Service, name: db}]
";
    let without = check(&format!("{GATEWAY}---\n{route}"));
    assert!(without.contains("-> 500\n") && without.contains("LAT2304"), "{without}");
    let with = check(&format!("{GATEWAY}---\n{route}---\n{grant}"));
    assert!(with.contains("-> db.data.svc.cluster.local:80 x1\n") && !with.contains("LAT"), "{with}");
    let other = check(&format!("{GATEWAY}---\n{route}---\n{}", grant.replace("name: db}", "name: other}")));
    assert!(other.contains("LAT2304"), "{other}");
    let both = route.replace("[{name: db,", "[{name: own, port: 80, weight: 3}, {name: db,");
    let shares = check(&format!("{GATEWAY}---\n{both}"));
    assert!(shares.contains("-> own.web.svc.cluster.local:80 x3 backend.invalid:1 x1\n"), "{shares}");
}

#[test]
fn listeners_take_only_the_routes_they_allow() {
    let text = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  gatewayClassName: lateen
  listeners:
  - name: wide
    port: 80
    protocol: HTTP
    hostname: '*.example.com'
    allowedRoutes: {namespaces: {from: All}}
  - name: narrow
    port: 80
    protocol: HTTP
    hostname: a.example.com
    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}
  - name: tls
    port: 443
    protocol: HTTPS
    hostname: a.example.com
    tls: {options: {lateen.io/server-certificate: /c.pem, lateen.io/private-key: /k.pem}}
    allowedRoutes: {namespaces: {from: All}, kinds: [{kind: GRPCRoute}]}
  - {name: again, port: 80, protocol: HTTP, hostname: a.example.com}
  - {name: tcp, port: 9000, protocol: TCP}
  - name: secret
    port: 444
    protocol: HTTPS
    tls: {certificateRefs: [{name: cert}, {name: cert, namespace: elsewhere}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: a, labels: {team: a}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: a}
spec:
  parentRefs: [{name: edge, namespace: infra}]
  hostnames: [a.example.com, b.example.com]
  rules: [{backendRefs: [{name: a, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wide, namespace: b}
spec:
  parentRefs: [{name: edge, namespace: infra, sectionName: wide}]
  rules: [{backendRefs: [{name: b, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls, namespace: b}
spec:
  parentRefs: [{name: edge, namespace: infra, port: 443}]
  rules:
  - matches:
    - method: {service: shop.Cart}
    - method: {service: shop.Cart, method: Add}
    - method: {method: Get}
    - method: {type: RegularExpression, service: 'shop\\..*'}
    backendRefs: [{name: cart, port: 50051}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: nowhere, namespace: b}
spec:
  parentRefs: [{name: edge, namespace: infra, sectionName: narrow}, {name: edge, namespace: infra, sectionName: nil}]
  hostnames: [other.org]
  rules: [{backendRefs: [{name: b, port: 80}]}]
";
    insta::assert_snapshot!(check(text));
}

#[test]
fn routes_of_a_service_are_routes_of_the_mesh() {
    let text = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: producer, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: cart, port: 80}]
  rules:
  - matches: [{path: {value: /v2}}]
    backendRefs: [{name: cart-v2, port: 80}]
  - filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: consumer, namespace: client}
spec:
  parentRefs: [{group: '', kind: Service, name: cart, namespace: shop}]
  rules: [{backendRefs: [{name: own, port: 80}]}]
";
    insta::assert_snapshot!(check(text));
}

#[test]
fn only_gateways_of_known_classes_are_served() {
    let unknown = GATEWAY.replace("gatewayClassName: lateen", "gatewayClassName: other");
    assert!(check(&unknown).contains("LAT2301"), "{}", check(&unknown));
    let class = |controller: &str| {
        format!(
            "{unknown}---\napiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: other}}\n\
             spec: {{controllerName: {controller}}}\n"
        )
    };
    assert!(check(&class("lateen.io/gateway-controller")).contains("Gateway web/edge~http"));
    assert_eq!(check(&class("example.com/theirs")), "");
}

#[test]
fn the_order_in_which_routes_are_found_does_not_matter() {
    let route = |name: &str, rules: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: web}}\n\
             spec: {{parentRefs: [{{name: edge}}], hostnames: [a.b, c.b], rules: {rules}}}\n"
        )
    };
    let text = [
        GATEWAY.to_owned(),
        route(
            "x",
            "[{matches: [{path: {value: /a}}, {path: {value: /b}}], backendRefs: [{name: x, port: 80}]}]",
        ),
        route("y", "[{matches: [{path: {value: /a}}], backendRefs: [{name: y, port: 80}]}]"),
        route("z", "[{backendRefs: [{name: z, port: 80}]}, {backendRefs: [{name: never, port: 80}]}]"),
    ]
    .concat();
    let parsed = parse(text.as_bytes(), &"test".into(), &"mesh.yaml".into());
    let (gateways, mut routes): (Vec<&ParsedObject>, Vec<_>) =
        parsed.objects.iter().partition(|object| object.key.kind == Kind::Gateway);
    assert_eq!((gateways.len(), routes.len()), (1, 3));
    let convert = |routes: &[&ParsedObject]| {
        let around = Surroundings { grants: &[], namespace_labels: &|_| None, domain: "cluster.local" };
        super::gateway(&GatewayInput { gateway: gateways[0], class: None, routes, around })
    };
    let forwards = convert(&routes);
    routes.reverse();
    assert_eq!(convert(&routes), forwards);
    routes.swap(0, 1);
    assert_eq!(convert(&routes), forwards);
}
