//! The objects into which fields are put, and what stands around them: `seeds/*.yaml`.

use std::fs;

use lateen_config::Kind;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::schema::Field;

const FILES: [&str; 5] = ["virtual_service", "destination_rule", "istio", "policies", "gateway_api"];

/// What is there all the time.
pub(crate) fn world() -> String {
    text("world")
}

fn text(name: &str) -> String {
    fs::read_to_string(format!("{}/tests/fields/seeds/{name}.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// An object into which fields are put.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seed {
    /// `Kind.group`.
    kind: String,
    /// More kinds that it is for.
    #[serde(default)]
    also: Vec<String>,
    /// Places in the spec for which the seed stands: one object for each.
    #[serde(default)]
    at: Vec<String>,
    /// What is put there.
    #[serde(default)]
    put: Value,
    /// The beginnings of the paths that it is for, below the place; empty for all.
    #[serde(default)]
    under: Vec<String>,
    /// Values to try before those that the type gives.
    #[serde(default)]
    pub(crate) values: Vec<Value>,
    /// More documents for this object.
    #[serde(default)]
    pub(crate) world: String,
    /// Beside the name `probe` in the namespace `shop`.
    #[serde(default)]
    metadata: Map<String, Value>,
    #[serde(default)]
    spec: Value,
    /// All of it, made from the rest.
    #[serde(skip)]
    pub(crate) object: Value,
}

impl Seed {
    /// May the field be put into it?
    pub(crate) fn is_for(&self, field: &Field) -> bool {
        self.kind == field.kind
            && (self.under.is_empty() || self.under.iter().any(|under| field.path.starts_with(under)))
    }

    /// The seeds of all kinds and places.
    fn expand(self) -> Vec<Self> {
        let kinds = std::iter::once(self.kind.clone()).chain(self.also.clone());
        kinds.flat_map(|kind| Self { kind, ..self.clone() }.expand_places()).collect()
    }

    fn expand_places(self) -> Vec<Self> {
        let places = if self.at.is_empty() { vec!["spec".to_owned()] } else { self.at.clone() };
        let one = |place: String| {
            let mut seed = self.clone();
            seed.object = seed.whole();
            if !seed.put.is_null() {
                merge(place_of(&mut seed.object, &place), &self.put);
            }
            seed.under = match (self.under.as_slice(), self.at.as_slice()) {
                ([], []) => Vec::new(),
                ([], _) => vec![format!("{place}.")],
                (under, []) => under.to_vec(),
                (under, _) => under.iter().map(|under| format!("{place}.{under}")).collect(),
            };
            seed
        };
        places.into_iter().map(one).collect()
    }

    fn whole(&self) -> Value {
        let (name, group) = self.kind.split_once('.').unwrap();
        let group = if name == "MeshConfig" { "lateen.io" } else { group };
        let version = match Kind::find(group, name) {
            Some(kind) => kind.versions()[0],
            None if group.contains("x-k8s") => "v1alpha1",
            None => "v1",
        };
        let mut metadata = json!({"name": "probe", "namespace": "shop"});
        merge(&mut metadata, &Value::Object(self.metadata.clone()));
        json!({
            "apiVersion": format!("{group}/{version}"),
            "kind": name,
            "metadata": metadata,
            "spec": self.spec,
        })
    }
}

/// All seeds; the more special ones come later.
pub(crate) fn read() -> Vec<Seed> {
    let read = |name: &&str| serde_saphyr::from_str::<Vec<Seed>>(&text(name)).unwrap();
    FILES.iter().flat_map(read).flat_map(Seed::expand).collect()
}

/// The place that a path of the table names, made with all that holds it: the first item of a list, the first value of
/// a map.
pub(crate) fn place_of<'a>(object: &'a mut Value, path: &str) -> &'a mut Value {
    let spaced = path.replace("[]", ".[]").replace("{}", ".{}");
    let mut at = object;
    for step in spaced.split('.') {
        if step == "[]" {
            if at.as_array().is_none_or(Vec::is_empty) {
                *at = json!([null]);
            }
            at = &mut at[0];
            continue;
        }
        if !at.is_object() {
            *at = json!({});
        }
        let first = || at.as_object().and_then(|map| map.keys().next().cloned());
        let key = if step == "{}" { first().unwrap_or_else(|| "a".to_owned()) } else { step.to_owned() };
        at = &mut at[key];
    }
    at
}

/// Takes a value away, and leaves what holds it.
pub(crate) fn take(object: &mut Value, path: &str) {
    if let Some(list) = path.strip_suffix("[]") {
        *place_of(object, list) = json!([]);
    } else if let Some(map) = path.strip_suffix("{}") {
        *place_of(object, map) = json!({});
    } else if let Some((holder, name)) = path.rsplit_once('.') {
        let holder = place_of(object, holder);
        if !holder.is_object() {
            *holder = json!({});
        }
        holder.as_object_mut().unwrap().remove(name);
    }
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}
