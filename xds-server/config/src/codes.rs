//! The codes of findings, one constant each; `docs/diagnostics.md` lists them for users.
//!
//! `LAT10xx` is about text, `LAT11xx` about one object, `LAT2xxx` about objects together. A code is never
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
    /// The document is not a Kubernetes-style object.
    NOT_AN_OBJECT = "LAT1010";
    /// The kind is unknown.
    UNKNOWN_KIND = "LAT1011";
    /// The kind is known, but not applied yet.
    NOT_APPLIED = "LAT1012";
    /// The kind is known, the version of its API is not.
    UNKNOWN_VERSION = "LAT1013";
    /// A name, a namespace or a label in the metadata is invalid.
    METADATA = "LAT1014";
    /// The object occurs twice in one text.
    DUPLICATE_OBJECT = "LAT1015";

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
    /// The field has no effect.
    NO_EFFECT = "LAT1114";
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
}
