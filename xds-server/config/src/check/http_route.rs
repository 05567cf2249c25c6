//! The HTTP routes of a `VirtualService`.

use super::{names, values, values::Presence};
use crate::{
    codes,
    findings::Findings,
    istio::{
        CorsPolicy, HttpDirectResponse, HttpFault, HttpMatch, HttpRedirect, HttpRetry, HttpRewrite,
        HttpRoute, StringMatch,
    },
    path::Path,
};

/// Largest body of a direct response; Istio's own bound.
const BODY_MAX: usize = 1 << 20;

pub(super) fn check(route: &HttpRoute, at: &Path<'_>, out: &mut Findings) {
    action(route, at, out);
    for (index, wanted) in route.matches.iter().enumerate() {
        http_match(wanted, &at.field("match").index(index), out);
    }
    let destinations = at.field("route");
    for (index, entry) in route.route.iter().enumerate() {
        let at = destinations.index(index);
        values::destination(entry.destination.as_ref(), &at.field("destination"), out);
        values::headers(entry.headers.as_deref(), &at.field("headers"), out);
    }
    let weights: Vec<_> = route.route.iter().map(|entry| entry.weight).collect();
    values::weights(&weights, &destinations, out);
    if let Some(rewrite_rule) = &route.rewrite {
        rewrite(rewrite_rule, &at.field("rewrite"), out);
    }
    values::timeout(route.timeout, &at.field("timeout"), out);
    if let Some(policy) = &route.retries {
        retries(policy, &at.field("retries"), out);
    }
    if let Some(faults) = &route.fault {
        fault(faults, &at.field("fault"), out);
    }
    mirrors(route, at, out);
    if let Some(policy) = &route.cors_policy {
        cors(policy, &at.field("corsPolicy"), out);
    }
    values::headers(route.headers.as_deref(), &at.field("headers"), out);
}

/// What the route does: exactly one thing.
fn action(route: &HttpRoute, at: &Path<'_>, out: &mut Findings) {
    let actions = [
        ("route", !route.route.is_empty()),
        ("redirect", route.redirect.is_some()),
        ("directResponse", route.direct_response.is_some()),
        ("delegate", route.delegate.is_some()),
    ];
    let given: Vec<_> = actions.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    match &*given {
        [] => {
            out.error(codes::ACTION, at, "the route does nothing")
                .hint("give one of route, redirect, directResponse, delegate");
        }
        [_] => {}
        [_, second, ..] => {
            let message = format!("{} exclude each other", given.join(" and "));
            out.error(codes::ACTION, &at.field(second), message);
        }
    }
    if route.redirect.is_some() || route.direct_response.is_some() {
        for (field, is) in [("rewrite", route.rewrite.is_some()), ("fault", route.fault.is_some())] {
            // Faults go with a direct response, which Envoy's filter order allows.
            if is && (field == "rewrite" || route.redirect.is_some()) {
                let message = format!("{field} has no place on a route that forwards nothing");
                out.error(codes::COMBINATION, &at.field(field), message);
            }
        }
    }
    if let Some(rule) = &route.redirect {
        redirect(rule, &at.field("redirect"), out);
    }
    if let Some(response) = &route.direct_response {
        direct_response(response, &at.field("directResponse"), out);
    }
    if let Some(delegate) = &route.delegate {
        let at = at.field("delegate");
        if !names::is_dns_subdomain(&delegate.name) {
            out.error(codes::NAME, &at.field("name"), "a delegate needs the name of a VirtualService");
        }
        if !delegate.namespace.is_empty() && !names::is_dns_label(&delegate.namespace) {
            out.error(codes::NAME, &at.field("namespace"), "this is not a namespace");
        }
    }
}

