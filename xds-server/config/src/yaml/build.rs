//! Builds the tree from the parser's events.

use std::collections::{BTreeMap, HashSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag, options};
use lateen_model::span::Span;

use super::{Budget, Document, Entry, Node, Problem, Value, scalar};
use crate::codes;

/// Reads the one document of `text`, which begins at `start`; `None` where it holds nothing.
pub(super) fn document(text: &str, start: Span, left: &mut Budget) -> Option<Document> {
    let options = options! {
        emit_comments: false,
        flow_nesting_limit: left.depth_max,
        block_nesting_limit: left.depth_max,
    };
    let mut builder = Builder::new(start, left);
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.event(event, builder.span(span.start)),
            Err(error) => Err(builder.syntax(&error)),
        };
        if let Err(problem) = step {
            builder.problems.push(problem);
            break;
        }
    }
    builder.finish()
}

struct Builder<'b> {
    start: Span,
    left: &'b mut Budget,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Anchor>,
    root: Option<Node>,
    problems: Vec<Problem>,
}

/// A list or map that is still open.
struct Frame {
    span: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    Seq(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(Box<str>, Span)> },
}

struct Anchor {
    node: Node,
    size: Size,
}

#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

type Step = Result<(), Problem>;

impl<'b> Builder<'b> {
    fn new(start: Span, left: &'b mut Budget) -> Self {
        Self { start, left, stack: Vec::new(), anchors: BTreeMap::new(), root: None, problems: Vec::new() }
    }

