//! A gRPC client that knows no xDS.

use bytes::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use lateen_tests::{backend::RUNTIME, grpc::METHOD};
use tonic::metadata::MetadataKey;

use crate::tonic_xds::Raw;

/// Calls a port of 127.0.0.1.
pub struct Plain(tonic::client::Grpc<Client<HttpConnector, tonic::body::Body>>);

impl Plain {
    pub fn new(port: u16) -> Self {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let origin = format!("http://127.0.0.1:{port}").parse().unwrap();
        Self(tonic::client::Grpc::with_origin(client, origin))
    }

    /// What a call ends with: `Err` has the status that the server answered.
    pub fn ask(&mut self, headers: &[(&str, &str)]) -> Result<String, tonic::Status> {
        let mut request = tonic::Request::new(Bytes::from_static(b"hello"));
        for (name, value) in headers {
            let name = MetadataKey::from_bytes(name.as_bytes()).unwrap();
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        RUNTIME.block_on(async {
            self.0.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
            let answer = self.0.unary(request, METHOD.parse().unwrap(), Raw).await?;
            Ok(String::from_utf8_lossy(&answer.into_inner()).into_owned())
        })
    }
}
