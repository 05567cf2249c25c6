//! The direction of dependencies, and which crates are pure, as a test (ARCHITECTURE.md, "Crates").

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Every crate of ours with the crates of ours that it may use. Adding an edge is a change of architecture:
/// it is made here and in ARCHITECTURE.md, with a reason.
const ALLOWED: &[(&str, &[&str])] = &[
    ("lateen-proto", &[]),
    ("lateen-proto-codegen", &[]),
    ("lateen-model", &[]),
    ("lateen-config", &["lateen-model"]),
    ("lateen-registry", &["lateen-model", "lateen-config"]),
    ("lateen-xds", &["lateen-model", "lateen-proto"]),
    ("lateen-compile", &["lateen-model", "lateen-config", "lateen-registry", "lateen-proto", "lateen-xds"]),
    ("lateen-adapter", &["lateen-model"]),
    ("lateen-adapter-file", &["lateen-model", "lateen-adapter"]),
    ("lateen-adapter-http", &[]),
    ("lateen-adapter-kubernetes", &["lateen-model", "lateen-adapter"]),
    ("lateen-adapter-consul", &["lateen-model", "lateen-adapter", "lateen-adapter-http"]),
    ("lateen-adapter-nomad", &["lateen-model", "lateen-adapter", "lateen-adapter-http"]),
    ("lateen-adapter-etcd", &["lateen-model", "lateen-adapter"]),
    ("lateen-conformance", &["lateen-proto", "lateen-xds"]),
    (
        "lateen-xds-server",
        &[
            "lateen-model",
            "lateen-config",
            "lateen-registry",
            "lateen-proto",
            "lateen-xds",
            "lateen-compile",
            "lateen-adapter",
        ],
    ),
    (
        "lateen",
        &[
            "lateen-model",
            "lateen-config",
            "lateen-registry",
            "lateen-proto",
            "lateen-xds",
            "lateen-compile",
            "lateen-adapter",
            "lateen-adapter-file",
            "lateen-adapter-kubernetes",
            "lateen-adapter-consul",
            "lateen-adapter-nomad",
            "lateen-adapter-etcd",
            "lateen-conformance",
            "lateen-xds-server",
        ],
    ),
    ("lateen-fuzz-bodies", &["lateen-config", "lateen-model", "lateen-proto", "lateen-xds"]),
    ("lateen-test-servers", &[]),
    ("lateen-tests", &["lateen-model", "lateen-proto", "lateen-xds", "lateen-test-servers"]),
];

/// Crates that do no I/O (I-1).
const PURE: &[&str] =
    &["lateen-proto", "lateen-model", "lateen-config", "lateen-registry", "lateen-xds", "lateen-compile"];

/// What a pure crate may not depend on.
const IMPURE: &[&str] =
    &["tokio", "tonic", "hyper", "hyper-util", "h2", "axum", "rand", "notify", "socket2", "rustls"];

/// What a pure crate may not name in its sources.
const IMPURE_PATHS: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "std::env::var",
];

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Normal dependencies of the workspace's crates, and the folder of each.
fn workspace() -> (Edges, BTreeMap<String, String>) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let (mut edges, mut folders) = (Edges::new(), BTreeMap::new());
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name").to_owned();
        let manifest = package["manifest_path"].as_str().expect("manifest_path");
        folders.insert(name.clone(), manifest.trim_end_matches("/Cargo.toml").to_owned());
        let normal = package["dependencies"].as_array().expect("dependencies").iter();
        let normal = normal.filter(|dependency| dependency["kind"].is_null());
        let names = normal.map(|dependency| dependency["name"].as_str().expect("name").to_owned());
        edges.insert(name, names.collect());
    }
    (edges, folders)
}

/// What is wrong with the edges; empty when all is well.
fn violations(edges: &Edges) -> Vec<String> {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for (from, targets) in edges {
        let Some(may) = allowed.get(from.as_str()) else {
            wrong.push(format!("{from} is in no row of the table"));
            continue;
        };
        for to in targets {
            if edges.contains_key(to) && !may.contains(&to.as_str()) {
                wrong.push(format!("{from} -> {to} is not allowed"));
            }
            if PURE.contains(&from.as_str()) && IMPURE.contains(&to.as_str()) {
                wrong.push(format!("{from} is pure and depends on {to}"));
            }
        }
    }
    wrong
}

#[test]
fn dependencies_point_one_way() {
    assert_eq!(violations(&workspace().0), Vec::<String>::new());
}

#[test]
fn an_added_edge_is_caught() {
    let (mut edges, _) = workspace();
    edges.get_mut("lateen-model").expect("model").insert("lateen-compile".to_owned());
    edges.get_mut("lateen-xds").expect("xds").insert("tokio".to_owned());
    assert_eq!(
        violations(&edges),
        ["lateen-model -> lateen-compile is not allowed", "lateen-xds is pure and depends on tokio"]
    );
}

