//! Forms of names, hosts, references and headers.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::command;
use crate::{codes, findings::Findings, path::Path};

/// Most bytes of a header's value in Envoy's configuration.
pub(crate) const HEADER_VALUE_MAX: usize = 16_384;

/// Is it a DNS label as Kubernetes has them?
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_lower_word(text)
}

/// Is it words with dots between them? Kubernetes bounds the whole, not the words.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_lower_word)
}

fn is_lower_word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().all(|b| inner(b) || b == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

/// Is it a label of a host name? Istio lets upper case and `_` through.
fn is_host_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
}

/// Is it a host name without a wildcard, perhaps a short one, perhaps with a dot at its end?
pub(crate) fn is_host(text: &str) -> bool {
    let body = text.strip_suffix('.').unwrap_or(text);
    body.len() <= 253 && body.split('.').all(is_host_label) && !is_ip(text) && !ends_in_number(body)
}

/// A host whose last label is a number is an IPv4 address written wrong.
/// <https://url.spec.whatwg.org/#ends-in-a-number-checker>
fn ends_in_number(text: &str) -> bool {
    let labels = text.split('.').count();
    labels > 1 && text.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()))
}

/// Is it a host name, `*`, or one with a wildcard in the first label (`*.x`, `*-a.x`, `*a.x`)?
pub(crate) fn is_wildcard_host(text: &str) -> bool {
    match text.strip_prefix('*') {
        None => is_host(text),
        Some("") => true,
        Some(rest) => {
            let rest = rest.strip_prefix(['.', '-']).unwrap_or(rest);
            rest.len() <= 251 && is_host(rest)
        }
    }
}

/// Is it an IP address?
pub(crate) fn is_ip(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// Is it an IP address or a subnet (`10.0.0.0/8`)?
pub(crate) fn is_subnet(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return is_ip(text) };
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let length_max = if address.is_ipv4() { 32 } else { 128 };
    length.len() <= 3 && length.parse::<u8>().is_ok_and(|length| length <= length_max)
}

/// Is it a token of HTTP, as header names are? <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2>
pub(crate) fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(is_token_byte)
}

/// May the byte occur in a token of HTTP?
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The host is a host name or a wildcard.
pub(crate) fn wildcard_host(text: &str, at: &Path<'_>, out: &mut Findings) {
    if !is_wildcard_host(text) {
        let message = format!("\"{}\" is not a host", shorten(text));
        out.error(codes::HOST, at, message).hint("a host is a name, *, or *.name");
    }
}

/// The name of a server in TLS: Envoy tells apart whole names and those behind `*.` only.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>
pub(crate) fn server_name(text: &str, at: &Path<'_>, out: &mut Findings) {
    if text != "*" && text.strip_prefix("*.").unwrap_or(text).contains('*') {
        let message = format!("in TLS a * must stand for whole labels: \"{}\" has no effect", shorten(text));
        out.warn(codes::NO_EFFECT, at, message).hint("write *.name, or the whole name");
    }
}

/// Hosts, perhaps with wildcards, to be asked whether one of them covers another: the answer costs the same for one
/// and for a hundred thousand.
#[derive(Debug, Default)]
pub(crate) struct HostSet {
    whole: HashSet<String>,
    /// What follows the `*`.
    suffixes: HashSet<String>,
}

impl HostSet {
    pub(crate) fn of(hosts: &[String]) -> Self {
        let mut set = Self::default();
        for host in hosts.iter().map(|host| host.to_ascii_lowercase()) {
            match host.strip_prefix('*') {
                Some(suffix) => set.suffixes.insert(suffix.to_owned()),
                None => set.whole.insert(host),
            };
        }
        set
    }

    /// Does one of the hosts cover the host, which may have a wildcard itself?
    pub(crate) fn covers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let ends = host.char_indices().map(|(at, _)| at).chain([host.len()]);
        let covered = |at| host.get(at..).is_some_and(|end| self.suffixes.contains(end));
        self.whole.contains(&host) || !self.suffixes.is_empty() && ends.into_iter().any(covered)
    }
}

/// The references in `gateways`: `name`, `namespace/name`, or `mesh`.
pub(crate) fn gateways(names: &[String], at: &Path<'_>, out: &mut Findings) {
    for (index, name) in names.iter().enumerate() {
        let at = at.index(index);
        let valid = match name.split_once('/') {
            Some((namespace, name)) => is_dns_label(namespace) && is_dns_subdomain(name),
            None => is_dns_subdomain(name),
        };
        if !valid {
            let message = format!("\"{}\" is not a reference to a gateway", shorten(name));
            out.error(codes::REFERENCE, &at, message).hint("write namespace/name, name, or mesh");
        }
    }
}

/// Whose objects `exportTo` may hide from everybody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportOf {
    /// Configuration, which would then have no effect.
    Configuration,
    /// Services.
    Services,
}

