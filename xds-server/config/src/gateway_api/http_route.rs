//! `HTTPRoute`. <https://gateway-api.sigs.k8s.io/reference/spec/#httproute>

use super::{
    common::{ParentRef, SessionPersistence, backend},
    filters::RouteFilter,
};
use crate::decode::{GatewayDuration, choice, object};

object! {
    /// Routes of HTTP requests.
    pub struct HttpRoute {
        parent_refs: Vec<ParentRef> = "parentRefs",
        hostnames: Vec<String> = "hostnames",
        /// None is one rule that matches everything and has no backend.
        rules: Vec<HttpRouteRule> = "rules",
    }
    unsupported ["useDefaultGateways"] because "a route attaches to the parents that it names"
}

object! {
    /// Matches and what is done with what they match.
    pub struct HttpRouteRule {
        name: Option<String> = "name",
        /// Alternatives; none matches everything.
        matches: Vec<HttpRouteMatch> = "matches",
        filters: Vec<RouteFilter> = "filters",
        backend_refs: Vec<HttpBackendRef> = "backendRefs",
        timeouts: Option<HttpRouteTimeouts> = "timeouts",
        retry: Option<HttpRouteRetry> = "retry",
        session_persistence: Option<SessionPersistence> = "sessionPersistence"
            without_effect "sessions are not kept yet",
    }
}

object! {
    /// All conditions of one alternative.
    pub struct HttpRouteMatch {
        /// None is the prefix `/`.
        path: Option<PathMatch> = "path",
        headers: Vec<HeaderMatch> = "headers",
        query_params: Vec<QueryParamMatch> = "queryParams",
        method: Option<HttpMethod> = "method",
    }
}

object! {
    /// How the path must look.
    pub struct PathMatch {
        kind: Option<PathMatchType> = "type",
        /// None is `/`.
        value: Option<String> = "value",
    }
}

choice! {
    /// How a path is compared. Prefixes are compared element by element.
    pub enum PathMatchType {
        PathPrefix = "PathPrefix",
        Exact = "Exact",
        RegularExpression = "RegularExpression",
    }
}

object! {
    /// How a header must look.
    pub struct HeaderMatch {
        kind: ValueMatchType = "type",
        name: String = "name",
        value: String = "value",
    }
}

object! {
    /// How a query parameter must look.
    pub struct QueryParamMatch {
        kind: ValueMatchType = "type",
        name: String = "name",
        value: String = "value",
    }
}

choice! {
    /// How a value is compared.
    pub enum ValueMatchType {
        Exact = "Exact",
        RegularExpression = "RegularExpression",
    }
}

choice! {
    /// Methods of HTTP.
    pub enum HttpMethod {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Delete = "DELETE",
        Connect = "CONNECT",
        Options = "OPTIONS",
        Trace = "TRACE",
        Patch = "PATCH",
    }
}

object! {
    /// A backend with its share of the requests.
    pub struct HttpBackendRef {
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

backend!(HttpBackendRef);

object! {
    /// Timeouts; 0 switches one off.
    pub struct HttpRouteTimeouts {
        request: Option<GatewayDuration> = "request",
        backend_request: Option<GatewayDuration> = "backendRequest",
    }
}

object! {
    /// Retries.
    pub struct HttpRouteRetry {
        codes: Vec<u32> = "codes",
        attempts: Option<i32> = "attempts",
        backoff: Option<GatewayDuration> = "backoff",
    }
}