#[test]
fn pure_crates_name_no_io() {
    let (_, folders) = workspace();
    let mut found = Vec::new();
    for name in PURE {
        sources(std::path::Path::new(&folders[*name]).join("src").as_path(), &mut |path, text| {
            // Tests may read their cases from disk.
            let production = text.split("#[cfg(test)]").next().unwrap_or_default();
            for forbidden in IMPURE_PATHS {
                if production.contains(forbidden) {
                    found.push(format!("{} names {forbidden}", path.display()));
                }
            }
        });
    }
    assert_eq!(found, Vec::<String>::new());
}

/// `docs/adapters/faults.md` names a test for each row, and each test is there.
#[test]
fn every_fault_has_its_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/adapters/faults.md")).expect("the page");
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let numbers: Vec<&str> = listed.iter().filter_map(|row| row.split('|').nth(1)).map(str::trim).collect();
    assert_eq!(numbers, (1..=14).map(|row| row.to_string()).collect::<Vec<_>>());
    for row in listed {
        let names: Vec<&str> = row.split('`').filter(|text| text.contains("::")).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let (file, test) = name.split_once("::").expect("file::test");
            let source =
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let declared = source.split_once(&format!("fn {test}("));
            // In `proptest!` and among tokio's, the attribute stands above, perhaps with others between.
            let is_test = declared
                .is_some_and(|(before, _)| before.lines().rev().take(5).any(|line| line.contains("test")));
            assert!(is_test, "{name} is no test");
        }
    }
}

/// The list of codes for users is made from the sources; run with `UPDATE_DIAGNOSTICS=1` to write it. A code is
/// declared once and never gets another meaning.
#[test]
fn the_list_of_diagnostics_is_up_to_date() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut meanings: BTreeMap<String, String> = BTreeMap::new();
    for folder in ["xds-server", "adapters", "cli"] {
        sources(&root.join(folder), &mut |path, text| {
            for (code, meaning) in declared_codes(text) {
                assert!(!meaning.is_empty(), "{code} in {} has no meaning", path.display());
                let twice = meanings.insert(code.clone(), meaning);
                assert_eq!(twice, None, "{code} is declared again in {}", path.display());
            }
        });
    }
    assert!(meanings.len() > 100, "{meanings:?}");
    let mut text = "# Findings\n\nEvery finding has a code. An object silences findings of the analysis about itself \
        with the annotation\n`lateen.io/ignore: \"LAT2001,LAT2011\"` (empty: all of LAT20xx). LAT0001 is about what \
        has no effect, LAT10xx is about text, LAT11xx about one object,\nLAT20xx about objects together, LAT23xx about the Gateway API, LAT24xx about several \
        sources, LAT30xx about what clients\nare given, LAT31xx to LAT35xx and LAT43xx about what a source said, LAT40xx \
        about what clients rejected.\n\n| Code | Meaning |\n|---|---|\n"
        .to_owned();
    for (code, meaning) in meanings {
        text.extend(["| ", &code, " | ", &meaning, " |\n"]);
    }
    let file = root.join("docs/diagnostics.md");
    if std::env::var_os("UPDATE_DIAGNOSTICS").is_some() {
        std::fs::write(&file, &text).expect("docs");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text, "run with UPDATE_DIAGNOSTICS=1");
}

/// Codes that a file declares, each with the comment above it.
fn declared_codes(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut comment = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim().to_owned());
            continue;
        }
        let declared = line.strip_suffix(';').and_then(|line| line.split_once(" = "));
        let code = declared.and_then(|(_, value)| {
            let value = value.strip_prefix("Code(").and_then(|v| v.strip_suffix(')')).unwrap_or(value);
            value.strip_prefix('"')?.strip_suffix('"').filter(|code| code.starts_with("LAT"))
        });
        found.extend(code.map(|code| (code.to_owned(), comment.join(" "))));
        comment.clear();
    }
    found
}

/// Visits the production sources of a folder: modules that are declared under `#[cfg(test)]` are not.
fn sources(folder: &std::path::Path, visit: &mut impl FnMut(&std::path::Path, &str)) {
    let entries = std::fs::read_dir(folder).expect("source folder");
    let paths: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    let mut tests = BTreeSet::from(["generated".to_owned(), "tests".to_owned()]);
    for text in
        paths.iter().filter(|path| path.is_file()).filter_map(|path| std::fs::read_to_string(path).ok())
    {
        for declared in text.split("#[cfg(test)]").skip(1) {
            let line = declared.trim_start().lines().next().unwrap_or_default();
            if let Some((_, name)) = line.trim_end_matches(';').split_once("mod ") {
                tests.insert(name.to_owned());
            }
        }
    }
    for path in paths {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if tests.contains(name) {
            continue;
        }
        if path.is_dir() {
            sources(&path, visit);
        } else if path.extension().is_some_and(|end| end == "rs") {
            visit(&path, &std::fs::read_to_string(&path).expect("source"));
        }
    }
}
