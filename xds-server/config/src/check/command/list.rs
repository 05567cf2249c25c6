//! The commands of Envoy 1.40.

/// A command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) takes: Argument,
    /// May a longest length follow, as in `%REQ(a):10%`?
    pub(super) length: bool,
}

/// What a command takes in brackets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    /// Nothing.
    None,
    /// Nothing, or any text.
    Any,
    /// Any text.
    Some,
    /// A header, perhaps `?` and another one.
    Header,
    /// Nothing, or a format of `strftime`.
    Time,
    /// A key of the filter state, perhaps with its form.
    Filter,
    /// Two points in time, perhaps with a unit.
    Span,
    /// One of the words, perhaps `:` and more.
    Metadata(&'static [&'static str]),
    /// Nothing, or one of the words.
    Words(&'static [&'static str]),
    /// One of the words in upper or lower case.
    AnyCase(&'static [&'static str]),
    /// Nothing, or which path.
    Path,
    /// An expression in CEL.
    Expression,
    /// Commands in JSON.
    Commands,
}

impl Argument {
    pub(super) const fn is_needed(self) -> bool {
        !matches!(self, Self::None | Self::Any | Self::Time | Self::Words(_) | Self::Path)
    }
}

const METADATA: &[&str] =
    &["CLUSTER", "DYNAMIC", "LISTENER", "LISTENER_FILTER_CHAIN", "ROUTE", "UPSTREAM_HOST", "VIRTUAL_HOST"];
const CERTIFICATE: &[&str] = &["by", "cert", "chain", "dns", "hash", "subject", "uri"];

const fn plain(name: &'static str) -> Command {
    Command { name, takes: Argument::None, length: false }
}

const fn with(name: &'static str, takes: Argument, length: bool) -> Command {
    Command { name, takes, length }
}

