//! From a text to its objects.

use std::{cell::OnceCell, collections::BTreeSet, sync::Arc};

use lateen_model::{
    diagnostic::{Diagnostic, Origin, Severity},
    span::Span,
};

use crate::{
    ConfigObject, Invalid, Kind, Metadata, ObjectKey, Parsed, ParsedObject, codes,
    decode::{Others, Schema, fields, found, nearest},
    findings::{FINDINGS_MAX, Findings, Steps},
    kind::{Form, NOT_APPLIED},
    metadata,
    path::Path,
    stand_in::{self, Raw},
    yaml::{self, Budget, Document, Entry, Node, Problem, SpanTable, Value},
};

/// Reads all objects of a text within the default [`Budget`]. `source` and `location` (a path, a key) are what
/// findings and origins will name.
pub fn parse(text: &[u8], source: &Arc<str>, location: &Arc<str>) -> Parsed {
    parse_within(text, source, location, &Budget::default())
}

/// Reads all objects of a text within a budget.
pub fn parse_within(text: &[u8], source: &Arc<str>, location: &Arc<str>, budget: &Budget) -> Parsed {
    let mut reader = Reader {
        source,
        location,
        budget,
        steps: Steps::of(text.len()),
        parsed: Parsed::default(),
        seen: BTreeSet::new(),
        suppressed: 0,
    };
    let (documents, end) = yaml::parse(text, budget);
    let lines = Lines::default();
    let is_tls = |word: &[u8]| word.eq_ignore_ascii_case(b"tls");
    let ends = documents.iter().skip(1).map(|next| next.root.span.line).chain([u32::MAX]);
    for (document, end) in documents.iter().zip(ends) {
        let rest = || breaks_off_at(document).map(|from| lines.between(text, from, end));
        reader.document(document, || rest().is_some_and(|rest| rest.windows(3).any(is_tls)));
    }
    if let Some(problem) = end {
        let mut out = reader.findings(&Node { span: problem.span, value: Value::Null });
        report(&problem, &mut out);
        reader.take(out, Vec::new(), false);
    }
    reader.finish()
}

struct Reader<'a> {
    source: &'a Arc<str>,
    location: &'a Arc<str>,
    budget: &'a Budget,
    /// What the expressions of all objects may cost.
    steps: Steps,
    parsed: Parsed,
    seen: BTreeSet<ObjectKey>,
    suppressed: usize,
}

