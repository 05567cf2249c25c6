//! `VirtualService`. <https://istio.io/latest/docs/reference/config/networking/virtual-service/>

use std::{collections::BTreeMap, time::Duration};

use super::common::{Destination, Headers, Labels, Percent, StringMatch};
use crate::decode::{Bytes, choice, object};

object! {
    /// Routes of hosts.
    pub struct VirtualService {
        hosts: Vec<String> = "hosts",
        /// Empty is the same as `mesh`.
        gateways: Vec<String> = "gateways",
        http: Vec<HttpRoute> = "http",
        tls: Vec<TlsRoute> = "tls",
        tcp: Vec<TcpRoute> = "tcp",
        export_to: Vec<String> = "exportTo",
    }
    made {
        /// Holds for connections to the service's own addresses, whatever host their requests name.
        by_address: bool,
    }
}

object! {
    /// One HTTP route: the first that matches is taken.
    pub struct HttpRoute {
        name: String = "name",
        /// Alternatives; none matches everything.
        matches: Vec<HttpMatch> = "match",
        route: Vec<HttpRouteDestination> = "route",
        redirect: Option<Box<HttpRedirect>> = "redirect",
        direct_response: Option<Box<HttpDirectResponse>> = "directResponse",
        delegate: Option<Box<Delegate>> = "delegate",
        rewrite: Option<Box<HttpRewrite>> = "rewrite",
        timeout: Option<Duration> = "timeout",
        retries: Option<Box<HttpRetry>> = "retries",
        fault: Option<Box<HttpFault>> = "fault",
        mirror: Option<Destination> = "mirror",
        mirrors: Vec<HttpMirror> = "mirrors",
        mirror_percentage: Option<Percent> = "mirrorPercentage",
        /// Deprecated form of `mirror_percentage`.
        mirror_percent: Option<u32> = "mirrorPercent",
        cors_policy: Option<Box<CorsPolicy>> = "corsPolicy",
        headers: Option<Box<Headers>> = "headers",
    }
    made {
        /// Takes only this share of the requests that match; the others go on to the next route.
        share: Option<Share>,
        /// A destination that does not exist is answered 500, as the Gateway API demands, and not 503.
        missing_is_500: bool,
    }
}

/// A share of the requests that reach a rule. All shares of a rule are cut from one random number of the request,
/// so each counts what the shares before it take as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Out of a million.
    pub upto: u32,
}

object! {
    /// All conditions of one alternative.
    pub struct HttpMatch {
        name: String = "name",
        uri: Option<StringMatch> = "uri",
        scheme: Option<StringMatch> = "scheme",
        method: Option<StringMatch> = "method",
        authority: Option<StringMatch> = "authority",
        headers: BTreeMap<String, StringMatch> = "headers",
        without_headers: BTreeMap<String, StringMatch> = "withoutHeaders",
        query_params: BTreeMap<String, StringMatch> = "queryParams",
        ignore_uri_case: bool = "ignoreUriCase",
        port: Option<u32> = "port",
        source_labels: Labels = "sourceLabels",
        source_namespace: String = "sourceNamespace",
        gateways: Vec<String> = "gateways",
        stat_prefix: String = "statPrefix",
    }
}

object! {
    /// A destination with its share of the requests.
    pub struct HttpRouteDestination {
        destination: Option<Destination> = "destination",
        weight: Option<i32> = "weight",
        headers: Option<Box<Headers>> = "headers",
    }
}

object! {
    /// A destination with its share of the connections.
    pub struct RouteDestination {
        destination: Option<Destination> = "destination",
        weight: Option<i32> = "weight",
    }
}

object! {
    /// Answers with a redirect.
    pub struct HttpRedirect {
        uri: String = "uri",
        authority: String = "authority",
        port: Option<u32> = "port",
        derive_port: Option<RedirectPort> = "derivePort",
        scheme: String = "scheme",
        redirect_code: Option<u32> = "redirectCode",
        prefix_rewrite: String = "prefixRewrite",
    }
}

choice! {
    /// Where the port of a redirect comes from.
    pub enum RedirectPort {
        FromProtocolDefault = "FROM_PROTOCOL_DEFAULT",
        FromRequestPort = "FROM_REQUEST_PORT",
    }
}

object! {
    /// Answers with a fixed response.
    pub struct HttpDirectResponse {
        status: Option<u32> = "status",
        body: Option<HttpBody> = "body",
    }
}

object! {
    /// The body of a direct response: text or bytes.
    pub struct HttpBody {
        string: Option<String> = "string",
        bytes: Option<Bytes> = "bytes",
    }
}

