//! Texts without their secrets, for where secrets must not go.

use std::borrow::Cow;

use crate::yaml::{self, Document, Node, Value};

/// The text with every document blanked that holds a `Secret`, or may hold one where it can't be read: all other
/// objects stand in the same lines. `None` if nothing else is in it.
pub fn without_secrets(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !names_secrets(text) {
        return Some(Cow::Borrowed(text));
    }
    let holds = |bytes: &[u8], document: Option<Document>| {
        names_secrets(bytes) && document.is_none_or(|document| may_hold(bytes, &document))
    };
    yaml::blanked(text, holds).map(Cow::Owned)
}

fn names_secrets(text: &[u8]) -> bool {
    let word = b"secret";
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

fn may_hold(bytes: &[u8], document: &Document) -> bool {
    if document.problems.is_empty() {
        return holds(&document.root);
    }
    // As far as it could be read it is one object of another kind, and nothing in the rest says otherwise.
    let kind = document.root.get("kind").and_then(Node::as_str);
    kind.is_none_or(|kind| is_secret(kind) || kind.ends_with("List")) || says_secret(bytes)
}

/// Is there a map with this kind, at any depth?
fn holds(node: &Node) -> bool {
    match &node.value {
        Value::Map(entries) => {
            node.get("kind").and_then(Node::as_str).is_some_and(is_secret)
                || entries.iter().any(|entry| holds(&entry.value))
        }
        Value::Seq(all) => all.iter().any(holds),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_) => false,
    }
}

fn is_secret(kind: &str) -> bool {
    kind.get(.."secret".len()).is_some_and(|start| start.eq_ignore_ascii_case("secret"))
}

/// Does any `kind` seem to be one?
fn says_secret(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    text.match_indices("kind").any(|(at, word)| {
        let rest = text.get(at + word.len()..).unwrap_or_default();
        let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || "\"':".contains(c));
        rest.starts_with("secret")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str =
        "kind: AuthorizationPolicy\nspec: {rules: [{to: [{operation: {paths: [/secret]}}]}]}\n";
    const SECRET: &str = "apiVersion: v1\nkind: Secret\ndata: {key: cHJpdmF0ZQ==}\n";

    fn without(text: &str) -> Option<String> {
        without_secrets(text.as_bytes()).map(|text| String::from_utf8(text.into_owned()).unwrap())
    }

    #[test]
    fn what_is_no_secret_stays_in_its_line() {
        assert_eq!(without(POLICY).as_deref(), Some(POLICY));
        let both = format!("{SECRET}---\n{POLICY}---\n{SECRET}");
        let left = without(&both).unwrap();
        assert!(!left.contains("private") && !left.contains("cHJpdmF0ZQ"), "{left}");
        assert_eq!(left.lines().position(|line| line.starts_with("kind: Auth")), Some(4));
        assert_eq!(without(SECRET), None);
    }

    #[test]
    fn a_policy_that_can_not_be_read_stays_and_what_may_be_a_secret_goes() {
        let twice = POLICY.replace("spec:", "spec: {}\nspec:");
        assert_eq!(without(&twice).as_deref(), Some(&*twice));
        for doubtful in [
            "data: {key: c2VjcmV0}\nkind: 'Secret\n",
            "a: secret\na: b\n",
            "kind: List\nitems:\n- kind: Secret\n  a: b\n  a: c\n",
            "kind: Pod\nkind: Secret\ndata: {a: b}\n",
            "{\"kind\": \"SecretList\", \"items\": []}",
            "kind: List\nitems: [{kind: Secret, data: {a: b}}]\n",
        ] {
            assert_eq!(without(doubtful), None, "{doubtful}");
        }
    }
}