impl Reader<'_> {
    fn findings(&self, root: &Node) -> Findings {
        Findings::new(self.source, self.location, Arc::new(SpanTable::of(root))).sharing(&self.steps)
    }

    fn document(&mut self, document: &Document, tls_follows: impl FnOnce() -> bool) {
        if document.problems.is_empty() {
            return self.object(&document.root);
        }
        let parts = identities(&document.root);
        let mut out = self.findings(&document.root);
        if let [(key, _)] = &*parts {
            out.set_object(Some(key.to_ref()));
        }
        for problem in &document.problems {
            report(problem, &mut out);
        }
        let asks = |kind| kind == Kind::DestinationRule;
        let tls_follows = parts.last().is_some_and(|(key, _)| asks(key.kind)) && tls_follows();
        self.take(out, parts, tls_follows);
    }

    /// Takes over the findings of a document. If there is an error among them, the objects are invalid. The last of
    /// them may go on where the text can't be read, and ask for TLS there.
    fn take(&mut self, out: Findings, parts: Vec<(ObjectKey, Option<&Node>)>, tls_follows: bool) {
        let list = out.into_list();
        if let Some(error) = list.iter().find(|diagnostic| diagnostic.severity == Severity::Error) {
            if parts.is_empty() {
                self.parsed.invalid.push(Invalid { key: None, diagnostic: error.clone(), stand_in: None });
            }
            let end = parts.len().saturating_sub(1);
            for (at, (key, spec)) in parts.into_iter().enumerate() {
                let raw = Raw { spec, tls_follows: tls_follows && at == end };
                let origin = error.origin.clone();
                let stand_in = origin.and_then(|origin| stand_in::in_part(key.clone(), origin, raw));
                let (key, stand_in) = (Some(key), stand_in.map(Box::new));
                self.parsed.invalid.push(Invalid { key, diagnostic: error.clone(), stand_in });
            }
        }
        self.add(list);
    }

    /// Takes over an object with errors.
    fn reject(
        &mut self,
        key: ObjectKey,
        meta: Metadata,
        origin: Origin,
        read: (Option<ConfigObject>, &Node),
        out: Findings,
    ) {
        let (read, spec) = read;
        let list = out.into_list();
        if let Some(error) = list.iter().find(|diagnostic| diagnostic.severity == Severity::Error) {
            let diagnostic = error.clone();
            let raw = Raw { spec: Some(spec), tls_follows: false };
            let stand_in = stand_in::narrowed(&key, meta, origin, read, raw, &list).map(Box::new);
            let key = (!key.name.is_empty()).then_some(key);
            self.parsed.invalid.push(Invalid { key, diagnostic, stand_in });
        }
        self.add(list);
    }

    fn add(&mut self, list: Vec<Diagnostic>) {
        let room = FINDINGS_MAX.saturating_sub(self.parsed.diagnostics.len());
        self.suppressed += list.len().saturating_sub(room);
        self.parsed.diagnostics.extend(list.into_iter().take(room));
    }

    fn finish(mut self) -> Parsed {
        if self.suppressed > 0 {
            let origin = self.parsed.diagnostics.last().and_then(|last| last.origin.clone());
            self.parsed.diagnostics.push(Diagnostic {
                code: codes::SUPPRESSED,
                severity: Severity::Warning,
                object: None,
                origin,
                path: String::new(),
                message: format!("{} more findings are not shown", self.suppressed),
                hint: None,
            });
        }
        self.parsed
    }

    fn object(&mut self, root: &Node) {
        match (&root.value, is_list(root)) {
            (Value::Null, _) => {}
            (_, Some(items)) => items.iter().for_each(|item| self.object(item)),
            (_, None) => {
                let mut out = self.findings(root);
                match classify(root, &mut out) {
                    Some(Known::Kind(kind)) => self.known(kind, root, out),
                    Some(Known::ConfigMap) => self.config_map(root, out),
                    None => self.take(out, identities(root), false),
                }
            }
        }
    }

    /// An object of a kind that is read.
    fn known(&mut self, kind: Kind, root: &Node, out: Findings) {
        let empty = Node { span: root.span, value: Value::Map(Vec::new()) };
        let read = Read { kind, root };
        match kind.form() {
            Form::Spec => {
                self.read(&read, root.get("spec").unwrap_or(&empty), &Path::ROOT.field("spec"), out);
            }
            Form::Whole => self.read(&read, root, &Path::ROOT, out),
        }
    }

    fn read(&mut self, read: &Read<'_>, spec: &Node, at: &Path<'_>, mut out: Findings) {
        let meta = metadata::decode(read.root, read.kind, &mut out);
        let key = ObjectKey::new(read.kind, &meta.namespace, &meta.name);
        out.set_object((!key.name.is_empty()).then(|| key.to_ref()));
        metadata::check(&meta, &mut out);
        if !read.kind.is_data() {
            envelope(read, &mut out);
        }
        // Istio reads the mesh's configuration so: what a later version added does not take the rest with it.
        // https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
        out.tolerate_unknown_fields(read.kind == Kind::MeshConfig);
        let object = ConfigObject::read(read.kind, &meta, spec, at, &mut out);
        let first = !self.seen.contains(&key);
        if !first {
            let message = format!("{key} occurs twice in one text; the first one counts");
            out.error(codes::DUPLICATE_OBJECT, &Path::ROOT.field("metadata").field("name"), message);
        }
        match object {
            Some(object) if out.errors() == 0 => self.accept(key, meta, read, object, out),
            // The first one is not invalid because there is a second one.
            _ if !first => self.add(out.into_list()),
            object => {
                let origin = out.origin(read.root.span);
                let raw = if read.kind.form() == Form::Spec { misspelt_spec(read.root) } else { None };
                self.reject(key, meta, origin, (object, raw.unwrap_or(spec)), out);
            }
        }
    }

    fn accept(&mut self, key: ObjectKey, meta: Metadata, read: &Read<'_>, spec: ConfigObject, out: Findings) {
        let spans = if key.kind.is_data() { Arc::default() } else { out.spans() };
        let origin = out.origin(read.root.span);
        self.add(out.into_list());
        self.seen.insert(key.clone());
        self.parsed.objects.push(ParsedObject { key, meta, origin, spans, spec });
    }

    /// A `ConfigMap` matters only where it holds the mesh's configuration, as Istio keeps it: named `istio`, or
    /// `istio-REVISION`, under the key `mesh`.
    fn config_map(&mut self, root: &Node, out: Findings) {
        let name = root.get("metadata").and_then(|meta| meta.get("name")).and_then(Node::as_str);
        let text = root.get("data").and_then(|data| data.get("mesh"));
        let (Some(name), Some(text)) = (name, text) else { return };
        let (true, Some(mesh)) = (name == "istio" || name.starts_with("istio-"), text.as_str()) else {
            return;
        };
        // The text of a block scalar begins one line below its indicator, deeper than its key.
        // YAML does not say how much deeper; two columns are what everybody writes.
        let start = Span { line: text.span.line.saturating_add(1), column: 5 };
        let document = yaml::parse_embedded(mesh, start, self.budget);
        let Some(document) = document else { return };
        let root = replace(root, &document.root);
        let Some(spec) = root.get("data").and_then(|data| data.get("mesh")) else { return };
        let read = Read { kind: Kind::MeshConfig, root: &root };
        if document.problems.is_empty() {
            drop(out);
            let at = Path::ROOT.field("data");
            return self.read(&read, spec, &at.field("mesh"), self.findings(&root));
        }
        let mut out = self.findings(&root);
        let meta = metadata::decode(&root, Kind::MeshConfig, &mut out);
        let key = ObjectKey::new(Kind::MeshConfig, meta.namespace, meta.name);
        out.set_object(Some(key.to_ref()));
        for problem in &document.problems {
            report(problem, &mut out);
        }
        self.take(out, vec![(key, Some(spec))], false);
    }
}

