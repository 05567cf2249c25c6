//! Requests that end the stream.

use thiserror::Error;

/// Why a stream is ended by the server.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// An ADS request without a type.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#aggregated-discovery-service>
    #[error("type_url is required on an aggregated stream")]
    NoType,
    /// Another type than that of the service.
    #[error("this service serves {expected}, not {given}")]
    OtherType {
        /// Type URL of the service.
        expected: &'static str,
        /// What was asked for.
        given: String,
    },
    /// A state-of-the-world request on a delta stream, or the other way round.
    #[error("a request of the other protocol variant")]
    OtherVariant,
    /// A name that is too long.
    #[error("a resource name of {given} bytes exceeds the limit of {limit} bytes")]
    NameTooLong {
        /// Its length.
        given: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Too many names.
    #[error("{given} resource names on one stream exceed the limit of {limit}")]
    TooManyNames {
        /// How many there would be.
        given: usize,
        /// What is allowed.
        limit: usize,
    },
}

impl Refusal {
    /// The gRPC status code: `INVALID_ARGUMENT` or `RESOURCE_EXHAUSTED`.
    /// <https://grpc.io/docs/guides/status-codes/>
    pub const fn code(&self) -> i32 {
        match self {
            Self::NoType | Self::OtherType { .. } | Self::OtherVariant | Self::NameTooLong { .. } => 3,
            Self::TooManyNames { .. } => 8,
        }
    }
}
