//! What is in force in the place of what was never readable: `docs/unapplied.md`.

use std::{fmt::Write as _, sync::Arc};

use lateen_config::{
    ConfigObject, ParsedObject,
    istio::{ClientTls, ClientTlsMode, TrafficPolicy},
    parse,
};

fn stand_ins(text: &str) -> Vec<ParsedObject> {
    let parsed = parse(text.as_bytes(), &Arc::from("file"), &Arc::from("a.yaml"));
    assert!(parsed.objects.is_empty(), "{text}");
    assert!(!parsed.invalid.is_empty(), "{text}");
    parsed.invalid.into_iter().filter_map(|invalid| invalid.stand_in.map(|object| *object)).collect()
}

fn object(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a, namespace: shop}}\nspec: {spec}\n"
    )
}

fn tls(tls: Option<&ClientTls>) -> String {
    match tls {
        None => "none".to_owned(),
        Some(tls) if tls.unreadable => "closed".to_owned(),
        Some(tls) => tls.mode.as_str().to_owned(),
    }
}

fn policy(out: &mut String, name: &str, policy: Option<&TrafficPolicy>) {
    let Some(policy) = policy else { return };
    write!(out, " {name}={}", tls(policy.tls.as_ref())).expect("a text");
    for port in &policy.port_level_settings {
        let number = port.port.as_ref().map_or(0, |port| port.number);
        write!(out, " {name}:{number}={}", tls(port.tls.as_ref())).expect("a text");
    }
}

/// The TLS of what stands in for a rule.
fn rule(text: &str) -> String {
    let mut shown = String::new();
    for object in stand_ins(text) {
        let ConfigObject::DestinationRule(rule) = &object.spec else { panic!("{object:?}") };
        shown += &rule.host;
        policy(&mut shown, "*", rule.traffic_policy.as_ref());
        for subset in &rule.subsets {
            policy(&mut shown, &subset.name, subset.traffic_policy.as_ref());
        }
    }
    shown
}

#[test]
fn a_rule_that_asks_for_tls_never_becomes_plain() {
    let typo = "conectionPool: {}";
    let cases = [
        // What could be read is as it says, and a mistake elsewhere opens nothing.
        (format!("{{host: b, trafficPolicy: {{{typo}, tls: {{mode: ISTIO_MUTUAL}}}}}}"), "b *=ISTIO_MUTUAL"),
        (format!("{{host: b, trafficPolicy: {{{typo}, tls: {{mode: SIMPLE}}}}}}"), "b *=SIMPLE"),
        ("{host: b, traffic_policy: {tls: {mode: SIMPLE}}, bogus: 1}".into(), "b *=SIMPLE"),
        // A setting that can't be read, or a field's name that can't, closes.
        ("{host: b, trafficPolicy: {tls: {mode: SIMPEL}}}".into(), "b *=closed"),
        ("{host: b, trafficPolicy: {tls: {mode: MUTUAL}}}".into(), "b *=closed"),
        ("{host: b, trafficPolicy: {tls: {mod: SIMPLE}}}".into(), "b *=closed"),
        ("{host: b, trafficPolicy: {tls: 5}}".into(), "b *=closed"),
        ("{host: b, trafficPolicy: {tsl: {mode: SIMPLE}}}".into(), "b *=closed"),
        ("{host: b, traficPolicy: {tls: {mode: SIMPLE}}}".into(), "b *=closed"),
        ("{host: b, trafficPolicy: {mode: SIMPLE}}".into(), "b *=closed"),
        ("{hots: b, trafficPolicy: {tls: {mode: SIMPLE}}}".into(), "b *=SIMPLE"),
        // Ports and subsets are as exact as they can be read.
        (
            format!(
                "{{host: b, trafficPolicy: {{{typo}, tls: {{mode: SIMPLE}}, portLevelSettings: [{{port: {{number: 80}}}}, \
                 {{port: {{number: 81}}, tls: {{mode: DISABLE, x: 1}}}}, {{port: {{number: 82}}, tls: {{mode: X}}}}]}}}}"
            ),
            "b *=SIMPLE *:80=none *:81=DISABLE *:82=closed",
        ),
        (
            "{host: b, x: 1, subsets: [{name: v1, labels: {v: a}}, {name: v2, labels: {tls: x}, trafficPolicy: \
             {tls: {mode: SIMPLE}}}]}"
                .into(),
            "b v2=SIMPLE",
        ),
        (
            "{host: b, subsets: [5, {name: v2, trafficPolicy: {tls: {mode: SIMPLE}}}]}".into(),
            "b v2=SIMPLE",
        ),
        (
            "{host: b, subsets: [{name: [], trafficPolicy: {tls: {mode: SIMPLE}}}]}".into(),
            "b *=closed",
        ),
        (
            "{host: b, trafficPolicy: {portLevelSettings: [{port: x, tls: {mode: SIMPLE}}]}}".into(),
            "b *=closed",
        ),
        // Nothing asks for TLS: there is nothing to keep. Of one without a host nobody knows whose it is.
        (format!("{{host: b, trafficPolicy: {{{typo}}}}}"), ""),
        ("{host: b, x: 1, trafficPolicy: {tls: {mode: DISABLE}}}".into(), ""),
        ("{host: b, x: 1, trafficPolicy: {tls: null}}".into(), ""),
        ("{host: b, x: 1, subsets: [{name: v1, labels: {tls: simple}}]}".into(), ""),
        ("{trafficPolicy: {tls: {mode: SIMPLE}}}".into(), ""),
    ];
    for (spec, expected) in cases {
        assert_eq!(rule(&object("DestinationRule", &spec)), expected, "{spec}");
    }
}