    fn span(&self, marker: Marker) -> Span {
        let line = u32::try_from(marker.line().saturating_sub(1)).unwrap_or(u32::MAX);
        let column = u32::try_from(marker.col()).unwrap_or(u32::MAX);
        Span { line: self.start.line.saturating_add(line), column: self.start.column.saturating_add(column) }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(span)?;
                let value = self.scalar(&text, style, tag.as_deref(), span);
                if self.awaits_key() {
                    // The key's text as written, whatever it would mean as a value.
                    self.keep(anchor, || Node { span, value }, span)?;
                    self.set_key(&text, span);
                    return Ok(());
                }
                self.complete(Node { span, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", span);
                self.open(span, anchor, Content::Seq(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", span);
                self.open(span, anchor, Content::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, span),
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Value {
        let plain = matches!(style, ScalarStyle::Plain);
        match tag.map(|tag| (tag.core_suffix(), tag)) {
            None if plain => scalar::resolve(text),
            None | Some((Some("str"), _)) => Value::String(text.into()),
            Some((Some("null" | "bool" | "int" | "float"), _)) => scalar::resolve(text),
            Some((_, tag)) => {
                self.unknown_tag(tag, span);
                Value::String(text.into())
            }
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, meant: &str, span: Span) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix() != Some(meant)) {
            self.unknown_tag(tag, span);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, span: Span) {
        let message = format!("the tag {} has no meaning here", shorten(&tag.original()));
        self.problems.push(Problem { code: codes::YAML_FEATURE, span, message, hint: None });
    }

    fn spend(&mut self, span: Span) -> Step {
        match self.left.nodes_max.checked_sub(1) {
            Some(left) => {
                self.left.nodes_max = left;
                Ok(())
            }
            None => Err(budget(span, "too many values in one text")),
        }
    }

    fn open(&mut self, span: Span, anchor: usize, content: Content) -> Step {
        self.spend(span)?;
        if self.stack.len() >= self.left.depth_max {
            return Err(budget(span, "nested too deep"));
        }
        self.stack.push(Frame { span, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Step {
        let Some(Frame { span, anchor, content }) = self.stack.pop() else { return Ok(()) };
        let value = match content {
            Content::Seq(items) => Value::Seq(items),
            Content::Map { entries, .. } => Value::Map(self.checked(entries)),
        };
        self.complete(Node { span, value }, anchor)
    }

    /// Puts a finished value where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Step {
        let span = node.span;
        if anchor != 0 {
            self.keep(anchor, || node.clone(), span)?;
        }
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::Seq(items)) => items.push(node),
            Some(Content::Map { entries, key }) => {
                if let Some((key, span)) = key.take() {
                    entries.push(Entry { key, span, value: node });
                } else {
                    let Value::String(text) = node.value else { return Err(unusable_key(span)) };
                    *key = Some((text, span));
                }
            }
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { content: Content::Map { key: None, .. }, .. }))
    }

    fn set_key(&mut self, text: &str, span: Span) {
        if let Some(Frame { content: Content::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some((text.into(), span));
        }
    }

    /// Remembers an anchored value. The copy is paid for like an alias, or nested anchors would be free.
    fn keep(&mut self, anchor: usize, node: impl FnOnce() -> Node, span: Span) -> Step {
        if anchor != 0 {
            let node = node();
            let size = measure(&node);
            self.pay(size, span)?;
            self.anchors.insert(anchor, Anchor { node, size });
        }
        Ok(())
    }

    fn pay(&mut self, size: Size, span: Span) -> Step {
        let nodes = self.left.copied_nodes_max.checked_sub(size.nodes);
        let bytes = self.left.copied_bytes_max.checked_sub(size.bytes);
        let (Some(nodes), Some(bytes)) = (nodes, bytes) else {
            return Err(budget(span, "aliases expand to too much"));
        };
        self.left.copied_nodes_max = nodes;
        self.left.copied_bytes_max = bytes;
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span) -> Step {
        let Some(anchor) = self.anchors.get(&id) else {
            let message = "the alias stands inside the value it names".to_owned();
            return Err(Problem { code: codes::SYNTAX, span, message, hint: None });
        };
        let size = anchor.size;
        if self.stack.len().saturating_add(size.depth) > self.left.depth_max {
            return Err(budget(span, "aliases nest too deep"));
        }
        let node = anchor.node.clone();
        self.pay(size, span)?;
        self.complete(node, 0)
    }

    /// Merges `<<` and reports keys that occur twice; the first one stays.
    fn checked(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut seen = HashSet::with_capacity(entries.len());
        let mut duplicates = Vec::new();
        let mut merges = false;
        for (index, entry) in entries.iter().enumerate() {
            merges |= &*entry.key == "<<";
            if !seen.insert(&*entry.key) {
                duplicates.push(index);
                self.problems.push(Problem {
                    code: codes::DUPLICATE_KEY,
                    span: entry.span,
                    message: format!("the key \"{}\" occurs twice in one map", shorten(&entry.key)),
                    hint: None,
                });
            }
        }
        drop(seen);
        if !duplicates.is_empty() {
            let mut index = 0;
            let mut kept = entries;
            kept.retain(|_| {
                index += 1;
                duplicates.binary_search(&(index - 1)).is_err()
            });
            return kept;
        }
        if merges { merge(entries) } else { entries }
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let message = error.kind().to_string();
        let hint = message.contains("tab").then_some("indent with spaces, not with tabs");
        Problem { code: codes::SYNTAX, span: self.span(*error.marker()), message, hint }
    }

    /// Closes what is still open after an error, so that the part that was read is kept.
    fn finish(mut self) -> Option<Document> {
        while !self.stack.is_empty() {
            // A part that can't be completed is lost; the frame is closed either way.
            let _ = self.close();
        }
        let root = match self.root {
            Some(root) => root,
            None if self.problems.is_empty() => return None,
            None => Node { span: self.start, value: Value::Null },
        };
        Some(Document { root, problems: self.problems })
    }
}

/// `<<` takes over the keys of the map, or maps, that it names, unless the map has them itself.
/// <https://yaml.org/type/merge.html>
fn merge(entries: Vec<Entry>) -> Vec<Entry> {
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| &*entry.key == "<<");
    if merges.is_empty() {
        return own;
    }
    let mut keys: HashSet<_> = own.iter().map(|entry| entry.key.clone()).collect();
    for merge in merges {
        let maps = match merge.value.value {
            Value::Seq(maps) => maps,
            _ => vec![merge.value],
        };
        for map in maps {
            let Value::Map(more) = map.value else { continue };
            for entry in more {
                if keys.insert(entry.key.clone()) {
                    own.push(entry);
                }
            }
        }
    }
    own
}

fn measure(node: &Node) -> Size {
    let mut size = Size { nodes: 1, ..Size::default() };
    let mut add = |inner: Size| {
        size.nodes += inner.nodes;
        size.bytes += inner.bytes;
        size.depth = size.depth.max(inner.depth + 1);
    };
    match &node.value {
        Value::Seq(items) => items.iter().for_each(|item| add(measure(item))),
        Value::Map(entries) => {
            for entry in entries {
                add(Size { nodes: 0, bytes: entry.key.len(), depth: 0 });
                add(measure(&entry.value));
            }
        }
        Value::String(text) => size.bytes += text.len(),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
    }
    size
}

fn budget(span: Span, message: &str) -> Problem {
    Problem { code: codes::BUDGET, span, message: message.to_owned(), hint: None }
}

fn unusable_key(span: Span) -> Problem {
    let message = "a key must be text".to_owned();
    Problem { code: codes::YAML_FEATURE, span, message, hint: None }
}

/// The start of a text that may be long.
fn shorten(text: &str) -> String {
    if text.chars().count() > 60 { text.chars().take(60).chain(['…']).collect() } else { text.to_owned() }
}
