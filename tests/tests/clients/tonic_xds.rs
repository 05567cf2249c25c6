//! tonic-xds, the gRPC project's own client for Rust, as a caller.

use bytes::{Buf, BufMut, Bytes};
use lateen_tests::{
    backend::RUNTIME,
    grpc::{Caller, METHOD},
};
use serde_json::Value;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataKey,
};
use tonic_xds::{BootstrapConfig, XdsChannelBuilder, XdsChannelConfig, XdsChannelGrpc, XdsUri};

/// A channel through xDS.
pub struct TonicXds(tonic::client::Grpc<XdsChannelGrpc>);

impl TonicXds {
    pub fn start(target: &str, bootstrap: &Value) -> anyhow::Result<Self> {
        let bootstrap = BootstrapConfig::from_json(&bootstrap.to_string())?;
        let config = XdsChannelConfig::new(XdsUri::parse(target)?).with_bootstrap(bootstrap);
        let _entered = RUNTIME.enter();
        Ok(Self(tonic::client::Grpc::new(XdsChannelBuilder::new(config).build_grpc_channel()?)))
    }
}

impl Caller for TonicXds {
    fn call(&mut self, message: &str, headers: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut request = tonic::Request::new(Bytes::copy_from_slice(message.as_bytes()));
        for (name, value) in headers {
            request.metadata_mut().insert(MetadataKey::from_bytes(name.as_bytes())?, value.parse()?);
        }
        RUNTIME.block_on(async {
            self.0.ready().await.map_err(|error| anyhow::anyhow!("not ready: {error:?}"))?;
            let answer = self.0.unary(request, METHOD.parse()?, Raw).await?;
            Ok(String::from_utf8(answer.into_inner().to_vec())?)
        })
    }
}

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
