//! Delegation: routes of another `VirtualService` in the place of one route.
//! <https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate>

use lateen_config::{
    ObjectKey,
    istio::{Delegate, HttpMatch, HttpRoute, StringMatch},
};

use super::super::{
    Read,
    notes::{NO_DELEGATE, Notes},
    read::{self, Routes},
};

/// Which object is meant.
pub(super) fn key(from: &Routes, delegate: &Delegate) -> ObjectKey {
    let namespace = if delegate.namespace.is_empty() { &from.key.namespace } else { &delegate.namespace };
    ObjectKey { kind: from.key.kind, namespace: namespace.clone(), name: delegate.name.clone() }
}

/// The delegate, if it may be one: it has no hosts of its own, and is exported to its root.
pub(super) fn load(r: &mut dyn Read, from: &Routes, delegate: &Delegate) -> Option<Routes> {
    let to = read::virtual_service(r, &key(from, delegate))?;
    (to.spec.hosts.is_empty() && to.export_to.allows(&from.namespace)).then_some(to)
}

/// The routes of the delegate with what the root adds to them.
pub(super) fn routes(
    r: &mut dyn Read,
    notes: &mut Notes,
    from: &Routes,
    root: &HttpRoute,
    delegate: &Delegate,
) -> Option<(Routes, Vec<HttpRoute>)> {
    let Some(to) = load(r, from, delegate) else {
        let key = key(from, delegate);
        let text = format!(
            "delegate {}/{} does not exist, has hosts of its own, or is not exported here",
            key.namespace, key.name
        );
        notes.warn(NO_DELEGATE, Some((&from.key, &from.origin)), text);
        return None;
    };
    to.origins.iter().for_each(|origin| notes.origin(origin));
    let mut merged_routes = Vec::new();
    for inner in &to.spec.http {
        if inner.delegate.is_some() {
            let text = "a delegate can't delegate further".to_owned();
            notes.warn(NO_DELEGATE, Some((&to.key, &to.origin)), text);
            continue;
        }
        merged_routes.extend(merged(root, inner));
    }
    Some((to, merged_routes))
}

/// What the delegate leaves open is the root's. `None` where no match of both is possible.
fn merged(root: &HttpRoute, inner: &HttpRoute) -> Option<HttpRoute> {
    let matches: Vec<HttpMatch> = match (root.matches.is_empty(), inner.matches.is_empty()) {
        (true, _) => inner.matches.clone(),
        (false, true) => root.matches.clone(),
        (false, false) => {
            let pairs =
                root.matches.iter().flat_map(|outer| inner.matches.iter().map(move |own| (outer, own)));
            let matches: Vec<_> = pairs.filter_map(|(outer, own)| both(outer, own).ok()).collect();
            if matches.is_empty() {
                return None;
            }
            matches
        }
    };
    let name = match (root.name.is_empty(), inner.name.is_empty()) {
        (true, _) => inner.name.clone(),
        (false, true) => root.name.clone(),
        (false, false) => format!("{}-{}", root.name, inner.name),
    };
    let mut route = inner.clone();
    route.name = name;
    route.matches = matches;
    macro_rules! inherit {
        ($($field:ident),*) => {$(
            if route.$field.is_none() {
                route.$field.clone_from(&root.$field);
            }
        )*};
    }
    inherit!(
        rewrite,
        timeout,
        retries,
        fault,
        mirror,
        mirror_percentage,
        mirror_percent,
        cors_policy,
        headers
    );
    if route.mirrors.is_empty() {
        route.mirrors.clone_from(&root.mirrors);
    }
    Some(route)
}

/// No request can match both the root and the delegate.
struct Contradiction;

/// One match that asks for what both ask for.
fn both(outer: &HttpMatch, own: &HttpMatch) -> Result<HttpMatch, Contradiction> {
    let mut all = own.clone();
    all.uri = narrower(outer.uri.as_ref(), own.uri.as_ref())?;
    all.scheme = same(outer.scheme.as_ref(), own.scheme.as_ref())?;
    all.method = same(outer.method.as_ref(), own.method.as_ref())?;
    all.authority = same(outer.authority.as_ref(), own.authority.as_ref())?;
    for (mine, theirs) in [
        (&mut all.headers, &outer.headers),
        (&mut all.without_headers, &outer.without_headers),
        (&mut all.query_params, &outer.query_params),
    ] {
        for (name, wanted) in theirs {
            let merged = same(Some(wanted), mine.get(name))?;
            mine.extend(merged.map(|merged| (name.clone(), merged)));
        }
    }
    for (name, value) in &outer.source_labels {
        if all.source_labels.get(name).is_some_and(|own| own != value) {
            return Err(Contradiction);
        }
        all.source_labels.insert(name.clone(), value.clone());
    }
    all.port = match (outer.port, own.port) {
        (Some(one), Some(other)) if one != other => return Err(Contradiction),
        (one, other) => other.or(one),
    };
    if all.source_namespace.is_empty() {
        all.source_namespace.clone_from(&outer.source_namespace);
    } else if !outer.source_namespace.is_empty() && outer.source_namespace != own.source_namespace {
        return Err(Contradiction);
    }
    all.gateways.clone_from(&outer.gateways);
    all.ignore_uri_case |= outer.ignore_uri_case;
    all.name = match (outer.name.is_empty(), own.name.is_empty()) {
        (true, _) => own.name.clone(),
        (false, true) => outer.name.clone(),
        (false, false) => format!("{}-{}", outer.name, own.name),
    };
    Ok(all)
}

fn same(
    outer: Option<&StringMatch>,
    own: Option<&StringMatch>,
) -> Result<Option<StringMatch>, Contradiction> {
    match (outer, own) {
        (Some(one), Some(other)) if one != other => Err(Contradiction),
        (one, other) => Ok(other.or(one).cloned()),
    }
}

/// The delegate's path must lie within the root's.
fn narrower(
    outer: Option<&StringMatch>,
    own: Option<&StringMatch>,
) -> Result<Option<StringMatch>, Contradiction> {
    use StringMatch::{Exact, Prefix};
    match (outer, own) {
        (Some(Prefix(whole)), Some(Exact(part) | Prefix(part))) if part.starts_with(whole.as_str()) => {
            Ok(own.cloned())
        }
        (outer, own) => same(outer, own),
    }
}
