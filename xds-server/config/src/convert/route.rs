//! Routes of both kinds as ranked `VirtualService` routes.

use std::{collections::BTreeMap, time::Duration};

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
        Share, StringMatch,
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
        let timeouts = rule.timeouts.as_ref();
        let of = Rule {
            span: rule.span,
            name: &name,
            backends: &backends,
            filters: &filters,
            timeout: timeout(timeouts),
            retries: retries(timeouts, rule.retry.as_ref()),
        };
        let branches = of.branches(object, around, report);
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        for (alternative, matched) in matches.iter().enumerate() {
            let path = http_path(matched);
            if !matches!(path, PathForm::Prefix(_)) {
                for branch in &branches {
                    warn_of_prefix(&branch.filters, object, report);
                }
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
                routes: made(&branches, &conditions, &path, via),
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
        let (timeout, retries) = (None, None);
        let of =
            Rule { span: rule.span, name: &name, backends: &backends, filters: &filters, timeout, retries };
        let branches = of.branches(object, around, report);
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
                routes: made(&branches, &conditions, &grpc_path(matched), None),
            });
        }
    }
    all
}

fn made(branches: &[Branch], conditions: &HttpMatch, path: &PathForm, via: Option<Via>) -> Vec<HttpRoute> {
    branches.iter().flat_map(|branch| routes(&branch.base, conditions, path, &branch.filters, via)).collect()
}

struct WeightedRef<'a> {
    reference: BackendRef<'a>,
    weight: Option<i32>,
    filters: &'a [RouteFilter],
}

/// What becomes of the requests of a rule, or of a share of them.
struct Branch {
    /// What all matches of the rule have in common.
    base: HttpRoute,
    /// The filters that the form of a match has to do with.
    filters: Filters,
}

/// A rule without its matches.
struct Rule<'a> {
    span: Span,
    name: &'a str,
    backends: &'a [WeightedRef<'a>],
    filters: &'a Filters,
    timeout: Option<Duration>,
    retries: Option<HttpRetry>,
}

impl Rule<'_> {
    /// What a rule does: one branch, or one for each backend if the filters of one need a route.
    fn branches(&self, object: &ParsedObject, around: &Surroundings<'_>, report: &mut Report) -> Vec<Branch> {
        let mut base = HttpRoute {
            span: self.span,
            name: format!("{}.{}.{}", object.key.namespace, object.key.name, self.name),
            timeout: self.timeout,
            retries: self.retries.clone().map(Box::new),
            missing_is_500: true,
            ..HttpRoute::default()
        };
        if self.filters.refused {
            return vec![refused(base)];
        }
        base.headers = self.filters.headers.clone().map(Box::new);
        if self.filters.redirect.is_some() {
            return vec![branch(base, self.filters)];
        }
        let mut targets = Vec::new();
        for backend in self.backends.iter().filter(|backend| backend.weight.unwrap_or(1) > 0) {
            let own = collect(backend.filters, object, around, report);
            let place = destination(&backend.reference, object, around, report);
            targets.push((backend, place, own));
        }
        if targets.iter().all(|(_, place, own)| place.is_none() || own.refused) {
            // Without a backend that requests can go to the answer is 500:
            // https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
            return vec![refused(base)];
        }
        let mut branches = Vec::new();
        let apart = targets.iter().any(|(_, _, own)| own.need_a_route());
        let weight = |backend: &WeightedRef<'_>| u64::try_from(backend.weight.unwrap_or(1)).unwrap_or(0);
        let total: u64 = targets.iter().map(|(backend, ..)| weight(backend)).sum();
        let (mut upto, count) = (0, targets.len());
        for (index, (backend, place, own)) in targets.into_iter().enumerate() {
            let span = backend.reference.span;
            let usable = place.filter(|_| !own.refused);
            let to = HttpRouteDestination {
                span,
                // The share of a backend that can't be used is answered with an error; others don't get it:
                // https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
                destination: Some(usable.unwrap_or_else(|| nowhere(span))),
                weight: Some(backend.weight.unwrap_or(1)),
                headers: own.headers.clone().map(Box::new),
            };
            if !apart {
                base.route.push(to);
                continue;
            }
            let mut route = HttpRoute { route: vec![to], ..base.clone() };
            upto += weight(backend);
            // The last takes what is left.
            if index + 1 < count {
                route.share = Some(Share { upto: millionths(upto, total) });
            }
            branches.push(branch(route, &self.filters.followed_by(&own)));
        }
        if !apart {
            branches.push(branch(base, self.filters));
        }
        branches
    }
}

fn branch(mut base: HttpRoute, filters: &Filters) -> Branch {
    base.cors_policy = filters.cors.clone().map(Box::new);
    if filters.redirect.is_none() {
        base.mirrors.clone_from(&filters.mirrors);
    } else {
        base.route.clear();
    }
    Branch { base, filters: filters.clone() }
}

/// Answers 500.
fn refused(mut base: HttpRoute) -> Branch {
    let (span, status) = (base.span, Some(500));
    (base.timeout, base.retries) = (None, None);
    let answer = HttpDirectResponse { span, status, ..HttpDirectResponse::default() };
    base.direct_response = Some(answer.into());
    Branch { base, filters: Filters::default() }
}

fn millionths(part: u64, total: u64) -> u32 {
    let rounded = (part.saturating_mul(1_000_000) + total / 2).checked_div(total);
    u32::try_from(rounded.unwrap_or(0)).unwrap_or(1_000_000)
}

/// A place that never exists: <https://www.rfc-editor.org/rfc/rfc2606#section-2>
fn nowhere(span: Span) -> Destination {
    let port = Some(PortSelector { span, number: 1 });
    Destination { span, host: "backend.invalid".to_owned(), subset: String::new(), port }
}

fn warn_of_prefix(filters: &Filters, object: &ParsedObject, report: &mut Report) {
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
    if let Some(text) = method.expression() {
        return PathForm::Expression(text);
    }
    match (method.service.as_deref(), method.method.as_deref()) {
        (Some(service), Some(name)) => PathForm::Exact(format!("/{service}/{name}")),
        (Some(service), None) => PathForm::Prefix(format!("/{service}")),
        (None, _) => PathForm::prefix("/"),
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
fn timeout(timeouts: Option<&HttpRouteTimeouts>) -> Option<Duration> {
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
        // "Implementations SHOULD retry on connection errors (disconnect, reset, timeout, TCP failure) if a retry
        // stanza is configured." An attempt that takes longer than its timeout is a reset for Envoy.
        let conditions =
            ["connect-failure", "refused-stream", "reset", "unavailable", "cancelled"].map(str::to_owned);
        made.retry_on = conditions.into_iter().chain(codes).collect::<Vec<_>>().join(",");
    }
    Some(made)
}
