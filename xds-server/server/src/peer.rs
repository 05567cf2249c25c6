//! Who is at the other end of a connection. Identity comes from here, never from what a client says of itself.

use std::{net::SocketAddr, sync::Arc};

use tonic::Status;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The authenticated end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Remote address in words: `127.0.0.1:5000`, `unix`.
    pub address: Arc<str>,
    /// What was proven.
    pub identity: Identity,
}

/// What a connection proves about its client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// Plaintext over loopback or a Unix socket: any process of this machine.
    Local {
        /// User id of the process, where the socket tells.
        uid: Option<u32>,
    },
    /// TLS without a client certificate: nothing.
    Anonymous,
    /// A client certificate that a trusted root signed.
    Certificate {
        /// Its URI SAN, if that is the only one and a SPIFFE ID.
        /// <https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md#2-spiffe-id>
        spiffe_id: Option<Arc<str>>,
    },
}

/// Why a stream is refused for what its node claims.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClaimError {
    /// The node says one namespace, the certificate another.
    #[error("node claims namespace {claimed:?}, but its certificate says {proven:?} ({spiffe_id})")]
    Namespace {
        /// Namespace in the node id or its metadata.
        claimed: String,
        /// Namespace in the SPIFFE ID.
        proven: String,
        /// The SPIFFE ID.
        spiffe_id: String,
    },
    /// No client certificate on a connection that is not local.
    #[error("a client certificate is required on this address")]
    Anonymous,
    /// A certificate that names nobody.
    #[error("the client certificate carries no SPIFFE ID, which says whose it is")]
    Nameless,
}

impl Identity {
    /// Reads the identity out of a verified client certificate.
    pub fn from_certificate(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Self::Certificate { spiffe_id: None };
        };
        let spiffe_id = certificate.subject_alternative_name().ok().flatten().and_then(|names| {
            let uris = names.value.general_names.iter().filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
            // <https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md#2-spiffe-id>
            let mut uris = uris.fuse();
            uris.next().filter(|id| is_spiffe_id(id) && uris.next().is_none()).map(Arc::from)
        });
        Self::Certificate { spiffe_id }
    }

    /// May a client with this identity be a node of `namespace`? Istio's form of the path is
    /// `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`; other SPIFFE IDs carry no namespace to compare.
    pub fn check_namespace(&self, namespace: &str) -> Result<(), ClaimError> {
        match self {
            Self::Local { .. } => Ok(()),
            Self::Certificate { spiffe_id: None } => Err(ClaimError::Nameless),
            Self::Anonymous => Err(ClaimError::Anonymous),
            Self::Certificate { spiffe_id: Some(id) } => match namespace_of(id) {
                Some(proven) if proven != namespace => Err(ClaimError::Namespace {
                    claimed: namespace.to_owned(),
                    proven: proven.to_owned(),
                    spiffe_id: id.to_string(),
                }),
                _ => Ok(()),
            },
        }
    }

    /// A word that stands for the identity where independent identities are counted. What proves nothing counts as
    /// one, however many node ids it makes up.
    pub fn principal(&self) -> Arc<str> {
        match self {
            Self::Certificate { spiffe_id: Some(id) } => id.clone(),
            Self::Local { .. } => "local".into(),
            Self::Anonymous | Self::Certificate { spiffe_id: None } => "nobody".into(),
        }
    }
}

/// Who sends a gRPC request.
pub fn identity_of<T>(request: &tonic::Request<T>) -> Result<Identity, Status> {
    let peer = request.extensions().get::<Peer>();
    match peer.map(|peer| &peer.identity) {
        None => Err(Status::internal("the connection carries no peer")),
        Some(Identity::Anonymous) => {
            Err(Status::unauthenticated("a client certificate is required on this address"))
        }
        Some(Identity::Certificate { spiffe_id: None }) => {
            Err(Status::permission_denied(ClaimError::Nameless.to_string()))
        }
        Some(identity) => Ok(identity.clone()),
    }
}

/// Is it a SPIFFE ID of a workload? Paths that could be read in two ways are none.
/// <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#2-spiffe-identity>
fn is_spiffe_id(uri: &str) -> bool {
    let Some((domain, path)) = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let small = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
    let segment = |segment: &str| {
        let is_char = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(is_char)
    };
    uri.len() <= 2048 && !domain.is_empty() && domain.bytes().all(small) && path.split('/').all(segment)
}

fn namespace_of(spiffe_id: &str) -> Option<&str> {
    let path = spiffe_id.strip_prefix("spiffe://")?;
    let mut parts = path.split('/');
    let _trust_domain = parts.next()?;
    match (parts.next()?, parts.next()?) {
        ("ns", namespace) => Some(namespace),
        _ => None,
    }
}

impl Peer {
    /// A plaintext TCP client. Only loopback addresses are listened on without TLS.
    pub fn tcp(address: SocketAddr) -> Self {
        Self { address: address.to_string().into(), identity: Identity::Local { uid: None } }
    }

    /// A client of the Unix socket.
    pub fn unix(uid: Option<u32>) -> Self {
        Self { address: "unix".into(), identity: Identity::Local { uid } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_outranks_the_claim() {
        let identity =
            Identity::Certificate { spiffe_id: Some("spiffe://cluster.local/ns/shop/sa/cart".into()) };
        assert_eq!(identity.check_namespace("shop"), Ok(()));
        assert!(matches!(identity.check_namespace("other"), Err(ClaimError::Namespace { .. })));
        assert_eq!(Identity::Anonymous.check_namespace("shop"), Err(ClaimError::Anonymous));
        assert_eq!(Identity::Local { uid: None }.check_namespace("shop"), Ok(()));
        let nameless = Identity::Certificate { spiffe_id: None };
        assert_eq!(nameless.check_namespace("shop"), Err(ClaimError::Nameless));
    }

    #[test]
    fn ids_that_could_be_read_in_two_ways_are_none() {
        assert!(is_spiffe_id("spiffe://cluster.local/ns/shop/sa/cart"));
        for id in [
            "https://cluster.local/ns/shop/sa/cart",
            "spiffe://cluster.local",
            "spiffe://cluster.local/",
            "spiffe:///ns/shop",
            "spiffe://Cluster.local/ns/shop",
            "spiffe://cluster.local/ns/shop/sa/../../ns/bank",
            "spiffe://cluster.local/ns//shop",
            "spiffe://cluster.local/ns/%73hop",
            "spiffe://cluster.local/ns/shop?x",
        ] {
            assert!(!is_spiffe_id(id), "{id}");
        }
    }
}
