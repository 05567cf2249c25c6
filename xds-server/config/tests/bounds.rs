//! Hostile and broken texts: bounded, never a panic, and never at the neighbours' cost.

#![allow(clippy::unwrap_used)] // a test's functions are tests too

use std::{fmt::Write as _, fs, path::Path, sync::Arc};

use lateen_config::{
    Parsed, analysis, codes,
    findings::FINDINGS_MAX,
    parse, re2,
    yaml::{self, Budget, Node, Value},
};
use proptest::prelude::*;

fn read(text: &[u8]) -> Parsed {
    parse(text, &Arc::from("file"), &Arc::from("a.yaml"))
}

fn codes_of(parsed: &Parsed) -> Vec<&'static str> {
    parsed.diagnostics.iter().map(|diagnostic| diagnostic.code.0).collect()
}

fn service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
    )
}

fn cases(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn a_bad_document_leaves_its_neighbours() {
    let bad: [&[u8]; 8] = [
        b"spec: {ports: [",
        b"\tx: y",
        b"a: 'b",
        b"a: \xff\xfe",
        b"a: *b",
        b"%YAML 9.9\n---\na",
        b"}",
        b"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {prots: 1}",
    ];
    for bad in bad {
        let text = [service("before").as_bytes(), b"---\n", bad, b"\n", service("after").as_bytes()].concat();
        let parsed = read(&text);
        let names: Vec<_> = parsed.objects.iter().map(|object| object.key.name.as_str()).collect();
        assert_eq!(names, ["before", "after"], "{:?}", String::from_utf8_lossy(bad));
        assert_eq!(parsed.invalid.len(), 1, "{:?}", String::from_utf8_lossy(bad));
        // Lines are those of the whole text.
        let line = parsed.diagnostics[0].origin.as_ref().unwrap().line;
        assert!((7..=10).contains(&line), "{line}: {:?}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn a_half_written_object_keeps_its_name() {
    let text = service("half").replace("[{port: 80}]}", "[{port: 8");
    let parsed = read(text.as_bytes());
    assert_eq!(parsed.invalid[0].key.as_ref().unwrap().name, "half");
    let latin1 = [service("half").as_bytes(), b"# caf\xe9\n"].concat();
    let parsed = read(&latin1);
    assert_eq!(codes_of(&parsed), [codes::NOT_UTF8.0]);
    assert_eq!(parsed.invalid[0].key.as_ref().unwrap().name, "half");
    assert_eq!(
        parsed.diagnostics[0].to_string(),
        "a.yaml:6:6: error LAT1002 Service default/half: not UTF-8 from here on (hint: save the file as UTF-8)"
    );
}

/// Values, bytes of text and depth of a tree.
fn size(node: &Node) -> (usize, usize, usize) {
    let inner: Vec<_> = match &node.value {
        Value::Seq(items) => items.iter().map(size).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| {
                let (nodes, bytes, depth) = size(&entry.value);
                (nodes, bytes + entry.key.len(), depth)
            })
            .collect(),
        Value::String(text) => return (1, text.len(), 1),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => return (1, 0, 1),
    };
    inner.iter().fold((1, 0, 1), |(n, b, d), (nodes, bytes, depth)| (n + nodes, b + bytes, d.max(depth + 1)))
}

#[test]
fn bombs_are_bounded() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{inner}]").unwrap();
    }
    let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 100_000].join(", "));
    let nested_anchors = (0..60).map(|n| format!("&a{n} [")).collect::<Vec<_>>().concat();
    let texts = [
        laughs,
        long,
        nested_anchors + &"x, ".repeat(100_000),
        "[".repeat(1_000_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        "a: [".to_owned() + &"1,".repeat(1_100_000) + "]",
        "---\na\n".repeat(100_000),
        "x".repeat(17 << 20),
    ];
    for text in texts {
        let parsed = read(text.as_bytes());
        let shown: String = text.chars().take(30).collect();
        // The work, counted: what was built of it, whatever the text asks for.
        let budget = Budget::default();
        let (documents, _) = yaml::parse(text.as_bytes(), &budget);
        let sizes = documents.iter().map(|document| size(&document.root));
        let (nodes, bytes, depth) =
            sizes.fold((0, 0, 0), |(n, b, d), (nodes, bytes, depth)| (n + nodes, b + bytes, d.max(depth)));
        assert!(documents.len() <= budget.documents_max, "{shown}: {} documents", documents.len());
        assert!(nodes <= budget.nodes_max, "{shown}: {nodes} values");
        assert!(bytes <= text.len() + budget.copied_bytes_max, "{shown}: {bytes} bytes");
        assert!(depth <= budget.depth_max + 1, "{shown}: {depth} deep");
        assert!(parsed.objects.is_empty() && !parsed.diagnostics.is_empty(), "{shown}");
        assert!(parsed.diagnostics.len() <= FINDINGS_MAX + 1, "{shown}");
    }
}

