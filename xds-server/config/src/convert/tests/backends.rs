//! Backends and filters that can't be used, filters of backends, and routes that compete.

use super::{GATEWAY, check};

fn route(kind: &str, name: &str, created: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: web, \
         creationTimestamp: {created}}}\nspec: {{parentRefs: [{{name: edge}}], {rest}}}\n"
    )
}

fn one(rest: &str) -> String {
    check(&format!("{GATEWAY}{}", route("HTTPRoute", "r", "2024-01-01T00:00:00Z", rest)))
}

#[test]
fn a_filter_that_cant_be_applied_answers_500_with_nothing_else() {
    for filter in [
        "{type: ExtensionRef, extensionRef: {group: x.test, kind: Auth, name: z}}",
        "{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: a, port: 80}}}",
    ] {
        let rewrite = "{type: URLRewrite, urlRewrite: {hostname: in.test}}";
        let shown = one(&format!(
            "rules: [{{filters: [{rewrite}, {filter}], backendRefs: [{{name: a, port: 80}}]}}]"
        ));
        assert!(shown.contains("-> 500\n") && shown.contains("LAT2306"), "{shown}");
        let of_backend = format!("rules: [{{backendRefs: [{{name: a, port: 80, filters: [{filter}]}}]}}]");
        let shown = one(&of_backend);
        assert!(shown.contains("-> 500\n") && shown.contains("LAT2306"), "{shown}");
        let beside = of_backend.replace("[{name: a,", "[{name: b, port: 80, weight: 3}, {name: a,");
        let shown = one(&beside);
        assert!(shown.contains("-> b.web.svc.cluster.local:80 x3 backend.invalid:1 x1\n"), "{shown}");
    }
    let grpc = "rules: [{filters: [{type: ExtensionRef, extensionRef: {group: x.test, kind: Auth, name: z}}], \
                backendRefs: [{name: a, port: 80}]}]";
    let shown = check(&format!("{GATEWAY}{}", route("GRPCRoute", "r", "2024-01-01T00:00:00Z", grpc)));
    assert!(shown.contains("-> 500\n") && shown.contains("LAT2306"), "{shown}");
}

#[test]
fn filters_of_backends_give_each_backend_a_route_with_its_share() {
    let shown = one("rules: [{matches: [{path: {value: /p}}], backendRefs: [\
           {name: a, port: 80, weight: 1, filters: [{type: URLRewrite, urlRewrite: {hostname: in.test}}]}, \
           {name: b, port: 80, weight: 2, filters: [{type: RequestRedirect, requestRedirect: {hostname: to.test}}]}, \
           {name: c, port: 80, weight: 1}]}]");
    let routes: Vec<&str> = shown.lines().filter(|line| line.contains(": [")).collect();
    assert_eq!(routes.len(), 3, "{shown}");
    assert!(
        routes[0].contains("-> a.web.svc.cluster.local:80 x1") && routes[0].contains("host=in.test"),
        "{shown}"
    );
    assert!(routes[0].ends_with("upto 250000"), "{shown}");
    assert!(
        routes[1].contains("redirect Some(302) ://to.test") && routes[1].ends_with("upto 750000"),
        "{shown}"
    );
    assert!(routes[2].ends_with("-> c.web.svc.cluster.local:80 x1"), "{shown}");
}

#[test]
fn a_host_has_routes_of_one_kind_those_of_the_oldest() {
    let backends = "rules: [{backendRefs: [{name: a, port: 80}]}]";
    let hosted = |host: &str| format!("hostnames: ['{host}'], {backends}");
    let of = |grpc: (&str, &str), http: (&str, &str)| {
        let grpc = route("GRPCRoute", "g", grpc.1, &hosted(grpc.0));
        let http = route("HTTPRoute", "h", http.1, &hosted(http.0));
        check(&format!("{GATEWAY}{http}{grpc}"))
    };
    let (early, late) = ("2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z");
    let shown = of(("x.test", early), ("x.test", late));
    assert!(shown.contains("web.g.0:") && !shown.contains("web.h.0:"), "{shown}");
    assert!(shown.contains("LAT2311") && shown.contains("HTTPRoute web/h"), "{shown}");
    let shown = of(("x.test", late), ("x.test", early));
    assert!(
        !shown.contains("web.g.0:") && shown.contains("web.h.0:") && shown.contains("LAT2311"),
        "{shown}"
    );
    // Equally old: the first in alphabetical order.
    let shown = of(("*.test", early), ("x.test", early));
    assert!(shown.contains("web.g.0:") && !shown.contains("web.h.0:"), "{shown}");
    let shown = of(("x.test", early), ("y.test", late));
    assert!(
        shown.contains("web.g.0:") && shown.contains("web.h.0:") && !shown.contains("LAT2311"),
        "{shown}"
    );
}

