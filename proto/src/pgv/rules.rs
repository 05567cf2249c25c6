//! The rules on single values: what they ask for, and whether a value does.

use std::fmt;
use std::sync::OnceLock;

use regex::Regex;

/// What a rule says about a value that breaks it.
pub struct Broken {
    pub rule: String,
    pub value: String,
}

impl Broken {
    pub fn new(rule: impl Into<String>, value: impl Into<String>) -> Self {
        Self { rule: rule.into(), value: value.into() }
    }
}

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound<T> {
    pub value: T,
    pub inclusive: bool,
}

/// Rules on a number, or on a duration in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Range<T> {
    /// `gt` or `gte`.
    pub lower: Option<Bound<T>>,
    /// `lt` or `lte`.
    pub upper: Option<Bound<T>>,
    /// Zero is taken for absent.
    pub ignore_empty: bool,
}

impl<T> Default for Range<T> {
    fn default() -> Self {
        Self { lower: None, upper: None, ignore_empty: false }
    }
}

impl<T: PartialOrd + Copy + Default> Range<T> {
    /// The bound that `value` breaks, with the rule's name. Written so that NaN breaks none, as in C++.
    pub fn broken_by(&self, value: T) -> Option<(&'static str, T)> {
        if self.ignore_empty && value == T::default() {
            return None;
        }
        let lower =
            self.lower.filter(|bound| value < bound.value || (!bound.inclusive && value == bound.value));
        let upper =
            self.upper.filter(|bound| value > bound.value || (!bound.inclusive && value == bound.value));
        // Bounds that cross mean the values outside.
        let crossed = match (&self.lower, &self.upper) {
            (Some(from), Some(to)) => to.value <= from.value,
            _ => false,
        };
        let named_lower = lower.map(|bound| (if bound.inclusive { "gte" } else { "gt" }, bound.value));
        let named_upper = upper.map(|bound| (if bound.inclusive { "lte" } else { "lt" }, bound.value));
        if crossed { named_lower.and(named_upper) } else { named_lower.or(named_upper) }
    }
}

/// Rules on the values of an enum.
#[derive(Clone, Debug, Default)]
pub struct EnumRules {
    /// The values there are, ascending, if no other is allowed.
    pub defined_only: Option<Vec<i32>>,
    pub not_in: Vec<i32>,
}

impl EnumRules {
    pub fn check(&self, value: i32) -> Result<(), Broken> {
        if self.defined_only.as_ref().is_some_and(|defined| defined.binary_search(&value).is_err()) {
            return Err(Broken::new("enum.defined_only", value.to_string()));
        }
        if self.not_in.contains(&value) {
            return Err(Broken::new(format!("enum.not_in: {:?}", self.not_in), value.to_string()));
        }
        Ok(())
    }
}

/// Rules on the length of bytes.
#[derive(Clone, Debug, Default)]
pub struct BytesRules {
    pub min_len: u64,
    pub max_len: Option<u64>,
}

impl BytesRules {
    pub fn check(&self, value: &[u8]) -> Result<(), Broken> {
        let length = value.len() as u64;
        if length < self.min_len {
            return Err(Broken::new(format!("bytes.min_len: {}", self.min_len), format!("{length} bytes")));
        }
        match self.max_len.filter(|max| length > *max) {
            Some(max) => Err(Broken::new(format!("bytes.max_len: {max}"), format!("{length} bytes"))),
            None => Ok(()),
        }
    }
}

/// A pattern, compiled when it is first needed.
#[derive(Debug)]
pub struct Pattern {
    pub text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// Whether all of `value` matches. `None` if the pattern itself can't be compiled.
    pub fn matches(&self, value: &str) -> Option<bool> {
        let compiled = self.compiled.get_or_init(|| Regex::new(&format!("^(?:{})$", self.text)).ok());
        compiled.as_ref().map(|regex| regex.is_match(value))
    }
}

/// Strings that stand for a kind of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderText {
    /// `HTTP_HEADER_NAME`.
    Name,
    /// `HTTP_HEADER_VALUE`.
    Value,
    /// Either of them with `strict: false`.
    Loose,
}

impl HeaderText {
    /// <https://github.com/bufbuild/protoc-gen-validate/blob/v1.3.3/module/checker.go#L18>
    fn matches(self, value: &str) -> bool {
        match self {
            Self::Name => {
                let name = value.strip_prefix(':').unwrap_or(value);
                // `+-.` is a range there, and takes the comma in.
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_|~`".contains(&byte);
                !name.is_empty() && name.bytes().all(allowed)
            }
            Self::Value => value.bytes().all(|byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f)),
            Self::Loose => !value.bytes().any(|byte| matches!(byte, b'\0' | b'\n' | b'\r')),
        }
    }
}

impl fmt::Display for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "HTTP_HEADER_NAME",
            Self::Value => "HTTP_HEADER_VALUE",
            Self::Loose => "no NUL, CR or LF",
        })
    }
}

/// Rules on a string.
#[derive(Debug, Default)]
pub struct StringRules {
    /// In characters.
    pub min_len: u64,
    /// In characters.
    pub max_len: Option<u64>,
    pub min_bytes: u64,
    pub max_bytes: Option<u64>,
    pub prefix: String,
    pub suffix: String,
    pub one_of: Vec<String>,
    pub pattern: Option<Pattern>,
    pub header: Option<HeaderText>,
    /// The empty string is taken for absent.
    pub ignore_empty: bool,
}

impl StringRules {
    pub fn check(&self, bytes: &[u8]) -> Result<(), Broken> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(Broken::new("string: UTF-8", format!("{} bytes", bytes.len())));
        };
        if self.ignore_empty && text.is_empty() {
            return Ok(());
        }
        self.broken_by(text)
            .map_or(Ok(()), |rule| Err(Broken::new(format!("string.{rule}"), shortened(text))))
    }

    fn broken_by(&self, text: &str) -> Option<String> {
        self.length_broken_by(text).or_else(|| self.content_broken_by(text))
    }

    fn length_broken_by(&self, text: &str) -> Option<String> {
        let bytes = text.len() as u64;
        if bytes < self.min_bytes {
            return Some(format!("min_bytes: {}", self.min_bytes));
        }
        if let Some(max) = self.max_bytes.filter(|max| bytes > *max) {
            return Some(format!("max_bytes: {max}"));
        }
        if self.min_len == 0 && self.max_len.is_none() {
            return None;
        }
        let characters = text.chars().count() as u64;
        if characters < self.min_len {
            return Some(format!("min_len: {}", self.min_len));
        }
        self.max_len.filter(|max| characters > *max).map(|max| format!("max_len: {max}"))
    }

    fn content_broken_by(&self, text: &str) -> Option<String> {
        if !text.starts_with(&self.prefix) {
            return Some(format!("prefix: {:?}", self.prefix));
        }
        if !text.ends_with(&self.suffix) {
            return Some(format!("suffix: {:?}", self.suffix));
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|allowed| allowed == text) {
            return Some(format!("in: {:?}", self.one_of));
        }
        if let Some(header) = self.header.filter(|header| !header.matches(text)) {
            return Some(format!("well_known_regex: {header}"));
        }
        let pattern = self.pattern.as_ref().filter(|pattern| pattern.matches(text) == Some(false))?;
        Some(format!("pattern: {}", pattern.text))
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
