//! The fuzz bodies under proptest, for as long as `LATEEN_FUZZ_SECONDS` says (1 s each by default).

#![allow(clippy::print_stdout, reason = "CI says what it ran")]

use std::time::{Duration, Instant};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

fn run(name: &str, inputs: impl Strategy<Value = Vec<u8>>, body: fn(&[u8])) {
    let seconds = std::env::var("LATEEN_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (began, mut cases) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new(config).run(&inputs, |data| {
            body(&data);
            Ok(())
        });
        assert!(result.is_ok(), "{name}: {result:?}");
        cases += 256;
    }
    println!("{name}: {cases} cases in {:.0} s without a crash", began.elapsed().as_secs_f64());
}

/// Documents that are nearly right, so that the fuzzer gets past the first line.
fn documents() -> impl Strategy<Value = Vec<u8>> {
    let kinds =
        ["VirtualService", "DestinationRule", "ServiceEntry", "Gateway", "Sidecar", "Service", "HTTPRoute"];
    let words = [
        "spec",
        "hosts",
        "http",
        "match",
        "route",
        "destination",
        "host",
        "port",
        "number",
        "weight",
        "name",
        "- ",
        "[]",
        "{}",
        "*",
        "a.b",
        "80",
        "-1",
        "1e9",
        "&a",
        "*a",
        "|",
        "\"",
        "'",
        "\t",
        "\u{0}",
        "uri",
        "prefix",
        "regex",
        "(",
    ];
    let line =
        (0usize..6, proptest::sample::select(words.to_vec()), proptest::sample::select(words.to_vec()))
            .prop_map(|(indent, key, value)| format!("{}{key}: {value}\n", "  ".repeat(indent)));
    let head = proptest::sample::select(kinds.to_vec()).prop_map(|kind| {
        format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: x}}\n")
    });
    let document = (head, vec(line, 0..30)).prop_map(|(head, lines)| (head + &lines.concat()).into_bytes());
    prop_oneof![vec(any::<u8>(), 0..512), document]
}

#[test]
fn config() {
    run("config", documents(), lateen_fuzz_bodies::config);
}

#[test]
fn xds_requests() {
    run("xds_requests", vec(any::<u8>(), 0..2048), lateen_fuzz_bodies::xds_requests);
}

#[test]
fn subscription_names() {
    run("subscription_names", vec(any::<u8>(), 0..2048), lateen_fuzz_bodies::subscription_names);
}

#[test]
fn expressions() {
    let words = [
        "a",
        "b",
        "é",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?P<n>",
        "[",
        "]",
        "[^",
        "-",
        "|",
        "*",
        "+",
        "?",
        "{2}",
        "{2,5}",
        "{1000}",
        "^",
        "$",
        ".",
        "\\",
        "\\pL",
        "\\d",
        "\\Q",
        "\\E",
        "\\x{",
        "[:alpha:]",
        "}",
    ];
    let texts =
        vec(proptest::sample::select(words.to_vec()), 0..80).prop_map(|parts| parts.concat().into_bytes());
    run("expressions", texts, lateen_fuzz_bodies::expressions);
}
