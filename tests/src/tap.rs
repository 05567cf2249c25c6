//! A relay between an Envoy and a server that notes every xDS response on the way.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
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
    seen: Arc<Mutex<Vec<ResponseHead>>>,
    task: JoinHandle<()>,
}

impl Tap {
    /// Relays to `server`; `delta` says which responses to expect.
    pub fn start(server: SocketAddr, delta: bool) -> std::io::Result<Self> {
        let _entered = RUNTIME.enter();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let seen = Arc::new(Mutex::default());
        let noted = Arc::clone(&seen);
        let task = RUNTIME.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let seen = Arc::clone(&noted);
                // A server that is down is a connection that breaks, as without a relay.
                relays.spawn(async move { relay(client, server, delta, &seen).await.ok() });
                while relays.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, seen, task })
    }

    /// Responses since the last look.
    pub fn take(&self) -> Vec<ResponseHead> {
        std::mem::take(&mut self.seen.lock().expect("responses"))
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
    seen: &Mutex<Vec<ResponseHead>>,
) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let back = async {
        let mut reader = Reader::default();
        let mut chunk = vec![0; 64 << 10];
        loop {
            let length = from_server.read(&mut chunk).await?;
            if length == 0 {
                return to_client.shutdown().await;
            }
            reader.read(&chunk[..length]);
            // Noted before it is passed on, so that what a client shows of it comes later.
            let heads = reader.messages().into_iter().map(|message| wire::head(&message, delta));
            seen.lock().expect("responses").extend(heads);
            to_client.write_all(&chunk[..length]).await?;
        }
    };
    tokio::select! {
        result = there => result,
        result = back => result,
    }
}

/// Puts the messages of a connection together: HTTP/2's data frames by stream, other frames are passed over.
/// <https://www.rfc-editor.org/rfc/rfc9113#section-4.1>
#[derive(Default)]
struct Reader {
    received: BytesMut,
    streams: BTreeMap<u32, BytesMut>,
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
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

    fn messages(&mut self) -> Vec<bytes::Bytes> {
        self.streams
            .values_mut()
            .flat_map(|stream| std::iter::from_fn(|| wire::next_message(stream)))
            .collect()
    }
}
