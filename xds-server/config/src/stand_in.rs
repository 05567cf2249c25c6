//! What is in force in the place of an object that can't be read and never could, by `docs/unapplied.md`: whom a policy
//! may select is closed, what asks for TLS does not become plain text, and what the mesh says of namespaces holds.

mod mesh;
mod tls;

use std::sync::Arc;

use lateen_model::diagnostic::{Diagnostic, Origin, Severity};

use crate::{
    ConfigObject, Kind, Metadata, ObjectKey, ParsedObject,
    check::Check,
    decode::Decode,
    findings::Findings,
    istio::TrafficExtension,
    path::Path,
    yaml::{Node, SpanTable, Value, is_field},
};

/// What of a text that can't be applied says what the object is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    /// What stands below `spec`, as far as it could be read.
    pub(crate) spec: Option<&'a Node>,
    /// Does text follow that could not be read, and that may ask for TLS?
    pub(crate) tls_follows: bool,
}

/// Stands in for an object of which no more than its key is known: it selects the whole namespace, or the whole mesh.
/// `None` if objects of the kind refuse nothing.
pub fn stand_in(key: ObjectKey, origin: Origin) -> Option<ParsedObject> {
    in_part(key, origin, Raw { spec: None, tls_follows: false })
}

/// Stands in for an object in a text that is no whole document, or is of a version that is not known.
pub(crate) fn in_part(key: ObjectKey, origin: Origin, raw: Raw<'_>) -> Option<ParsedObject> {
    let meta = Metadata { name: key.name.clone(), namespace: key.namespace.clone(), ..Metadata::default() };
    made(key, meta, origin, None, raw)
}

/// Stands in for an object with these errors. It selects what the object selects, if that could be read.
pub(crate) fn narrowed(
    key: &ObjectKey,
    meta: Metadata,
    origin: Origin,
    read: Option<ConfigObject>,
    raw: Raw<'_>,
    errors: &[Diagnostic],
) -> Option<ParsedObject> {
    const SELECTION: [&str; 3] = ["spec.selector", "spec.targetRef", "metadata.namespace"];
    let about_selection = |finding: &Diagnostic| {
        finding.severity == Severity::Error && SELECTION.iter().any(|field| finding.path.starts_with(field))
    };
    let read = read.filter(|_| !errors.iter().any(about_selection));
    let about_wasm = errors.iter().any(|finding| finding.path.starts_with("spec.wasm"));
    let read = read.map(|read| match read {
        // Lua refuses nothing that is known of; what stands beside it may.
        ConfigObject::TrafficExtension(spec) if spec.wasm.is_some() || about_wasm => {
            TrafficExtension { lua: None, ..TrafficExtension::clone(&spec) }.into()
        }
        other => other,
    });
    let mut key = key.clone();
    if key.name.is_empty() {
        // No object has such a name, and no two places are the same.
        let Origin { source, location, line, column } = &origin;
        key = ObjectKey::new(key.kind, &*key.namespace, format!("({source}/{location}:{line}:{column})"));
    }
    made(key, meta, origin, read, raw)
}

fn made(
    key: ObjectKey,
    meta: Metadata,
    origin: Origin,
    read: Option<ConfigObject>,
    raw: Raw<'_>,
) -> Option<ParsedObject> {
    let spec = if key.kind.may_refuse() {
        read.or_else(|| empty(key.kind, &meta))?
    } else {
        match (key.kind, raw.spec?) {
            (Kind::DestinationRule, spec) => tls::destination_rule(spec, raw.tls_follows, &meta)?.into(),
            (Kind::Sidecar, spec) => tls::sidecar(spec, &meta)?.into(),
            (Kind::MeshConfig, spec) => mesh::config(spec, &meta)?.into(),
            _ => return None,
        }
    };
    Some(ParsedObject { key, meta, origin, spans: Arc::default(), spec })
}

/// An object that says nothing.
fn empty(kind: Kind, meta: &Metadata) -> Option<ConfigObject> {
    let node = Node { span: lateen_model::span::Span::default(), value: Value::Map(Vec::new()) };
    ConfigObject::read(kind, meta, &node, &Path::ROOT, &mut nobody())
}

/// Findings that nobody hears of: they were told already.
fn nobody() -> Findings {
    let nowhere: Arc<str> = Arc::from("");
    Findings::new(&nowhere, &nowhere, Arc::<SpanTable>::default())
}

/// The value of a field, under the names that decoding knows.
fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else { return None };
    let found = entries.iter().find(|entry| is_field(&entry.key, name))?;
    (found.value.value != Value::Null).then_some(&found.value)
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::Seq(items)) => items,
        _ => &[],
    }
}

/// What could be read without an error.
fn sound<T: Decode>(node: Option<&Node>) -> Option<T> {
    let mut out = nobody();
    let value = T::decode(node?, &Path::ROOT, &mut out)?;
    (out.errors() == 0).then_some(value)
}

/// Would the object be accepted?
fn is_sound(object: &impl Check, meta: &Metadata) -> bool {
    let mut out = nobody();
    object.check(meta, &Path::ROOT, &mut out);
    out.errors() == 0
}
