//! The codes of findings, one constant each; `docs/diagnostics.md` lists all of the project's for users, with
//! the codes of Kiali (`KIA`) and `istioctl analyze` (`IST`) that say about the same.
//!
//! `LAT0001` is about what has no effect, whoever finds it. `LAT10xx` is about text, `LAT11xx` about one object, `LAT20xx` about objects together. A code is never
//! reused for another meaning.

use lateen_model::diagnostic::Code;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: Code = Code($code);)*

        /// Every code with what it means.
        pub const ALL: &[(Code, &str)] = &[$(($name, concat!($($doc),+))),*];
    };
}

codes! {
    /// The field has no effect, for the reason given.
    NO_EFFECT = "LAT0001";

    /// The text is larger than what is read.
    TOO_LARGE = "LAT1001";
    /// The text is not UTF-8.
    NOT_UTF8 = "LAT1002";
    /// The text is not YAML.
    SYNTAX = "LAT1003";
    /// A key occurs twice in one map.
    DUPLICATE_KEY = "LAT1004";
    /// The text needs more nodes, depth or alias expansion than is granted.
    BUDGET = "LAT1005";
    /// YAML that has no meaning in configuration: a tag, a key that is not text.
    YAML_FEATURE = "LAT1006";
    /// More findings exist than are reported.
    SUPPRESSED = "LAT1007";
    /// The regular expressions of the text together ask for more work than is granted.
    EXPRESSIONS = "LAT1008";
    /// The document is not a Kubernetes-style object.
    NOT_AN_OBJECT = "LAT1010";
    /// The kind is unknown in a group whose kinds are all known: it is a typo, or in another group.
    UNKNOWN_KIND = "LAT1011";
    /// The kind is known, but not applied yet.
    NOT_APPLIED = "LAT1012";
    /// The kind is known, the version of its API is not.
    UNKNOWN_VERSION = "LAT1013";
    /// A name, a namespace or a label in the metadata is invalid.
    METADATA = "LAT1014";
    /// The object occurs twice in one text.
    DUPLICATE_OBJECT = "LAT1015";
    /// The kind is of an API that is not read here.
    FOREIGN_KIND = "LAT1016";

    /// The field does not exist.
    UNKNOWN_FIELD = "LAT1101";
    /// The value has another type than the field.
    WRONG_TYPE = "LAT1102";
    /// The value is none of those that the field allows.
    UNKNOWN_VALUE = "LAT1103";
    /// The text is not a duration, or the duration is out of range.
    DURATION = "LAT1104";
    /// The number is out of range.
    RANGE = "LAT1105";
    /// A required field is missing or empty.
    MISSING = "LAT1106";
    /// Fields exclude each other.
    EXCLUSIVE = "LAT1107";
    /// The host name is invalid.
    HOST = "LAT1108";
    /// The port is invalid.
    PORT = "LAT1109";
    /// The regular expression is invalid or too large.
    REGEX = "LAT1110";
    /// The header name or value is invalid.
    HEADER = "LAT1111";
    /// The percentage is invalid.
    PERCENTAGE = "LAT1112";
    /// The field is deprecated.
    DEPRECATED = "LAT1113";
    /// The address or subnet is invalid.
    ADDRESS = "LAT1115";
    /// Two parts of one object have the same name.
    DUPLICATE_PART = "LAT1116";
    /// A reference (`namespace/name`, `exportTo`) is invalid.
    REFERENCE = "LAT1117";
    /// Fields do not go together.
    COMBINATION = "LAT1118";
    /// The weights of the destinations leave nothing to route to.
    WEIGHTS = "LAT1119";
    /// The route does nothing, or two things at once.
    ACTION = "LAT1120";
    /// The path or URI is invalid.
    URI = "LAT1121";
    /// The name is invalid.
    NAME = "LAT1122";
    /// The text is not base64, or not what it should hold.
    ENCODING = "LAT1123";

    /// The host of a destination is unknown. KIA1101, IST0101.
    DESTINATION_HOST = "LAT2001";
    /// The subset of a destination is not defined. KIA1107, IST0101.
    DESTINATION_SUBSET = "LAT2002";
    /// The destination has no such port.
    DESTINATION_PORT = "LAT2003";
    /// The destination has several ports and the route names none. IST0112.
    DESTINATION_PORT_NEEDED = "LAT2004";
    /// The gateway is unknown. KIA1102, IST0101.
    GATEWAY_UNKNOWN = "LAT2005";
    /// Two objects route the same host on the same gateway. KIA1106, IST0109.
    HOST_TWICE = "LAT2006";
    /// No server of the gateway has the host. IST0132.
    HOST_NOT_IN_GATEWAY = "LAT2007";
    /// The route is never reached: earlier ones take all it matches. IST0130.
    UNREACHABLE = "LAT2008";
    /// The match has no effect: earlier ones take all of it. IST0131.
    USELESS_MATCH = "LAT2009";
    /// The same destination twice in one route. KIA1105.
    DESTINATION_TWICE = "LAT2010";
    /// A single destination with a weight below 100 gets everything all the same. KIA1104.
    SINGLE_WEIGHT = "LAT2011";
    /// The retries do not fit into the timeout.
    RETRIES_DO_NOT_FIT = "LAT2012";
    /// The object takes over a host of another namespace.
    FOREIGN_HOST = "LAT2013";
    /// The delegate is unknown, or is none.
    DELEGATE_UNKNOWN = "LAT2014";
    /// Nothing delegates to the object, and it has no hosts.
    DELEGATE_UNUSED = "LAT2015";
    /// HTTP routes for a host without a port that speaks HTTP.
    NOT_HTTP = "LAT2016";
    /// The host exists, but is not exported to the namespace.
    NOT_VISIBLE = "LAT2017";
    /// The host of the rule is unknown. KIA0202, IST0174.
    RULE_HOST = "LAT2020";
    /// The subset selects no workload. KIA0203, IST0173.
    SUBSET_EMPTY = "LAT2021";
    /// The subset has no labels: it is the whole service. KIA0209.
    SUBSET_WITHOUT_LABELS = "LAT2022";
    /// Two rules say the same of the same host. KIA0201.
    RULE_TWICE = "LAT2023";
    /// No route uses the subset.
    SUBSET_UNUSED = "LAT2024";
    /// Settings of a port that the host does not have.
    RULE_PORT = "LAT2025";
    /// The gateway's selector matches no workload. KIA0302, IST0127.
    GATEWAY_SELECTOR = "LAT2030";
    /// Two servers have the same host on the same port. KIA0301, IST0145.
    SERVER_TWICE = "LAT2031";
    /// Servers on one port have protocols that exclude each other.
    SERVER_PROTOCOL = "LAT2032";
    /// The secret with the certificate is unknown. IST0101, IST0161.
    SECRET_UNKNOWN = "LAT2033";
    /// Gateways share a certificate: browsers reuse connections across them. IST0138.
    SHARED_CERTIFICATE = "LAT2034";
    /// Nothing is bound to the gateway.
    GATEWAY_UNUSED = "LAT2035";
    /// The service of the gateway's proxies does not lead to the server's port. IST0162.
    SERVER_PORT = "LAT2036";
    /// Two entries define the same host and port. KIA1211.
    ENTRY_TWICE = "LAT2040";
    /// Two entries disagree about the protocol of a port. KIA1212, IST0177.
    ENTRY_PROTOCOL = "LAT2041";
    /// A TCP port without an address takes all connections to that port. IST0134.
    ENTRY_ADDRESS = "LAT2042";
    /// The entry's selector matches no workload. KIA0004, IST0127.
    ENTRY_SELECTOR = "LAT2043";
    /// The egress host is unknown. KIA1004.
    EGRESS_HOST = "LAT2050";
    /// Two Sidecars without selector in one namespace. KIA0002, IST0111.
    SIDECAR_TWICE = "LAT2051";
    /// Two Sidecars select the same workload. KIA0003, IST0110.
    SIDECAR_OVERLAP = "LAT2052";
    /// The Sidecar's selector matches no workload. KIA0004, IST0127.
    SIDECAR_SELECTOR = "LAT2053";
    /// A Sidecar of the root namespace has a selector. KIA1006.
    SIDECAR_ROOT = "LAT2054";
    /// The namespace in `exportTo` is unknown. KIA0005.
    EXPORT_NAMESPACE = "LAT2060";
    /// The port's name does not begin with a protocol. KIA0601, IST0118.
    PORT_NAME = "LAT2061";
    /// The application protocol is unknown. KIA0602.
    APP_PROTOCOL = "LAT2062";
    /// The service's selector matches no workload. IST0127.
    SERVICE_SELECTOR = "LAT2063";
    /// The slice belongs to no service.
    SLICE_SERVICE = "LAT2064";
    /// Another service gives the same port of the same workloads another protocol. IST0116.
    PORT_PROTOCOLS = "LAT2065";
    /// Another service has another port for the same port of the same workloads. IST0137.
    PORT_NUMBERS = "LAT2066";
    /// The parent is unknown. KIA1401.
    PARENT_UNKNOWN = "LAT2070";
    /// The backend is unknown. KIA1402.
    BACKEND_UNKNOWN = "LAT2071";
    /// The backend has no such port.
    BACKEND_PORT = "LAT2072";
    /// The secret of the listener is unknown.
    LISTENER_SECRET = "LAT2073";
    /// The grant is for an unknown namespace. KIA1601.
    GRANT_NAMESPACE = "LAT2074";
    /// Two gateways ask for one address. KIA1502.
    GATEWAY_ADDRESS = "LAT2075";
    /// The rule has no backend: its requests are answered with 500.
    NO_BACKEND = "LAT2076";
}
