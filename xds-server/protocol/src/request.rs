//! Requests of both codecs in one shape.

use std::{borrow::Cow, collections::BTreeMap};

use lateen_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::xdstp;

/// A request, without its node: that is the server's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// Type URL; may be empty on a separate stream.
    pub type_url: String,
    /// Nonce of the response that is answered; empty if none is.
    pub nonce: String,
    /// The client's words, if it rejects that response. Only this makes an answer a NACK, never a version.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-and-nack-semantics-summary>
    pub error: Option<String>,
    /// What it says about the subscription.
    pub change: Change,
}

/// What a request says about the subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The whole subscription.
    Sotw {
        /// All names.
        names: Vec<String>,
    },
    /// The subscription is what the type's last request said it is (state of the world).
    Repeated,
    /// The difference.
    Delta {
        /// Names to add.
        subscribe: Vec<String>,
        /// Names to take away.
        unsubscribe: Vec<String>,
        /// What the client holds, by name; looked at in a type's first request only.
        initial: BTreeMap<String, String>,
    },
}

impl Default for Change {
    fn default() -> Self {
        Self::Sotw { names: Vec::new() }
    }
}

fn all_normal(mut names: Vec<String>) -> Vec<String> {
    for name in &mut names {
        if let Cow::Owned(normal) = xdstp::normal(name) {
            *name = normal;
        }
    }
    names
}

fn keys_normal(versions: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let odd = |name: &String| matches!(xdstp::normal(name), Cow::Owned(_));
    if !versions.keys().any(odd) {
        return versions;
    }
    versions.into_iter().map(|(name, version)| (xdstp::normal(&name).into_owned(), version)).collect()
}

impl From<DiscoveryRequest> for Request {
    fn from(request: DiscoveryRequest) -> Self {
        Self {
            type_url: request.type_url,
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            change: Change::Sotw { names: all_normal(request.resource_names) },
        }
    }
}

impl From<DeltaDiscoveryRequest> for Request {
    fn from(request: DeltaDiscoveryRequest) -> Self {
        Self {
            type_url: request.type_url,
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            change: Change::Delta {
                subscribe: all_normal(request.resource_names_subscribe),
                unsubscribe: all_normal(request.resource_names_unsubscribe),
                initial: keys_normal(request.initial_resource_versions),
            },
        }
    }
}
