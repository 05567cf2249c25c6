//! Query parameters and percent-encoding.

use std::fmt;

/// Query parameters, escaped.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query(String);

impl Query {
    /// With one more; an empty value is left out with its `=`.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(&escaped(key));
        if !value.is_empty() {
            self.0.push('=');
            self.0.push_str(&escaped(value));
        }
        self
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Percent-encoded, but for slashes and for what needs no escape.
/// <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>
pub fn escaped(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(byte.into());
            }
            _ => {
                let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from);
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_escaped() {
        let query = Query::default().with("filter", "A == \"b&c\"").with("stale", "").with("ü", "/");
        assert_eq!(query.to_string(), "?filter=A%20%3D%3D%20%22b%26c%22&stale&%C3%BC=/");
    }
}
