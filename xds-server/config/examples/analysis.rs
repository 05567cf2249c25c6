//! Parses and analyzes a text of one shape and a given size, for `tools/bench.sh analysis` to count instructions.
//!
//!     analysis SHAPE COUNT

#![allow(clippy::print_stdout, reason = "the output is what it is for")]

use std::{fmt::Write as _, sync::Arc};

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (shape, count) = (args.next().context("a shape")?, args.next().context("a count")?.parse()?);
    let text = text(&shape, count)?;
    println!("{shape} {count}: {} findings", measured(text.as_bytes()));
    Ok(())
}

#[inline(never)]
fn measured(text: &[u8]) -> usize {
    let parsed = lateen_config::parse(text, &Arc::from("file"), &Arc::from("a.yaml"));
    assert_eq!(parsed.invalid, [], "the text is valid");
    parsed.diagnostics.len() + lateen_config::analysis::analyze(&parsed.objects).len()
}

/// A text in which one list has `count` entries.
fn text(shape: &str, count: usize) -> anyhow::Result<String> {
    let list = |entry: &dyn Fn(usize) -> String| (0..count).map(entry).collect::<Vec<_>>().join(", ");
    let hosts = list(&|n| format!("h{n}.test"));
    let entry = "ServiceEntry: {hosts: [a.test], resolution: STATIC, ports: [{number: 80, name: http, protocol: \
                 HTTP}], endpoints: [{address: 1.2.3.4, labels: {v: v0}}]}";
    let route = "route: [{destination: {host: a.test}}]";
    let specs = match shape {
        "hosts" => format!("VirtualService: {{hosts: [{hosts}], gateways: [edge], http: [{{{route}}}]}}"),
        "entry" => format!(
            "ServiceEntry: {{hosts: [{hosts}], resolution: STATIC, ports: [{{number: 80, name: http, protocol: \
             HTTP}}], endpoints: [{{address: 1.2.3.4}}, {{address: 1.2.3.5}}]}}"
        ),
        "subsets" => {
            let subsets = list(&|n| format!("{{name: s{n}, labels: {{v: v{n}}}}}"));
            format!("DestinationRule: {{host: a.test, subsets: [{subsets}]}}\n{entry}")
        }
        "destinations" => {
            let to = list(&|n| format!("{{destination: {{host: a.test, subset: s{n}}}, weight: 1}}"));
            let subsets = list(&|n| format!("{{name: s{n}, labels: {{v: v0}}}}"));
            format!(
                "VirtualService: {{hosts: [b.test], http: [{{route: [{to}]}}]}}\nDestinationRule: {{host: a.test, \
                 subsets: [{subsets}]}}\n{entry}"
            )
        }
        "servers" => {
            let server =
                |n| format!("{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [h{n}.test]}}");
            format!("Gateway: {{selector: {{app: edge}}, servers: [{}]}}", list(&server))
        }
        // These are lists of objects.
        "gateways" => {
            let gateway = |n| {
                format!(
                    "Gateway: {{selector: {{app: edge}}, servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, \
                     hosts: [h{n}.test], tls: {{mode: SIMPLE, credentialName: c{n}}}}}]}}"
                )
            };
            (0..count).map(gateway).collect::<Vec<_>>().join("\n")
        }
        "services" => {
            let service =
                "Service: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}";
            vec![service; count].join("\n")
        }
        "selectors" => {
            let pair = |n| {
                format!(
                    "Service: {{selector: {{app: s{n}}}, ports: [{{name: http, port: 80}}]}}\nPod: {{app: p{n}}}"
                )
            };
            (0..count).map(pair).collect::<Vec<_>>().join("\n")
        }
        "sni" => {
            let tls = format!("{{match: [{{sniHosts: [{hosts}]}}], {route}}}");
            format!("VirtualService: {{hosts: [{hosts}], tls: [{tls}]}}\n{entry}")
        }
        "tcp" => {
            let tcp = list(&|n| format!("{{match: [{{port: {}}}], {route}}}", 1 + n % 65_535));
            format!("VirtualService: {{hosts: [b.test], tcp: [{tcp}]}}\n{entry}")
        }
        "export" => {
            let names = list(&|n| format!("n{n}"));
            format!("VirtualService: {{hosts: [b.test], exportTo: [{names}], http: [{{{route}}}]}}\n{entry}")
        }
        other => bail!("no shape {other}"),
    };
    let mut text = String::new();
    let many = matches!(shape, "gateways" | "services" | "selectors");
    for (number, line) in specs.lines().enumerate() {
        let (kind, spec) = line.split_once(": ").context("KIND: SPEC")?;
        let name = match kind {
            _ if many => format!("a{number}"),
            "Gateway" => "edge".to_owned(),
            _ => "a".to_owned(),
        };
        let version = if matches!(kind, "Service" | "Pod") { "v1" } else { "networking.istio.io/v1" };
        let (labels, spec) = if kind == "Pod" { (spec, "{}") } else { ("{}", spec) };
        writeln!(
            text,
            "---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {spec}"
        )?;
    }
    Ok(text)
}
