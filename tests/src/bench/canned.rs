//! The floor: a server that knows nothing, and writes frames that were recorded from a real one. What it costs
//! is what the kernel and HTTP/2 cost for these bytes.

use std::sync::Arc;

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use h2::{SendStream, server};
use http::Response;
use lateen_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use lateen_xds::ResourceType;
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
};

use crate::wire;

/// Frames by type: the answers to the first request of each type.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// In the order recorded.
    pub first: Vec<(ResourceType, Bytes)>,
    /// Delta, or state of the world.
    pub delta: bool,
}

/// Serves until the listener fails. What is sent to `pushes` goes to every stream.
pub async fn serve(
    listener: TcpListener,
    recording: Arc<Recording>,
    pushes: broadcast::Sender<Bytes>,
) -> anyhow::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (recording, pushes) = (recording.clone(), pushes.subscribe());
        tokio::spawn(async move {
            // A client that goes away ends its connection.
            let _ = connection(socket, &recording, pushes).await;
        });
    }
}

async fn connection(
    socket: TcpStream,
    recording: &Recording,
    mut pushes: broadcast::Receiver<Bytes>,
) -> anyhow::Result<()> {
    let mut connection = server::Builder::new().handshake::<_, Bytes>(socket).await?;
    let (request, mut respond) = connection.accept().await.context("no stream")??;
    let driver = tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let response = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut sender = respond.send_response(response, false)?;
    let mut body = request.into_body();
    let mut received = BytesMut::new();
    let mut answered = [false; ResourceType::COUNT];
    loop {
        tokio::select! {
            data = body.data() => {
                let Some(data) = data else { break };
                let data = data?;
                body.flow_control().release_capacity(data.len())?;
                received.extend_from_slice(&data);
                while let Some(message) = wire::next_message(&mut received) {
                    answer(&message, recording, &mut answered, &mut sender)?;
                }
            }
            push = pushes.recv() => sender.send_data(push?, false)?,
        }
    }
    driver.abort();
    Ok(())
}

fn answer(
    message: &Bytes,
    recording: &Recording,
    answered: &mut [bool; ResourceType::COUNT],
    sender: &mut SendStream<Bytes>,
) -> anyhow::Result<()> {
    let type_url = if recording.delta {
        DeltaDiscoveryRequest::decode(message.clone())?.type_url
    } else {
        DiscoveryRequest::decode(message.clone())?.type_url
    };
    let kind = ResourceType::from_url(&type_url).context("unknown type")?;
    if std::mem::replace(&mut answered[kind.index()], true) {
        return Ok(());
    }
    for (_, frame) in recording.first.iter().filter(|(recorded, _)| *recorded == kind) {
        sender.send_data(framed(frame), false)?;
    }
    Ok(())
}

/// A message in a gRPC frame; made once for a push to all, as the bytes are shared.
pub fn framed(message: &Bytes) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}
