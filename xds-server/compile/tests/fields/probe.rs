//! Puts values into a field and looks at what clients are given.

use std::{collections::BTreeSet, sync::Arc};

use lateen_compile::{Compiler, Content, NodeHandle};
use lateen_model::{
    Diagnostic, Document, NodeInfo, ObjectId, ObjectKind, Severity, SourceEvent, SourceId, event::Object,
};
use lateen_registry::{Changes, Registry};
use serde::Deserialize;
use serde_json::{Value, json};

use super::schema::Field;

/// What a field does.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Another value gives other resources.
    Applied,
    /// The value is taken, and this code tells what of it.
    Told(String),
    /// This code is told of the whole kind.
    Kind(String),
    /// Each value is an error with this code.
    Refused(String),
    /// Nothing changes and nothing is said; with what was tried.
    Nothing(String),
}

#[derive(Deserialize)]
struct Seeds {
    /// Documents that are there all the time.
    world: String,
    /// The objects, the more special ones later.
    objects: Vec<Seed>,
}

/// An object into which fields are put.
#[derive(Deserialize)]
struct Seed {
    kind: String,
    /// The beginnings of the paths that it is for; empty for all.
    #[serde(default)]
    under: Vec<String>,
    /// Values to try before those that the type gives.
    #[serde(default)]
    values: Vec<Value>,
    /// More documents for this object.
    #[serde(default)]
    world: String,
    object: Value,
}

pub(crate) struct Prober {
    seeds: Vec<Seed>,
    world: String,
    /// The worlds of the seeds that were needed so far.
    meshes: Vec<Option<Mesh>>,
}

/// A world with its clients, into which one object is put after the other.
struct Mesh {
    registry: Registry,
    compiler: Compiler,
    handles: Vec<NodeHandle>,
    /// With the seed as it is.
    base: Vec<Content>,
    findings: BTreeSet<Diagnostic>,
}

impl Prober {
    pub(crate) fn new() -> Self {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fields/seeds.yaml");
        let Seeds { world, objects } =
            serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let meshes = objects.iter().map(|_| None).collect();
        Self { seeds: objects, world, meshes }
    }

    pub(crate) fn probe(&mut self, field: &Field) -> Outcome {
        let fits = |seed: &Seed| {
            seed.kind == field.kind
                && (seed.under.is_empty() || seed.under.iter().any(|under| field.path.starts_with(under)))
        };
        let Some(at) = self.seeds.iter().rposition(fits) else {
            return Outcome::Nothing("there is no seed".to_owned());
        };
        let seed = &self.seeds[at];
        let mesh = self.meshes[at].get_or_insert_with(|| Mesh::new(&self.world, seed));
        if let Some(told) = mesh.findings.iter().find(|found| found.path == "kind") {
            let code = told.code.0;
            return mesh.of_kind(field, seed, code);
        }
        if let Some(error) = mesh.findings.iter().find(|found| found.severity == Severity::Error) {
            return Outcome::Nothing(format!("the seed is bad: {error}"));
        }
        mesh.of_field(field, seed)
    }
}

impl Mesh {
    fn new(world: &str, seed: &Seed) -> Self {
        let source = SourceId("test".into());
        let mut registry = Registry::new(std::slice::from_ref(&source));
        put(&mut registry, "world", world);
        put(&mut registry, "more", &seed.world);
        put(&mut registry, "object", &seed.object.to_string());
        let (compiler, handles) = Compiler::cold(registry.world(), &nodes());
        let base = handles.iter().map(|handle| compiler.contents(*handle)).collect();
        let findings = registry.diagnostics().chain(compiler.findings()).cloned().map(placeless).collect();
        Self { registry, compiler, handles, base, findings }
    }

    /// Puts the object in place of the one so far; the findings that are new.
    fn read(&mut self, object: &Value) -> Vec<Diagnostic> {
        let changes = put(&mut self.registry, "object", &object.to_string());
        self.compiler.apply(self.registry.world(), &changes);
        let all: BTreeSet<_> = self.registry.diagnostics().cloned().map(placeless).collect();
        all.difference(&self.findings).cloned().collect()
    }

    /// What clients are given, and the new findings about that.
    fn compile(&mut self) -> (Vec<Content>, Vec<Diagnostic>) {
        for handle in &self.handles {
            self.compiler.subscribe_all(self.registry.world(), *handle);
        }
        let contents = self.handles.iter().map(|handle| self.compiler.contents(*handle)).collect();
        let all: BTreeSet<_> = self.compiler.findings().cloned().map(placeless).collect();
        (contents, all.difference(&self.findings).cloned().collect())
    }

    fn of_field(&mut self, field: &Field, seed: &Seed) -> Outcome {
        let mut seen = vec![self.base.clone()];
        let (mut refused, mut tried) = (None, Vec::new());
        for value in seed.values.iter().cloned().chain(candidates(field)) {
            let mut object = seed.object.clone();
            set(&mut object, &field.path, &value);
            let new = self.read(&object);
            if let Some(told) = told(&new, field) {
                return told;
            }
            if let Some(error) = new.iter().find(|found| found.severity == Severity::Error) {
                if within(&error.path, &field.path) {
                    refused.get_or_insert_with(|| error.code.0.to_owned());
                }
                tried.push(format!("{value}: {error}"));
                continue;
            }
            let (contents, new) = self.compile();
            if let Some(told) = told(&new, field) {
                return told;
            }
            tried.push(format!("{value}: fine"));
            if seen.iter().any(|other| *other != contents) {
                return Outcome::Applied;
            }
            seen.push(contents);
        }
        match refused {
            Some(code) if seen.len() == 1 => Outcome::Refused(code),
            _ => Outcome::Nothing(tried.join("; ")),
        }
    }

