//! YAML (and so JSON) as a tree that knows where each value stands.
//!
//! A text is cut at its document markers first, so that a document that cannot be read costs only itself; what
//! was read of it before the error is kept, to tell which object it was. Everything that text can make grow
//! is bounded by [`Budget`].

mod build;
mod scalar;
mod spans;

use lateen_model::{diagnostic::Code, span::Span};

use crate::codes;
pub use spans::SpanTable;
pub(crate) use spans::is_field;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value begins.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction or exponent, or an integer too large for [`Value::Int`].
    Float(f64),
    /// Text.
    String(Box<str>),
    /// A list.
    Seq(Vec<Node>),
    /// A map, in the order of the text; no key occurs twice.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: Box<str>,
    /// Where the key begins.
    pub span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value of a key, where this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| &*entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// The text, where this is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// How much a text may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of text.
    pub bytes_max: usize,
    /// Documents in the text.
    pub documents_max: usize,
    /// Values in all documents together.
    pub nodes_max: usize,
    /// How deep values nest.
    pub depth_max: usize,
    /// Values that anchors and aliases copy, in all documents together.
    pub copied_nodes_max: usize,
    /// Bytes of text that anchors and aliases copy, in all documents together.
    pub copied_bytes_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes_max: 16 << 20,
            documents_max: 50_000,
            nodes_max: 1_000_000,
            depth_max: 64,
            copied_nodes_max: 50_000,
            copied_bytes_max: 4 << 20,
        }
    }
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which kind of wrong.
    pub code: Code,
    /// Where.
    pub span: Span,
    /// What.
    pub message: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

/// One document of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its value; where there are problems, as far as it could be read.
    pub root: Node,
    /// What is wrong with it; such a document must not be applied.
    pub problems: Vec<Problem>,
}

/// Reads all documents of a text that is perhaps not even UTF-8. Empty documents are left out. The last
/// element is the problem that ended the reading early, if any.
pub fn parse(bytes: &[u8], budget: &Budget) -> (Vec<Document>, Option<Problem>) {
    let start = Span { line: 1, column: 1 };
    if bytes.len() > budget.bytes_max {
        let message = format!("the text has {} bytes, at most {} are read", bytes.len(), budget.bytes_max);
        return (Vec::new(), Some(Problem { code: codes::TOO_LARGE, span: start, message, hint: None }));
    }
    let mut left = *budget;
    let mut documents = Vec::new();
    for chunk in chunks(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)) {
        if chunk.is_blank() {
            continue;
        }
        let span = chunk.start();
        if documents.len() >= budget.documents_max {
            let message = format!("more than {} documents in one text", budget.documents_max);
            return (documents, Some(Problem { code: codes::BUDGET, span, message, hint: None }));
        }
        let document = match std::str::from_utf8(chunk.bytes) {
            Ok(text) => build::document(text, chunk.start(), &mut left),
            Err(error) => Some(not_utf8(&chunk, error.valid_up_to(), &mut left)),
        };
        documents.extend(document);
    }
    (documents, None)
}

/// The text with the documents blanked that `is_out` picks, by their bytes and what could be read of them; line ends
/// stay. `None` if no other document has anything in it.
pub(crate) fn blanked(bytes: &[u8], is_out: impl Fn(&[u8], Option<Document>) -> bool) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut left = false;
    for chunk in chunks(bytes) {
        let read = || {
            let text = std::str::from_utf8(chunk.bytes).ok()?;
            build::document(text, chunk.start(), &mut Budget::default())
        };
        if !chunk.is_blank() && is_out(chunk.bytes, read()) {
            text.extend(b"---".iter().filter(|_| chunk.bytes.starts_with(b"---")));
            text.extend(chunk.bytes.iter().filter(|byte| **byte == b'\n'));
        } else {
            left |= !chunk.is_blank();
            text.extend_from_slice(chunk.bytes);
        }
    }
    left.then_some(text)
}

/// Reads one value from text inside another document, such as the mesh configuration in a `ConfigMap`.
/// `start` is where its first line begins.
pub fn parse_embedded(text: &str, start: Span, budget: &Budget) -> Option<Document> {
    build::document(text, start, &mut { *budget })
}

/// A document's bytes, from its marker to the next.
struct Chunk<'a> {
    bytes: &'a [u8],
    line: u32,
}

impl Chunk<'_> {
    fn start(&self) -> Span {
        Span { line: self.line, column: 1 }
    }

    /// Holds it nothing but markers, comments, directives and white space?
    fn is_blank(&self) -> bool {
        self.bytes.split(|byte| *byte == b'\n').all(|line| {
            let line = line.strip_prefix(b"---").unwrap_or(line).trim_ascii();
            matches!(line, [] | [b'#' | b'%', ..] | b"...")
        })
    }
}

/// Cuts at `---` and `...` at the start of a line: they end a document whatever stands around them.
/// <https://yaml.org/spec/1.2.2/#912-document-markers>
fn chunks(bytes: &[u8]) -> Vec<Chunk<'_>> {
    let is_marker = |line: &[u8], marker: &[u8]| match line.strip_prefix(marker) {
        Some(rest) => rest.first().is_none_or(u8::is_ascii_whitespace),
        None => false,
    };
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (number, line) in (1u32..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        if is_marker(line, b"---") && at > start {
            chunks.push(Chunk { bytes: bytes.get(start..at).unwrap_or_default(), line: start_line });
            (start, start_line) = (at, number);
        }
        at += line.len();
        if is_marker(line, b"...") {
            chunks.push(Chunk { bytes: bytes.get(start..at).unwrap_or_default(), line: start_line });
            (start, start_line) = (at, number.saturating_add(1));
        }
    }
    if at > start {
        chunks.push(Chunk { bytes: bytes.get(start..at).unwrap_or_default(), line: start_line });
    }
    chunks
}

fn not_utf8(chunk: &Chunk<'_>, valid: usize, left: &mut Budget) -> Document {
    let good = std::str::from_utf8(chunk.bytes.get(..valid).unwrap_or_default()).unwrap_or_default();
    let lines = u32::try_from(good.matches('\n').count()).unwrap_or(u32::MAX);
    let column = good.rsplit('\n').next().unwrap_or_default().chars().count();
    let span = Span {
        line: chunk.line.saturating_add(lines),
        column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1),
    };
    // What was readable still tells which object it is.
    let mut document = build::document(good, chunk.start(), left)
        .unwrap_or(Document { root: Node { span, value: Value::Null }, problems: Vec::new() });
    document.problems = vec![Problem {
        code: codes::NOT_UTF8,
        span,
        message: "not UTF-8 from here on".to_owned(),
        hint: Some("save the file as UTF-8"),
    }];
    document
}