fn http_match(wanted: &HttpMatch, at: &Path<'_>, out: &mut Findings) {
    let texts = [
        ("uri", &wanted.uri),
        ("scheme", &wanted.scheme),
        ("method", &wanted.method),
        ("authority", &wanted.authority),
    ];
    for (field, text) in texts {
        values::string_match(text.as_ref(), Presence::Pointless, &at.field(field), out);
    }
    if let Some(StringMatch::Exact(path) | StringMatch::Prefix(path)) = &wanted.uri
        && !path.starts_with(['/', '*'])
        && !path.is_empty()
    {
        let message = format!("\"{}\" never matches: a path begins with /", names::shorten(path));
        out.warn(codes::URI, &at.field("uri"), message);
    }
    if wanted.ignore_uri_case && matches!(wanted.uri, Some(StringMatch::Regex(_)) | None) {
        out.warn(
            codes::NO_EFFECT,
            &at.field("ignoreUriCase"),
            "ignoreUriCase has no effect, because only exact and prefix matches ignore the case",
        );
    }
    values::header_matches(&wanted.headers, &at.field("headers"), out);
    for (name, unwanted) in &wanted.without_headers {
        let parent = at.field("withoutHeaders");
        let at = parent.key(name);
        names::header_name(name, &at, out);
        // Here * is no expression: it means that the header must not be there at all.
        if *unwanted != StringMatch::Regex("*".to_owned()) {
            values::string_match(Some(unwanted), Presence::Allowed, &at, out);
        }
    }
    for (name, field, result) in [
        (&wanted.headers, "headers", "the match never holds"),
        (&wanted.without_headers, "withoutHeaders", "the condition always holds"),
    ]
    .into_iter()
    .flat_map(|(list, field, result)| list.keys().map(move |name| (name, field, result)))
    {
        if names::is_claim(name) {
            let message = format!("{result}, because tokens are not verified yet: no request has a claim");
            out.warn(codes::NO_EFFECT, &at.field(field).key(name), message);
        }
    }
    for (name, value) in &wanted.query_params {
        let parent = at.field("queryParams");
        let at = parent.key(name);
        if name.is_empty() {
            out.error(codes::NAME, &at, "a query parameter needs a name");
        }
        values::string_match(Some(value), Presence::Allowed, &at, out);
    }
    values::maybe_port(wanted.port, &at.field("port"), out);
    names::labels(&wanted.source_labels, &at.field("sourceLabels"), out);
    names::gateways(&wanted.gateways, &at.field("gateways"), out);
    if !wanted.source_namespace.is_empty() && !names::is_dns_label(&wanted.source_namespace) {
        out.error(codes::NAME, &at.field("sourceNamespace"), "this is not a namespace");
    }
}

fn redirect(rule: &HttpRedirect, at: &Path<'_>, out: &mut Findings) {
    values::at_most_one(
        &[("uri", !rule.uri.is_empty()), ("prefixRewrite", !rule.prefix_rewrite.is_empty())],
        at,
        out,
    );
    values::at_most_one(
        &[("port", rule.port.is_some()), ("derivePort", rule.derive_port.is_some())],
        at,
        out,
    );
    values::maybe_port(rule.port, &at.field("port"), out);
    for (field, text) in
        [("uri", &rule.uri), ("authority", &rule.authority), ("prefixRewrite", &rule.prefix_rewrite)]
    {
        values::one_line(text, &at.field(field), out);
    }
    if !matches!(&*rule.scheme, "" | "http" | "https") {
        out.error(codes::URI, &at.field("scheme"), "the scheme is http or https");
    }
    // Envoy has no others: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
    if rule.redirect_code.is_some_and(|code| !matches!(code, 301 | 302 | 303 | 307 | 308)) {
        out.error(codes::RANGE, &at.field("redirectCode"), "the code is 301, 302, 303, 307 or 308");
    }
    let given = !(rule.uri.is_empty() && rule.authority.is_empty() && rule.scheme.is_empty());
    if !given && rule.prefix_rewrite.is_empty() && rule.port.is_none() && rule.derive_port.is_none() {
        out.error(codes::ACTION, at, "the redirect changes nothing: it would be a loop");
    }
}