pub(super) const COMMANDS: &[Command] = &[
    plain("ACCESS_LOG_TYPE"),
    plain("BYTES_RECEIVED"),
    plain("BYTES_RETRANSMITTED"),
    plain("BYTES_SENT"),
    with("CEL", Argument::Expression, true),
    with("CLUSTER_METADATA", Argument::Some, false),
    with("COALESCE", Argument::Commands, true),
    with("COMMON_DURATION", Argument::Span, false),
    plain("CONNECTION_ID"),
    plain("CONNECTION_TERMINATION_DETAILS"),
    plain("CUSTOM_FLAGS"),
    plain("DOWNSTREAM_CX_RTT"),
    plain("DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED"),
    plain("DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT"),
    plain("DOWNSTREAM_DETECTED_CLOSE_TYPE"),
    plain("DOWNSTREAM_DIRECT_LOCAL_ADDRESS"),
    plain("DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID"),
    with("DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT", Argument::Any, false),
    plain("DOWNSTREAM_DIRECT_LOCAL_PORT"),
    plain("DOWNSTREAM_DIRECT_REMOTE_ADDRESS"),
    with("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Argument::Any, false),
    plain("DOWNSTREAM_DIRECT_REMOTE_PORT"),
    plain("DOWNSTREAM_HANDSHAKE_DURATION"),
    plain("DOWNSTREAM_HEADER_BYTES_RECEIVED"),
    plain("DOWNSTREAM_HEADER_BYTES_SENT"),
    plain("DOWNSTREAM_LOCAL_ADDRESS"),
    plain("DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID"),
    with("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Argument::Any, false),
    plain("DOWNSTREAM_LOCAL_CLOSE_REASON"),
    plain("DOWNSTREAM_LOCAL_DNS_SAN"),
    plain("DOWNSTREAM_LOCAL_EMAIL_SAN"),
    plain("DOWNSTREAM_LOCAL_IP_SAN"),
    plain("DOWNSTREAM_LOCAL_OTHERNAME_SAN"),
    plain("DOWNSTREAM_LOCAL_PORT"),
    plain("DOWNSTREAM_LOCAL_SUBJECT"),
    plain("DOWNSTREAM_LOCAL_URI_SAN"),
    plain("DOWNSTREAM_PEER_CERT"),
    with("DOWNSTREAM_PEER_CERT_V_END", Argument::Time, false),
    with("DOWNSTREAM_PEER_CERT_V_START", Argument::Time, false),
    plain("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1"),
    plain("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256"),
    plain("DOWNSTREAM_PEER_CHAIN_SERIALS"),
    plain("DOWNSTREAM_PEER_DNS_SAN"),
    plain("DOWNSTREAM_PEER_EMAIL_SAN"),
    plain("DOWNSTREAM_PEER_FINGERPRINT_1"),
    plain("DOWNSTREAM_PEER_FINGERPRINT_256"),
    plain("DOWNSTREAM_PEER_IP_SAN"),
    plain("DOWNSTREAM_PEER_ISSUER"),
    plain("DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256"),
    plain("DOWNSTREAM_PEER_ISSUER_SERIAL"),
    plain("DOWNSTREAM_PEER_OTHERNAME_SAN"),
    plain("DOWNSTREAM_PEER_SERIAL"),
    plain("DOWNSTREAM_PEER_SUBJECT"),
    plain("DOWNSTREAM_PEER_URI_SAN"),
    plain("DOWNSTREAM_REMOTE_ADDRESS"),
    with("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Argument::Any, false),
    plain("DOWNSTREAM_REMOTE_PORT"),
    plain("DOWNSTREAM_TLS_CIPHER"),
    plain("DOWNSTREAM_TLS_GROUP"),
    plain("DOWNSTREAM_TLS_SESSION_ID"),
    plain("DOWNSTREAM_TLS_VERSION"),
    plain("DOWNSTREAM_TRANSPORT_FAILURE_REASON"),
    plain("DOWNSTREAM_WIRE_BYTES_RECEIVED"),
    plain("DOWNSTREAM_WIRE_BYTES_SENT"),
    plain("DURATION"),
    with("DYNAMIC_METADATA", Argument::Some, true),
    with("EMIT_TIME", Argument::Time, false),
    with("EMIT_TIME_LOCAL", Argument::Time, false),
    with("ENVIRONMENT", Argument::Some, true),
    plain("FILTER_CHAIN_NAME"),
    with("FILTER_STATE", Argument::Filter, true),
    with("GRPC_STATUS", Argument::Words(&["CAMEL_STRING", "SNAKE_STRING", "NUMBER"]), false),
    plain("GRPC_STATUS_NUMBER"),
    plain("HOSTNAME"),
    plain("LISTENER_NAME"),
    plain("LOCAL_REPLY_BODY"),
    with("METADATA", Argument::Metadata(METADATA), true),
    plain("PACKETS_RETRANSMITTED"),
    with("PATH", Argument::Path, true),
    plain("PROTOCOL"),
    with("QUERY_PARAM", Argument::Some, true),
    with("QUERY_PARAMS", Argument::Words(&["ORIG", "DECODED"]), true),
    with("REQ", Argument::Header, true),
    plain("REQUESTED_SERVER_NAME"),
    plain("REQUEST_DURATION"),
    with("REQUEST_HEADER", Argument::Header, true),
    plain("REQUEST_HEADERS_BYTES"),
    plain("REQUEST_TX_DURATION"),
    with("RESP", Argument::Header, true),
    plain("RESPONSE_CODE"),
    with("RESPONSE_CODE_DETAILS", Argument::Any, false),
    plain("RESPONSE_DURATION"),
    plain("RESPONSE_FLAGS"),
    plain("RESPONSE_FLAGS_LONG"),
    with("RESPONSE_HEADER", Argument::Header, true),
    plain("RESPONSE_HEADERS_BYTES"),
    with("RESPONSE_TRAILER", Argument::Header, true),
    plain("RESPONSE_TRAILERS_BYTES"),
    plain("RESPONSE_TX_DURATION"),
    plain("ROUNDTRIP_DURATION"),
    plain("ROUTE_NAME"),
    plain("ROUTE_RESOLUTION_COUNT"),
    plain("ROUTE_RESOLUTION_TIME_US"),
    plain("SPAN_ID"),
    with("START_TIME", Argument::Time, false),
    with("START_TIME_LOCAL", Argument::Time, false),
    plain("STREAM_ID"),
    with("STREAM_INFO_REQ", Argument::Header, true),
    plain("TLS_JA3_FINGERPRINT"),
    plain("TLS_JA4_FINGERPRINT"),
    plain("TRACE_ID"),
    with("TRAILER", Argument::Header, true),
    plain("UNIQUE_ID"),
    plain("UPSTREAM_CLUSTER"),
    plain("UPSTREAM_CLUSTER_RAW"),
    plain("UPSTREAM_CONNECTION_ID"),
    plain("UPSTREAM_CONNECTION_IDS_ATTEMPTED"),
    plain("UPSTREAM_CONNECTION_POOL_READY_DURATION"),
    plain("UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED"),
    plain("UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT"),
    plain("UPSTREAM_DETECTED_CLOSE_TYPE"),
    with("UPSTREAM_FILTER_STATE", Argument::Filter, true),
    plain("UPSTREAM_HEADER_BYTES_RECEIVED"),
    plain("UPSTREAM_HEADER_BYTES_SENT"),
    plain("UPSTREAM_HOST"),
    plain("UPSTREAM_HOSTS_ATTEMPTED"),
    plain("UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT"),
    plain("UPSTREAM_HOST_NAME"),
    plain("UPSTREAM_HOST_NAMES_ATTEMPTED"),
    plain("UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT"),
    plain("UPSTREAM_HOST_NAME_WITHOUT_PORT"),
    plain("UPSTREAM_LOCAL_ADDRESS"),
    with("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Argument::Any, false),
    plain("UPSTREAM_LOCAL_CLOSE_REASON"),
    plain("UPSTREAM_LOCAL_DNS_SAN"),
    plain("UPSTREAM_LOCAL_IP_SAN"),
    plain("UPSTREAM_LOCAL_PORT"),
    plain("UPSTREAM_LOCAL_URI_SAN"),
    with("UPSTREAM_METADATA", Argument::Some, false),
    plain("UPSTREAM_PEER_CERT"),
    with("UPSTREAM_PEER_CERT_V_END", Argument::Time, false),
    with("UPSTREAM_PEER_CERT_V_START", Argument::Time, false),
    plain("UPSTREAM_PEER_DNS_SAN"),
    plain("UPSTREAM_PEER_IP_SAN"),
    plain("UPSTREAM_PEER_ISSUER"),
    plain("UPSTREAM_PEER_SUBJECT"),
    plain("UPSTREAM_PEER_URI_SAN"),
    plain("UPSTREAM_PROTOCOL"),
    plain("UPSTREAM_REMOTE_ADDRESS"),
    plain("UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID"),
    with("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Argument::Any, false),
    plain("UPSTREAM_REMOTE_PORT"),
    plain("UPSTREAM_REQUEST_ATTEMPT_COUNT"),
    plain("UPSTREAM_SERVER_NAME"),
    plain("UPSTREAM_TLS_CIPHER"),
    plain("UPSTREAM_TLS_GROUP"),
    plain("UPSTREAM_TLS_SESSION_ID"),
    plain("UPSTREAM_TLS_VERSION"),
    plain("UPSTREAM_TRANSPORT_FAILURE_REASON"),
    plain("UPSTREAM_WIRE_BYTES_RECEIVED"),
    plain("UPSTREAM_WIRE_BYTES_SENT"),
    plain("VIRTUAL_CLUSTER_NAME"),
    with("XFCC_VALUE", Argument::AnyCase(CERTIFICATE), true),
];
