//! One match of one rule as `VirtualService` routes.

use crate::{
    convert::filters::Filters,
    gateway_api::{PathModifierType, RequestRedirect},
    istio::{HttpMatch, HttpRedirect, HttpRewrite, HttpRoute, RedirectPort, RegexRewrite, StringMatch},
};

/// A condition on the path, with prefixes by element: `/a` is `/a` and what begins with `/a/`.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#pathmatchtype>
pub enum PathForm {
    /// The whole path.
    Exact(String),
    /// A prefix without its trailing slash; empty for `/`.
    Prefix(String),
    /// An expression that matches the whole path.
    Expression(String),
}

impl PathForm {
    /// A prefix as users write it.
    pub fn prefix(text: &str) -> Self {
        Self::Prefix(text.trim_end_matches('/').to_owned())
    }
}

/// The listener that a request came by, as far as redirects need it.
#[derive(Clone, Copy)]
pub struct Via {
    /// Its port.
    pub port: u32,
    /// Does it terminate TLS?
    pub tls: bool,
}

/// The routes for `matched` (all its conditions but the path) on `path`. `base` holds what all matches of the
/// rule share.
pub fn routes(
    base: &HttpRoute,
    matched: &HttpMatch,
    path: &PathForm,
    filters: &Filters,
    via: Option<Via>,
) -> Vec<HttpRoute> {
    let alternative = |uri| HttpMatch { uri: Some(uri), ..matched.clone() };
    let build = |matches: Vec<HttpMatch>, replaced: Replaced<'_>| {
        let mut route = HttpRoute { matches, ..base.clone() };
        if let Some(redirect) = &filters.redirect {
            route.redirect = Some(redirected(redirect, &replaced, via).into());
        } else {
            route.rewrite = rewritten(filters, &replaced).map(Box::new);
        }
        route
    };
    let whole = full_path(filters);
    match path {
        PathForm::Exact(text) => vec![build(vec![alternative(StringMatch::Exact(text.clone()))], whole)],
        PathForm::Expression(text) => vec![build(vec![alternative(StringMatch::Regex(text.clone()))], whole)],
        PathForm::Prefix(prefix) => {
            let root = prefix.is_empty();
            let below = alternative(StringMatch::Prefix(format!("{prefix}/")));
            match new_prefix(filters) {
                None if root => vec![build(vec![below], whole)],
                None => vec![build(vec![alternative(StringMatch::Exact(prefix.clone())), below], whole)],
                Some(new) => {
                    let with_slash = Replaced::Prefix(format!("{new}/"));
                    let mut all = Vec::new();
                    if !root {
                        let itself = if new.is_empty() { "/".to_owned() } else { new.to_owned() };
                        all.push(build(
                            vec![alternative(StringMatch::Exact(prefix.clone()))],
                            Replaced::Prefix(itself),
                        ));
                    }
                    all.push(build(vec![below], with_slash));
                    all
                }
            }
        }
    }
}

#[derive(Clone)]
enum Replaced<'a> {
    Nothing,
    Full(&'a str),
    Prefix(String),
}

fn full_path(filters: &Filters) -> Replaced<'_> {
    match filters.path() {
        Some(path) if path.kind == Some(PathModifierType::ReplaceFullPath) => {
            Replaced::Full(path.replace_full_path.as_deref().unwrap_or("/"))
        }
        _ => Replaced::Nothing,
    }
}

fn new_prefix(filters: &Filters) -> Option<&str> {
    let path = filters.path().filter(|path| path.kind == Some(PathModifierType::ReplacePrefixMatch))?;
    Some(path.replace_prefix_match.as_deref().unwrap_or("/").trim_end_matches('/'))
}

fn rewritten(filters: &Filters, replaced: &Replaced<'_>) -> Option<HttpRewrite> {
    let rewrite = filters.rewrite.as_ref()?;
    let mut made = HttpRewrite {
        span: rewrite.span,
        authority: rewrite.hostname.clone().unwrap_or_default(),
        ..HttpRewrite::default()
    };
    match replaced {
        Replaced::Nothing => {}
        Replaced::Prefix(prefix) => made.uri.clone_from(prefix),
        Replaced::Full(path) => {
            made.uri_regex_rewrite = Some(RegexRewrite {
                span: rewrite.span,
                pattern: "^/.*".to_owned(),
                // A backslash would refer to a group of the expression.
                rewrite: path.replace('\\', "\\\\"),
            });
        }
    }
    (!made.authority.is_empty() || !made.uri.is_empty() || made.uri_regex_rewrite.is_some()).then_some(made)
}

fn redirected(redirect: &RequestRedirect, replaced: &Replaced<'_>, via: Option<Via>) -> HttpRedirect {
    let (port, derive_port) = redirect_port(redirect, via);
    let mut made = HttpRedirect {
        span: redirect.span,
        authority: redirect.hostname.clone().unwrap_or_default(),
        port,
        derive_port,
        scheme: redirect.scheme.clone().unwrap_or_default(),
        redirect_code: Some(redirect.status_code.unwrap_or(302)),
        ..HttpRedirect::default()
    };
    match replaced {
        Replaced::Nothing => {}
        Replaced::Full(path) => (*path).clone_into(&mut made.uri),
        Replaced::Prefix(prefix) => made.prefix_rewrite.clone_from(prefix),
    }
    made
}

/// The port of a redirect: the one given, else the well-known one of the scheme given, else the listener's. A
/// well-known port is not written. <https://gateway-api.sigs.k8s.io/reference/spec/#httprequestredirectfilter>
fn redirect_port(redirect: &RequestRedirect, via: Option<Via>) -> (Option<u32>, Option<RedirectPort>) {
    let well_known = match (redirect.scheme.as_deref(), via) {
        (Some("http"), _) | (None, Some(Via { tls: false, .. })) => Some(80),
        (Some("https"), _) | (None, Some(Via { tls: true, .. })) => Some(443),
        (Some(_) | None, _) => None,
    };
    let listener = via.map(|via| via.port);
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(_)) => well_known.or(listener),
        (None, None) => listener,
    };
    match port {
        // In the mesh the client's own port is the listener's.
        None => (None, Some(RedirectPort::FromRequestPort)),
        // A new host comes without a port.
        Some(_) if port == well_known && redirect.hostname.is_some() => (None, None),
        Some(_) if port == well_known => (None, Some(RedirectPort::FromProtocolDefault)),
        Some(port) => (Some(port), None),
    }
}
