//! Where each field of a document stands, without the document.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use lateen_model::span::Span;

use super::{Node, Value};
use crate::path::{Path, Step};

/// The positions of all fields of a document: what findings of a later analysis point at.
#[derive(Clone, Default, PartialEq)]
pub struct SpanTable {
    /// In the order of the text, parents before their children.
    entries: Box<[Entry]>,
    /// The keys, each once.
    keys: Box<str>,
    /// The elements of long lists, by the list: each is found at once, however long the list is.
    long: BTreeMap<u32, Box<[u32]>>,
}

/// Lists of more elements than this have them indexed.
const SHORT_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    name: Name,
    span: Span,
    /// Index of the first entry behind this one's children.
    end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    /// Where in the keys it begins, and its length in bytes.
    Key(u32, u32),
    Index(u32),
}

/// A table that is being made.
#[derive(Default)]
struct Builder<'a> {
    entries: Vec<Entry>,
    keys: String,
    known: HashMap<&'a str, Name>,
    long: BTreeMap<u32, Box<[u32]>>,
}

impl fmt::Debug for SpanTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanTable({} fields)", self.entries.len())
    }
}

impl SpanTable {
    /// The positions in a document.
    pub fn of(root: &Node) -> Self {
        let mut builder = Builder::default();
        builder.add(root, Name::Index(0), root.span);
        let Builder { entries, keys, long, known: _ } = builder;
        Self { entries: entries.into(), keys: keys.into(), long }
    }

    /// Where a field stands; where it is not there, its nearest parent. `None` only for an empty table.
    pub fn find(&self, path: &Path<'_>) -> Option<Span> {
        let mut here = 0;
        for step in path.steps() {
            match self.child(here, step) {
                Some(child) => here = child,
                None => break,
            }
        }
        self.entries.get(here).map(|entry| entry.span)
    }

    fn child(&self, parent: usize, step: Step<'_>) -> Option<usize> {
        if let (Step::Index(index), Some(elements)) = (step, self.long.get(&u32::try_from(parent).ok()?)) {
            return elements.get(index).map(|at| *at as usize);
        }
        let end = self.entries.get(parent)?.end as usize;
        let mut at = parent + 1;
        while at < end {
            let entry = self.entries.get(at)?;
            let same = match (entry.name, step) {
                (Name::Key(at, len), Step::Field(name)) => is_field(self.key(at, len), name),
                (Name::Key(at, len), Step::Key(name)) => self.key(at, len) == name,
                (Name::Index(index), Step::Index(wanted)) => index as usize == wanted,
                (Name::Key(..), Step::Index(_)) | (Name::Index(_), Step::Field(_) | Step::Key(_)) => false,
            };
            if same {
                return Some(at);
            }
            at = entry.end as usize;
        }
        None
    }

    fn key(&self, at: u32, len: u32) -> &str {
        let at = at as usize;
        self.keys.get(at..at + len as usize).unwrap_or_default()
    }
}

/// Is `key` the field `name`, in camel case or in snake case? Proto's JSON allows both.
/// <https://protobuf.dev/programming-guides/json/#json-options>
pub(crate) fn is_field(key: &str, name: &str) -> bool {
    if !key.contains('_') {
        return key == name;
    }
    let mut rest = name.chars();
    let mut upper = false;
    for c in key.chars() {
        if c == '_' {
            upper = true;
            continue;
        }
        let wanted = if upper { c.to_ascii_uppercase() } else { c };
        upper = false;
        if rest.next() != Some(wanted) {
            return key == name;
        }
    }
    rest.next().is_none()
}

/// A number of entries or bytes; texts are far smaller than this.
fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl<'a> Builder<'a> {
    fn key(&mut self, key: &'a str) -> Name {
        let keys = &mut self.keys;
        *self.known.entry(key).or_insert_with(|| {
            let name = Name::Key(count(keys.len()), count(key.len()));
            keys.push_str(key);
            name
        })
    }

    fn add(&mut self, node: &'a Node, name: Name, span: Span) {
        let here = self.entries.len();
        self.entries.push(Entry { name, span, end: 0 });
        match &node.value {
            Value::Seq(items) => {
                let mut elements = Vec::new();
                for (index, item) in (0u32..).zip(items) {
                    elements.push(count(self.entries.len()));
                    self.add(item, Name::Index(index), item.span);
                }
                if elements.len() > SHORT_MAX {
                    self.long.insert(count(here), elements.into());
                }
            }
            Value::Map(map) => {
                for entry in map {
                    // A list or an object begins at its key; of a plain value, the value is what is wrong.
                    let span = match entry.value.value {
                        Value::Seq(_) | Value::Map(_) | Value::Null => entry.span,
                        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_) => {
                            entry.value.span
                        }
                    };
                    let name = self.key(&entry.key);
                    self.add(&entry.value, name, span);
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_) => {}
        }
        let end = count(self.entries.len());
        if let Some(entry) = self.entries.get_mut(here) {
            entry.end = end;
        }
    }
}
