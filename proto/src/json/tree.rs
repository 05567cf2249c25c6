//! A document as a tree that knows where its parts stood.

use super::error::{ParseError, Position, Problem};

/// Deeper documents are refused, so that no later walk can exhaust the stack.
pub const DEPTH_MAX: usize = 128;

/// A value and where it stood.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub position: Option<Position>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    String(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub position: Option<Position>,
    pub key: String,
    pub value: Node,
}

impl Node {
    pub fn error(&self, problem: Problem) -> ParseError {
        ParseError::new(self.position, problem)
    }

    pub fn expected(&self, expected: &'static str) -> ParseError {
        self.error(Problem::Expected { expected, found: self.value.describe() })
    }

    /// The entries of a map node.
    pub fn entries(&self, expected: &'static str) -> Result<&[Entry], ParseError> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.expected(expected)),
        }
    }

    /// The value of `key` in a map node.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }
}

impl Value {
    fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::String(value) => match value.char_indices().nth(40) {
                Some((end, _)) => format!("{:?}…", value.get(..end).unwrap_or_default()),
                None => format!("{value:?}"),
            },
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

/// The tree of a JSON value, which has no positions.
pub fn from_json(json: &serde_json::Value) -> Result<Node, ParseError> {
    from_json_at(json, 0)
}

fn from_json_at(json: &serde_json::Value, depth: usize) -> Result<Node, ParseError> {
    if depth > DEPTH_MAX {
        return Err(ParseError::new(None, Problem::TooDeep(DEPTH_MAX)));
    }
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => from_number(number),
        serde_json::Value::String(value) => Value::String(value.clone()),
        serde_json::Value::Array(items) => {
            Value::List(items.iter().map(|item| from_json_at(item, depth + 1)).collect::<Result<_, _>>()?)
        }
        serde_json::Value::Object(fields) => {
            let entry = |(key, value): (&String, &serde_json::Value)| {
                Ok(Entry { position: None, key: key.clone(), value: from_json_at(value, depth + 1)? })
            };
            Value::Map(fields.iter().map(entry).collect::<Result<_, _>>()?)
        }
    };
    Ok(Node { position: None, value })
}

fn from_number(number: &serde_json::Number) -> Value {
    if let Some(value) = number.as_u64() {
        Value::Unsigned(value)
    } else if let Some(value) = number.as_i64() {
        Value::Signed(value)
    } else {
        Value::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}
