//! Requests with tokens that nobody can look at yet.

use std::collections::BTreeMap;

use lateen_config::istio::{JwtPresence, JwtRule};
use lateen_proto::{
    envoy::{
        config::{
            core::v3::{DataSource, data_source::Specifier},
            route::v3::{RouteMatch, route_match::PathSpecifier},
        },
        extensions::filters::http::jwt_authn::v3::{
            JwtAuthentication, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement,
            JwtRequirementOrList, RequirementRule, jwt_provider::JwksSourceSpecifier,
            jwt_requirement::RequiresType, requirement_rule::RequirementType,
        },
    },
    google::protobuf::Empty,
};

/// A key that nobody holds: Envoy refuses a provider without one. Its x on P-256 is the SHA-256 of `lateen: nobody holds
/// this key, 0`, and y the even one of the two roots, so that nobody can have chosen it with its secret.
const NOBODYS_KEY: &str = concat!(
    r#"{"keys":[{"kty":"EC","crv":"P-256","x":"KCOT9JiCFCgsXcAmsms7ipzsQOTsLV06q6MO7YM_wZA","#,
    r#""y":"fXv_4AEA1kGlafhsxKa8445Iv8TidJUMU_fDQ2648I4"}]}"#
);

/// Answers 401 to requests that carry a token where one of the rules looks for it; requests without a token pass,
/// unless a rule requires one. What the rules would tell a workload in headers, no client tells it.
/// <https://istio.io/latest/docs/reference/config/security/request_authentication/>
pub(super) fn refused(rules: &[JwtRule]) -> JwtAuthentication {
    let optional = rules.iter().all(|rule| rule.presence == JwtPresence::Optional);
    checked(rules, optional.then_some(RequiresType::AllowMissing(Empty {})))
}

/// Answers requests as if there were no rules, but takes away the headers in which the rules would tell a workload of
/// a token: they would be the client's own words.
pub(super) fn ignored(rules: &[JwtRule]) -> JwtAuthentication {
    let tells = |rule: &&JwtRule| {
        !rule.output_payload_to_header.is_empty() || !rule.output_claim_to_headers.is_empty()
    };
    let telling: Vec<JwtRule> = rules.iter().filter(tells).cloned().collect();
    checked(&telling, Some(RequiresType::AllowMissingOrFailed(Empty {})))
}

/// A request passes that has what one of the rules asks for, and there is none, or else what passes besides.
fn checked(rules: &[JwtRule], besides: Option<RequiresType>) -> JwtAuthentication {
    if rules.is_empty() {
        return JwtAuthentication::default();
    }
    let named = || (0..).zip(rules).map(|(index, rule): (u32, _)| (format!("rule-{index}"), rule));
    let providers: BTreeMap<String, JwtProvider> =
        named().map(|(name, rule)| (name, provider(rule))).collect();
    let by_name = named().map(|(name, _)| RequiresType::ProviderName(name));
    let mut any: Vec<JwtRequirement> =
        by_name.chain(besides).map(|what| JwtRequirement { requires_type: Some(what) }).collect();
    let requires = if any.len() == 1 {
        any.pop()
    } else {
        let list = JwtRequirementOrList { requirements: any };
        Some(JwtRequirement { requires_type: Some(RequiresType::RequiresAny(list)) })
    };
    let everything =
        RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..Default::default() };
    JwtAuthentication {
        providers,
        rules: vec![RequirementRule {
            r#match: Some(everything),
            requirement_type: requires.map(RequirementType::Requires),
        }],
        // A preflight carries no token of its own: https://fetch.spec.whatwg.org/#cors-preflight-fetch
        bypass_cors_preflight: true,
        ..Default::default()
    }
}

/// Answers 401 to all requests.
pub(super) fn everything_refused() -> JwtAuthentication {
    let required = JwtRule { presence: JwtPresence::Required, ..Default::default() };
    JwtAuthentication { bypass_cors_preflight: false, ..refused(&[required]) }
}

/// Where a rule looks for tokens, and the headers that only it may set; without a place of its own where Envoy does: the `Authorization` header and the
/// parameter `access_token`. Of whichever issuer, since none can be told to be right.
fn provider(rule: &JwtRule) -> JwtProvider {
    let header = |from: &lateen_config::istio::JwtHeader| JwtHeader {
        name: from.name.clone(),
        value_prefix: from.prefix.clone(),
    };
    JwtProvider {
        from_headers: rule.from_headers.iter().map(header).collect(),
        from_params: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        forward_payload_header: rule.output_payload_to_header.clone(),
        claim_to_headers: rule
            .output_claim_to_headers
            .iter()
            .map(|to| JwtClaimToHeader {
                header_name: to.header.clone(),
                claim_name: to.claim.clone(),
                ..Default::default()
            })
            .collect(),
        jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(DataSource {
            specifier: Some(Specifier::InlineString(NOBODYS_KEY.to_owned())),
            ..Default::default()
        })),
        ..Default::default()
    }
}
