//! The Gateway API's routes. The rules are those of the API's own schemas.
//! <https://gateway-api.sigs.k8s.io/reference/spec/#httproute>

use std::collections::BTreeSet;

use lateen_model::span::Span;

use super::{Check, filters, gateway_api::hostname, names, values};
use crate::{
    Metadata, codes,
    findings::Findings,
    gateway_api::{
        Backend, GatewayDuration, GrpcRoute, GrpcRouteMatch, HeaderMatch, HttpBackendRef, HttpRoute,
        HttpRouteMatch, HttpRouteRule, ParentRef, PathMatchType, ValueMatchType,
    },
    path::Path,
};

impl Check for HttpRoute {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        parents(&self.parent_refs, &at.field("parentRefs"), out);
        hostnames(&self.hostnames, &at.field("hostnames"), out);
        let names: Vec<_> = self.rules.iter().map(|rule| rule.name.as_deref()).collect();
        rule_names(&names, &at.field("rules"), out);
        for (index, rule) in self.rules.iter().enumerate() {
            let parent = at.field("rules");
            check_rule(rule, &parent.index(index), out);
        }
    }
}

fn check_rule(rule: &HttpRouteRule, at: &Path<'_>, out: &mut Findings) {
    for (index, wanted) in rule.matches.iter().enumerate() {
        check_match(wanted, &at.field("matches").index(index), out);
    }
    filters::check(&rule.filters, filters::Of::Http, &at.field("filters"), out);
    let redirects = rule.filters.iter().any(|filter| filter.request_redirect.is_some());
    if redirects && !rule.backend_refs.is_empty() {
        let message = "a rule that redirects forwards nothing: it takes no backendRefs";
        out.error(codes::EXCLUSIVE, &at.field("backendRefs"), message);
    }
    let prefix = |wanted: &HttpRouteMatch| {
        let kind = wanted.path.as_ref().and_then(|path| path.kind).unwrap_or_default();
        kind == PathMatchType::PathPrefix
    };
    filters::prefix_modifiers(&rule.filters, rule.matches.iter().all(prefix), &at.field("filters"), out);
    for (index, backend) in rule.backend_refs.iter().enumerate() {
        let parent = at.field("backendRefs");
        let at = parent.index(index);
        check_backend(backend, &at, out);
        filters::check(&backend.filters, filters::Of::Http, &at.field("filters"), out);
    }
    if let Some(timeouts) = &rule.timeouts {
        let at = at.field("timeouts");
        let nonzero = |timeout: Option<GatewayDuration>| timeout.map(|t| t.0).filter(|t| !t.is_zero());
        if let (Some(all), Some(one)) = (nonzero(timeouts.request), nonzero(timeouts.backend_request))
            && one > all
        {
            let message = "backendRequest must not be longer than request";
            out.error(codes::COMBINATION, &at.field("backendRequest"), message);
        }
    }
    if let Some(retry) = &rule.retry {
        let at = at.field("retry");
        for (index, code) in retry.codes.iter().enumerate() {
            if !(400..=599).contains(code) {
                let message = format!("{code} is not within 400..=599");
                out.error(codes::RANGE, &at.field("codes").index(index), message);
            }
        }
        values::not_negative(retry.attempts, &at.field("attempts"), out);
    }
}

fn check_match(wanted: &HttpRouteMatch, at: &Path<'_>, out: &mut Findings) {
    if let Some(path) = &wanted.path {
        let at = at.field("path");
        let value = path.value.as_deref().unwrap_or("/");
        match path.kind.unwrap_or_default() {
            PathMatchType::RegularExpression => drop(values::regex(value, &at.field("value"), out)),
            PathMatchType::PathPrefix | PathMatchType::Exact => check_path(value, &at.field("value"), out),
        }
    }
    header_matches(&wanted.headers, &at.field("headers"), out);
    for (index, param) in wanted.query_params.iter().enumerate() {
        let parent = at.field("queryParams");
        let at = parent.index(index);
        if !names::is_token(&param.name) {
            out.error(codes::NAME, &at.field("name"), "a query parameter needs a name");
        }
        if param.kind == ValueMatchType::RegularExpression {
            values::regex(&param.value, &at.field("value"), out);
        }
    }
}

/// A path must be absolute and normal.
fn check_path(path: &str, at: &Path<'_>, out: &mut Findings) {
    let odd = ["//", "/./", "/../", "%2f", "%2F", "#"].into_iter().find(|part| path.contains(part));
    if !path.starts_with('/') {
        out.error(codes::URI, at, format!("the path \"{}\" does not begin with /", names::shorten(path)));
    } else if let Some(odd) = odd {
        out.error(codes::URI, at, format!("a path must not hold {odd}"));
    } else if path.ends_with("/..") || path.ends_with("/.") {
        out.error(codes::URI, at, "a path must not end in /. or /..");
    }
}

