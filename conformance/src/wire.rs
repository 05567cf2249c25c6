//! A gRPC stream that carries whatever bytes a case wants: nothing is checked or kept back on the way.

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

/// What a stream brings.
#[derive(Debug)]
pub enum Incoming {
    /// A message, and when it was received.
    Message(Bytes, Instant),
    /// The server ended the stream; code 0 is a clean end.
    End(Status),
}

/// A bidirectional stream of raw messages. Dropping it resets it.
#[derive(Debug)]
pub struct RawStream {
    sender: Option<mpsc::Sender<Bytes>>,
    receiver: mpsc::Receiver<Incoming>,
    reader: JoinHandle<()>,
}

/// Requests that may wait to be sent; more make the case wait.
const REQUESTS_MAX: usize = 64;

/// Opens a connection of its own, so that flow control of one stream never meets another's.
pub async fn connect(address: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .connect()
        .await
}

impl RawStream {
    /// Calls `/service/method`. `read_ahead_max` messages are read before the case takes them; then the transport's
    /// window fills, and the server is held back.
    pub fn open(channel: Channel, path: http::uri::PathAndQuery, read_ahead_max: usize) -> Self {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (incoming, receiver) = mpsc::channel(read_ahead_max);
        // A server may send its headers with the first response only, so the call is awaited beside the case.
        let reader = tokio::spawn(read(channel, path, requests, incoming));
        Self { sender: Some(sender), receiver, reader }
    }

    /// Sends a message. `false`: the stream has ended.
    pub async fn send(&self, message: Bytes) -> bool {
        match &self.sender {
            Some(sender) => sender.send(message).await.is_ok(),
            None => false,
        }
    }

    /// Ends the client's half.
    pub fn half_close(&mut self) {
        self.sender = None;
    }

    /// What comes next; `None` when the end was told already.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.receiver.recv().await
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(
    channel: Channel,
    path: http::uri::PathAndQuery,
    requests: mpsc::Receiver<Bytes>,
    incoming: mpsc::Sender<Incoming>,
) {
    let mut grpc =
        Grpc::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX);
    let end = match grpc.ready().await {
        Err(error) => Status::unavailable(error.to_string()),
        Ok(()) => match grpc.streaming(Request::new(ReceiverStream::new(requests)), path, RawCodec).await {
            Err(status) => status,
            Ok(response) => {
                let mut messages = response.into_inner();
                loop {
                    match messages.message().await {
                        Ok(Some(message)) => {
                            if incoming.send(Incoming::Message(message, Instant::now())).await.is_err() {
                                return;
                            }
                        }
                        Ok(None) => break Status::ok(""),
                        Err(status) => break status,
                    }
                }
            }
        },
    };
    // Nobody listens any more: then nobody needs the end either.
    let _ = incoming.send(Incoming::End(end)).await;
}

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
