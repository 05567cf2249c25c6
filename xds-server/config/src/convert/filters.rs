//! Filters of rules and of backends.

use std::{collections::BTreeMap, time::Duration};

use lateen_model::span::Span;

use super::{
    FILTER, Report, Surroundings,
    backend::{BackendRef, destination},
};
use crate::{
    gateway_api::{
        Backend, CorsFilter, FilterType, HeaderFilter, PathModifier, RequestMirror, RequestRedirect,
        RouteFilter, UrlRewrite,
    },
    istio::{CorsPolicy, HeaderOperations, Headers, HttpMirror, Percent, StringMatch, UnmatchedPreflights},
    object::ParsedObject,
};

/// What the filters of a rule come to.
#[derive(Clone, Default)]
pub struct Filters {
    /// Changes of headers.
    pub headers: Option<Headers>,
    /// Copies.
    pub mirrors: Vec<HttpMirror>,
    /// Cross-origin requests.
    pub cors: Option<CorsPolicy>,
    /// A redirect instead of backends.
    pub redirect: Option<RequestRedirect>,
    /// A rewrite of host or path.
    pub rewrite: Option<UrlRewrite>,
    /// One of them can't be applied. "It must not be skipped. Instead, requests that would have been processed by
    /// that filter must receive a HTTP error response": <https://gateway-api.sigs.k8s.io/reference/spec/#httproutefilter>
    pub refused: bool,
}

impl Filters {
    /// How the path changes, by redirect or by rewrite.
    pub fn path(&self) -> Option<&PathModifier> {
        match (&self.redirect, &self.rewrite) {
            (Some(redirect), _) => redirect.path.as_ref(),
            (None, Some(rewrite)) => rewrite.path.as_ref(),
            (None, None) => None,
        }
    }

    /// Do they more than change headers? Only that can be said of one of several destinations.
    pub fn need_a_route(&self) -> bool {
        !self.mirrors.is_empty() || self.cors.is_some() || self.redirect.is_some() || self.rewrite.is_some()
    }

    /// These of a rule, and then those of the backend that was chosen. Headers are left out of it: they go with the
    /// destination.
    pub fn followed_by(&self, own: &Self) -> Self {
        let rewrite = match (&self.rewrite, &own.rewrite) {
            (Some(first), Some(next)) => Some(UrlRewrite {
                span: next.span,
                hostname: next.hostname.clone().or_else(|| first.hostname.clone()),
                path: next.path.clone().or_else(|| first.path.clone()),
            }),
            (first, next) => next.clone().or_else(|| first.clone()),
        };
        Self {
            headers: self.headers.clone(),
            mirrors: self.mirrors.iter().chain(&own.mirrors).cloned().collect(),
            cors: own.cors.clone().or_else(|| self.cors.clone()),
            redirect: own.redirect.clone().or_else(|| self.redirect.clone()),
            rewrite,
            refused: self.refused || own.refused,
        }
    }
}

