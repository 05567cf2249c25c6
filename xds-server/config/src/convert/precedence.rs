//! Which of several matching rules is taken.
//!
//! <https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule> for HTTP,
//! <https://gateway-api.sigs.k8s.io/reference/spec/#grpcrouterule> for gRPC.

use std::cmp::Reverse;

use crate::{
    gateway_api::{GrpcRouteMatch, HttpRouteMatch, PathMatchType},
    object::ParsedObject,
    precedence::age,
};

/// Position of a match among all matches for a host: the smallest is asked first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank {
    match_: MatchRank,
    age: i64,
    route: String,
    rule: usize,
    alternative: usize,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct MatchRank {
    path: PathRank,
    path_length: Reverse<usize>,
    method: Reverse<bool>,
    method_length: Reverse<usize>,
    headers: Reverse<usize>,
    query_params: Reverse<usize>,
}

/// The specification leaves expressions to implementations. They stand before prefixes, because the prefix `/`
/// would hide them all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum PathRank {
    Exact,
    Expression,
    Prefix,
}

/// Where a match stands in its route.
#[derive(Clone, Copy)]
pub struct Position {
    /// The rule.
    pub rule: usize,
    /// The match in the rule.
    pub alternative: usize,
}

impl Rank {
    /// Of an HTTP match.
    pub fn http(route: &ParsedObject, at: Position, matched: &HttpRouteMatch) -> Self {
        let (kind, value) = match &matched.path {
            Some(path) => (path.kind.unwrap_or_default(), path.value.as_deref().unwrap_or("/")),
            None => (PathMatchType::PathPrefix, "/"),
        };
        let path = match kind {
            PathMatchType::Exact => PathRank::Exact,
            PathMatchType::RegularExpression => PathRank::Expression,
            PathMatchType::PathPrefix => PathRank::Prefix,
        };
        let match_ = MatchRank {
            path,
            // `/a/` and `/a` are the same prefix.
            path_length: Reverse(value.trim_end_matches('/').chars().count()),
            method: Reverse(matched.method.is_some()),
            method_length: Reverse(0),
            headers: Reverse(matched.headers.len()),
            query_params: Reverse(matched.query_params.len()),
        };
        Self::of(route, at, match_)
    }

    /// Of a gRPC match.
    pub fn grpc(route: &ParsedObject, at: Position, matched: &GrpcRouteMatch) -> Self {
        let length = |text: Option<&String>| text.map_or(0, |text| text.chars().count());
        let method = matched.method.as_ref();
        let service = method.and_then(|method| method.service.as_ref());
        let name = method.and_then(|method| method.method.as_ref());
        // "Characters in a matching service", then "in a matching method", whichever way they match.
        let match_ = MatchRank {
            path: PathRank::Exact,
            path_length: Reverse(length(service)),
            method: Reverse(name.is_some()),
            method_length: Reverse(length(name)),
            headers: Reverse(matched.headers.len()),
            query_params: Reverse(0),
        };
        Self::of(route, at, match_)
    }

    fn of(route: &ParsedObject, at: Position, match_: MatchRank) -> Self {
        Self {
            match_,
            age: age(route),
            route: format!("{}/{}", route.key.namespace, route.key.name),
            rule: at.rule,
            alternative: at.alternative,
        }
    }
}
