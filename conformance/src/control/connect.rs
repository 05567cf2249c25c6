//! Our own control protocol, from the suite's side: unary JSON of the Connect protocol.
//! <https://connectrpc.com/docs/protocol/#unary-request>

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Capabilities, Change, Control, ControlError,
    messages::{
        ApplyRequest, CountStreamsResponse, Empty, ErrorBody, GetCapabilitiesResponse, Group, SERVICE,
    },
};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A server that speaks `lateen.conformance.v1.Control`.
#[derive(Debug)]
pub struct Connect {
    at: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Connect {
    /// The control port at `HOST:PORT`. Connects when it is first used.
    pub fn new(at: impl Into<String>) -> Self {
        Self { at: at.into(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: &str,
        question: &Q,
    ) -> Result<A, ControlError> {
        let body = serde_json::to_vec(question).map_err(|error| self.broken(error))?;
        let request = Request::post(format!("http://{}/{SERVICE}/{method}", self.at))
            .header(CONTENT_TYPE, "application/json")
            .header("connect-protocol-version", "1")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(error))?;
        let answer = self.client.request(request).await.map_err(|error| self.broken(error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|source| ControlError::Call { at: self.at.clone(), source })?.to_bytes();
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| self.broken(error));
        }
        let error: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
        if error.code == "unimplemented" || status == StatusCode::NOT_FOUND {
            return Err(ControlError::Unsupported { what: "this" });
        }
        let ErrorBody { code, message } = error;
        Err(ControlError::Refused { reason: format!("{status} {code} {message}") })
    }

    fn broken(&self, error: impl std::error::Error + Send + Sync + 'static) -> ControlError {
        ControlError::Call { at: self.at.clone(), source: Box::new(error) }
    }
}

#[async_trait]
impl Control for Connect {
    async fn capabilities(&self) -> Result<Capabilities, ControlError> {
        let answer: GetCapabilitiesResponse = self.call("GetCapabilities", &Empty {}).await?;
        // A server may be newer than the suite.
        let features = answer.features.iter().filter_map(|name| name.parse().ok()).collect();
        Ok(Capabilities { groups: answer.groups, features })
    }

    async fn apply(&self, group: &str, change: Change) -> Result<(), ControlError> {
        let Empty {} = self.call("Apply", &ApplyRequest::new(group, change)).await?;
        Ok(())
    }

    async fn clear(&self, group: &str) -> Result<(), ControlError> {
        let Empty {} = self.call("Clear", &Group { group: group.to_owned() }).await?;
        Ok(())
    }

    async fn streams(&self, group: &str) -> Result<usize, ControlError> {
        let answer: CountStreamsResponse =
            self.call("CountStreams", &Group { group: group.to_owned() }).await?;
        Ok(usize::try_from(answer.streams).unwrap_or(usize::MAX))
    }

    async fn restart(&self) -> Result<(), ControlError> {
        let Empty {} = self.call("Restart", &Empty {}).await?;
        Ok(())
    }
}
