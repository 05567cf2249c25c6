//! Values of headers with Envoy's commands: what we take a live Envoy takes, and what we refuse it refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]
#![allow(clippy::print_stdout, reason = "how many values were compared is in the output")]

use std::{collections::BTreeSet, fmt::Write as _, path::Path, process::Command};

use lateen_tests::{envoy::Envoy, server};
use serde_json::{Value, json};

/// Where the list of commands is kept; the test has no other access to it than its text.
const LIST: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../xds-server/config/src/check/command/list.rs"));

/// Arguments that say something about the command that has them.
const ARGUMENTS: &[&str] = &[
    "%GRPC_STATUS(NUMBER)%",
    "%GRPC_STATUS(number)%",
    "%REQ(a?b)%",
    "%REQ(a?b?c)%",
    "%REQ(?)%",
    "%REQ(:)%",
    "%REQ(::a)%",
    "%REQ(x y)%",
    "%REQ(a/b)%",
    "%REQ(a,b)%",
    "%REQ(A)B%",
    "%REQ(a)b)%",
    "%REQ(a):%",
    "%REQ(a):x%",
    "%REQ(a):-1%",
    "%REQ(a):05%",
    "%REQ(a):99999999999999999999%",
    "%REQ(a%b)%",
    "%REQ(a)%%",
    "%%REQ(a)%%",
    "%%%REQ(a)%",
    "%%%",
    "%%%%",
    "100%",
    "100%%",
    "%a%",
    "%",
    "%SUBJECT%",
    "%START_TIME(%Y)%",
    "%START_TIME(%n)%",
    "%START_TIME(%En)%",
    "%START_TIME(%3n)%",
    "%START_TIME(%0_n)%",
    "%START_TIME(%10n)%",
    "%START_TIME(%E4n)%",
    "%START_TIME(a)b)%",
    "%START_TIME(%Y)x%",
    "%CEL(request.path)%",
    "%CEL(a(%",
    "%CEL(')')%",
    "%DYNAMIC_METADATA(a:b:c)%",
    "%UPSTREAM_METADATA([\"a\",\"b\"])%",
    "%FILTER_STATE(k:PLAIN)%",
    "%FILTER_STATE(k:FIELD:x)%",
    "%FILTER_STATE(k:FIELD)%",
    "%FILTER_STATE(k:PLAIN:x)%",
    "%FILTER_STATE(k:X)%",
    "%FILTER_STATE(:PLAIN)%",
    "%FILTER_STATE(k:)%",
    "%FILTER_STATE(k:FIELD:x:y)%",
    "%FILTER_STATE(k::x)%",
    "%UPSTREAM_FILTER_STATE(k:X)%",
    "%PATH(WQ)%",
    "%PATH(NQ:ORIG)%",
    "%PATH(:ORIG)%",
    "%PATH(X)%",
    "%PATH(WQ:X)%",
    "%PATH(WQ:ORIG:x)%",
    "%QUERY_PARAMS(ORIG)%",
    "%QUERY_PARAMS(orig)%",
    "%METADATA(ROUTE:a:b)%",
    "%METADATA(X:a)%",
    "%METADATA(:a)%",
    "%METADATA(ROUTE)%",
    "%METADATA(LISTENER_FILTER_CHAIN:a)%",
    "%COMMON_DURATION(a:b:ms)%",
    "%COMMON_DURATION(a:b)%",
    "%COMMON_DURATION(a)%",
    "%COMMON_DURATION(a:b:s)%",
    "%COMMON_DURATION(a:b:ms:c)%",
    "%XFCC_VALUE(uri)%",
    "%XFCC_VALUE(Hash)%",
    "%COALESCE({})%",
    "%COALESCE(x)%",
    "%COALESCE({\"operators\":[]})%",
    "%COALESCE({\"operators\":[\"PROTOCOL\"]})%",
    "%COALESCE({\"operators\":[\"X\"]})%",
    "%COALESCE({\"operators\":[{\"command\":\"REQ\",\"param\":\":path\",\"max_length\":3},\"DURATION\"]})%",
    "%COALESCE({\"operators\":[{\"command\":\"REQ\"}]})%",
    "%COALESCE({\"operators\":[{\"command\":\"REQ\",\"param\":\"a b\"}]})%",
    "%COALESCE({\"operators\":[{\"command\":\"REQ\",\"param\":\"a\",\"max_length\":0}]})%",
    "%COALESCE({\"operators\":[{}]})%",
    "%RESPONSE_CODE_DETAILS(x)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)%",
    "é",
    "",
];