/// `exportTo`: `*`, `.`, `~` for services, or namespaces.
/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#VirtualService-export_to>
pub(crate) fn export_to(list: &[String], of: ExportOf, at: &Path<'_>, out: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, entry) in list.iter().enumerate() {
        let at = at.index(index);
        match &**entry {
            "*" | "~" if list.len() > 1 => {
                out.error(codes::EXCLUSIVE, &at, format!("\"{entry}\" must stand alone in exportTo"));
            }
            "~" if of == ExportOf::Configuration => {
                out.error(codes::REFERENCE, &at, "\"~\" would hide the object from everybody");
            }
            "*" | "." | "~" => {}
            namespace if is_dns_label(namespace) => {}
            other => {
                let message = format!("\"{}\" is not a namespace", shorten(other));
                out.error(codes::REFERENCE, &at, message).hint("write *, ., or a namespace");
            }
        }
        if !seen.insert(entry) {
            out.error(codes::DUPLICATE_PART, &at, format!("\"{}\" occurs twice", shorten(entry)));
        }
    }
}

/// Labels of Kubernetes.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
pub(crate) fn labels(labels: &BTreeMap<String, String>, at: &Path<'_>, out: &mut Findings) {
    let word = |text: &str| {
        text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
    };
    for (key, value) in labels {
        let good = match key.split_once('/') {
            Some((prefix, name)) => is_dns_subdomain(&prefix.to_ascii_lowercase()) && word(name),
            None => word(key),
        };
        if !good {
            out.error(codes::NAME, &at.key(key), format!("\"{}\" is not a label", shorten(key)));
        }
        if !value.is_empty() && !word(value) {
            let message = format!("\"{}\" is not the value of a label", shorten(value));
            out.error(codes::NAME, &at.key(key), message);
        }
    }
}

/// Is it the claim of a token, which routes ask for as if it were a header?
/// <https://istio.io/latest/docs/tasks/security/authentication/jwt-route/>
pub(crate) fn is_claim(name: &str) -> bool {
    name.starts_with("@request.auth.claims")
}

/// A header's name.
pub(crate) fn header_name(name: &str, at: &Path<'_>, out: &mut Findings) {
    // Pseudo headers, and claims of tokens, which Istio lets routes look at as if they were headers:
    // https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
    let plain = name.strip_prefix(':').unwrap_or(name);
    if !is_token(plain) && !is_claim(name) {
        out.error(codes::HEADER, at, format!("\"{}\" is not the name of a header", shorten(name)));
    }
}

/// A header's value, in which Envoy replaces `%COMMAND%`.
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#custom-request-response-headers>
pub(crate) fn header_value(value: &str, at: &Path<'_>, out: &mut Findings) {
    if value.len() > HEADER_VALUE_MAX {
        let message = format!("the value has {} bytes, at most {HEADER_VALUE_MAX} are allowed", value.len());
        out.error(codes::HEADER, at, message);
        return;
    }
    if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
        out.error(codes::HEADER, at, "a header's value must not hold control characters");
    }
    if let Some(command::Fault { message, hint }) = command::fault(value) {
        out.error(codes::HEADER, at, message).maybe_hint(hint);
    }
}

/// The start of a text that may be long, fit to be shown.
pub(crate) fn shorten(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{}{more}", short.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_wildcards() {
        for host in ["reviews", "a.b.c", "A.example.com", "a_b.c", "example.com.", "1.example.com"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["", "*", "a..b", "-a", "a-", "10.0.0.1", "1.2.3", "a b", "a/b", "ü.de", "a:80", "."] {
            assert!(!is_host(host), "{host}");
        }
        for host in ["*", "*.a", "*-v1.a.b", "*a.b", "a"] {
            assert!(is_wildcard_host(host), "{host}");
        }
        for host in ["**", "a.*", "*.", "*..a", "*.*.a", ""] {
            assert!(!is_wildcard_host(host), "{host}");
        }
        assert!(is_subnet("10.0.0.0/8") && is_subnet("::/0") && is_subnet("::1"));
        assert!(!is_subnet("10.0.0.0/33") && !is_subnet("10.0.0/8") && !is_subnet("1.2.3.4/"));
    }

    #[test]
    fn header_values() {
        for good in ["a", "100%%", "%START_TIME%", ""] {
            let mut out = Findings::new(&"".into(), &"".into(), std::sync::Arc::default());
            header_value(good, &Path::ROOT, &mut out);
            assert_eq!(out.errors(), 0, "{good}");
        }
        for bad in
            ["100%", "%SUBJECT%", "a\nb", &"x".repeat(16_385), &format!("%REQ({}", "):".repeat(200_000))]
        {
            let mut out = Findings::new(&"".into(), &"".into(), std::sync::Arc::default());
            header_value(bad, &Path::ROOT, &mut out);
            assert_eq!(out.errors(), 1, "{bad}");
        }
    }
}