#[test]
fn so_it_is_in_a_text_that_is_no_whole_document() {
    let asks = object("DestinationRule", "{host: b, trafficPolicy: {tls: {mode: SIMPLE}}}");
    assert_eq!(rule(&asks.replace("/v1", "/v7")), "b *=SIMPLE");
    assert_eq!(rule(&asks.replace("spec:", "sepc:")), "b *=SIMPLE");
    assert_eq!(rule(&asks.replace("name: a", "name: a, name: a")), "b *=SIMPLE");
    assert_eq!(rule(&asks.replace("name: a, ", "")), "b *=SIMPLE");
    // It breaks off: what follows may be the setting.
    let broken = "\n  host: b\n  x: ]\n  trafficPolicy: {tls: {mode: SIMPLE}}";
    assert_eq!(rule(&object("DestinationRule", broken)), "b *=closed");
    let two = [object("DestinationRule", "\n  host: b\n  x: ]"), asks.replace("/v1", "/v7")].join("---\n");
    assert_eq!(rule(&two), "b *=SIMPLE", "only the second one asks");
}

fn sidecar(spec: &str) -> String {
    let mut shown = String::new();
    for object in stand_ins(&object("Sidecar", spec)) {
        let ConfigObject::Sidecar(sidecar) = &object.spec else { panic!("{object:?}") };
        let selector = sidecar.workload_selector.as_ref();
        shown += &selector.map_or_else(|| "all".to_owned(), |selector| format!("{:?}", selector.labels));
        for listener in &sidecar.ingress {
            let number = listener.port.as_ref().map_or(0, |port| port.number);
            let tls = listener.tls.as_ref().map_or_else(
                || "plain".to_owned(),
                |tls| format!("{}{}{}", tls.mode.as_str(), tls.credential_name, tls.server_certificate),
            );
            write!(shown, " {number}={tls}").expect("a text");
        }
    }
    shown
}

#[test]
fn a_port_that_asks_for_tls_never_becomes_plain() {
    let select = "workloadSelector: {labels: {app: b}}";
    let port = |number: u32| format!("port: {{number: {number}, protocol: HTTPS, name: https}}");
    let mutual = "tls: {mode: MUTUAL, credentialName: x}";
    let (one, two, at) = (port(1), port(2), r#"{"app": "b"}"#);
    let cases = [
        (format!("{{{select}, ingress: [{{{one}, {mutual}, bogus: 1}}]}}"), format!("{at} 1=MUTUALx")),
        (
            format!("{{{select}, ingress: [{{{one}}}, {{{two}, {mutual}}}], x: 1}}"),
            format!("{at} 1=plain 2=MUTUALx"),
        ),
        (
            format!("{{{select}, ingress: [{{{one}, bind: '!'}}, {{{two}, {mutual}}}]}}"),
            format!("{at} 1=plain 2=MUTUALx"),
        ),
        // What can't be read has no certificate: it is closed.
        (format!("{{{select}, ingress: [{{{one}, tls: {{mode: MUTULA}}}}]}}"), format!("{at} 1=SIMPLE")),
        (format!("{{{select}, ingress: [{{{one}, tsl: {{mode: MUTUAL}}}}]}}"), format!("{at} 1=SIMPLE")),
        (format!("{{{select}, ingres: [{{{one}, {mutual}}}]}}"), format!("{at} 1=MUTUALx")),
        (format!("{{workloadSelector: 5, ingress: [{{{one}, {mutual}}}]}}"), "all 1=MUTUALx".to_owned()),
        (
            format!("{{{select}, ingress: [5, {{{one}, {mutual}}}], egress: [{{hosts: [x]}}]}}"),
            format!("{at} 1=MUTUALx"),
        ),
        (format!("{{{select}, ingress: [{{{one}}}], x: 1}}"), String::new()),
        (format!("{{{select}, egress: [{{hosts: [x]}}]}}"), String::new()),
    ];
    for (spec, expected) in cases {
        assert_eq!(sidecar(&spec), expected, "{spec}");
    }
}

#[test]
fn policies_without_a_name_are_told_apart_by_their_place() {
    let policy = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {namespace: shop}, spec: {}}";
    let names = |location: &str, text: &str| -> Vec<String> {
        let parsed = parse(text.as_bytes(), &Arc::from("file"), &Arc::from(location));
        let names = parsed.invalid.into_iter().filter_map(|invalid| invalid.stand_in);
        names.map(|object| object.key.name.clone()).collect()
    };
    assert_eq!(names("a.yaml", policy), ["(file/a.yaml:1:1)"]);
    assert_eq!(names("b.yaml", policy), ["(file/b.yaml:1:1)"]);
    let list = format!("{{apiVersion: v1, kind: List, items: [{policy}, {policy}]}}");
    let of_list = names("a.yaml", &list);
    assert!(of_list.len() == 2 && of_list[0] != of_list[1], "{of_list:?}");
}

