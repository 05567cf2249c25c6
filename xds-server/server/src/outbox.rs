//! The way from the core to a stream: a slot for one response, and the HTTP body that empties it.
//!
//! The transport polls the body when HTTP/2 flow control lets it write. So a client that does not read leaves
//! its slot full, its session marks what changes meanwhile, and what it is sent next is the newest state
//! composed once: bounded memory, no queue of history (I-4, I-11).

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::StreamId;

/// What the core puts into the slot.
#[derive(Debug)]
pub enum Outgoing {
    /// Chunks of one encoded response.
    Message(Vec<Bytes>),
    /// The stream ends with this status.
    End(Status),
}

/// The core's end.
#[derive(Debug)]
pub struct Outbox {
    slot: mpsc::Sender<Outgoing>,
    waiting: Arc<AtomicBool>,
}

/// The transport's end: an HTTP body in gRPC framing, without a copy of the chunks.
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>
#[derive(Debug)]
pub struct OutboxBody {
    id: StreamId,
    slot: mpsc::Receiver<Outgoing>,
    waiting: Arc<AtomicBool>,
    runnable: mpsc::UnboundedSender<StreamId>,
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Dropped with the body.
    lives: Option<oneshot::Sender<Infallible>>,
}

/// A slot for stream `id`. When the core had to wait for it, its emptying is told through `runnable`, at most
/// once for each wait: that channel holds no more entries than there are streams.
pub fn outbox(id: StreamId, runnable: mpsc::UnboundedSender<StreamId>) -> (Outbox, OutboxBody) {
    // One response, and the end of the stream behind it.
    let (sender, receiver) = mpsc::channel(2);
    let waiting = Arc::new(AtomicBool::new(false));
    let body = OutboxBody {
        id,
        slot: receiver,
        waiting: waiting.clone(),
        runnable,
        chunks: VecDeque::new(),
        trailers: None,
        ended: false,
        lives: None,
    };
    (Outbox { slot: sender, waiting }, body)
}

impl Outbox {
    /// Is the slot free? If not, the stream is reported as runnable once it is.
    pub fn is_free(&self) -> bool {
        let is_empty = || self.slot.capacity() == self.slot.max_capacity();
        if is_empty() {
            return true;
        }
        self.waiting.store(true, Ordering::SeqCst);
        // The body may have emptied the slot just before the flag was set; then nobody would tell.
        is_empty()
    }

    /// Puts a message into the free slot, or the end of the stream behind whatever is in it.
    pub fn put(&self, outgoing: Outgoing) {
        // Closed: the client is gone, the reader reports it. Full: the caller asked `is_free` first, and a stream
        // ends once.
        let _ = self.slot.try_send(outgoing);
    }
}

impl OutboxBody {
    /// Ends when the transport has written everything, or has given up.
    pub fn done(&mut self) -> impl Future<Output = ()> + use<> {
        let (lives, done) = oneshot::channel();
        self.lives = Some(lives);
        async move {
            let Err(_) = done.await;
        }
    }

    fn accept(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Message(chunks) => {
                let len: usize = chunks.iter().map(Bytes::len).sum();
                let mut prefix = BytesMut::with_capacity(5);
                prefix.put_u8(0);
                prefix.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
                self.chunks.push_back(prefix.freeze());
                self.chunks.extend(chunks);
                self.merge_small();
            }
            Outgoing::End(status) => {
                let mut trailers = HeaderMap::new();
                // A status text that is no header value is dropped by tonic, not by us.
                let _ = status.add_header(&mut trailers);
                self.trailers = Some(trailers);
            }
        }
    }

    /// The prefix and a small first chunk make one DATA frame instead of two.
    fn merge_small(&mut self) {
        if let [prefix, first] | [prefix, first, ..] = self.chunks.make_contiguous()
            && first.len() <= 4096
        {
            let mut joined = BytesMut::with_capacity(prefix.len() + first.len());
            joined.extend_from_slice(prefix);
            joined.extend_from_slice(first);
            // The charged bytes of the budget go with their chunk: at most 4 KiB for each stream are uncounted.
            self.chunks.pop_front();
            self.chunks.pop_front();
            self.chunks.push_front(joined.freeze());
        }
    }
}

impl http_body::Body for OutboxBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if let Some(chunk) = this.chunks.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if let Some(trailers) = this.trailers.take() {
                this.ended = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            match ready!(this.slot.poll_recv(cx)) {
                Some(outgoing) => {
                    this.accept(outgoing);
                    if this.waiting.swap(false, Ordering::SeqCst) {
                        // The core is gone only when the process ends.
                        let _ = this.runnable.send(this.id);
                    }
                }
                None => this.accept(Outgoing::End(Status::unavailable("the server is shutting down"))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body::Body;

    use super::*;

    async fn frame(body: &mut OutboxBody) -> Option<Frame<Bytes>> {
        poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.map(Result::unwrap)
    }

    #[tokio::test]
    async fn a_message_is_framed_and_large_chunks_are_shared() {
        let (runnable, mut woken) = mpsc::unbounded_channel();
        let (outbox, mut body) = outbox(StreamId(7), runnable);
        let large = Bytes::from(vec![1; 8192]);
        assert!(outbox.is_free());
        outbox.put(Outgoing::Message(vec![Bytes::from_static(b"ab"), large.clone()]));
        assert!(!outbox.is_free());
        assert_eq!(&frame(&mut body).await.unwrap().into_data().unwrap()[..], b"\0\0\0\x20\x02ab");
        assert_eq!(woken.recv().await, Some(StreamId(7)));
        assert_eq!(frame(&mut body).await.unwrap().into_data().unwrap().as_ptr(), large.as_ptr());
        outbox.put(Outgoing::End(Status::ok("")));
        let trailers = frame(&mut body).await.unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert!(frame(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn the_end_comes_behind_what_waits() {
        let (runnable, _woken) = mpsc::unbounded_channel();
        let (outbox, mut body) = outbox(StreamId(1), runnable);
        outbox.put(Outgoing::Message(vec![Bytes::from_static(b"x")]));
        outbox.put(Outgoing::End(Status::ok("")));
        assert!(!outbox.is_free());
        drop(outbox);
        assert_eq!(&frame(&mut body).await.unwrap().into_data().unwrap()[..], b"\0\0\0\0\x01x");
        assert_eq!(frame(&mut body).await.unwrap().into_trailers().unwrap()["grpc-status"], "0");
    }

    #[tokio::test]
    async fn a_free_slot_wakes_nobody() {
        let (runnable, mut woken) = mpsc::unbounded_channel();
        let (outbox, mut body) = outbox(StreamId(1), runnable);
        outbox.put(Outgoing::Message(vec![Bytes::from_static(b"x")]));
        frame(&mut body).await.unwrap();
        assert!(woken.try_recv().is_err());
    }
}
