//! What is in force in the place of a policy that can't be read and never could: whom it may select is closed, by
//! `docs/unapplied.md`.

use std::sync::Arc;

use lateen_model::diagnostic::{Diagnostic, Origin, Severity};

use crate::{
    ConfigObject, Kind, Metadata, ObjectKey, ParsedObject,
    findings::Findings,
    path::Path,
    yaml::{Node, SpanTable, Value},
};

/// Stands in for an object of which no more than its key is known: it selects the whole namespace, or the whole mesh.
/// `None` if objects of the kind refuse nothing.
pub fn stand_in(key: ObjectKey, origin: Origin) -> Option<ParsedObject> {
    let meta = Metadata { name: key.name.clone(), namespace: key.namespace.clone(), ..Metadata::default() };
    made(key, meta, origin, None)
}

/// Stands in for an object with these errors. It selects what the object selects, if that could be read.
pub(crate) fn narrowed(
    key: &ObjectKey,
    meta: Metadata,
    origin: Origin,
    read: Option<ConfigObject>,
    errors: &[Diagnostic],
) -> Option<ParsedObject> {
    const SELECTION: [&str; 3] = ["spec.selector", "spec.targetRef", "metadata.namespace"];
    let about_selection = |finding: &Diagnostic| {
        finding.severity == Severity::Error && SELECTION.iter().any(|field| finding.path.starts_with(field))
    };
    let read = read.filter(|_| !errors.iter().any(about_selection));
    let mut key = key.clone();
    if key.name.is_empty() {
        // No object has such a name.
        key = ObjectKey::new(key.kind, &*key.namespace, format!("(line {})", origin.line));
    }
    made(key, meta, origin, read)
}

fn made(key: ObjectKey, meta: Metadata, origin: Origin, read: Option<ConfigObject>) -> Option<ParsedObject> {
    if !key.kind.may_refuse() {
        return None;
    }
    let spec = read.or_else(|| empty(key.kind, &meta))?;
    Some(ParsedObject { key, meta, origin, spans: Arc::default(), spec })
}

/// An object that says nothing.
fn empty(kind: Kind, meta: &Metadata) -> Option<ConfigObject> {
    let nowhere: Arc<str> = Arc::from("");
    let node = Node { span: lateen_model::span::Span::default(), value: Value::Map(Vec::new()) };
    let mut unused = Findings::new(&nowhere, &nowhere, Arc::<SpanTable>::default());
    ConfigObject::read(kind, meta, &node, &Path::ROOT, &mut unused)
}