/// What is known to be Lua alone closes nothing, by the table of `docs/unapplied.md`; of what else it may be, that counts.
#[test]
fn an_extension_of_both_kinds_is_no_lua() {
    let lua_of = |spec: &str| {
        let text = object("TrafficExtension", spec)
            .replace("networking.istio.io/v1", "extensions.istio.io/v1alpha1");
        let found = stand_ins(&text);
        let [ParsedObject { spec: ConfigObject::TrafficExtension(spec), .. }] = &*found else {
            panic!("{found:?}")
        };
        spec.lua.is_some()
    };
    let lua = "lua: {inlineCode: x}";
    assert!(lua_of(&format!("{{{lua}, bogus: 1}}")));
    assert!(!lua_of(&format!("{{{lua}, wasm: {{url: 'oci://a/b'}}}}")));
    assert!(!lua_of(&format!("{{{lua}, wasm: 5}}")));
    assert!(!lua_of("{phase: AUTHN}"));
}

#[test]
fn a_mesh_with_an_error_keeps_its_root_namespace() {
    let mesh = |text: &str| {
        let map = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {}\n",
            text.replace('\n', "\n    ")
        );
        let parsed = parse(map.as_bytes(), &Arc::from("file"), &Arc::from("a.yaml"));
        let good = parsed.objects.into_iter();
        let objects =
            good.chain(parsed.invalid.into_iter().filter_map(|invalid| invalid.stand_in.map(|o| *o)));
        let shown = objects.map(|object| {
            let ConfigObject::MeshConfig(mesh) = &object.spec else { panic!("{object:?}") };
            let mode = mesh.outbound_traffic_policy.as_ref().and_then(|policy| policy.mode);
            let exports = [
                &mesh.default_service_export_to,
                &mesh.default_virtual_service_export_to,
                &mesh.default_destination_rule_export_to,
            ];
            format!("{} {mode:?} {exports:?} {:?}", mesh.root_namespace, mesh.connect_timeout)
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    let all = "rootNamespace: root\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}\ndefaultServiceExportTo: ['.']\n\
        defaultVirtualServiceExportTo: ['~']\ndefaultDestinationRuleExportTo: ['x']\nconnectTimeout: 1s";
    let exports = r#"[["."], ["~"], ["x"]]"#;
    let whole = format!("root Some(RegistryOnly) {exports} Some(1s)");
    assert_eq!(mesh(all), whole);
    // A later version's fields are passed over, at any depth.
    assert_eq!(mesh(&format!("{all}\nnewer: {{}}\ndefaultConfig: {{newer: 1}}")), whole);
    let part = format!("root Some(RegistryOnly) {exports} None");
    assert_eq!(mesh(&format!("{all}\nh2UpgradePolicy: MAYBE")), part);
    assert_eq!(mesh(&format!("{all}\nproxyListenPort: 70000")), part);
    assert_eq!(mesh(&format!("{all}\nx: ]")), part);
    // One that is wrong itself takes none of the others with it.
    assert_eq!(
        mesh(&all.replace("'~'", "'a b'")),
        format!("root Some(RegistryOnly) {} None", r#"[["."], [], ["x"]]"#)
    );
    assert_eq!(mesh("connectTimeout: x"), "");
    assert_eq!(ClientTlsMode::default(), ClientTlsMode::Disable, "a mode that is not given is off");
}