/// Every command of the list in every form, and the arguments above.
fn values() -> Vec<String> {
    let names = LIST.lines().filter_map(|line| {
        let call = line.trim().strip_prefix("plain(\"").or_else(|| line.trim().strip_prefix("with(\""))?;
        call.split('"').next()
    });
    let forms = |name: &str| {
        [
            format!("%{name}%"),
            format!("%{name}()%"),
            format!("%{name}(a)%"),
            format!("%{name}:5%"),
            format!("%{name}(a):5%"),
        ]
    };
    names.flat_map(forms).chain(ARGUMENTS.iter().map(|value| (*value).to_owned())).collect()
}

/// Which of the values `lateen analyze` takes as those of headers.
fn taken(values: &[String], folder: &Path) -> Vec<bool> {
    let folder = folder.join("values");
    std::fs::create_dir(&folder).unwrap();
    for (index, value) in values.iter().enumerate() {
        let text = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": format!("value-{index}") },
            "spec": { "hosts": [format!("a{index}.test")], "http": [{
                "headers": { "request": { "set": { "x-a": value } } }, "route": [{ "destination": { "host": "b.test" } }],
            }] },
        });
        std::fs::write(folder.join(format!("{index}.yaml")), text.to_string()).unwrap();
    }
    let output =
        Command::new(server::binary()).args(["analyze", "-o", "json"]).arg(&folder).output().unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let errors =
        findings.iter().filter(|finding| finding["severity"] == "error" && finding["code"] == "LAT1111");
    let refused: BTreeSet<&str> = errors.filter_map(|finding| finding["object"]["name"].as_str()).collect();
    (0..values.len()).map(|index| !refused.contains(&*format!("value-{index}"))).collect()
}

/// A listener that binds nothing, whose routes set a header to the value.
fn listener(index: usize, value: &str) -> Value {
    let of = |package: &str| format!("type.googleapis.com/envoy.extensions.filters.{package}");
    let routes = json!({ "virtual_hosts": [{
        "name": "all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }],
        "request_headers_to_add": [{ "header": { "key": "x-a", "value": value } }],
    }] });
    let manager = json!({
        "@type": of("network.http_connection_manager.v3.HttpConnectionManager"), "stat_prefix": "a",
        "route_config": routes, "http_filters": [{ "name": "router", "typed_config": { "@type": of("http.router.v3.Router") } }],
    });
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": format!("value-{index}-"),
        "bind_to_port": false, "address": { "socket_address": { "address": "127.0.0.1", "port_value": 1024 + index } },
        "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
    })
}

/// Gives an Envoy a listener for each value; returns what it has against each, if anything.
fn verdicts(values: &[String], folder: &Path) -> Vec<Option<String>> {
    let listeners: Vec<Value> =
        values.iter().enumerate().map(|(index, value)| listener(index, value)).collect();
    let file = folder.join("listeners.json");
    std::fs::write(&file, json!({ "resources": listeners }).to_string()).unwrap();
    let bootstrap = json!({
        "node": { "id": "a", "cluster": "a" },
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } } },
        "dynamic_resources": { "lds_config": { "path_config_source": { "path": file } } },
    });
    let envoy = Envoy::start_with(bootstrap.to_string().as_bytes()).unwrap();
    envoy.until_ready().unwrap();
    server::until("all listeners judged", || Ok(envoy.log().contains("starting main dispatch loop")))
        .unwrap();
    let log = envoy.log();
    let complaint = |index: usize| {
        let (_, rest) = log.split_once(&format!("value-{index}-: "))?;
        rest.lines().next().map(str::to_owned)
    };
    (0..values.len()).map(complaint).collect()
}

#[test]
fn values_that_are_taken_are_those_that_envoy_takes() {
    let folder = tempfile::tempdir().unwrap();
    let values = values();
    let (mut accepted, mut different) = (0, String::new());
    let ours = taken(&values, folder.path());
    for ((value, ours), complaint) in values.iter().zip(ours).zip(verdicts(&values, folder.path())) {
        accepted += usize::from(complaint.is_none());
        if ours != complaint.is_none() {
            writeln!(different, "{value:?}: Envoy says {complaint:?}, we say {ours}").unwrap();
        }
    }
    println!("{} values, {accepted} of them taken by Envoy", values.len());
    assert!(different.is_empty(), "{different}");
    assert!(accepted > 150 && values.len() - accepted > 150);
}
