//! The cart: gRPC with one method of each shape that is common, made by hand on HTTP/2.
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::{convert::Infallible, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::App;

/// Something in a cart.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Item {
    /// What.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How many.
    #[prost(uint32, tag = "2")]
    pub count: u32,
}

/// The answer to an item.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Added {
    /// The item.
    #[prost(message, optional, tag = "1")]
    pub item: Option<Item>,
    /// Who took it.
    #[prost(string, tag = "2")]
    pub instance: String,
}

/// The sum until now.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Total {
    /// How many things.
    #[prost(uint64, tag = "1")]
    pub count: u64,
}

/// The largest message.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Messages on their way; when full, the sender waits.
const MESSAGES_MAX: usize = 16;
/// gRPC's status codes, as in the trailer.
const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";
const UNIMPLEMENTED: &str = "12";

/// Frames of a streamed body.
pub type Frames = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;
/// A body that is streamed.
pub type Streamed = UnsyncBoxBody<Bytes, Infallible>;

/// A body, and the end that writes it.
pub fn streamed() -> (Frames, Streamed) {
    let (frames, receiver) = mpsc::channel(MESSAGES_MAX);
    (frames, StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync())
}

/// A message with its prefix: not compressed, length.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.put_slice(&message.encode_to_vec());
    out.freeze()
}

/// Cuts a body into messages.
#[derive(Debug, Default)]
pub struct Messages {
    buffer: BytesMut,
}

/// What is no gRPC.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Compression was not offered.
    #[error("a message is compressed")]
    Compressed,
    /// Larger than the limit.
    #[error("a message has {0} bytes")]
    Large(usize),
    /// Not protobuf.
    #[error("a message is not protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
}

impl Messages {
    /// Takes in bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// The next whole message.
    pub fn next<M: Message + Default>(&mut self) -> Result<Option<M>, MessageError> {
        let Some((flag, length)) = self
            .buffer
            .get(..5)
            .and_then(|head| Some((*head.first()?, u32::from_be_bytes(head.get(1..)?.try_into().ok()?))))
        else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if flag != 0 {
            return Err(MessageError::Compressed);
        }
        if length > MESSAGE_BYTES_MAX {
            return Err(MessageError::Large(length));
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some(M::decode(self.buffer.split_to(length))?))
    }
}

/// Serves HTTP/2 on a connection.
pub async fn serve(app: Arc<App>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(answer(app, request)) }
    });
    // How a connection ends is the client's affair.
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(app: Arc<App>, request: Request<Incoming>) -> Response<Streamed> {
    app.receive(request.headers().get("x-demo-mark").and_then(|mark| mark.to_str().ok()));
    let (frames, body) = streamed();
    let path = request.uri().path().to_owned();
    // Ends when the connection does: then nobody takes the frames.
    tokio::spawn(async move {
        let status = match &*path {
            "/lateen.demo.Cart/Add" => each(&app, request.into_body(), &frames, Reply::Once).await,
            "/lateen.demo.Cart/Unpack" => each(&app, request.into_body(), &frames, Reply::PerThing).await,
            "/lateen.demo.Cart/Sum" => each(&app, request.into_body(), &frames, Reply::Sum).await,
            _ => UNIMPLEMENTED,
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        let _ = frames.send(Ok(Frame::trailers(trailers))).await;
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// How a method answers an item.
#[derive(Clone, Copy)]
enum Reply {
    /// Unary: with one message.
    Once,
    /// Server streaming: with one message for each thing.
    PerThing,
    /// Both ways: with the sum until now, as soon as the item is there.
    Sum,
}

async fn each(app: &App, mut body: Incoming, frames: &Frames, reply: Reply) -> &'static str {
    let mut messages = Messages::default();
    let mut sum = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return INVALID_ARGUMENT };
        let Ok(data) = frame.into_data() else { continue };
        messages.put(&data);
        loop {
            let item: Item = match messages.next() {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(_) => return INVALID_ARGUMENT,
            };
            let added = |count| Added {
                item: Some(Item { name: item.name.clone(), count }),
                instance: app.instance.to_owned(),
            };
            let replies = match reply {
                Reply::Once => vec![framed(&added(item.count))],
                Reply::PerThing => (1..=item.count.min(1000)).map(|n| framed(&added(n))).collect(),
                Reply::Sum => {
                    sum += u64::from(item.count);
                    vec![framed(&Total { count: sum })]
                }
            };
            for reply in replies {
                if frames.send(Ok(Frame::data(reply))).await.is_err() {
                    return OK;
                }
            }
        }
    }
    OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_wherever_the_body_is_cut() {
        let items = [
            Item { name: "tea".into(), count: 3 },
            Item::default(),
            Item { name: "x".repeat(300), count: 1 },
        ];
        let whole: Vec<u8> = items.iter().flat_map(framed).collect();
        for size in 1..whole.len() {
            let mut messages = Messages::default();
            let mut found: Vec<Item> = Vec::new();
            for piece in whole.chunks(size) {
                messages.put(piece);
                while let Some(item) = messages.next().unwrap() {
                    found.push(item);
                }
            }
            assert_eq!(found, items, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_too_large_or_compressed_is_refused() {
        let mut messages = Messages::default();
        messages.put(&[0, 255, 255, 255, 255]);
        assert!(matches!(messages.next::<Item>(), Err(MessageError::Large(_))));
        let mut messages = Messages::default();
        messages.put(&[1, 0, 0, 0, 0]);
        assert!(matches!(messages.next::<Item>(), Err(MessageError::Compressed)));
    }
}
