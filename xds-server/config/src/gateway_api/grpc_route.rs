//! `GRPCRoute`. <https://gateway-api.sigs.k8s.io/reference/spec/#grpcroute>

use super::{
    common::{ParentRef, SessionPersistence, backend},
    filters::RouteFilter,
    http_route::{HeaderMatch, ValueMatchType},
};
use crate::decode::object;

object! {
    /// Routes of gRPC calls.
    pub struct GrpcRoute {
        parent_refs: Vec<ParentRef> = "parentRefs",
        hostnames: Vec<String> = "hostnames",
        rules: Vec<GrpcRouteRule> = "rules",
    }
    unsupported ["useDefaultGateways"] because "a route attaches to the parents that it names"
}

object! {
    /// Matches and what is done with what they match.
    pub struct GrpcRouteRule {
        name: Option<String> = "name",
        /// Alternatives; none matches everything.
        matches: Vec<GrpcRouteMatch> = "matches",
        filters: Vec<RouteFilter> = "filters",
        backend_refs: Vec<GrpcBackendRef> = "backendRefs",
        session_persistence: Option<SessionPersistence> = "sessionPersistence"
            without_effect "sessions are not kept yet",
    }
}

object! {
    /// All conditions of one alternative.
    pub struct GrpcRouteMatch {
        method: Option<GrpcMethodMatch> = "method",
        headers: Vec<HeaderMatch> = "headers",
    }
}

object! {
    /// Which methods; at least one of service and method is given.
    pub struct GrpcMethodMatch {
        kind: ValueMatchType = "type",
        service: Option<String> = "service",
        method: Option<String> = "method",
    }
}

impl GrpcMethodMatch {
    /// The expression of the path that is asked for, where it takes one; what is not given is anything. Each of the two
    /// parts stands alone, whatever it holds.
    pub fn expression(&self) -> Option<String> {
        let (service, method) = (self.service.as_deref(), self.method.as_deref());
        match (self.kind, service, method) {
            (_, None, None) | (ValueMatchType::Exact, Some(_), _) => None,
            (ValueMatchType::Exact, None, Some(method)) => Some(format!("/[^/]+/{}", regex::escape(method))),
            (ValueMatchType::RegularExpression, service, method) => {
                let part = |given: Option<&str>| {
                    given.map_or_else(|| "[^/]+".to_owned(), |expression| format!("(?:{expression})"))
                };
                Some(format!("/{}/{}", part(service), part(method)))
            }
        }
    }
}

object! {
    /// A backend with its share of the calls.
    pub struct GrpcBackendRef {
        /// None is the core group.
        group: Option<String> = "group",
        /// None is `Service`.
        kind: Option<String> = "kind",
        name: String = "name",
        /// None is the route's own.
        namespace: Option<String> = "namespace",
        port: Option<u32> = "port",
        /// None is 1.
        weight: Option<i32> = "weight",
        filters: Vec<RouteFilter> = "filters",
    }
}

backend!(GrpcBackendRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_an_expression_stands_alone() {
        let of = |kind, service: Option<&str>, method: Option<&str>| {
            let (service, method) = (service.map(str::to_owned), method.map(str::to_owned));
            GrpcMethodMatch { kind, service, method, ..GrpcMethodMatch::default() }.expression()
        };
        let regex = ValueMatchType::RegularExpression;
        assert_eq!(of(regex, Some("foo|bar"), Some("Get.*")).as_deref(), Some("/(?:foo|bar)/(?:Get.*)"));
        assert_eq!(of(regex, Some("a|b"), None).as_deref(), Some("/(?:a|b)/[^/]+"));
        assert_eq!(of(ValueMatchType::Exact, None, Some("a.b")).as_deref(), Some("/[^/]+/a\\.b"));
        assert_eq!(of(ValueMatchType::Exact, Some("a"), Some("b")), None);
    }
}
