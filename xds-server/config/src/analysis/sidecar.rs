//! `Sidecar`.

use super::{
    Analyse,
    index::{Index, selects},
};
use crate::{
    ParsedObject, codes,
    findings::Findings,
    istio::{Labels, Sidecar},
    path::Path,
    precedence::precedes,
};

impl Analyse for Sidecar {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        index.sidecars.entry(&object.key.namespace).or_default().push((object, self));
    }

    fn look(&self, object: &ParsedObject, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
        look(object, self, index, at, out);
    }
}

fn look(object: &ParsedObject, spec: &Sidecar, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    let namespace = &*object.key.namespace;
    others(object, spec, index, at, out);
    if let Some(selector) = &spec.workload_selector {
        let at = at.field("workloadSelector");
        if namespace == index.root_namespace {
            let message =
                "in the root namespace a Sidecar holds for the whole mesh: the selector has no place";
            out.warn(codes::SIDECAR_ROOT, &at, message);
        } else if index.selects_nothing(&selector.labels, Some(namespace)) {
            out.warn(codes::SIDECAR_SELECTOR, &at, "the selector matches no workload");
        }
    }
    for (number, listener) in spec.egress.iter().enumerate() {
        let parent = at.field("egress");
        let listener_at = parent.index(number);
        for (number, host) in listener.hosts.iter().enumerate() {
            let at = listener_at.field("hosts");
            egress(host, namespace, index, &at.index(number), out);
        }
    }
}

fn egress(entry: &str, own: &str, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    let Some((scope, host)) = entry.strip_prefix(['~', '!']).unwrap_or(entry).split_once('/') else { return };
    let scope = match scope {
        "" | "*" => None,
        "." => Some(own),
        other => Some(other),
    };
    if let Some(namespace) = scope.filter(|namespace| index.lacks_namespace(namespace)) {
        out.warn(codes::EGRESS_HOST, at, format!("the namespace {namespace} is unknown"));
        return;
    }
    if host == "*" || !index.knows_services() {
        return;
    }
    let full = lateen_model::Host::from(host.to_ascii_lowercase());
    let within = |namespace: &str| scope.is_none_or(|scope| scope == namespace);
    let service = index.covered_by(&full).iter().any(|known| within(known.namespace.as_str()));
    // The hosts of VirtualServices can be imported as well.
    let routed = |host: &lateen_model::Host| {
        let routes = index.routes.get(host.as_str()).into_iter().flatten();
        routes.into_iter().any(|(object, _)| within(&object.key.namespace))
    };
    let routed = if full.is_wildcard() {
        index.routes.keys().filter(|host| full.covers(host)).any(routed)
    } else {
        routed(&full)
    };
    if !service && !routed {
        let namespace = scope.unwrap_or("*");
        let hint = if host.contains('.') {
            index.nearest_host(&full, own)
        } else {
            Some(format!(
                "hosts are full names here, such as {host}.{}.svc.{}",
                scope.unwrap_or(own),
                index.domain
            ))
        };
        out.warn(codes::EGRESS_HOST, at, format!("the host {namespace}/{host} is unknown")).maybe_hint(hint);
    }
}

/// Other Sidecars of the namespace, which count more.
fn others(object: &ParsedObject, spec: &Sidecar, index: &Index<'_>, at: &Path<'_>, out: &mut Findings) {
    let namespace = &*object.key.namespace;
    for (other, other_spec) in index.sidecars.get(namespace).into_iter().flatten() {
        if other.key == object.key || !precedes(other, object) {
            continue;
        }
        match (&spec.workload_selector, &other_spec.workload_selector) {
            (None, None) => {
                let message =
                    format!("{} is for the whole namespace too: only one of them counts", other.key);
                out.error(codes::SIDECAR_TWICE, at, message);
                return;
            }
            (Some(one), Some(two)) => {
                let workloads = index.workloads(namespace).unwrap_or_default();
                let both = |labels: &Labels| selects(&one.labels, labels) && selects(&two.labels, labels);
                if one.labels == two.labels || workloads.iter().any(|labels| both(labels)) {
                    let message =
                        format!("{} selects the same workloads: only one of them counts", other.key);
                    out.error(codes::SIDECAR_OVERLAP, &at.field("workloadSelector"), message);
                    return;
                }
            }
            (None, Some(_)) | (Some(_), None) => {}
        }
    }
}
