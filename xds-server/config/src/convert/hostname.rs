//! Host names of listeners and routes: exact, or `*.` and a suffix; none is every host.
//! <https://gateway-api.sigs.k8s.io/reference/spec/#hostname>

/// The host names that both allow, where there is one: the narrower of the two.
pub fn intersect<'a>(left: &'a str, right: &'a str) -> Option<&'a str> {
    if covers(left, right) {
        Some(right)
    } else if covers(right, left) {
        Some(left)
    } else {
        None
    }
}

/// Does `wide` allow everything that `narrow` allows?
pub fn covers(wide: &str, narrow: &str) -> bool {
    if wide == "*" || wide.eq_ignore_ascii_case(narrow) {
        return true;
    }
    let Some(suffix) = wide.strip_prefix('*') else { return false };
    let body = narrow.strip_prefix('*').unwrap_or(narrow);
    // `*.example.com` allows any number of labels, and not `example.com` itself.
    body.len() > suffix.len()
        && body.get(body.len() - suffix.len()..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        || narrow.starts_with('*') && body.eq_ignore_ascii_case(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrower_host_is_the_intersection() {
        let cases = [
            ("*", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("a.example.com", "*.example.com", Some("a.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "badexample.com", None),
            ("a.example.com", "b.example.com", None),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
        ];
        for (left, right, both) in cases {
            assert_eq!(intersect(left, right), both, "{left} and {right}");
        }
    }
}
