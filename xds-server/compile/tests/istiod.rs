//! What clients of 500 worlds are told is what istiod tells them (`tests/istio-oracle` asked it; its answers stand in
//! `tests/istiod/`), but for the differences that `docs/istio-differences.md` explains.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../examples/istiod/answers.rs"]
mod answers;
#[path = "../examples/istiod/world.rs"]
mod world;

#[path = "istiod/explained.rs"]
mod explained;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use lateen_compile::Compiler;
use lateen_model::{Document, NodeInfo, ObjectId, ObjectKind, SourceEvent, SourceId, event::Object};
use lateen_proto::{google::protobuf::Any, json};
use lateen_registry::Registry;
use lateen_xds::ResourceType;
use serde_json::Value;

type Lines = BTreeSet<String>;

#[test]
fn every_client_is_told_what_istiod_tells_it() {
    let mut report = String::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut open = 0;
    let mut worlds = 0;
    for file in recorded() {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, theirs) in sections(&text) {
            let text = world::world(number);
            let ours = ours(&text);
            let world = explained::World { text: &text, theirs: &theirs, ours: &ours };
            worlds += 1;
            for (line, mark) in theirs
                .difference(&ours)
                .map(|line| (line, '-'))
                .chain(ours.difference(&theirs).map(|line| (line, '+')))
            {
                if let Some(id) = explained::by(line, &world) {
                    *counts.entry(id).or_default() += 1;
                } else {
                    open += 1;
                    writeln!(report, "world {number} {mark} {line}").unwrap();
                }
            }
        }
    }
    assert_eq!(open, 0, "lines differ for no known reason: - istiod, + ours\n{report}");
    let known: BTreeMap<&str, usize> = explained::ALL.iter().copied().collect();
    assert_eq!(counts, known, "lines of each kind, and how many are known");
    assert!(worlds >= 500, "{worlds} worlds");
    let documented = std::fs::read_to_string(root().join("docs/istio-differences.md")).unwrap();
    for (id, _) in explained::ALL {
        assert!(documented.contains(&format!("## {id}")), "{id} is not explained in the docs");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn recorded() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/istiod");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

/// The recorded worlds with their lines.
fn sections(text: &str) -> BTreeMap<u64, Lines> {
    let mut all = BTreeMap::<u64, Lines>::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("# world ") {
            current = Some(number.parse().unwrap());
        } else if let Some(number) = current {
            all.entry(number).or_default().insert(line.to_owned());
        }
    }
    all
}

fn ours(text: &str) -> Lines {
    let source = SourceId("file".into());
    let mut registry = Registry::new(std::slice::from_ref(&source));
    let id = ObjectId { kind: ObjectKind::Document, name: "world.yaml".into() };
    let object = Object::Document(Document { body: text.to_owned().into_bytes().into() });
    registry.apply(&source, SourceEvent::Upsert { id, object }, 0);
    let clients: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# node: ")).collect();
    let nodes: Vec<Arc<NodeInfo>> = clients.iter().map(|line| Arc::new(node(line))).collect();
    let (compiler, handles) = Compiler::cold(registry.world(), &nodes);
    let mut all = Lines::new();
    for (line, handle) in clients.iter().zip(handles) {
        let id = line.split_once(' ').map_or(*line, |(id, _)| id);
        let mut resources = answers::Resources::default();
        let mut asked = BTreeSet::new();
        for ((kind, _), (_, body)) in compiler.contents(handle) {
            let any = Any { type_url: kind.info().url.into(), value: body };
            let told = json::any_to_json_with(&any, json::FieldNames::Camel);
            match kind {
                ResourceType::Listener => route_configs(&told, &mut asked),
                ResourceType::RouteConfiguration => resources.routes.push(told),
                ResourceType::Cluster => resources.clusters.push(told),
                ResourceType::Endpoints => resources.endpoints.push(told),
                _ => {}
            }
        }
        // As the oracle does, and Envoy: it asks for what a listener names.
        resources.routes.retain(|routes| routes["name"].as_str().is_some_and(|name| asked.contains(name)));
        all.extend(answers::lines(id, &resources));
    }
    all
}

/// The route configurations that a listener names.
fn route_configs(told: &Value, names: &mut BTreeSet<String>) {
    match told {
        Value::Object(fields) => {
            names.extend(fields.get("routeConfigName").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|inner| route_configs(inner, names));
        }
        Value::Array(list) => list.iter().for_each(|inner| route_configs(inner, names)),
        _ => {}
    }
}

/// A node from its id and its labels (`ID a=b,c=d`).
fn node(line: &str) -> NodeInfo {
    let (id, labels) = line.split_once(' ').unwrap_or((line, ""));
    let mut node = NodeInfo::from_id(id);
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    node.labels = pairs.map(|(name, value)| (name.into(), value.into())).collect();
    node
}