#[test]
fn a_consumer_needs_no_grant_to_its_own_parent() {
    let consumer = |backend: &str| {
        check(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: c, namespace: client}}\nspec:\n\
             \x20 parentRefs: [{{group: '', kind: Service, name: cart, namespace: shop}}]\n\
             \x20 rules: [{{backendRefs: [{{name: {backend}, namespace: shop, port: 80}}]}}]\n"
        ))
    };
    let own = consumer("cart");
    assert!(own.contains("-> cart.shop.svc.cluster.local:80 x1\n") && !own.contains("LAT2304"), "{own}");
    let other = consumer("till");
    assert!(other.contains("-> 500\n") && other.contains("LAT2304"), "{other}");
}

#[test]
fn requests_for_another_listener_of_the_port_are_misdirected() {
    let tls = "tls: {options: {lateen.io/server-certificate: /c.pem, lateen.io/private-key: /k.pem}}";
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: web}}\nspec:\n\
         \x20 gatewayClassName: lateen\n\x20 listeners:\n\
         \x20 - {{name: any, port: 443, protocol: HTTPS, {tls}}}\n\
         \x20 - {{name: wide, port: 443, protocol: HTTPS, hostname: '*.wide.test', {tls}}}\n"
    );
    let hosts = "hostnames: [x.test, y.wide.test], rules: [{backendRefs: [{name: a, port: 80}]}]";
    let shown = check(&format!("{gateway}{}", route("HTTPRoute", "r", "2024-01-01T00:00:00Z", hosts)));
    let made: Vec<(&str, &str)> = shown
        .split("VirtualService web/edge~")
        .skip(1)
        .map(|part| {
            let answer = if part.contains("421") {
                "421"
            } else if part.contains("404") {
                "404"
            } else {
                "served"
            };
            (part.split(' ').next().unwrap(), answer)
        })
        .collect();
    let wanted = [
        ("any~*.wide.test", "421"),
        ("any~x.test", "served"),
        ("wide~*", "421"),
        ("wide~*.wide.test", "404"),
        ("wide~y.wide.test", "served"),
    ];
    assert_eq!(made, wanted, "{shown}");
}

#[test]
fn a_listener_that_cant_be_served_is_closed_and_no_broader_one_has_its_host() {
    let tls = "tls: {options: {lateen.io/server-certificate: /c.pem, lateen.io/private-key: /k.pem}}";
    let foreign = "tls: {certificateRefs: [{name: c, namespace: elsewhere}]}";
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: web}}\nspec:\n\
         \x20 gatewayClassName: lateen\n\x20 listeners:\n\
         \x20 - {{name: any, port: 443, protocol: HTTPS, {tls}}}\n\
         \x20 - {{name: admin, port: 443, protocol: HTTPS, hostname: admin.test, {foreign}}}\n\
         \x20 - {{name: pass, port: 443, protocol: TLS, hostname: pass.test, tls: {{mode: Passthrough}}}}\n"
    );
    let hosts = "hostnames: [admin.test, y.test], rules: [{backendRefs: [{name: a, port: 80}]}]";
    let shown = check(&format!("{gateway}{}", route("HTTPRoute", "r", "2024-01-01T00:00:00Z", hosts)));
    for host in ["admin.test", "pass.test"] {
        assert!(
            shown.contains(&format!(
                "443 {} [\"./{host}\"] closed",
                if host == "pass.test" { "TLS" } else { "HTTPS" }
            )),
            "{shown}"
        );
        let answer = shown.split(&format!("VirtualService web/edge~any~{host}")).nth(1).unwrap();
        assert!(answer.split("VirtualService").next().unwrap().contains("421"), "{shown}");
    }
    assert!(!shown.contains("attached admin") && !shown.contains("VirtualService web/edge~admin"), "{shown}");
}
