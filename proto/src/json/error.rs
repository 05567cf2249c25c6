//! What can be wrong with a document, and where.

use std::fmt;

/// A place in the text that was read. Both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// The first mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where in the text; absent when what was read was a JSON value and not text.
    pub position: Option<Position>,
    /// Where in the message, by the field names used: `filter_chains[0].filters[1].typed_config`.
    pub path: String,
    /// What.
    pub problem: Box<Problem>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not YAML, or beyond the limits on documents.
    #[error("{0}")]
    Syntax(String),
    /// The message has no such field.
    #[error("{message} has no field {name:?}{}", suggestion(.nearest.as_ref()))]
    UnknownField {
        /// Full name of the message.
        message: String,
        /// Name found.
        name: String,
        /// A field of the message whose name is close.
        nearest: Option<String>,
    },
    /// The API has no message of the name in `@type`.
    #[error("unknown type {type_url:?}{}", suggestion(.nearest.as_ref()))]
    UnknownType {
        /// Found in `@type`.
        type_url: String,
        /// Full name of a message that is close.
        nearest: Option<String>,
    },
    /// An `Any` without an `@type` string.
    #[error("an Any needs an \"@type\" string")]
    MissingType,
    /// The enum has no such value.
    #[error("{enumeration} has no value {value:?}{}", suggestion(.nearest.as_ref()))]
    UnknownEnumValue {
        /// Full name of the enum.
        enumeration: String,
        /// Value found.
        value: String,
        /// A value of the enum whose name is close.
        nearest: Option<String>,
    },
    /// A value of another kind is needed here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What is needed.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A field is given twice, perhaps in both spellings.
    #[error("field {0:?} is given twice")]
    Duplicate(String),
    /// Two alternatives of a oneof are given.
    #[error("only one of {first:?} and {second:?} may be given")]
    Oneof {
        /// The alternative with the lower field number.
        first: String,
        /// The other one.
        second: String,
    },
    /// Nested too deeply.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// The whole document is of the right form, and the typed message still can't hold it.
    #[error("{0}")]
    Decode(String),
}

impl ParseError {
    pub(super) fn new(position: Option<Position>, problem: Problem) -> Self {
        Self { position, path: String::new(), problem: Box::new(problem) }
    }

    /// The same mistake seen from the message around: `segment` is put before the path.
    pub(super) fn within(mut self, segment: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{segment}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for ParseError {}

fn suggestion(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// The candidate that is fewest edits away from `name`, if that is close enough to be a slip.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = name.chars().count().clamp(3, 9) / 3;
    candidates
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// Levenshtein distance, in characters.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(&to) {
            let above = *cell;
            left = (above + 1).min(left + 1).min(diagonal + usize::from(a != *b));
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
