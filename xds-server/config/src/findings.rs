//! Collects what is wrong with one object.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use lateen_model::{
    diagnostic::{Code, Diagnostic, ObjectRef, Origin, Severity},
    span::Span,
};

use crate::{ParsedObject, codes, path::Path, yaml::SpanTable};

/// At most this many findings are kept for one text, so that a hostile text costs no more than its size.
pub const FINDINGS_MAX: usize = 500;

/// What the regular expressions of a text may cost together, in steps of their examination: enough for any number of
/// ordinary ones, which cost in proportion to the text, and for some that are large.
#[derive(Clone, Debug)]
pub struct Steps(Arc<AtomicUsize>);

impl Steps {
    /// For a text of so many bytes.
    pub fn of(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(STEPS + STEPS_PER_BYTE.saturating_mul(bytes))))
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, steps: usize) {
        self.0.store(self.left().saturating_sub(steps), Ordering::Relaxed);
    }
}

const STEPS: usize = 2_000_000;
const STEPS_PER_BYTE: usize = 8;

/// The findings about one document, and what is needed to place them.
#[derive(Debug)]
pub struct Findings {
    source: Arc<str>,
    location: Arc<str>,
    object: Option<ObjectRef>,
    spans: Arc<SpanTable>,
    /// For fields of objects whose positions are not kept.
    start: Span,
    list: Vec<Diagnostic>,
    errors: usize,
    steps: Steps,
    /// Was it said that the expressions cost too much?
    is_over: bool,
    /// Are unknown fields no errors?
    tolerates: bool,
}

impl Findings {
    /// No findings yet about the document with these positions.
    pub fn new(source: &Arc<str>, location: &Arc<str>, spans: Arc<SpanTable>) -> Self {
        let (source, location) = (Arc::clone(source), Arc::clone(location));
        Self {
            source,
            location,
            object: None,
            spans,
            start: Span::default(),
            list: Vec::new(),
            errors: 0,
            steps: Steps::of(0),
            is_over: false,
            tolerates: false,
        }
    }

    /// The same, with a budget of steps that others have too.
    #[must_use]
    pub fn sharing(mut self, steps: &Steps) -> Self {
        self.steps = steps.clone();
        self
    }

    /// Takes an expression's steps from the budget. Once it is spent it gives false, and says so: an object whose
    /// expressions were not all examined is not applied.
    pub(crate) fn spend(&mut self, steps: usize, path: &Path<'_>) -> bool {
        if self.steps.left() > 0 {
            self.steps.take(steps);
            return true;
        }
        if !std::mem::replace(&mut self.is_over, true) {
            let message = "the regular expressions of this text together are too large to be examined";
            self.error(codes::EXPRESSIONS, path, message)
                .hint("put objects with large expressions into texts of their own, or write them shorter");
        }
        false
    }

    /// From here on, unknown fields are warnings, or are errors.
    pub(crate) fn tolerate_unknown_fields(&mut self, tolerate: bool) {
        self.tolerates = tolerate;
    }

    /// How bad is an unknown field?
    pub(crate) fn of_unknown_fields(&self) -> Severity {
        if self.tolerates { Severity::Warning } else { Severity::Error }
    }

    /// No findings yet about an object.
    pub fn about(object: &ParsedObject) -> Self {
        let origin = &object.origin;
        let mut findings = Self::new(&origin.source, &origin.location, Arc::clone(&object.spans));
        findings.start = Span { line: origin.line, column: origin.column };
        findings.object = Some(object.key.to_ref());
        findings
    }

    /// From here on, findings are about this object.
    pub fn set_object(&mut self, object: Option<ObjectRef>) {
        self.object = object;
    }

    /// How many errors there were so far: also those that were too many to keep.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Where the fields of the document are.
    pub fn spans(&self) -> Arc<SpanTable> {
        Arc::clone(&self.spans)
    }

    /// The findings.
    pub fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }

    /// Adds an error at the field.
    pub fn error(&mut self, code: Code, path: &Path<'_>, message: impl Into<String>) -> Placed<'_> {
        let span = self.span(path);
        self.at(Severity::Error, code, path, span, message.into())
    }

    /// Adds a warning at the field.
    pub fn warn(&mut self, code: Code, path: &Path<'_>, message: impl Into<String>) -> Placed<'_> {
        let span = self.span(path);
        self.at(Severity::Warning, code, path, span, message.into())
    }

    /// Adds a remark at the field.
    pub fn info(&mut self, code: Code, path: &Path<'_>, message: impl Into<String>) -> Placed<'_> {
        let span = self.span(path);
        self.at(Severity::Info, code, path, span, message.into())
    }

    /// Adds a finding at a place that is known better than from its path.
    pub fn at(
        &mut self,
        severity: Severity,
        code: Code,
        path: &Path<'_>,
        span: Span,
        message: String,
    ) -> Placed<'_> {
        self.errors += usize::from(severity == Severity::Error);
        if self.list.len() >= FINDINGS_MAX {
            return Placed(None);
        }
        self.list.push(Diagnostic {
            code,
            severity,
            object: self.object.clone(),
            origin: Some(self.origin(span)),
            path: path.to_string(),
            message,
            hint: None,
        });
        Placed(self.list.last_mut())
    }

    /// The place in the text.
    pub fn origin(&self, span: Span) -> Origin {
        Origin {
            source: Arc::clone(&self.source),
            location: Arc::clone(&self.location),
            line: span.line,
            column: span.column,
        }
    }

    fn span(&self, path: &Path<'_>) -> Span {
        self.spans.find(path).unwrap_or(self.start)
    }
}

/// A finding that was just added, to say what to do about it.
#[derive(Debug)]
pub struct Placed<'a>(Option<&'a mut Diagnostic>);

impl Placed<'_> {
    /// What to do.
    pub fn hint(self, hint: impl Into<String>) {
        if let Some(diagnostic) = self.0 {
            diagnostic.hint = Some(hint.into());
        }
    }

    /// What to do, where that is known.
    pub fn maybe_hint(self, hint: Option<String>) {
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }
}
