//! The way from the core to a stream: a slot for one response, and the HTTP body that empties it.
//!
//! The transport polls the body when HTTP/2 flow control lets it write. So a client that does not read leaves
//! its slot full, its session marks what changes meanwhile, and what it is sent next is the newest state
//! composed once: bounded memory, no queue of history (I-4, I-11).

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::StreamId;

/// A chunk up to this is copied behind the prefix of its message, and counts in no budget.
pub const SMALL_BYTES: usize = 4096;

/// What the core puts into the slot.
#[derive(Debug)]
pub enum Outgoing {
    /// Chunks of one encoded response.
    Message(Vec<Bytes>),
    /// The stream ends with this status.
    End(Status),
}

/// The slot. Both ends hold its lock for a move of some words; a channel, even of one place, keeps blocks of 32 for
/// each stream.
#[derive(Debug, Default)]
struct Slot {
    message: Option<Vec<Bytes>>,
    /// The end of the stream, behind the message.
    end: Option<Box<Status>>,
    /// Of the transport, which waits for either.
    reader: Option<Waker>,
    /// The core found the slot full and is to be told when it is empty.
    awaited: bool,
}

type Shared = Arc<Mutex<Slot>>;

fn lock(slot: &Shared) -> MutexGuard<'_, Slot> {
    // Nothing panics while it is held.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The core's end.
#[derive(Debug)]
pub struct Outbox(Shared);

/// The transport's end: an HTTP body in gRPC framing, without a copy of the chunks.
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>
#[derive(Debug)]
pub struct OutboxBody {
    id: StreamId,
    slot: Shared,
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
    let slot = Shared::default();
    let body = OutboxBody {
        id,
        slot: slot.clone(),
        runnable,
        chunks: VecDeque::new(),
        trailers: None,
        ended: false,
        lives: None,
    };
    (Outbox(slot), body)
}

impl Outbox {
    /// Is the slot free? If not, the stream is reported as runnable once it is.
    pub fn is_free(&self) -> bool {
        let mut slot = lock(&self.0);
        slot.awaited = slot.message.is_some() || slot.end.is_some();
        !slot.awaited
    }

    /// Puts a message into the free slot, or the end of the stream behind whatever is in it. The first end counts.
    pub fn put(&self, outgoing: Outgoing) {
        let mut slot = lock(&self.0);
        match outgoing {
            Outgoing::Message(chunks) => slot.message = Some(chunks),
            Outgoing::End(status) => _ = slot.end.get_or_insert_with(|| Box::new(status)),
        }
        let reader = slot.reader.take();
        drop(slot);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.put(Outgoing::End(Status::unavailable("the server is shutting down")));
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

    /// Takes what is in the slot; if that is nothing, the task is woken when there is something.
    fn take(&mut self, cx: &Context<'_>) -> Option<Outgoing> {
        let mut slot = lock(&self.slot);
        let taken = match slot.message.take() {
            Some(chunks) => Some(Outgoing::Message(chunks)),
            None => slot.end.take().map(|status| Outgoing::End(*status)),
        };
        if taken.is_none() && !slot.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            slot.reader = Some(cx.waker().clone());
        }
        let awaited = taken.is_some() && std::mem::take(&mut slot.awaited);
        drop(slot);
        if awaited {
            // The core is gone only when the process ends.
            let _ = self.runnable.send(self.id);
        }
        taken
    }

    fn accept(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Message(chunks) => {
                let len: usize = chunks.iter().map(Bytes::len).sum();
                let small = chunks.first().filter(|first| first.len() <= SMALL_BYTES);
                // The prefix and a small first chunk make one DATA frame instead of two.
                let mut first = BytesMut::with_capacity(5 + small.map_or(0, Bytes::len));
                first.put_u8(0);
                first.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
                first.extend_from_slice(small.map_or(&[], |small| small));
                let copied = usize::from(small.is_some());
                self.chunks.push_back(first.freeze());
                self.chunks.extend(chunks.into_iter().skip(copied));
            }
            Outgoing::End(status) => {
                let mut trailers = HeaderMap::new();
                // A status text that is no header value is dropped by tonic, not by us.
                let _ = status.add_header(&mut trailers);
                self.trailers = Some(trailers);
            }
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
            let Some(outgoing) = this.take(cx) else { return Poll::Pending };
            this.accept(outgoing);
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
