//! Metadata of objects. <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/>

use std::collections::BTreeMap;

use crate::{
    Metadata, check, codes,
    decode::{Decode, object},
    findings::Findings,
    kind::{Kind, Scope},
    path::Path,
    yaml::Node,
};

object! {
    /// The fields that are read; Kubernetes has more, none of which matters here.
    pub struct RawMetadata {
        name: String = "name",
        namespace: String = "namespace",
        labels: BTreeMap<String, String> = "labels",
        annotations: BTreeMap<String, String> = "annotations",
        creation_timestamp: String = "creationTimestamp",
        uid: String = "uid",
        resource_version: String = "resourceVersion",
        generation: Option<i64> = "generation",
    }
    others ignored
}

/// Reads the metadata. Fields that can't be read are findings; the name and namespace are given all the same,
/// if they are there.
pub(crate) fn decode(root: &Node, kind: Kind, out: &mut Findings) -> Metadata {
    let at = Path::ROOT.field("metadata");
    let raw = match root.get("metadata") {
        Some(node) => RawMetadata::decode(node, &at, out).unwrap_or_default(),
        None => RawMetadata::default(),
    };
    let namespace = match (kind.scope(), raw.namespace) {
        (Scope::Cluster, _) => String::new(),
        (Scope::Namespace, namespace) if !namespace.is_empty() => namespace,
        // Istio's own namespace, where its mesh configuration lives.
        (Scope::Namespace, _) if kind == Kind::MeshConfig => "istio-system".to_owned(),
        (Scope::Namespace, _) => "default".to_owned(),
    };
    Metadata {
        name: raw.name,
        namespace,
        labels: raw.labels,
        annotations: raw.annotations,
        creation_timestamp: seconds(&raw.creation_timestamp),
        uid: raw.uid,
        resource_version: raw.resource_version,
        generation: raw.generation,
    }
}

/// Checks name and namespace.
pub(crate) fn check(meta: &Metadata, out: &mut Findings) {
    let at = Path::ROOT.field("metadata");
    if meta.name.is_empty() {
        out.error(codes::METADATA, &at.field("name"), "the object has no name").hint("add metadata.name");
    } else if !check::is_dns_subdomain(&meta.name) {
        let message = format!("\"{}\" is not a name", meta.name.escape_debug());
        out.error(codes::METADATA, &at.field("name"), message)
            .hint("a name has lower-case letters, digits, - and . and at most 253 characters");
    }
    if !meta.namespace.is_empty() && !check::is_dns_label(&meta.namespace) {
        let message = format!("\"{}\" is not a namespace", meta.namespace.escape_debug());
        out.error(codes::METADATA, &at.field("namespace"), message)
            .hint("a namespace has lower-case letters, digits and - and at most 63 characters");
    }
}

/// Seconds since 1970 of an RFC 3339 time in UTC, the only form that Kubernetes writes.
fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        |text: &str, by: char| text.split(by).map(|n| n.parse::<i64>().ok()).collect::<Option<Vec<_>>>();
    let time = time.split('.').next()?;
    let (&[year, month, day], &[hour, minute, second]) = (&*numbers(date, '-')?, &*numbers(time, ':')?)
    else {
        return None;
    };
    let sane = (1..=12).contains(&month) && (1..=31).contains(&day) && (1970..=9999).contains(&year);
    // Days of the civil calendar, counted in years that begin in March:
    // https://howardhinnant.github.io/date_algorithms.html#days_from_civil
    let year = year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    sane.then(|| days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2024-02-29T12:34:56Z"), Some(1_709_210_096));
        assert_eq!(seconds("2026-11-23T01:02:03.456Z"), Some(1_795_395_723));
        assert_eq!(seconds("2026-11-23"), None);
        assert_eq!(seconds("yesterday"), None);
    }
}
