//! Conditions of routes.
//! <https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPMatchRequest>

use lateen_config::{
    istio::{HttpMatch, Labels, Share, StringMatch},
    reference,
};
use lateen_model::Namespace;
use lateen_proto::envoy::{
    config::core::v3::RuntimeFractionalPercent,
    r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
};

use super::{
    super::{
        read::Routes,
        wire::{
            self,
            rds::{
                HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher::HeaderMatchSpecifier,
                query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
            },
        },
    },
    Context,
};

/// Can it match for this client, port and gateway? What is known beforehand is not asked of each request.
pub(super) fn can_match(wanted: &HttpMatch, from: &Routes, context: &Context<'_>) -> bool {
    !asks_for_claims(wanted)
        && wanted.port.is_none_or(|port| port == u32::from(context.listen_port))
        && source_matches(&wanted.source_labels, &wanted.source_namespace, context)
        && gateway_matches(&wanted.gateways, &from.namespace, context)
}

/// Claims of tokens are asked for as if they were headers, which a client could send itself. Tokens are not verified
/// yet: no request has a claim.
/// <https://istio.io/latest/docs/tasks/security/authentication/jwt-route/>
fn asks_for_claims(wanted: &HttpMatch) -> bool {
    wanted.headers.keys().any(|name| is_claim(name))
}

fn is_claim(name: &str) -> bool {
    name.starts_with("@request.auth.claims")
}

/// Is the client one of those that are asked for? It has a label when it satisfies a selector that asks for that.
pub(crate) fn source_matches(labels: &Labels, namespace: &str, context: &Context<'_>) -> bool {
    let has = |name: &str, value: &str| {
        context.selectors.iter().any(|selector| selector.get(name).is_some_and(|own| **own == *value))
    };
    let there = namespace.is_empty() || context.source_namespace.is_some_and(|own| own.as_str() == namespace);
    there && labels.iter().all(|(name, value)| has(name, value))
}

/// Is the gateway one of those that an object of `namespace` asks for?
pub(crate) fn gateway_matches(gateways: &[String], namespace: &Namespace, context: &Context<'_>) -> bool {
    gateways.is_empty()
        || gateways.iter().any(|reference| match (reference.as_str(), context.gateway.split_once('/')) {
            ("mesh", here) => here.is_none(),
            (_, None) => false,
            (reference, Some(here)) => reference::gateway(reference, namespace.as_str()) == here,
        })
}

/// The conditions that each request is asked for.
pub(super) fn translate(wanted: &HttpMatch) -> RouteMatch {
    let pseudo =
        [(":scheme", &wanted.scheme), (":method", &wanted.method), (":authority", &wanted.authority)];
    let pseudo = pseudo.into_iter().filter_map(|(name, value)| value.as_ref().map(|v| header(name, v)));
    let headers = wanted.headers.iter().map(|(name, value)| header(name, value));
    let without = wanted
        .without_headers
        .iter()
        .filter(|(name, _)| !is_claim(name))
        .map(|(name, value)| without(name, value));
    RouteMatch {
        path_specifier: Some(path(wanted.uri.as_ref())),
        case_sensitive: wanted.ignore_uri_case.then(|| false.into()),
        headers: headers.chain(without).chain(pseudo).collect(),
        query_parameters: wanted.query_params.iter().map(|(name, value)| query(name, value)).collect(),
        ..Default::default()
    }
}

/// The share of a route. Envoy draws one number for each request and compares it with each route's share, so shares
/// that count what is before them add up.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/traffic_splitting>
pub(super) fn share(share: Share) -> RuntimeFractionalPercent {
    let share = FractionalPercent { numerator: share.upto, denominator: DenominatorType::Million.into() };
    RuntimeFractionalPercent { default_value: Some(share), runtime_key: String::new() }
}

/// Does it match every request?
pub(crate) fn is_everything(matched: &RouteMatch) -> bool {
    let any_path = match &matched.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*",
        _ => false,
    };
    any_path
        && matched.runtime_fraction.is_none()
        && matched.headers.is_empty()
        && matched.query_parameters.is_empty()
}

fn path(uri: Option<&StringMatch>) -> PathSpecifier {
    match uri {
        None | Some(StringMatch::Present) => PathSpecifier::Prefix("/".into()),
        Some(StringMatch::Exact(text)) => PathSpecifier::Path(text.clone()),
        Some(StringMatch::Regex(text)) => PathSpecifier::SafeRegex(wire::regex(text)),
        Some(StringMatch::Prefix(text)) => PathSpecifier::Prefix(text.clone()),
    }
}

fn header(name: &str, value: &StringMatch) -> HeaderMatcher {
    let specifier = match wire::string_match(value) {
        Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}

/// A request without the header has not the value either. The expression `*`, which is none of RE2, stands for any
/// value, as in Istio: <https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPMatchRequest>
fn without(name: &str, value: &StringMatch) -> HeaderMatcher {
    let any = matches!(value, StringMatch::Regex(text) if text == "*");
    let value = if any { &StringMatch::Present } else { value };
    let mut matcher = header(name, value);
    matcher.invert_match = true;
    matcher.treat_missing_header_as_empty = *value != StringMatch::Present;
    matcher
}

fn query(name: &str, value: &StringMatch) -> QueryParameterMatcher {
    let specifier = match wire::string_match(value) {
        Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
        None => QueryParameterMatchSpecifier::PresentMatch(true),
    };
    QueryParameterMatcher { name: name.to_owned(), query_parameter_match_specifier: Some(specifier) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_has_a_claim_whatever_headers_it_has() {
        let claim =
            || [("@request.auth.claims.group".to_owned(), StringMatch::Exact("admin".to_owned()))].into();
        let with = HttpMatch { headers: claim(), ..HttpMatch::default() };
        assert!(asks_for_claims(&with));
        let without = HttpMatch { without_headers: claim(), ..HttpMatch::default() };
        assert!(!asks_for_claims(&without));
        assert!(translate(&without).headers.is_empty());
    }
}
