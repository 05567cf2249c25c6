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
    istio::{CorsPolicy, HeaderOperations, Headers, HttpMirror, Percent, StringMatch},
    object::ParsedObject,
};

/// What the filters of a rule come to.
#[derive(Clone, Default)]
pub struct Filters<'a> {
    /// Changes of headers.
    pub headers: Option<Headers>,
    /// Copies.
    pub mirrors: Vec<HttpMirror>,
    /// Cross-origin requests.
    pub cors: Option<CorsPolicy>,
    /// A redirect instead of backends.
    pub redirect: Option<&'a RequestRedirect>,
    /// A rewrite of host or path.
    pub rewrite: Option<&'a UrlRewrite>,
}

impl Filters<'_> {
    /// How the path changes, by redirect or by rewrite.
    pub fn path(&self) -> Option<&PathModifier> {
        match (self.redirect, self.rewrite) {
            (Some(redirect), _) => redirect.path.as_ref(),
            (None, Some(rewrite)) => rewrite.path.as_ref(),
            (None, None) => None,
        }
    }
}

/// Collects filters.
pub fn collect<'a>(
    filters: &'a [RouteFilter],
    route: &ParsedObject,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Filters<'a> {
    let mut all = Filters::default();
    for filter in filters {
        let Some(kind) = filter.kind else { continue };
        match kind {
            FilterType::RequestHeaderModifier => {
                if let Some(change) = &filter.request_header_modifier {
                    headers_mut(&mut all.headers, filter.span).request = Some(operations(change));
                }
            }
            FilterType::ResponseHeaderModifier => {
                if let Some(change) = &filter.response_header_modifier {
                    headers_mut(&mut all.headers, filter.span).response = Some(operations(change));
                }
            }
            FilterType::RequestMirror => {
                let mirrored = filter.request_mirror.as_ref().and_then(|m| mirror(m, route, around, report));
                all.mirrors.extend(mirrored);
            }
            FilterType::RequestRedirect => all.redirect = filter.request_redirect.as_ref(),
            FilterType::UrlRewrite => all.rewrite = filter.url_rewrite.as_ref(),
            FilterType::Cors => all.cors = filter.cors.as_ref().map(cors),
            FilterType::ExternalAuth | FilterType::ExtensionRef => {
                let message = format!("the filter {} is not supported: it has no effect", kind.as_str());
                report.error(FILTER, route, filter.span, message);
            }
        }
    }
    all
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
