//! Puts values into a field and looks at what clients are given.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_compile::{Compiler, Content, NodeHandle};
use lateen_model::{
    Diagnostic, Document, NodeInfo, NodeRole, ObjectId, ObjectKind, Severity, SourceEvent, SourceId,
    event::Object,
};
use lateen_registry::{Changes, Registry};
use serde_json::{Value, json};

use super::{
    schema::Field,
    seeds::{self, Seed},
};

/// Codes that say of all of an object that it has no effect, wherever in it they point.
const OF_THE_OBJECT: [&str; 2] = ["LAT1012", "LAT3021"];
/// Codes that say of a part of an object that it has no effect, with all that is in it.
const OF_A_PART: [&str; 4] = ["LAT0001", "LAT3002", "LAT3020", "LAT2306"];
/// Fields that only name or describe a part of their object. The list is exact: one that does something, or is not
/// checked, may not be on it.
pub(crate) const NAMES: [(&str, &str); 4] = [
    ("Gateway.networking.istio.io", "spec.servers[].port.name"),
    ("GatewayClass.gateway.networking.k8s.io", "spec.description"),
    ("Sidecar.networking.istio.io", "spec.egress[].port.name"),
    ("Sidecar.networking.istio.io", "spec.ingress[].port.name"),
];

/// Codes of errors that say nothing of what a field is for: it does not exist, or its type is another one.
const OF_THE_PARSER: [&str; 2] = ["LAT1101", "LAT1102"];

/// What a field does.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Outcome {
    /// Another value gives other resources of these types, and perhaps this finding.
    Bytes(BTreeSet<&'static str>, Option<Told>),
    /// The value is taken, and this is said of it.
    Told(Told),
    /// Each value is an error with this code at the field; of an enumeration, each but the one that goes with the rest
    /// of the object.
    Refused(Told),
    /// The value is checked, with this code, and then it is for people only: it names or describes a part.
    Name(Told),
    /// Nothing changes and nothing is said; with what was tried, and how many values were taken.
    Nothing(String, usize),
}

/// What is said of a field.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Told {
    pub(crate) code: &'static str,
    /// The field that the finding names: this one, or one that holds it.
    pub(crate) path: String,
    pub(crate) message: String,
}

/// A world with its clients, into which one object is put after the other.
pub(crate) struct Prober {
    seeds: Vec<Seed>,
    registry: Registry,
    compiler: Compiler,
    handles: Vec<NodeHandle>,
    /// What stands around the object at the moment.
    around: String,
}

/// An object that was read without an error, and what became of it.
struct Taken {
    contents: Vec<Content>,
    findings: BTreeSet<Diagnostic>,
}

impl Told {
    /// What the finding is about; codes of the whole object may point anywhere.
    pub(crate) fn holder(&self) -> &str {
        if OF_THE_OBJECT.contains(&self.code) || self.path.is_empty() { "spec" } else { &self.path }
    }
}