fn direct_response(response: &HttpDirectResponse, at: &Path<'_>, out: &mut Findings) {
    match response.status {
        None => drop(out.error(codes::MISSING, &at.field("status"), "a status is needed")),
        Some(200..=599) => {}
        Some(status) => {
            out.error(codes::RANGE, &at.field("status"), format!("{status} is not within 200..=599"));
        }
    }
    let Some(body) = &response.body else { return };
    let at = at.field("body");
    values::at_most_one(&[("string", body.string.is_some()), ("bytes", body.bytes.is_some())], &at, out);
    let text = body.string.as_ref().map_or(0, String::len);
    let size = text.max(body.bytes.as_ref().map_or(0, |bytes| bytes.0.len()));
    if size > BODY_MAX {
        out.error(codes::RANGE, &at, format!("the body has {size} bytes, at most {BODY_MAX} are allowed"));
    }
}

fn rewrite(rule: &HttpRewrite, at: &Path<'_>, out: &mut Findings) {
    let regex = rule.uri_regex_rewrite.as_ref();
    values::at_most_one(&[("uri", !rule.uri.is_empty()), ("uriRegexRewrite", regex.is_some())], at, out);
    if rule.uri.is_empty() && rule.authority.is_empty() && regex.is_none() {
        out.error(codes::ACTION, at, "the rewrite changes nothing")
            .hint("give one of uri, authority, uriRegexRewrite");
    }
    for (field, text) in [("uri", &rule.uri), ("authority", &rule.authority)] {
        values::one_line(text, &at.field(field), out);
    }
    if let Some(regex) = regex {
        let at = at.field("uriRegexRewrite");
        if regex.pattern.is_empty() {
            out.error(codes::MISSING, &at.field("match"), "an expression is needed");
        }
        let groups = values::regex(&regex.pattern, &at.field("match"), out);
        values::substitution(&regex.rewrite, groups, &at.field("rewrite"), out);
    }
}

pub(super) fn retries(policy: &HttpRetry, at: &Path<'_>, out: &mut Findings) {
    values::not_negative(Some(policy.attempts), &at.field("attempts"), out);
    let more = policy.per_try_timeout.is_some() || !policy.retry_on.is_empty();
    if policy.attempts == 0 && more {
        out.error(
            codes::COMBINATION,
            &at.field("attempts"),
            "with 0 attempts there are no retries to configure",
        )
        .hint("give the number of attempts, or only attempts: 0 to switch retries off");
    }
    values::timeout(policy.per_try_timeout, &at.field("perTryTimeout"), out);
    values::at_least_1ms(policy.backoff, &at.field("backoff"), out);
    for condition in policy.retry_on.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
        let known = match condition.parse::<u16>() {
            Ok(code) => (100..=599).contains(&code),
            Err(_) => RETRY_ON.contains(&condition),
        };
        if !known {
            let message = format!("\"{}\" is no condition for retries", names::shorten(condition));
            let near = crate::decode::nearest(condition, RETRY_ON.iter().copied());
            out.error(codes::UNKNOWN_VALUE, &at.field("retryOn"), message)
                .maybe_hint(near.map(|near| format!("did you mean {near}?")));
        }
    }
}

/// Envoy's conditions.
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on>
const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

