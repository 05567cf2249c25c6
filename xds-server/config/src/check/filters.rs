//! Filters of the Gateway API's routes.
//! <https://gateway-api.sigs.k8s.io/reference/spec/#httproutefilter>

use super::{gateway_api::hostname, names, routes, values};
use crate::{
    codes,
    findings::Findings,
    gateway_api::{
        Backend, FilterType, HeaderFilter, PathModifier, PathModifierType, RequestMirror, RequestRedirect,
        RouteFilter,
    },
    path::Path,
};

/// Whose filters they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Http,
    Grpc,
}

pub(super) fn check(filters: &[RouteFilter], of: Of, at: &Path<'_>, out: &mut Findings) {
    // There are few kinds, and each is in here once.
    let mut seen = Vec::new();
    for (index, filter) in filters.iter().enumerate() {
        let at = at.index(index);
        let Some(kind) = filter.kind else {
            out.error(codes::MISSING, &at.field("type"), "a filter needs a type");
            continue;
        };
        let grpc = matches!(
            kind,
            FilterType::RequestHeaderModifier
                | FilterType::ResponseHeaderModifier
                | FilterType::RequestMirror
                | FilterType::ExtensionRef
        );
        if of == Of::Grpc && !grpc {
            let message = format!("a GRPCRoute has no filter {}", kind.as_str());
            out.error(codes::UNKNOWN_VALUE, &at.field("type"), message);
        }
        let repeatable = matches!(kind, FilterType::RequestMirror | FilterType::ExtensionRef);
        if !seen.contains(&kind) {
            seen.push(kind);
        } else if !repeatable {
            out.error(codes::DUPLICATE_PART, &at.field("type"), format!("{} occurs twice", kind.as_str()));
        }
        settings(filter, kind, &at, out);
    }
    let has = |kind| filters.iter().any(|filter| filter.kind == Some(kind));
    if has(FilterType::RequestRedirect) && has(FilterType::UrlRewrite) {
        out.error(codes::EXCLUSIVE, at, "RequestRedirect and URLRewrite exclude each other");
    }
}

/// The settings of a filter are those of its type, and no others.
fn settings(filter: &RouteFilter, kind: FilterType, at: &Path<'_>, out: &mut Findings) {
    let given = [
        (
            FilterType::RequestHeaderModifier,
            "requestHeaderModifier",
            filter.request_header_modifier.is_some(),
        ),
        (
            FilterType::ResponseHeaderModifier,
            "responseHeaderModifier",
            filter.response_header_modifier.is_some(),
        ),
        (FilterType::RequestMirror, "requestMirror", filter.request_mirror.is_some()),
        (FilterType::RequestRedirect, "requestRedirect", filter.request_redirect.is_some()),
        (FilterType::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
        (FilterType::Cors, "cors", filter.cors.is_some()),
        (FilterType::ExtensionRef, "extensionRef", filter.extension_ref.is_some()),
    ];
    for (of, field, is) in given {
        if of == kind && !is {
            out.error(codes::MISSING, &at.field(field), format!("a filter {} needs {field}", kind.as_str()));
        } else if of != kind && is {
            let message = format!("{field} has no place in a filter {}", kind.as_str());
            out.error(codes::COMBINATION, &at.field(field), message);
        }
    }
    for (field, modifier) in [
        ("requestHeaderModifier", &filter.request_header_modifier),
        ("responseHeaderModifier", &filter.response_header_modifier),
    ] {
        if let Some(modifier) = modifier {
            headers(modifier, field == "requestHeaderModifier", &at.field(field), out);
        }
    }
    if let Some(mirror) = &filter.request_mirror {
        check_mirror(mirror, &at.field("requestMirror"), out);
    }
    if let Some(redirect) = &filter.request_redirect {
        check_redirect(redirect, &at.field("requestRedirect"), out);
    }
    if let Some(rewrite) = &filter.url_rewrite {
        let at = at.field("urlRewrite");
        if let Some(host) = &rewrite.hostname {
            precise_hostname(host, &at.field("hostname"), out);
        }
        if let Some(path) = &rewrite.path {
            check_modifier(path, &at.field("path"), out);
        }
    }
    if let Some(cors) = &filter.cors {
        let at = at.field("cors");
        values::not_negative(cors.max_age, &at.field("maxAge"), out);
        for (field, list) in [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)]
        {
            for (index, name) in list.iter().enumerate() {
                names::header_name(name, &at.field(field).index(index), out);
            }
        }
    }
    if kind == FilterType::ExtensionRef {
        // The API wants a route whose filter can't be applied to answer 500, not to go without it.
        let message = format!("the filter {} is not supported: the rule answers 500", kind.as_str());
        out.warn(codes::NO_EFFECT, &at.field("extensionRef"), message);
    }
}

