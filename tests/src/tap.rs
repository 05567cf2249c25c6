//! A relay between an Envoy and a server that notes every xDS response on the way, and what the Envoy says to it.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Instant,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{JoinHandle, JoinSet},
};

use crate::{
    backend::RUNTIME,
    wire::{self, ResponseHead},
};

/// A running relay.
#[derive(Debug)]
pub struct Tap {
    /// Where clients connect.
    pub address: SocketAddr,
    seen: Seen,
    rejections: Rejections,
    task: JoinHandle<()>,
}

type Seen = Arc<Mutex<Vec<Exchange>>>;
type Rejections = Arc<Mutex<Vec<String>>>;

/// A response, and when the client acknowledged it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its head.
    pub head: ResponseHead,
    /// All of it.
    pub message: Bytes,
    /// When it came from the server.
    pub sent: Instant,
    /// When the request came that acknowledges it; a rejection is none.
    pub acknowledged: Option<Instant>,
}

/// What opens a connection: <https://www.rfc-editor.org/rfc/rfc9113#section-3.4>
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

impl Tap {
    /// Relays to `server`; `delta` says which responses to expect.
    pub fn start(server: SocketAddr, delta: bool) -> std::io::Result<Self> {
        let _entered = RUNTIME.enter();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let seen = Arc::new(Mutex::default());
        let rejections = Arc::new(Mutex::default());
        let noted = (Arc::clone(&seen), Arc::clone(&rejections));
        let task = RUNTIME.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (seen, rejections) = noted.clone();
                // A server that is down is a connection that breaks, as without a relay.
                relays.spawn(async move { relay(client, server, delta, &seen, &rejections).await.ok() });
                while relays.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, seen, rejections, task })
    }

    /// Responses since the last look.
    pub fn take(&self) -> Vec<ResponseHead> {
        self.take_exchanges().into_iter().map(|exchange| exchange.head).collect()
    }

    /// The same as they are, and forgets them: what is acknowledged later is not noted.
    pub fn take_exchanges(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.seen.lock().expect("exchanges"))
    }

    /// The first thing that `find` finds in a response, in the order in which they came.
    pub fn find<T>(&self, find: impl FnMut(&Exchange) -> Option<T>) -> Option<T> {
        self.seen.lock().expect("exchanges").iter().find_map(find)
    }

    /// What clients said of each response that they rejected.
    pub fn rejections(&self) -> Vec<String> {
        self.rejections.lock().expect("rejections").clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    client: TcpStream,
    server: SocketAddr,
    delta: bool,
    seen: &Seen,
    rejections: &Rejections,
) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = |message: Bytes| {
        let request = wire::request_head(&message, delta);
        if request.rejects {
            rejections.lock().expect("rejections").push(request.reason);
            return;
        }
        let mut seen = seen.lock().expect("exchanges");
        // A nonce counts on its connection: the newest response with it is meant.
        let answered = seen.iter_mut().rev().find(|exchange| exchange.head.nonce == request.nonce);
        if let Some(exchange) = answered.filter(|exchange| exchange.acknowledged.is_none()) {
            exchange.acknowledged = Some(Instant::now());
        }
    };
    let answered = |message: Bytes| {
        let head = wire::head(&message, delta);
        let exchange = Exchange { head, message, sent: Instant::now(), acknowledged: None };
        seen.lock().expect("exchanges").push(exchange);
    };
    tokio::select! {
        result = pass(from_client, to_server, Reader { skip: PREFACE, ..Reader::default() }, asked) => result,
        result = pass(from_server, to_client, Reader::default(), answered) => result,
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut reader: Reader,
    note: impl Fn(Bytes),
) -> std::io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        reader.read(&chunk[..length]);
        // Noted before it is passed on, so that what a client shows of it comes later.
        reader.messages().into_iter().for_each(&note);
        to.write_all(&chunk[..length]).await?;
    }
}

/// Puts the messages of a connection together: HTTP/2's data frames by stream, other frames are passed over.
/// <https://www.rfc-editor.org/rfc/rfc9113#section-4.1>
#[derive(Default)]
struct Reader {
    /// Bytes before the first frame.
    skip: usize,
    received: BytesMut,
    streams: BTreeMap<u32, BytesMut>,
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) {
        let before = self.skip.min(bytes.len());
        self.skip -= before;
        self.received.extend_from_slice(&bytes[before..]);
        while let Some((length, kind, flags, stream)) = self.head() {
            if self.received.len() < 9 + length {
                return;
            }
            self.received.advance(9);
            let mut payload = self.received.split_to(length);
            if kind != 0 {
                continue;
            }
            // Padded: <https://www.rfc-editor.org/rfc/rfc9113#section-6.1>
            if flags & 8 != 0 && !payload.is_empty() {
                let padding = usize::from(payload.get_u8());
                payload.truncate(payload.len().saturating_sub(padding));
            }
            self.streams.entry(stream).or_default().extend_from_slice(&payload);
        }
    }

    fn head(&self) -> Option<(usize, u8, u8, u32)> {
        let head: [u8; 9] = self.received.get(..9)?.try_into().ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        Some((length, head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
    }

    fn messages(&mut self) -> Vec<Bytes> {
        self.streams
            .values_mut()
            .flat_map(|stream| std::iter::from_fn(|| wire::next_message(stream)))
            .collect()
    }
}