fn fault(faults: &HttpFault, at: &Path<'_>, out: &mut Findings) {
    if faults.delay.is_none() && faults.abort.is_none() {
        out.error(codes::ACTION, at, "the fault does nothing").hint("give delay or abort");
    }
    if let Some(delay) = &faults.delay {
        let at = at.field("delay");
        if delay.exponential_delay.is_some() {
            // Istio accepts it, and does nothing either.
            let message = "exponentialDelay has no effect, because Envoy has no such delay";
            out.warn(codes::NO_EFFECT, &at.field("exponentialDelay"), message).hint("use fixedDelay");
        } else if delay.fixed_delay.is_none() {
            out.error(codes::MISSING, &at.field("fixedDelay"), "a delay needs fixedDelay");
        }
        values::at_least_1ms(delay.fixed_delay, &at.field("fixedDelay"), out);
        values::percent(delay.percentage.as_ref(), &at.field("percentage"), out);
        if delay.percentage.is_none() && delay.percent.is_none() {
            out.warn(codes::NO_EFFECT, &at, "without a percentage no request is delayed")
                .hint("give percentage: {value: 100} to delay all of them");
        }
        if delay.percent.is_some() {
            values::deprecated("percent", "percentage", &at, out);
        }
        values::whole_percentage(delay.percent, &at.field("percent"), out);
    }
    if let Some(abort) = &faults.abort {
        let at = at.field("abort");
        let kinds =
            [("httpStatus", abort.http_status.is_some()), ("grpcStatus", abort.grpc_status.is_some())];
        values::at_most_one(&kinds, &at, out);
        if abort.http2_error.is_some() {
            let message = "http2Error has no effect, because Envoy can't abort with an error of HTTP/2";
            out.warn(codes::NO_EFFECT, &at.field("http2Error"), message);
        } else if kinds.iter().all(|(_, is)| !is) {
            out.error(codes::MISSING, &at, "an abort needs httpStatus or grpcStatus");
        }
        if abort.http_status.is_some_and(|status| !(200..=599).contains(&status)) {
            out.error(codes::RANGE, &at.field("httpStatus"), "the status must be within 200..=599");
        }
        if abort.grpc_status.as_deref().is_some_and(|status| grpc_code(status).is_none()) {
            out.error(codes::UNKNOWN_VALUE, &at.field("grpcStatus"), "this is no status of gRPC")
                .hint("write its name, such as UNAVAILABLE");
        }
        values::percent(abort.percentage.as_ref(), &at.field("percentage"), out);
        if abort.percentage.is_none() {
            out.warn(codes::NO_EFFECT, &at, "without a percentage no request is aborted")
                .hint("give percentage: {value: 100} to abort all of them");
        }
    }
}

/// The number of a status of gRPC, given by name or number.
/// <https://grpc.io/docs/guides/status-codes/>
pub(crate) fn grpc_code(status: &str) -> Option<u32> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let by_name = NAMES.iter().position(|name| *name == status).and_then(|code| u32::try_from(code).ok());
    by_name.or_else(|| status.parse().ok().filter(|code| *code <= 16))
}

fn mirrors(route: &HttpRoute, at: &Path<'_>, out: &mut Findings) {
    let given = [("mirror", route.mirror.is_some()), ("mirrors", !route.mirrors.is_empty())];
    values::at_most_one(&given, at, out);
    if let Some(mirror) = &route.mirror {
        values::destination(Some(mirror), &at.field("mirror"), out);
    }
    for (index, mirror) in route.mirrors.iter().enumerate() {
        let parent = at.field("mirrors");
        let at = parent.index(index);
        values::destination(mirror.destination.as_ref(), &at.field("destination"), out);
        values::percent(mirror.percentage.as_ref(), &at.field("percentage"), out);
    }
    values::percent(route.mirror_percentage.as_ref(), &at.field("mirrorPercentage"), out);
    if let Some(percent) = route.mirror_percent {
        values::deprecated("mirrorPercent", "mirrorPercentage", at, out);
        values::percentage(f64::from(percent), &at.field("mirrorPercent"), out);
    }
    let share = if route.mirror_percentage.is_some() { "mirrorPercentage" } else { "mirrorPercent" };
    if route.mirror.is_none() && (route.mirror_percentage.is_some() || route.mirror_percent.is_some()) {
        out.warn(codes::NO_EFFECT, &at.field(share), "there is no mirror that this could be the share of");
    }
}

fn cors(policy: &CorsPolicy, at: &Path<'_>, out: &mut Findings) {
    if !policy.allow_origin.is_empty() {
        values::deprecated("allowOrigin", "allowOrigins", at, out);
    }
    for (index, origin) in policy.allow_origins.iter().enumerate() {
        let parent = at.field("allowOrigins");
        values::string_match(Some(origin), Presence::Pointless, &parent.index(index), out);
    }
    for (index, method) in policy.allow_methods.iter().enumerate() {
        if !names::is_token(method) {
            let message = format!("\"{}\" is not a method", names::shorten(method));
            out.error(codes::UNKNOWN_VALUE, &at.field("allowMethods").index(index), message);
        }
    }
    for (field, list) in [("allowHeaders", &policy.allow_headers), ("exposeHeaders", &policy.expose_headers)]
    {
        for (index, name) in list.iter().enumerate() {
            names::header_name(name, &at.field(field).index(index), out);
        }
    }
}
