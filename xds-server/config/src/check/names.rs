//! Forms of names.

/// Is it a DNS label as Kubernetes has them?
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>
pub(crate) fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| inner(b) || b == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

/// Is it labels with dots between them?
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| is_dns_label(label) || label.len() > 63 && is_long(label))
}

/// Kubernetes bounds the whole of a subdomain, not its labels.
fn is_long(label: &str) -> bool {
    label.as_bytes().chunks(63).all(|part| part.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-'))
}