    /// The kind as a whole is not applied: the field must exist all the same.
    fn of_kind(&mut self, field: &Field, seed: &Seed, code: &str) -> Outcome {
        if seed.object["spec"].is_null() {
            return Outcome::Kind(code.to_owned());
        }
        let mut errors = Vec::new();
        for value in seed.values.iter().cloned().chain(candidates(field)) {
            let mut object = seed.object.clone();
            set(&mut object, &field.path, &value);
            let new = self.read(&object);
            let is_about =
                |found: &&Diagnostic| found.severity == Severity::Error && within(&found.path, &field.path);
            match new.iter().find(is_about) {
                None => return Outcome::Kind(code.to_owned()),
                Some(error) => errors.push(error.to_string()),
            }
        }
        Outcome::Nothing(errors.join("; "))
    }
}

fn put(registry: &mut Registry, name: &str, text: &str) -> Changes {
    let id = ObjectId { kind: ObjectKind::Document, name: name.into() };
    let object = Object::Document(Document { body: text.as_bytes().into() });
    registry.apply(&SourceId("test".into()), SourceEvent::Upsert { id, object }, 0)
}

/// A finding, but for errors, that is about the field. Findings of compiling name the object's line and no path.
fn told(new: &[Diagnostic], field: &Field) -> Option<Outcome> {
    let about = |found: &&Diagnostic| {
        found.severity != Severity::Error && (found.path.is_empty() || within(&found.path, &field.path))
    };
    new.iter().find(about).map(|found| Outcome::Told(found.code.0.to_owned()))
}

/// The same finding without its place: that of every other object moves with the field.
fn placeless(mut found: Diagnostic) -> Diagnostic {
    found.origin = None;
    found
}

fn nodes() -> Vec<Arc<NodeInfo>> {
    let labelled = |id: &str, labels: &[(&str, &str)]| {
        let mut node = NodeInfo::from_id(id);
        node.labels.extend(labels.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        node.locality = lateen_model::Locality::parse("r1/z1/s1");
        Arc::new(node)
    };
    vec![
        labelled("sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local", &[("app", "web")]),
        labelled("sidecar~10.0.1.1~far-1.other~other.svc.cluster.local", &[("app", "far")]),
        labelled("router~10.0.2.1~edge-1.shop~shop.svc.cluster.local", &[("app", "edge")]),
        labelled(
            "router~10.0.2.2~api-1.shop~shop.svc.cluster.local",
            &[("gateway.networking.k8s.io/gateway-name", "api")],
        ),
    ]
}

/// Is the finding about the field, or about what holds it?
fn within(found: &str, path: &str) -> bool {
    let plain = |path: &str| {
        let mut text = String::new();
        let mut depth = 0;
        for c in path.chars() {
            match c {
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                _ if depth == 0 => text.push(c),
                _ => {}
            }
        }
        text
    };
    let (found, path) = (plain(found), plain(path));
    found != "spec" && !found.is_empty() && (path == found || path.starts_with(&format!("{found}.")))
}

/// Values that a field may take, of whatever meaning; those that are wrong are refused, and others follow.
fn candidates(field: &Field) -> Vec<Value> {
    let texts = |all: &[&str]| all.iter().map(|text| json!(text)).collect();
    match &*field.of {
        "boolean" => vec![json!(true), json!(false)],
        "integer" => [7, 1, 2, 8080, 443, 301, 503, 1024, 0, 50].map(|number| json!(number)).into(),
        "number" => vec![json!(1.5), json!(50.0), json!(0.5)],
        "int-or-string" => vec![json!(7), json!("http")],
        "empty" => vec![json!({})],
        "any" => vec![json!({"a": "b"}), json!({})],
        _ if field.values.len() > 1 => field.values.iter().map(|value| json!(value)).collect(),
        _ if field.values == ["duration"] || field.path.to_lowercase().contains("timeout") => {
            texts(&["7s", "70ms"])
        }
        _ if field.values == ["byte"] => texts(&["YQ==", "Yg=="]),
        _ => texts(&[
            "7s",
            "a1",
            "b1",
            "/a",
            "/b",
            "a.example.com",
            "b.example.com",
            "10.9.0.0/16",
            "10.9.0.1",
            "80",
            "HTTP",
            "GET",
            "shop/a.example.com",
            "5xx",
            "*",
            ".",
            "Secret",
            "Service",
            "shop",
        ]),
    }
}

/// Puts a value at a path, with what is missing on the way.
fn set(object: &mut Value, path: &str, value: &Value) {
    let spaced = path.replace("[]", ".[]").replace("{}", ".{}");
    let mut at = object;
    for step in spaced.split('.') {
        at = match step {
            "[]" => {
                if at.as_array().is_none_or(Vec::is_empty) {
                    *at = json!([null]);
                }
                &mut at[0]
            }
            "{}" => {
                let key = at
                    .as_object()
                    .and_then(|map| map.keys().next().cloned())
                    .unwrap_or_else(|| "a".to_owned());
                if !at.is_object() {
                    *at = json!({});
                }
                &mut at[key]
            }
            name => {
                if !at.is_object() {
                    *at = json!({});
                }
                &mut at[name]
            }
        };
    }
    *at = value.clone();
}