impl Prober {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::new(&[source()]);
        put(&mut registry, "world", &seeds::world());
        let (compiler, handles) = Compiler::cold(registry.world(), &nodes());
        let mut prober = Self { seeds: seeds::read(), registry, compiler, handles, around: String::new() };
        assert_eq!(errors(&prober.registry, "world"), Vec::<String>::new());
        // One seed after the other must be right as it is.
        let bad: Vec<String> = prober.seeds.clone().iter().filter_map(|seed| prober.check(seed)).collect();
        assert!(bad.is_empty(), "seeds that are refused: {bad:#?}");
        prober
    }

    fn check(&mut self, seed: &Seed) -> Option<String> {
        self.surround(seed);
        put(&mut self.registry, "object", &seed.object.to_string());
        let errors = errors(&self.registry, "object");
        (!errors.is_empty()).then(|| format!("{}: {errors:?}", seed.object))
    }

    /// Puts the field into all seeds that it fits into, the most special one first, until one shows what it does.
    pub(crate) fn probe(&mut self, field: &Field) -> Outcome {
        let seeds: Vec<Seed> = self.seeds.iter().rev().filter(|seed| seed.is_for(field)).cloned().collect();
        let (mut refused, mut decided, mut tried, mut taken) = (None, false, Vec::new(), 0);
        for seed in &seeds {
            match self.probe_in(field, seed) {
                Outcome::Nothing(why, values) => {
                    tried.push(why);
                    taken += values;
                }
                Outcome::Name(told) => {
                    refused = refused.or(Some(told));
                    taken += 1;
                }
                Outcome::Refused(told) => {
                    // The most special object counts most.
                    decided |= tried.is_empty() && refused.is_none();
                    refused = refused.or(Some(told));
                }
                shown => return shown,
            }
        }
        match refused {
            Some(told) if taken == 0 || decided => Outcome::Refused(told),
            Some(told) if NAMES.contains(&(&*field.kind, &*field.path)) => Outcome::Name(told),
            _ => Outcome::Nothing(tried.join(" // "), taken),
        }
    }

    /// The objects that are compared differ in this field only: what holds it is there in all of them.
    fn probe_in(&mut self, field: &Field, seed: &Seed) -> Outcome {
        self.surround(seed);
        let mut without = seed.object.clone();
        seeds::take(&mut without, &field.path);
        let (mut taken, mut tried, mut refused) = (Vec::<Taken>::new(), Vec::new(), None);
        let base = self.read(&without, None, &mut tried);
        let at_field = |errors: &[Diagnostic]| {
            let counts = |found: &&Diagnostic| !OF_THE_PARSER.contains(&found.code.0);
            errors.iter().filter(counts).find(|found| plain(&found.path) == plain(&field.path)).map(as_told)
        };
        let needed = base.as_ref().err().and_then(|errors| errors.first()).map(as_told);
        let base = base.ok();
        let mut values = seed.values.clone();
        values.extend(candidates(field).into_iter().filter(|value| !seed.values.contains(value)));
        for value in values {
            let mut object = seed.object.clone();
            *seeds::place_of(&mut object, &field.path) = value.clone();
            match self.read(&object, Some(&value), &mut tried) {
                Ok(new) => {
                    let types = taken.iter().find_map(|old| difference(old, &new));
                    taken.push(new);
                    if let Some(types) = types {
                        return Outcome::Bytes(types, told(base.as_ref(), &taken, field));
                    }
                    if taken.len() == 2 && void(&taken, field).is_some() {
                        break; // What is said to have no effect has none.
                    }
                }
                Err(errors) => {
                    refused = at_field(&errors).or(refused);
                }
            }
        }
        // Whichever value it has, that it has one may be all that counts.
        let presence = base.iter().find_map(|base| difference(base, taken.first()?));
        // Of an object that is taken with one value only, and not without it, each change of the value is an error.
        let needed = needed.filter(|_| taken.len() == 1);
        match (presence, told(base.as_ref(), &taken, field), refused) {
            (Some(types), Some(told), _) => Outcome::Bytes(types, Some(told)),
            (Some(types), None, _) if taken.len() == 1 || field.of == "any" => Outcome::Bytes(types, None),
            (None, Some(told), _) => Outcome::Told(told),
            (None, None, Some(told)) if taken.len() <= usize::from(field.values.len() > 1) => {
                Outcome::Refused(told)
            }
            (None, None, Some(told)) if NAMES.contains(&(&*field.kind, &*field.path)) => Outcome::Name(told),
            (presence, ..) => needed.map_or_else(
                || Outcome::Nothing(format!("presence {presence:?}; {}", tried.join("; ")), taken.len()),
                Outcome::Refused,
            ),
        }
    }

    /// Has the seed's documents around the object, and no object.
    fn surround(&mut self, seed: &Seed) {
        if self.around != seed.world {
            self.around.clone_from(&seed.world);
            let changes = put(&mut self.registry, "around", &seed.world);
            self.compiler.apply(self.registry.world(), &changes);
            assert_eq!(errors(&self.registry, "around"), Vec::<String>::new());
        }
    }

    /// Puts the object in place of the one before. An object with an error is not applied, and the last good one stays:
    /// what clients have proves nothing then.
    fn read(
        &mut self,
        object: &Value,
        value: Option<&Value>,
        tried: &mut Vec<String>,
    ) -> Result<Taken, Vec<Diagnostic>> {
        let changes = put(&mut self.registry, "object", &object.to_string());
        self.compiler.apply(self.registry.world(), &changes);
        let text = value.map_or_else(|| "without".to_owned(), ToString::to_string);
        let state = self.registry.document(&source(), &document("object")).unwrap();
        let errors = state.findings.iter().filter(|found| found.severity == Severity::Error);
        let errors: Vec<Diagnostic> = errors.copied().cloned().collect();
        if let Some(error) = errors.first() {
            tried.push(format!("{text}: {} at {}: {}", error.code.0, error.path, error.message));
            return Err(errors);
        }
        assert!(state.sound, "{text}: no error, and not in force: {object}");
        tried.push(format!("{text}: taken"));
        for handle in &self.handles {
            self.compiler.subscribe_all(self.registry.world(), *handle);
        }
        let contents = self.handles.iter().map(|handle| self.compiler.contents(*handle)).collect();
        let findings = self.registry.diagnostics().chain(self.compiler.findings());
        Ok(Taken { contents, findings: findings.cloned().map(placeless).collect() })
    }
}

