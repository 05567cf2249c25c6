//! Routes of both kinds as ranked `VirtualService` routes.

use std::collections::BTreeMap;

use lateen_model::span::Span;

use super::{
    FILTER, Report, Surroundings,
    backend::{BackendRef, destination},
    filters::{Filters, collect},
    precedence::{Position, Rank},
    rule::{PathForm, Via, routes},
};
use crate::{
    gateway_api::{
        self, Backend, GrpcRoute, GrpcRouteMatch, HeaderMatch, HttpRouteMatch, HttpRouteRetry,
        HttpRouteTimeouts, ParentRef, PathMatchType, PathModifierType, RouteFilter, ValueMatchType,
    },
    istio::{
        Destination, HttpDirectResponse, HttpMatch, HttpRetry, HttpRoute, HttpRouteDestination, PortSelector,
        StringMatch,
    },
    object::{ConfigObject, ParsedObject},
};

/// What the two kinds of routes share.
pub struct Attachable<'a> {
    /// The object.
    pub object: &'a ParsedObject,
    /// What it attaches to.
    pub parents: &'a [ParentRef],
    /// Its hosts; empty for all.
    pub hostnames: &'a [String],
}

impl<'a> Attachable<'a> {
    /// The route in the object, if it is one.
    pub fn of(object: &'a ParsedObject) -> Option<Self> {
        let (parents, hostnames) = match &object.spec {
            ConfigObject::HttpRoute(route) => (&route.parent_refs, &route.hostnames),
            ConfigObject::GrpcRoute(route) => (&route.parent_refs, &route.hostnames),
            _ => return None,
        };
        Some(Self { object, parents, hostnames })
    }
}

/// One match, to be sorted among those of all routes of a host.
#[derive(Clone)]
pub struct Ranked<'a> {
    /// Where it stands.
    pub rank: Rank,
    /// The route it is from.
    pub object: &'a ParsedObject,
    /// What it comes to.
    pub routes: Vec<HttpRoute>,
}

/// All matches of a route, for requests that came by `via`; `port` restricts them to a port of the service in a
/// mesh.
pub fn ranked<'a>(
    object: &'a ParsedObject,
    via: Option<Via>,
    port: Option<u32>,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<Ranked<'a>> {
    match &object.spec {
        ConfigObject::HttpRoute(route) => http(object, route, via, port, around, report),
        ConfigObject::GrpcRoute(route) => grpc(object, route, port, around, report),
        _ => Vec::new(),
    }
}

fn http<'a>(
    object: &'a ParsedObject,
    route: &gateway_api::HttpRoute,
    via: Option<Via>,
    port: Option<u32>,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<Ranked<'a>> {
    let mut all = Vec::new();
    let everything = [HttpRouteMatch::default()];
    for (index, rule) in route.rules.iter().enumerate() {
        let filters = collect(&rule.filters, object, around, report);
        let backends = rule.backend_refs.iter().map(|backend| WeightedRef {
            reference: BackendRef {
                is_service: backend.is_service(),
                kind: backend.kind().unwrap_or("Service"),
                name: &backend.name,
                namespace: backend.namespace.as_deref(),
                port: backend.port,
                span: backend.span,
            },
            weight: backend.weight,
            filters: &backend.filters,
        });
        let backends: Vec<WeightedRef<'_>> = backends.collect();
        let name = rule.name.clone().unwrap_or_else(|| index.to_string());
        let mut base = base(object, rule.span, &name, &backends, &filters, around, report);
        base.timeout = timeout(rule.timeouts.as_ref());
        base.retries = retries(rule.timeouts.as_ref(), rule.retry.as_ref());
        if let Some(session) = &rule.session_persistence {
            let message = "sessionPersistence is not supported: it has no effect".to_owned();
            report.error(FILTER, object, session.span, message);
        }
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        for (alternative, matched) in matches.iter().enumerate() {
            let path = http_path(matched);
            if !matches!(path, PathForm::Prefix(_)) {
                warn_of_prefix(&filters, object, report);
            }
            let conditions = HttpMatch {
                span: matched.span,
                method: matched.method.map(|method| StringMatch::Exact(method.as_str().to_owned())),
                headers: headers(&matched.headers),
                query_params: values(matched.query_params.iter().map(|p| (p.name.clone(), p.kind, &p.value))),
                port,
                ..HttpMatch::default()
            };
            all.push(Ranked {
                rank: Rank::http(object, Position { rule: index, alternative }, matched),
                object,
                routes: routes(&base, &conditions, path, &filters, via),
            });
        }
    }
    all
}