/// What is being read.
struct Read<'a> {
    kind: Kind,
    root: &'a Node,
}

enum Known {
    Kind(Kind),
    ConfigMap,
}

fn report(problem: &Problem, out: &mut Findings) {
    out.at(Severity::Error, problem.code, &Path::ROOT, problem.span, problem.message.clone())
        .maybe_hint(problem.hint.map(str::to_owned));
}

/// The items of a list of objects (`kind: List`, `kind: ServiceList`).
fn is_list(root: &Node) -> Option<&[Node]> {
    let kind = root.get("kind")?.as_str()?;
    match &root.get("items")?.value {
        Value::Seq(items) if kind.ends_with("List") => Some(items),
        _ => None,
    }
}

fn group_of(root: &Node) -> Option<(&str, &str)> {
    let version = root.get("apiVersion")?.as_str()?;
    Some(version.split_once('/').unwrap_or(("", version)))
}

/// What stands where `spec` should, under a name that was probably meant to be it.
fn misspelt_spec(root: &Node) -> Option<&Node> {
    let Value::Map(entries) = &root.value else { return None };
    let is_it = |entry: &&Entry| nearest(&entry.key, ["spec"]).is_some();
    if root.get("spec").is_some() { None } else { entries.iter().find(is_it).map(|entry| &entry.value) }
}

/// The line from which on a document can't be read, if it breaks off.
fn breaks_off_at(document: &Document) -> Option<u32> {
    let breaks_off =
        |problem: &&Problem| matches!(problem.code, codes::SYNTAX | codes::NOT_UTF8 | codes::BUDGET);
    document.problems.iter().filter(breaks_off).map(|problem| problem.span.line).min()
}

/// Where the lines of a text begin, once somebody asks.
#[derive(Default)]
struct Lines(OnceCell<Vec<usize>>);

impl Lines {
    /// The text from the start of a line on, to the start of another one behind it.
    fn between<'t>(&self, text: &'t [u8], from: u32, to: u32) -> &'t [u8] {
        let starts = self.0.get_or_init(|| {
            let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
        });
        let start = |line: u32| starts.get(usize::try_from(line).ok()?.checked_sub(1)?).copied();
        let (from, to) = (start(from).unwrap_or(text.len()), start(to).unwrap_or(text.len()));
        text.get(from..to.max(from)).unwrap_or_default()
    }
}

/// The keys of the objects in a document that can't be applied, as far as they can be told, with what they say.
fn identities(root: &Node) -> Vec<(ObjectKey, Option<&Node>)> {
    if let Some(items) = is_list(root) {
        return items.iter().flat_map(identities).collect();
    }
    let key = || {
        let (group, _) = group_of(root)?;
        let kind = Kind::find(group, root.get("kind")?.as_str()?)?;
        let nowhere: Arc<str> = Arc::from("");
        let mut unused = Findings::new(&nowhere, &nowhere, Arc::default());
        let meta = metadata::decode(root, kind, &mut unused);
        (!meta.name.is_empty()).then(|| ObjectKey::new(kind, meta.namespace, meta.name))
    };
    let spec = root.get("spec").or_else(|| misspelt_spec(root));
    key().into_iter().map(|key| (key, spec)).collect()
}