/// Collects filters.
pub fn collect(
    filters: &[RouteFilter],
    route: &ParsedObject,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Filters {
    let mut all = Filters::default();
    for filter in filters {
        if apply(filter, &mut all, route, around, report).is_none() {
            let kind = filter.kind.map_or("without a type", FilterType::as_str);
            let message =
                format!("the filter {kind} is not supported: requests that it is for are answered 500");
            report.error(FILTER, route, filter.span, message);
            all.refused = true;
        }
    }
    all
}

/// Adds one filter; `None` if it can't be applied.
fn apply(
    filter: &RouteFilter,
    all: &mut Filters,
    route: &ParsedObject,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Option<()> {
    match filter.kind? {
        FilterType::RequestHeaderModifier => {
            let change = filter.request_header_modifier.as_ref()?;
            headers_mut(&mut all.headers, filter.span).request = Some(operations(change));
        }
        FilterType::ResponseHeaderModifier => {
            let change = filter.response_header_modifier.as_ref()?;
            headers_mut(&mut all.headers, filter.span).response = Some(operations(change));
        }
        FilterType::RequestMirror => {
            let wanted = filter.request_mirror.as_ref()?;
            // "If the referent cannot be found, this BackendRef is invalid and must be dropped":
            // https://gateway-api.sigs.k8s.io/reference/spec/#httprequestmirrorfilter
            all.mirrors.extend(mirror(wanted, route, around, report));
        }
        FilterType::RequestRedirect => all.redirect = Some(filter.request_redirect.clone()?),
        FilterType::UrlRewrite => all.rewrite = Some(filter.url_rewrite.clone()?),
        FilterType::Cors => all.cors = Some(cors(filter.cors.as_ref()?)),
        FilterType::ExternalAuth | FilterType::ExtensionRef => return None,
    }
    Some(())
}

fn headers_mut(headers: &mut Option<Headers>, span: Span) -> &mut Headers {
    headers.get_or_insert_with(|| Headers { span, ..Headers::default() })
}

fn operations(filter: &HeaderFilter) -> HeaderOperations {
    // "If multiple entries have the same name, the first one wins":
    // https://gateway-api.sigs.k8s.io/reference/spec/#httpheaderfilter
    let map = |list: &[crate::gateway_api::HeaderValue]| {
        let mut map = BTreeMap::new();
        for header in list {
            // The API knows no commands, so that a percent sign is one.
            map.entry(header.name.to_ascii_lowercase()).or_insert_with(|| header.value.replace('%', "%%"));
        }
        map
    };
    HeaderOperations {
        span: filter.span,
        set: map(&filter.set),
        add: map(&filter.add),
        remove: filter.remove.iter().map(|name| name.to_ascii_lowercase()).collect(),
    }
}

fn mirror(
    mirror: &RequestMirror,
    route: &ParsedObject,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Option<HttpMirror> {
    let backend = mirror.backend_ref.as_ref()?;
    let reference = BackendRef {
        is_service: backend.is_service(),
        kind: backend.kind().unwrap_or("Service"),
        name: &backend.name,
        namespace: backend.namespace.as_deref(),
        port: backend.port,
        span: backend.span,
    };
    let percent = match (&mirror.fraction, mirror.percent) {
        (Some(fraction), _) => {
            let denominator = fraction.denominator.unwrap_or(100).max(1);
            Some(100.0 * f64::from(fraction.numerator) / f64::from(denominator))
        }
        (None, percent) => percent.map(f64::from),
    };
    Some(HttpMirror {
        span: mirror.span,
        destination: Some(destination(&reference, route, around, report)?),
        percentage: percent.map(|value| Percent { span: mirror.span, value }),
    })
}

fn cors(filter: &CorsFilter) -> CorsPolicy {
    CorsPolicy {
        span: filter.span,
        allow_origins: filter.allow_origins.iter().map(|origin| origin_match(origin)).collect(),
        allow_methods: filter.allow_methods.clone(),
        allow_headers: filter.allow_headers.clone(),
        expose_headers: filter.expose_headers.clone(),
        // The default is five seconds: https://gateway-api.sigs.k8s.io/reference/spec/#httpcorsfilter
        max_age: Some(Duration::from_secs(filter.max_age.map_or(5, |age| u64::try_from(age).unwrap_or(0)))),
        allow_credentials: filter.allow_credentials,
        // A preflight of another origin is answered without its headers, it never reaches a backend:
        // https://gateway-api.sigs.k8s.io/reference/spec/#httpcorsfilter
        unmatched_preflights: UnmatchedPreflights::Ignore,
        ..CorsPolicy::default()
    }
}

fn origin_match(origin: &str) -> StringMatch {
    if origin.contains('*') {
        let parts: Vec<String> = origin.split('*').map(regex::escape).collect();
        StringMatch::Regex(parts.join(".*"))
    } else {
        StringMatch::Exact(origin.to_owned())
    }
}