fn headers(modifier: &HeaderFilter, request: bool, at: &Path<'_>, out: &mut Findings) {
    for (field, list) in [("set", &modifier.set), ("add", &modifier.add)] {
        for (index, header) in list.iter().enumerate() {
            let parent = at.field(field);
            let at = parent.index(index);
            if !names::is_token(&header.name) {
                let message = format!("\"{}\" is not the name of a header", names::shorten(&header.name));
                out.error(codes::HEADER, &at.field("name"), message);
            }
            if !request && header.name.eq_ignore_ascii_case("host") {
                let message = "Envoy does not change the header host of a response: it stays as it is";
                out.warn(codes::NO_EFFECT, &at.field("name"), message);
            }
            if header.value.len() > names::HEADER_VALUE_MAX {
                out.error(codes::HEADER, &at.field("value"), "the value has more than 16384 bytes");
            }
            if header.value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
                out.error(
                    codes::HEADER,
                    &at.field("value"),
                    "a header's value must not hold control characters",
                );
            }
        }
    }
    for (index, name) in modifier.remove.iter().enumerate() {
        if !names::is_token(name) {
            let message = format!("the header \"{}\" can't be removed", names::shorten(name));
            out.error(codes::HEADER, &at.field("remove").index(index), message);
        } else if name.eq_ignore_ascii_case("host") {
            let message = "Envoy does not remove the header host: it stays as it is";
            out.warn(codes::NO_EFFECT, &at.field("remove").index(index), message);
        }
    }
}

fn check_mirror(mirror: &RequestMirror, at: &Path<'_>, out: &mut Findings) {
    match &mirror.backend_ref {
        None => drop(out.error(codes::MISSING, &at.field("backendRef"), "a mirror needs a backend")),
        Some(backend) => {
            let name = routes::BackendName {
                name: &backend.name,
                port: backend.port,
                service: backend.is_service(),
            };
            routes::check_reference(&name, &at.field("backendRef"), out);
        }
    }
    values::at_most_one(
        &[("percent", mirror.percent.is_some()), ("fraction", mirror.fraction.is_some())],
        at,
        out,
    );
    values::whole_percentage(mirror.percent, &at.field("percent"), out);
    if let Some(fraction) = &mirror.fraction {
        let denominator = fraction.denominator.unwrap_or(100);
        if denominator < 1 || !(0..=denominator).contains(&fraction.numerator) {
            out.error(codes::PERCENTAGE, &at.field("fraction"), "the fraction must be within 0 and 1");
        }
    }
}

fn check_redirect(redirect: &RequestRedirect, at: &Path<'_>, out: &mut Findings) {
    if redirect.scheme.as_deref().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        out.error(codes::URI, &at.field("scheme"), "the scheme is http or https");
    }
    if let Some(host) = &redirect.hostname {
        precise_hostname(host, &at.field("hostname"), out);
    }
    if let Some(path) = &redirect.path {
        check_modifier(path, &at.field("path"), out);
    }
    values::maybe_port(redirect.port, &at.field("port"), out);
    if redirect.status_code.is_some_and(|code| !matches!(code, 301 | 302 | 303 | 307 | 308)) {
        out.error(codes::RANGE, &at.field("statusCode"), "the code is 301, 302, 303, 307 or 308");
    }
}

fn precise_hostname(host: &str, at: &Path<'_>, out: &mut Findings) {
    if host.starts_with('*') {
        out.error(codes::HOST, at, "the hostname must not have a wildcard");
    } else {
        hostname(host, at, out);
    }
}

fn check_modifier(modifier: &PathModifier, at: &Path<'_>, out: &mut Findings) {
    let (full, prefix) = (modifier.replace_full_path.is_some(), modifier.replace_prefix_match.is_some());
    let wanted = match modifier.kind {
        None => {
            out.error(codes::MISSING, &at.field("type"), "a path modifier needs a type");
            return;
        }
        Some(PathModifierType::ReplaceFullPath) => ("replaceFullPath", full, prefix),
        Some(PathModifierType::ReplacePrefixMatch) => ("replacePrefixMatch", prefix, full),
    };
    let (field, own, other) = wanted;
    if !own || other {
        out.error(codes::COMBINATION, &at.field(field), format!("this type takes {field} and nothing else"));
    }
    for (field, text) in [
        ("replaceFullPath", &modifier.replace_full_path),
        ("replacePrefixMatch", &modifier.replace_prefix_match),
    ] {
        values::one_line(text.as_deref().unwrap_or_default(), &at.field(field), out);
    }
}

/// A prefix can be replaced only where a prefix is what matches.
pub(super) fn prefix_modifiers(filters: &[RouteFilter], prefixes: bool, at: &Path<'_>, out: &mut Findings) {
    for (index, filter) in filters.iter().enumerate() {
        let path = filter.request_redirect.as_ref().and_then(|redirect| redirect.path.as_ref());
        let path = path.or_else(|| filter.url_rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref()));
        let replaces = path.is_some_and(|path| path.kind == Some(PathModifierType::ReplacePrefixMatch));
        if replaces && !prefixes {
            let message = "ReplacePrefixMatch needs every match of the rule to be a PathPrefix";
            out.error(codes::COMBINATION, &at.index(index), message);
        }
    }
}