fn grpc<'a>(
    object: &'a ParsedObject,
    route: &GrpcRoute,
    port: Option<u32>,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<Ranked<'a>> {
    let mut all = Vec::new();
    let everything = [GrpcRouteMatch::default()];
    for (index, rule) in route.rules.iter().enumerate() {
        let filters = collect(&rule.filters, object, around, report);
        let backends = rule.backend_refs.iter().map(|backend| WeightedRef {
            reference: BackendRef {
                is_service: backend.is_service(),
                kind: backend.kind().unwrap_or("Service"),
                name: &backend.name,
                namespace: backend.namespace.as_deref(),
                port: backend.port,
                span: backend.span,
            },
            weight: backend.weight,
            filters: &backend.filters,
        });
        let backends: Vec<WeightedRef<'_>> = backends.collect();
        let name = rule.name.clone().unwrap_or_else(|| index.to_string());
        let base = base(object, rule.span, &name, &backends, &filters, around, report);
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        for (alternative, matched) in matches.iter().enumerate() {
            let conditions = HttpMatch {
                span: matched.span,
                headers: headers(&matched.headers),
                port,
                ..HttpMatch::default()
            };
            all.push(Ranked {
                rank: Rank::grpc(object, Position { rule: index, alternative }, matched),
                object,
                routes: routes(&base, &conditions, grpc_path(matched), &filters, None),
            });
        }
    }
    all
}

struct WeightedRef<'a> {
    reference: BackendRef<'a>,
    weight: Option<i32>,
    filters: &'a [RouteFilter],
}

