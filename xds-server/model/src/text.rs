//! Words of others on their way to a terminal or a log.

use std::{borrow::Cow, sync::Arc};

/// Is it a character that a terminal obeys rather than shows, or that changes how others are read? Escapes, line ends,
/// marks of direction. <https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>
pub fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text to be shared. Empty ones, which stand for what is not given, take no memory.
pub fn shared(text: &str) -> Arc<str> {
    if text.is_empty() { Arc::default() } else { text.into() }
}

/// The text with escapes in place of such characters; those of `kept` stay.
pub fn printable<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let escaped = |c: char| is_unprintable(c) && !kept.contains(&c);
    if !text.chars().any(escaped) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if escaped(c) { printable.extend(c.escape_default()) } else { printable.push(c) }
    }
    Cow::Owned(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_shown_no_orders() {
        assert_eq!(printable("a\u{1b}[31mb\u{9b}c\u{202e}d", &[]), "a\\u{1b}[31mb\\u{9b}c\\u{202e}d");
        assert_eq!(printable("two\nlines", &[]), "two\\nlines");
        assert_eq!(printable("two\nlines", &['\n']), "two\nlines");
        assert!(matches!(printable("größer, 大", &[]), Cow::Borrowed(_)));
    }
}