object! {
    /// Another `VirtualService` whose routes are put in this one's place.
    pub struct Delegate {
        name: String = "name",
        namespace: String = "namespace",
    }
}

object! {
    /// Rewrites before forwarding.
    pub struct HttpRewrite {
        uri: String = "uri",
        authority: String = "authority",
        uri_regex_rewrite: Option<RegexRewrite> = "uriRegexRewrite",
    }
}

object! {
    /// Rewrites the part of the path that an RE2 expression matches.
    pub struct RegexRewrite {
        pattern: String = "match",
        rewrite: String = "rewrite",
    }
}

object! {
    /// Retries of failed requests.
    pub struct HttpRetry {
        /// 0 switches retries off.
        attempts: i32 = "attempts",
        per_try_timeout: Option<Duration> = "perTryTimeout",
        /// Envoy's conditions and status codes, with commas between them.
        retry_on: String = "retryOn",
        retry_remote_localities: Option<bool> = "retryRemoteLocalities",
        retry_ignore_previous_hosts: Option<bool> = "retryIgnorePreviousHosts",
        backoff: Option<Duration> = "backoff",
    }
}

object! {
    /// Faults that are injected.
    pub struct HttpFault {
        delay: Option<FaultDelay> = "delay",
        abort: Option<FaultAbort> = "abort",
    }
}

object! {
    /// Delays requests.
    pub struct FaultDelay {
        fixed_delay: Option<Duration> = "fixedDelay",
        exponential_delay: Option<Duration> = "exponentialDelay",
        /// None is all requests.
        percentage: Option<Percent> = "percentage",
        /// Deprecated form of `percentage`.
        percent: Option<i32> = "percent",
    }
}

/// The number of a status of gRPC, given by name (`UNAVAILABLE`) or number.
pub fn grpc_code(status: &str) -> Option<u32> {
    crate::check::grpc_code(status)
}

object! {
    /// Answers requests with an error.
    pub struct FaultAbort {
        http_status: Option<i32> = "httpStatus",
        /// A name (`UNAVAILABLE`) or number of gRPC's codes.
        grpc_status: Option<String> = "grpcStatus",
        http2_error: Option<String> = "http2Error",
        /// None is all requests.
        percentage: Option<Percent> = "percentage",
    }
}

object! {
    /// A copy of a share of the requests.
    pub struct HttpMirror {
        destination: Option<Destination> = "destination",
        /// None is all requests.
        percentage: Option<Percent> = "percentage",
    }
}

object! {
    /// Cross-origin requests.
    pub struct CorsPolicy {
        /// Deprecated form of `allow_origins`.
        allow_origin: Vec<String> = "allowOrigin",
        allow_origins: Vec<StringMatch> = "allowOrigins",
        allow_methods: Vec<String> = "allowMethods",
        allow_headers: Vec<String> = "allowHeaders",
        expose_headers: Vec<String> = "exposeHeaders",
        max_age: Option<Duration> = "maxAge",
        allow_credentials: Option<bool> = "allowCredentials",
        unmatched_preflights: UnmatchedPreflights = "unmatchedPreflights",
    }
}

choice! {
    /// What happens to preflight requests whose origin does not match.
    pub enum UnmatchedPreflights {
        Unspecified = "UNSPECIFIED",
        Forward = "FORWARD",
        Ignore = "IGNORE",
    }
}

object! {
    /// A route of TLS connections that are passed through, by SNI.
    pub struct TlsRoute {
        matches: Vec<TlsMatch> = "match",
        route: Vec<RouteDestination> = "route",
    }
}

object! {
    /// All conditions of one alternative.
    pub struct TlsMatch {
        sni_hosts: Vec<String> = "sniHosts",
        destination_subnets: Vec<String> = "destinationSubnets",
        port: Option<u32> = "port",
        source_labels: Labels = "sourceLabels",
        gateways: Vec<String> = "gateways",
        source_namespace: String = "sourceNamespace",
    }
}

object! {
    /// A route of TCP connections.
    pub struct TcpRoute {
        matches: Vec<L4Match> = "match",
        route: Vec<RouteDestination> = "route",
    }
}

object! {
    /// All conditions of one alternative.
    pub struct L4Match {
        destination_subnets: Vec<String> = "destinationSubnets",
        port: Option<u32> = "port",
        source_subnet: String = "sourceSubnet",
        source_labels: Labels = "sourceLabels",
        gateways: Vec<String> = "gateways",
        source_namespace: String = "sourceNamespace",
    }
}
