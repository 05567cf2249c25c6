//! What gateways have that no golden case shows.

use std::{fmt::Write as _, sync::Arc};

use lateen_model::NodeInfo;
use lateen_proto::{google::protobuf::Any, json};
use lateen_xds::{ResourceType, View};
use serde_json::Value;

use crate::{Compiler, translate::cold};

/// The listeners of a gateway with these addresses, and what is found.
fn listeners(text: &str, addresses: &[&str]) -> (Vec<Value>, Vec<String>) {
    let world = cold::world(text);
    let mut node = NodeInfo::from_id("router~10.0.0.9~edge.infra~infra.svc.cluster.local");
    node.labels.insert("app".into(), "edge".into());
    node.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let (compiler, handles) = Compiler::cold(&world, &[Arc::new(node)]);
    let mut found = Vec::new();
    compiler.view(handles[0]).members(ResourceType::Listener, &mut |_, resource| {
        let url = ResourceType::Listener.info().url.into();
        found.push(json::any_to_json(&Any { type_url: url, value: resource.body.bytes() }));
    });
    (found, compiler.findings().map(ToString::to_string).collect())
}

fn gateway(servers: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: infra}}\nspec:\n  selector: \
         {{app: edge}}\n  servers:\n{servers}"
    )
}

fn addresses(listeners: &[Value]) -> Vec<String> {
    let address = |at: &Value| at["address"]["socket_address"]["address"].as_str().unwrap().to_owned();
    let mut all: Vec<String> = listeners
        .iter()
        .map(|it| {
            let also = it["additional_addresses"].as_array().into_iter().flatten().map(address);
            std::iter::once(address(it)).chain(also).collect::<Vec<_>>().join("+")
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_gateway_of_two_families_listens_on_both() {
    let http = |port: u16, name: &str, bind: &str| {
        format!("  - {{port: {{number: {port}, name: {name}, protocol: HTTP}}, hosts: ['*']{bind}}}\n")
    };
    let (any, v6) = (http(80, "any", ""), http(80, "v6", ", bind: '::'"));
    let both = ["10.0.0.9", "fd00::9"];
    let at = |servers: String, ips: &[&str]| addresses(&listeners(&gateway(&servers), ips).0);
    assert_eq!(at(any.clone(), &both), ["0.0.0.0+::"]);
    assert_eq!(at(any.clone(), &both[..1]), ["0.0.0.0"]);
    assert_eq!(at(any.clone(), &both[1..]), ["::"]);
    assert_eq!(at(http(80, "v4", ", bind: 0.0.0.0"), &both), ["0.0.0.0"], "what is asked for by name");
    assert_eq!(at(any + &v6, &both), ["0.0.0.0", "::"], "each address once");
}

#[test]
fn what_is_closed_for_one_family_is_not_taken_by_the_other() {
    let files = "tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}";
    let servers = format!(
        "  - {{port: {{number: 443, name: v6, protocol: HTTPS}}, bind: '::', hosts: ['*'], tls: {{mode: ISTIO_MUTUAL}}}}\n  \
         - {{port: {{number: 443, name: any, protocol: HTTPS}}, hosts: ['*'], {files}}}\n"
    );
    let (all, _) = listeners(&gateway(&servers), &["10.0.0.9", "fd00::9"]);
    assert_eq!(addresses(&all), ["0.0.0.0"]);
}

#[test]
fn what_a_match_with_too_many_combinations_is_for_goes_nowhere_else() {
    let mut text = gateway(
        "  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ['*.example.com'], tls: {mode: PASSTHROUGH}}\n",
    );
    let names: Vec<String> = (0..101).map(|n| format!("h{n}.example.com")).collect();
    let ranges: Vec<String> = (0..100).map(|n| format!("10.{n}.0.0/16")).collect();
    write!(
        text,
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: db, namespace: infra}}\nspec: {{clusterIP: 10.1.0.1, ports: \
         [{{name: tls, port: 443}}]}}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: db, \
         namespace: infra}}\nspec:\n  hosts: ['*.example.com']\n  gateways: [edge]\n  tls:\n  - match: [{{sniHosts: [{}], \
         destinationSubnets: [{}]}}]\n    route: [{{destination: {{host: db}}}}]\n  - match: [{{sniHosts: \
         ['*.example.com']}}]\n    route: [{{destination: {{host: db}}}}]\n",
        names.join(", "),
        ranges.join(", "),
    )
    .unwrap();
    let (all, findings) = listeners(&text, &["10.0.0.9"]);
    let chains = all[0]["filter_chains"].as_array().unwrap();
    let of = |chain: &Value| {
        let cluster = chain["filters"][0]["typed_config"]["cluster"].as_str().unwrap().to_owned();
        (cluster, chain["filter_chain_match"]["server_names"].as_array().unwrap().len())
    };
    let wanted = [("BlackHoleCluster", 101), ("outbound|443||db.infra.svc.cluster.local", 1)];
    assert_eq!(chains.iter().map(of).collect::<Vec<_>>(), wanted.map(|(to, names)| (to.to_owned(), names)));
    assert!(findings.iter().any(|finding| finding.contains("combinations")), "{findings:?}");
}