/// What all matches of a rule share.
fn base(
    object: &ParsedObject,
    span: Span,
    name: &str,
    backends: &[WeightedRef<'_>],
    filters: &Filters<'_>,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> HttpRoute {
    let mut route = HttpRoute {
        span,
        name: format!("{}.{}.{name}", object.key.namespace, object.key.name),
        headers: filters.headers.clone(),
        mirrors: filters.mirrors.clone(),
        cors_policy: filters.cors.clone(),
        ..HttpRoute::default()
    };
    if filters.redirect.is_some() {
        return route;
    }
    let mut usable = false;
    for backend in backends {
        let weight = backend.weight.unwrap_or(1);
        let target = destination(&backend.reference, object, around, report);
        usable |= target.is_some() && weight > 0;
        if weight > 0 {
            let own = collect(backend.filters, object, around, report);
            route.route.push(HttpRouteDestination {
                span: backend.reference.span,
                // The share of a backend that can't be used is answered with an error; others don't get it:
                // https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
                destination: Some(target.unwrap_or_else(|| nowhere(backend.reference.span))),
                weight: Some(weight),
                headers: own.headers,
            });
        }
    }
    if !usable {
        route.route.clear();
        // Without a backend that requests can go to the answer is 500:
        // https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
        route.direct_response =
            Some(HttpDirectResponse { span, status: Some(500), ..HttpDirectResponse::default() });
    }
    route
}

/// A place that never exists: <https://www.rfc-editor.org/rfc/rfc2606#section-2>
fn nowhere(span: Span) -> Destination {
    let port = Some(PortSelector { span, number: 1 });
    Destination { span, host: "backend.invalid".to_owned(), subset: String::new(), port }
}

fn warn_of_prefix(filters: &Filters<'_>, object: &ParsedObject, report: &mut Report) {
    if let Some(path) = filters.path()
        && path.kind == Some(PathModifierType::ReplacePrefixMatch)
    {
        let message = "ReplacePrefixMatch has no effect on a match that is not PathPrefix".to_owned();
        report.error(FILTER, object, path.span, message);
    }
}

fn http_path(matched: &HttpRouteMatch) -> PathForm {
    let Some(path) = &matched.path else { return PathForm::prefix("/") };
    let value = path.value.as_deref().unwrap_or("/");
    match path.kind.unwrap_or_default() {
        PathMatchType::PathPrefix => PathForm::prefix(value),
        PathMatchType::Exact => PathForm::Exact(value.to_owned()),
        PathMatchType::RegularExpression => PathForm::Expression(value.to_owned()),
    }
}

/// A call's path is `/service/method`: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
fn grpc_path(matched: &GrpcRouteMatch) -> PathForm {
    let Some(method) = &matched.method else { return PathForm::prefix("/") };
    match (method.kind, method.service.as_deref(), method.method.as_deref()) {
        (_, None, None) => PathForm::prefix("/"),
        (ValueMatchType::Exact, Some(service), Some(name)) => PathForm::Exact(format!("/{service}/{name}")),
        (ValueMatchType::Exact, Some(service), None) => PathForm::Prefix(format!("/{service}")),
        (ValueMatchType::Exact, None, Some(name)) => {
            PathForm::Expression(format!("/[^/]+/{}", regex::escape(name)))
        }
        (ValueMatchType::RegularExpression, service, name) => {
            let (service, name) = (service.unwrap_or("[^/]+"), name.unwrap_or("[^/]+"));
            PathForm::Expression(format!("/{service}/{name}"))
        }
    }
}

fn headers(matches: &[HeaderMatch]) -> BTreeMap<String, StringMatch> {
    values(matches.iter().map(|header| (header.name.to_ascii_lowercase(), header.kind, &header.value)))
}

/// "If multiple entries specify equivalent names, only the first is considered":
/// <https://gateway-api.sigs.k8s.io/reference/spec/#httpheadermatch>
fn values<'a>(
    matches: impl Iterator<Item = (String, ValueMatchType, &'a String)>,
) -> BTreeMap<String, StringMatch> {
    let mut map = BTreeMap::new();
    for (name, kind, value) in matches {
        map.entry(name).or_insert_with(|| match kind {
            ValueMatchType::Exact => StringMatch::Exact(value.clone()),
            ValueMatchType::RegularExpression => StringMatch::Regex(value.clone()),
        });
    }
    map
}

/// The whole request's timeout: where only the backend's is given and nothing is tried again, they are the same.
fn timeout(timeouts: Option<&HttpRouteTimeouts>) -> Option<std::time::Duration> {
    timeouts.and_then(|timeouts| timeouts.request).map(|timeout| timeout.0)
}

/// <https://gateway-api.sigs.k8s.io/reference/spec/#httprouteretry>
fn retries(timeouts: Option<&HttpRouteTimeouts>, retry: Option<&HttpRouteRetry>) -> Option<HttpRetry> {
    let per_try = timeouts.and_then(|timeouts| timeouts.backend_request).map(|timeout| timeout.0);
    if retry.is_none() && per_try.is_none() {
        return None;
    }
    let mut made = HttpRetry { attempts: 2, per_try_timeout: per_try, ..HttpRetry::default() };
    if let Some(retry) = retry {
        made.span = retry.span;
        made.attempts = retry.attempts.unwrap_or(2);
        made.backoff = retry.backoff.map(|backoff| backoff.0);
        let codes = retry.codes.iter().map(u32::to_string);
        let conditions = ["connect-failure", "refused-stream", "unavailable", "cancelled"].map(str::to_owned);
        made.retry_on = conditions.into_iter().chain(codes).collect::<Vec<_>>().join(",");
    }
    Some(made)
}
