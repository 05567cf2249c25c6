//! Names that are URIs, and collections of them.
//! <https://github.com/cncf/xds/blob/main/proposals/TP1-xds-transport-next.md>

use std::borrow::Cow;

/// What such names begin with.
const SCHEME: &str = "xdstp://";

/// The one spelling of a name: context parameters in the order of their keys, nothing percent-encoded that need
/// not be, and no directives, which are for clients. Names that are no URIs are left alone.
pub fn normal(name: &str) -> Cow<'_, str> {
    if !name.starts_with(SCHEME) {
        return Cow::Borrowed(name);
    }
    let name = name.split_once('#').map_or(name, |(name, _directives)| name);
    let Some((path, query)) = name.split_once('?') else { return decoded(name) };
    let mut parameters: Vec<Cow<'_, str>> =
        query.split('&').filter(|parameter| !parameter.is_empty()).map(decoded).collect();
    parameters.sort_unstable();
    let path = decoded(path);
    if parameters.is_empty() {
        return path;
    }
    Cow::Owned(format!("{path}?{}", parameters.join("&")))
}

/// Decodes what need not be encoded, and writes the rest in capitals.
/// <https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2>
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
            }
            Some(byte) => {
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    out.push(char::from_digit(digit.into(), 16).unwrap_or_default().to_ascii_uppercase());
                }
            }
            None => out.push('%'),
        }
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// A collection: all names below a path that have exactly its context parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Glob {
    path: String,
    parameters: String,
}

impl Glob {
    /// The collection that a name (in its one spelling) stands for, if it does.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (path, parameters) = split(name);
        let path = path.strip_prefix(SCHEME).and_then(|_| path.strip_suffix('*'))?;
        path.ends_with('/').then(|| Self { path: path.to_owned(), parameters: parameters.to_owned() })
    }

    /// Is `name` one of its members?
    pub(crate) fn has(&self, name: &str) -> bool {
        let (path, parameters) = split(name);
        parameters == self.parameters
            && path.strip_prefix(self.path.as_str()).is_some_and(|rest| !rest.is_empty() && rest != "*")
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('?').unwrap_or((name, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        assert_eq!(normal("a?b=2&a=1#x"), "a?b=2&a=1#x");
        assert_eq!(normal("xdstp://a/T/x?b=2&a=1#alt=y"), "xdstp://a/T/x?a=1&b=2");
        assert_eq!(normal("xdstp://a/T/%41%2db%2f%zz%"), "xdstp://a/T/A-b%2F%zz%");
        assert_eq!(normal("xdstp://a/T/x?"), "xdstp://a/T/x");
        assert_eq!(normal("xdstp://a/T/é%C3%a9"), "xdstp://a/T/é%C3%A9");
    }

    #[test]
    fn a_glob_has_members_below_its_path_with_its_parameters() {
        let glob = Glob::parse("xdstp://a/T/g/*?zone=1").unwrap();
        assert!(glob.has("xdstp://a/T/g/x?zone=1"));
        assert!(!glob.has("xdstp://a/T/g/x"));
        assert!(!glob.has("xdstp://a/T/g/*?zone=1"));
        assert!(!glob.has("xdstp://a/T/h/x?zone=1"));
        for none in ["*", "a/*", "xdstp://a/T/g*", "xdstp://a/T/g/"] {
            assert_eq!(Glob::parse(none), None);
        }
    }
}