/// Which kind of object it is; `None` where it is none that is read, which is a finding.
fn classify(root: &Node, out: &mut Findings) -> Option<Known> {
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("expected an object with apiVersion and kind, found {}", found(root));
        out.at(Severity::Error, codes::NOT_AN_OBJECT, &Path::ROOT, root.span, message);
        return None;
    }
    let kind = root.get("kind").and_then(Node::as_str).filter(|kind| !kind.is_empty());
    let (Some((group, version)), Some(kind)) = (group_of(root), kind) else {
        let missing = if kind.is_none() { "kind" } else { "apiVersion" };
        let message = format!("the object has no {missing}");
        out.at(Severity::Error, codes::NOT_AN_OBJECT, &Path::ROOT.field(missing), root.span, message);
        return None;
    };
    if let Some(known) = Kind::find(group, kind) {
        if known.versions().contains(&version) {
            return Some(Known::Kind(known));
        }
        let message = format!("{kind} is not known in version \"{}\"", version.escape_debug());
        out.error(codes::UNKNOWN_VERSION, &Path::ROOT.field("apiVersion"), message)
            .hint(format!("the versions are {}", known.versions().join(", ")));
        return None;
    }
    if (group, version, kind) == ("", "v1", "ConfigMap") {
        return Some(Known::ConfigMap);
    }
    unread(group, kind, out);
    None
}

fn unread(group: &str, kind: &str, out: &mut Findings) {
    let at = Path::ROOT.field("kind");
    let listed = NOT_APPLIED.iter().find(|(known, _)| *known == group).map_or(&[][..], |(_, kinds)| *kinds);
    if listed.contains(&kind) {
        out.warn(codes::NOT_APPLIED, &at, format!("{kind} is known, but not applied yet"));
        return;
    }
    let ours = || Kind::ALL.iter().filter(|known| known.group() == group).map(|known| known.as_str());
    let message =
        format!("unknown kind \"{}\" in the group \"{}\"", kind.escape_debug(), group.escape_debug());
    if !Kind::ALL.iter().any(|known| known.group() == group && known.is_of_kubernetes())
        && ours().next().is_some()
    {
        // The whole of this group is known: it is a typo.
        let hint =
            nearest(kind, ours().chain(listed.iter().copied())).map(|kind| format!("did you mean {kind}?"));
        out.error(codes::UNKNOWN_KIND, &at, message).maybe_hint(hint);
        return;
    }
    let elsewhere = Kind::ALL.iter().find(|known| known.as_str() == kind && !known.group().is_empty());
    let hint = elsewhere.map(|known| {
        format!("{kind} exists in {}/{}", known.group(), known.versions().first().unwrap_or(&"v1"))
    });
    out.info(codes::FOREIGN_KIND, &at, message).maybe_hint(hint);
}

/// The fields around the specification.
fn envelope(read: &Read<'_>, out: &mut Findings) {
    const SCHEMA: Schema = Schema {
        fields: &["apiVersion", "kind", "metadata", "spec"],
        ignored: &["status"],
        unsupported: &[],
        others: Others::Rejected,
    };
    const PLATFORM: Schema = Schema { others: Others::Ignored, ..SCHEMA };
    let is_config_map = read.root.get("kind").and_then(Node::as_str) == Some("ConfigMap");
    let open = is_config_map || read.kind.is_of_kubernetes();
    fields(read.root, if open { &PLATFORM } else { &SCHEMA }, &Path::ROOT, out);
}

/// The `ConfigMap` with the value in place of its text, so that its fields have paths and positions.
fn replace(root: &Node, mesh: &Node) -> Node {
    let change = |node: &Node, key: &str, with: &dyn Fn(&Node) -> Node| {
        let Value::Map(entries) = &node.value else { return node.clone() };
        let entries = entries.iter().map(|entry| {
            let value = if &*entry.key == key { with(&entry.value) } else { entry.value.clone() };
            Entry { key: entry.key.clone(), span: entry.span, value }
        });
        Node { span: node.span, value: Value::Map(entries.collect()) }
    };
    change(root, "data", &|data| change(data, "mesh", &|_| mesh.clone()))
}