fn header_matches(headers: &[HeaderMatch], at: &Path<'_>, out: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, header) in headers.iter().enumerate() {
        let at = at.index(index);
        if !names::is_token(&header.name) {
            let message = format!("\"{}\" is not the name of a header", names::shorten(&header.name));
            out.error(codes::HEADER, &at.field("name"), message);
        }
        if header.kind == ValueMatchType::RegularExpression {
            values::regex(&header.value, &at.field("value"), out);
        }
        if !seen.insert(header.name.to_ascii_lowercase()) {
            let message = "the header is matched already: only the first match of a name counts";
            out.warn(codes::NO_EFFECT, &at.field("name"), message);
        }
    }
}

fn check_backend(backend: &HttpBackendRef, at: &Path<'_>, out: &mut Findings) {
    let reference = BackendName { name: &backend.name, port: backend.port, service: backend.is_service() };
    check_reference(&reference, at, out);
    check_weight(backend.weight, at, out);
}

/// What a reference to a backend says.
pub(super) struct BackendName<'a> {
    pub(super) name: &'a str,
    pub(super) port: Option<u32>,
    pub(super) service: bool,
}

pub(super) fn check_reference(backend: &BackendName<'_>, at: &Path<'_>, out: &mut Findings) {
    if backend.name.is_empty() {
        out.error(codes::MISSING, &at.field("name"), "the backend has no name");
    }
    if backend.service && backend.port.is_none() {
        out.error(codes::MISSING, &at.field("port"), "a service as backend needs a port");
    }
    values::maybe_port(backend.port, &at.field("port"), out);
}

fn check_weight(weight: Option<i32>, at: &Path<'_>, out: &mut Findings) {
    if weight.is_some_and(|weight| !(0..=1_000_000).contains(&weight)) {
        out.error(codes::RANGE, &at.field("weight"), "a weight is within 0..=1000000");
    }
}

fn parents(list: &[ParentRef], at: &Path<'_>, out: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, parent) in list.iter().enumerate() {
        let at = at.index(index);
        if parent.name.is_empty() {
            out.error(codes::MISSING, &at.field("name"), "the parent has no name");
        }
        values::maybe_port(parent.port, &at.field("port"), out);
        // All fields but where it stands.
        let same = format!("{:?}", ParentRef { span: Span::default(), ..parent.clone() });
        if !seen.insert(same) {
            out.error(codes::DUPLICATE_PART, &at, "the parent is named twice");
        }
    }
}

fn hostnames(list: &[String], at: &Path<'_>, out: &mut Findings) {
    for (index, host) in list.iter().enumerate() {
        hostname(host, &at.index(index), out);
    }
}

fn rule_names(names: &[Option<&str>], at: &Path<'_>, out: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        let Some(name) = name else { continue };
        if !seen.insert(*name) {
            out.error(codes::DUPLICATE_PART, &at.index(index).field("name"), "the name occurs twice");
        }
    }
}

impl Check for GrpcRoute {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        parents(&self.parent_refs, &at.field("parentRefs"), out);
        hostnames(&self.hostnames, &at.field("hostnames"), out);
        let names: Vec<_> = self.rules.iter().map(|rule| rule.name.as_deref()).collect();
        rule_names(&names, &at.field("rules"), out);
        for (index, rule) in self.rules.iter().enumerate() {
            let parent = at.field("rules");
            let at = parent.index(index);
            for (index, wanted) in rule.matches.iter().enumerate() {
                grpc_match(wanted, &at.field("matches").index(index), out);
            }
            filters::check(&rule.filters, filters::Of::Grpc, &at.field("filters"), out);
            for (index, backend) in rule.backend_refs.iter().enumerate() {
                let parent = at.field("backendRefs");
                let at = parent.index(index);
                let reference =
                    BackendName { name: &backend.name, port: backend.port, service: backend.is_service() };
                check_reference(&reference, &at, out);
                check_weight(backend.weight, &at, out);
                filters::check(&backend.filters, filters::Of::Grpc, &at.field("filters"), out);
            }
        }
    }
}

fn grpc_match(wanted: &GrpcRouteMatch, at: &Path<'_>, out: &mut Findings) {
    header_matches(&wanted.headers, &at.field("headers"), out);
    let Some(method) = &wanted.method else { return };
    let at = at.field("method");
    if method.service.is_none() && method.method.is_none() {
        out.error(codes::MISSING, &at, "at least one of service and method is needed");
    }
    let before = out.errors();
    for (field, value) in [("service", &method.service), ("method", &method.method)] {
        let Some(value) = value else { continue };
        let word = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if method.kind == ValueMatchType::RegularExpression {
            values::regex(value, &at.field(field), out);
        } else if !value.split('.').all(word) {
            let message = format!("\"{}\" is not a {field} of gRPC", names::shorten(value));
            out.error(codes::NAME, &at.field(field), message);
        }
    }
    // Two that are good alone may be too large together.
    if let (Some(text), true) = (method.expression(), out.errors() == before) {
        values::regex(&text, &at, out);
    }
}
