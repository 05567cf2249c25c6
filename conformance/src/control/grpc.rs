//! Unary gRPC calls over plain HTTP/2, for the control protocols that are gRPC services, and what both of their
//! sides need.

use http::Uri;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
use tonic::{Code, Request, client::Grpc};
use tonic_prost::ProstCodec;

use super::ControlError;

/// A connection to a control port.
pub(crate) struct Channel {
    at: String,
    client: Client<HttpConnector, tonic::body::Body>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Channel {
    /// Connects when it is first used.
    pub(crate) fn new(at: impl Into<String>) -> Self {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { at: at.into(), client }
    }

    pub(crate) async fn unary<Q, A>(&self, path: &'static str, question: Q) -> Result<A, ControlError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let origin: Uri = format!("http://{}", self.at).parse().map_err(|error| self.broken(error))?;
        let mut grpc = Grpc::with_origin(self.client.clone(), origin);
        grpc.ready().await.map_err(|error| self.broken(error))?;
        let codec = ProstCodec::<Q, A>::default();
        let answer =
            grpc.unary(Request::new(question), http::uri::PathAndQuery::from_static(path), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| match status.code() {
            Code::Unimplemented => ControlError::Unsupported { what: "this" },
            Code::Unavailable => self.broken(status),
            code => ControlError::Refused { reason: format!("{code:?} {}", status.message()) },
        })
    }

    fn broken(&self, error: impl std::error::Error + Send + Sync + 'static) -> ControlError {
        ControlError::Call { at: self.at.clone(), source: Box::new(error) }
    }
}

/// What stands first in every xDS resource: field 1 is its name, in `Cluster` as in `ClusterLoadAssignment`.
/// <https://protobuf.dev/programming-guides/encoding/>
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Named {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}
