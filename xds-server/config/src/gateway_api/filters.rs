//! Filters of routes. <https://gateway-api.sigs.k8s.io/reference/spec/#httproutefilter>

use super::common::{BackendObjectRef, LocalObjectRef};
use crate::decode::{choice, object};

object! {
    /// What is done with a request or its response. `kind` says which of the other fields is used.
    pub struct RouteFilter {
        kind: Option<FilterType> = "type",
        request_header_modifier: Option<HeaderFilter> = "requestHeaderModifier",
        response_header_modifier: Option<HeaderFilter> = "responseHeaderModifier",
        request_mirror: Option<RequestMirror> = "requestMirror",
        request_redirect: Option<RequestRedirect> = "requestRedirect",
        url_rewrite: Option<UrlRewrite> = "urlRewrite",
        cors: Option<CorsFilter> = "cors",
        extension_ref: Option<LocalObjectRef> = "extensionRef",
    }
    unsupported ["externalAuth"] because "the filter ExternalAuth can't be applied: its rule answers 500"
}

choice! {
    /// Which filter it is.
    pub enum FilterType {
        RequestHeaderModifier = "RequestHeaderModifier",
        ResponseHeaderModifier = "ResponseHeaderModifier",
        RequestMirror = "RequestMirror",
        RequestRedirect = "RequestRedirect",
        UrlRewrite = "URLRewrite",
        Cors = "CORS",
        ExternalAuth = "ExternalAuth",
        ExtensionRef = "ExtensionRef",
    }
}

object! {
    /// Changes headers.
    pub struct HeaderFilter {
        set: Vec<HeaderValue> = "set",
        add: Vec<HeaderValue> = "add",
        remove: Vec<String> = "remove",
    }
}

object! {
    /// A header.
    pub struct HeaderValue {
        name: String = "name",
        value: String = "value",
    }
}

object! {
    /// Sends a copy of a share of the requests; all of them where neither share is given.
    pub struct RequestMirror {
        backend_ref: Option<BackendObjectRef> = "backendRef",
        percent: Option<i32> = "percent",
        fraction: Option<Fraction> = "fraction",
    }
}

object! {
    /// A share.
    pub struct Fraction {
        numerator: i32 = "numerator",
        /// None is 100.
        denominator: Option<i32> = "denominator",
    }
}

object! {
    /// Answers with a redirect.
    pub struct RequestRedirect {
        scheme: Option<String> = "scheme",
        hostname: Option<String> = "hostname",
        path: Option<PathModifier> = "path",
        port: Option<u32> = "port",
        /// None is 302.
        status_code: Option<u32> = "statusCode",
    }
}

object! {
    /// Rewrites before forwarding.
    pub struct UrlRewrite {
        hostname: Option<String> = "hostname",
        path: Option<PathModifier> = "path",
    }
}

object! {
    /// How the path changes.
    pub struct PathModifier {
        kind: Option<PathModifierType> = "type",
        replace_full_path: Option<String> = "replaceFullPath",
        replace_prefix_match: Option<String> = "replacePrefixMatch",
    }
}

choice! {
    /// Which part of the path changes.
    pub enum PathModifierType {
        ReplaceFullPath = "ReplaceFullPath",
        ReplacePrefixMatch = "ReplacePrefixMatch",
    }
}

object! {
    /// Cross-origin requests.
    pub struct CorsFilter {
        allow_origins: Vec<String> = "allowOrigins",
        allow_credentials: Option<bool> = "allowCredentials",
        allow_methods: Vec<String> = "allowMethods",
        allow_headers: Vec<String> = "allowHeaders",
        expose_headers: Vec<String> = "exposeHeaders",
        /// Seconds.
        max_age: Option<i32> = "maxAge",
    }
}