#[test]
fn findings_are_bounded_and_say_so() {
    let fields = (0..10_000).map(|n| format!("  x{n}: 1\n")).collect::<Vec<_>>().concat();
    let text = service("many").replace("spec: {ports: [{port: 80}]}", &format!("spec:\n{fields}"));
    let parsed = read((text + &service("good")).as_bytes());
    assert_eq!(parsed.objects.len(), 1);
    assert_eq!(parsed.invalid.len(), 1);
    assert!(parsed.diagnostics.len() <= FINDINGS_MAX + 1);
}

#[test]
fn lists_hold_objects_and_one_bad_item_is_one_bad_object() {
    let text = r#"{"apiVersion": "v1", "kind": "ServiceList", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {"ports": [{"port": 0}]}}]}"#;
    let parsed = read(text.as_bytes());
    assert_eq!(parsed.objects[0].key.name, "a");
    assert_eq!((parsed.objects[0].origin.line, parsed.objects[0].origin.column), (2, 9));
    assert_eq!(parsed.invalid[0].key.as_ref().unwrap().name, "b");
    // A list that is cut off names all of its items.
    let text = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n\
        - apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n  spec: {";
    let parsed = read(text.as_bytes());
    let names: Vec<_> = parsed.invalid.iter().map(|invalid| &*invalid.key.as_ref().unwrap().name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn snake_case_and_numbers_as_text_are_protos_json() {
    let text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: a\n  \
        traffic_policy:\n    connection_pool: {http: {http1_max_pending_requests: \"5\", max_retries: 2.0}}\n    \
        outlier_detection: {consecutive_5xx_errors: 3}\n  subsets: null\n";
    let parsed = read(text.as_bytes());
    assert_eq!(parsed.diagnostics, []);
    let lateen_config::ConfigObject::DestinationRule(rule) = &parsed.objects[0].spec else { unreachable!() };
    let policy = rule.traffic_policy.as_ref().unwrap();
    let http = policy.connection_pool.as_ref().unwrap().http.as_ref().unwrap();
    assert_eq!((http.http1_max_pending_requests, http.max_retries), (Some(5), Some(2)));
    assert_eq!(policy.outlier_detection.as_ref().unwrap().consecutive5xx_errors, Some(3));
}

#[test]
fn every_prefix_of_a_file_is_read_without_a_panic() {
    for text in cases("full") {
        let whole = read(text.as_bytes());
        for cut in (0..text.len()).step_by(7) {
            let parsed = read(&text.as_bytes()[..cut]);
            // What was there before the cut is there unchanged, but for the last object.
            let complete = parsed.objects.len().saturating_sub(1);
            assert_eq!(parsed.objects[..complete], whole.objects[..complete]);
        }
    }
}

/// What expressions cost is bounded by the text, whatever they ask for, and the same in every run.
#[test]
fn expressions_of_a_text_have_a_budget() {
    let route = |name: usize, regex: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{name}}}\nspec: {{hosts: [a{name}], \
             http: [{{match: [{{uri: {{regex: '{regex}'}}}}], route: [{{destination: {{host: a}}}}]}}]}}\n"
        )
    };
    let large = |n: usize| format!(r"(?:\pL){{100}}{n}");
    let one = re2::measure(&large(0)).steps;
    assert!(one > 40_000, "{one} steps");
    let text = (0..100).map(|n| route(n, &large(n))).collect::<Vec<_>>().concat();
    for _ in 0..2 {
        let parsed = read(text.as_bytes());
        let refused = parsed.diagnostics.iter().filter(|found| found.code == codes::EXPRESSIONS).count();
        assert_eq!(parsed.objects.len() + parsed.invalid.len(), 100);
        let examined = 100 - refused;
        assert!(refused > 0 && examined * one < 3_000_000 + 8 * text.len(), "{examined} of {one} steps");
    }
    // Ordinary ones cost less than they are granted, however many there are.
    let text =
        (0..2_000).map(|n| route(n, &format!("/api/v[0-9]+/users/[^/]+/{n}(/.*)?"))).collect::<Vec<_>>();
    assert_eq!(read(text.concat().as_bytes()).diagnostics, []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        read(&bytes);
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in "([-:?,\\[\\]{}#&*!|>'\"%@` \n\tab0.~<]{0,6}(\n|---\n|kind: Service\n|spec:\n)?){0,20}") {
        read(text.as_bytes());
    }

    #[test]
    fn mutated_objects_never_panic(
        file in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..12),
    ) {
        let texts = cases("full");
        let mut bytes = texts[file.index(texts.len())].clone().into_bytes();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let parsed = read(&bytes);
        analysis::analyze(&parsed.objects);
        // Errors and invalid objects go together.
        let errors = parsed.diagnostics.iter().any(|d| d.severity == lateen_model::Severity::Error);
        prop_assert!(errors || parsed.invalid.is_empty());
    }
}
