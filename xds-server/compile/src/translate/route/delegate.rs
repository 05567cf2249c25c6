//! Delegation: routes of another `VirtualService` in the place of one route.
//! <https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate>

use lateen_config::{
    ObjectKey,
    istio::{Delegate, Destination, HttpMatch, HttpRoute, StringMatch},
    reference,
};
use lateen_model::Host;

use super::super::{
    Read,
    notes::{NO_DELEGATE, Notes},
    read::{self, Routes},
};

/// Which object is meant.
pub(super) fn key(from: &Routes, delegate: &Delegate) -> ObjectKey {
    let namespace = if delegate.namespace.is_empty() { &from.key.namespace } else { &delegate.namespace };
    ObjectKey::new(from.key.kind, namespace, &delegate.name)
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
    domain: &str,
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
        let mut origin = to.origin.clone();
        if inner.span.line != 0 {
            (origin.line, origin.column) = (inner.span.line, inner.span.column);
        }
        if inner.delegate.is_some() {
            let text = "a delegate can't delegate further".to_owned();
            notes.warn(NO_DELEGATE, Some((&to.key, &origin)), text);
            continue;
        }
        let mut named_inner = inner.clone();
        named_inner.matches = inner.matches.iter().map(|own| named(own, &to)).collect();
        if let Some(route) = merged(from, root, &named_inner, domain) {
            merged_routes.push(route);
        } else {
            let (root, name) = (&from.key, if inner.name.is_empty() { "a route" } else { &inner.name });
            let text = format!(
                "{name} asks for something that no match of its root {root} covers: it has no effect there"
            );
            notes.warn(NO_DELEGATE, Some((&to.key, &origin)), text);
        }
    }
    Some((to, merged_routes))
}

/// What the delegate leaves open is the root's. `None` if a match of the delegate is no part of any of the root's:
/// then none of the route takes effect.
fn merged(from: &Routes, root: &HttpRoute, inner: &HttpRoute, domain: &str) -> Option<HttpRoute> {
    let mut route = inner.clone();
    route.matches = match (root.matches.is_empty(), inner.matches.is_empty()) {
        (true, _) => inner.matches.clone(),
        (false, true) => root.matches.iter().map(|outer| named(outer, from)).collect(),
        (false, false) => {
            let mut matches = Vec::new();
            for own in &inner.matches {
                let before = matches.len();
                matches.extend(root.matches.iter().filter_map(|outer| both(&named(outer, from), own).ok()));
                if matches.len() == before {
                    return None;
                }
            }
            matches
        }
    };
    route.name = match (root.name.is_empty(), inner.name.is_empty()) {
        (true, _) => inner.name.clone(),
        (false, true) => root.name.clone(),
        (false, false) => format!("{}-{}", root.name, inner.name),
    };
    macro_rules! inherit {
        ($($field:ident),*) => {$(
            if route.$field.is_none() {
                route.$field.clone_from(&root.$field);
            }
        )*};
    }
    // A short name in the root is one of the root's namespace.
    let place = |to: &Destination| Destination {
        host: Host::resolve(&to.host, &from.namespace, domain).to_string(),
        ..to.clone()
    };
    if route.mirror.is_none() {
        route.mirror = root.mirror.as_ref().map(place);
    }
    inherit!(
        direct_response,
        rewrite,
        timeout,
        retries,
        fault,
        mirror_percentage,
        mirror_percent,
        cors_policy,
        headers
    );
    if route.mirrors.is_empty() {
        route.mirrors.clone_from(&root.mirrors);
        for to in route.mirrors.iter_mut().filter_map(|mirror| mirror.destination.as_mut()) {
            *to = place(to);
        }
    }
    Some(route)
}

/// A match of the root, with its gateways named so that they mean the same in another namespace.
fn named(outer: &HttpMatch, from: &Routes) -> HttpMatch {
    let mut outer = outer.clone();
    for name in outer.gateways.iter_mut().filter(|name| *name != "mesh") {
        let (namespace, gateway) = reference::gateway(name, from.namespace.as_str());
        *name = format!("{namespace}/{gateway}");
    }
    outer
}

/// The delegate's match is no part of the root's.
struct Contradiction;

/// One match that asks for what both ask for.
fn both(outer: &HttpMatch, own: &HttpMatch) -> Result<HttpMatch, Contradiction> {
    let mut all = own.clone();
    all.uri = narrower(outer.uri.as_ref(), own.uri.as_ref())?;
    all.scheme = narrower(outer.scheme.as_ref(), own.scheme.as_ref())?;
    all.method = narrower(outer.method.as_ref(), own.method.as_ref())?;
    all.authority = narrower(outer.authority.as_ref(), own.authority.as_ref())?;
    for (mine, theirs) in [
        (&mut all.headers, &outer.headers),
        (&mut all.without_headers, &outer.without_headers),
        (&mut all.query_params, &outer.query_params),
    ] {
        for (name, wanted) in theirs {
            let merged = narrower(Some(wanted), mine.get(name))?;
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
    if outer.ignore_uri_case != own.ignore_uri_case {
        return Err(Contradiction);
    }
    if own.gateways.is_empty() {
        all.gateways.clone_from(&outer.gateways);
    } else if !outer.gateways.is_empty() && own.gateways.iter().any(|name| !outer.gateways.contains(name)) {
        return Err(Contradiction);
    }
    all.name = match (outer.name.is_empty(), own.name.is_empty()) {
        (true, _) => own.name.clone(),
        (false, true) => outer.name.clone(),
        (false, false) => format!("{}-{}", outer.name, own.name),
    };
    Ok(all)
}

/// What the delegate asks for must lie within what the root asks for.
fn narrower(
    outer: Option<&StringMatch>,
    own: Option<&StringMatch>,
) -> Result<Option<StringMatch>, Contradiction> {
    use StringMatch::{Exact, Prefix, Present};
    match (outer, own) {
        (None, any) | (any, None) => Ok(any.cloned()),
        (Some(Present), Some(_)) => Ok(own.cloned()),
        (Some(Prefix(whole)), Some(Exact(part) | Prefix(part))) if part.starts_with(whole.as_str()) => {
            Ok(own.cloned())
        }
        (one, other) if one == other => Ok(own.cloned()),
        (Some(_), Some(_)) => Err(Contradiction),
    }
}