/// The types of the resources that differ.
fn difference(a: &Taken, b: &Taken) -> Option<BTreeSet<&'static str>> {
    let mut types = BTreeSet::new();
    for (a, b) in a.contents.iter().zip(&b.contents) {
        let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
        types.extend(keys.into_iter().filter(|key| a.get(*key) != b.get(*key)).map(|key| key.0.info().short));
    }
    (!types.is_empty()).then_some(types)
}

/// What is said of the field: of it or what holds it where it is there and not where it is not or has another value,
/// or of all of the object.
fn told(base: Option<&Taken>, taken: &[Taken], field: &Field) -> Option<Told> {
    if let Some(found) = void(taken, field) {
        return Some(found);
    }
    let all = || taken.iter().chain(base);
    let new = taken.iter().flat_map(|one| &one.findings);
    let new = new.filter(|found| all().any(|other| !other.findings.contains(*found)));
    let fits = |found: &&Diagnostic| found.path.is_empty() || holds(&found.path, &field.path);
    new.filter(fits).min_by_key(|found| (found.path.is_empty(), !is_about_probe(found))).map(as_told)
}

/// What says that the field, what holds it, or the whole object has no effect.
fn void(taken: &[Taken], field: &Field) -> Option<Told> {
    let is_void = |found: &&Diagnostic| {
        let of_part = OF_A_PART.contains(&found.code.0) && !found.path.is_empty();
        is_about_probe(found)
            && (OF_THE_OBJECT.contains(&found.code.0) || (of_part && holds(&found.path, &field.path)))
    };
    taken.iter().flat_map(|one| &one.findings).find(is_void).map(as_told)
}

fn is_about_probe(found: &Diagnostic) -> bool {
    found
        .object
        .as_ref()
        .map_or(OF_THE_OBJECT.contains(&found.code.0), |object| ["probe", "api"].contains(&&*object.name))
}

fn as_told(found: &Diagnostic) -> Told {
    Told { code: found.code.0, path: plain(&found.path), message: found.message.clone() }
}

/// The same finding without its place: that of every other object moves with the field.
fn placeless(mut found: Diagnostic) -> Diagnostic {
    found.origin = None;
    found
}

/// Is it the path of the field, or of what holds it (but for the whole spec)?
fn holds(found: &str, path: &str) -> bool {
    let (found, path) = (plain(found), plain(path));
    found != "spec" && !found.is_empty() && (path == found || path.starts_with(&format!("{found}.")))
}

/// A path without places in lists and keys of maps.
fn plain(path: &str) -> String {
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
}

fn source() -> SourceId {
    SourceId("test".into())
}

fn document(name: &str) -> ObjectId {
    ObjectId { kind: ObjectKind::Document, name: name.into() }
}

fn put(registry: &mut Registry, name: &str, text: &str) -> Changes {
    let object = Object::Document(Document { body: text.as_bytes().into() });
    registry.apply(&source(), SourceEvent::Upsert { id: document(name), object }, 0)
}

fn errors(registry: &Registry, name: &str) -> Vec<String> {
    let state = registry.document(&source(), &document(name)).unwrap();
    let errors = state.findings.iter().filter(|found| found.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

/// A workload, one of another namespace, a gateway of each API, a gRPC client.
fn nodes() -> Vec<Arc<NodeInfo>> {
    let labelled = |id: &str, labels: &[(&str, &str)]| {
        let mut node = NodeInfo::from_id(id);
        node.labels =
            labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect::<BTreeMap<_, _>>();
        node.locality = lateen_model::Locality::parse("r1/z1/s1");
        node
    };
    let mut grpc = labelled("sidecar~10.0.0.9~rpc-1.shop~shop.svc.cluster.local", &[("app", "rpc")]);
    grpc.role = NodeRole::Grpc;
    let nodes = [
        labelled("sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local", &[("app", "web"), ("rack", "a")]),
        labelled("sidecar~10.0.1.1~far-1.other~other.svc.cluster.local", &[("app", "far")]),
        labelled("router~10.0.2.1~edge-1.shop~shop.svc.cluster.local", &[("app", "edge")]),
        labelled(
            "router~10.0.2.2~api-1.shop~shop.svc.cluster.local",
            &[("gateway.networking.k8s.io/gateway-name", "api")],
        ),
        grpc,
    ];
    nodes.into_iter().map(Arc::new).collect()
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
            texts(&["7s", "8s"])
        }
        _ if field.values == ["byte"] => texts(&["YQ==", "Yg=="]),
        _ => texts(&[
            "7s",
            "8s",
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
