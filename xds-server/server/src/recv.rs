//! Reading gRPC messages from a request body.
//!
//! tonic's reader keeps a buffer as large as the largest message it has seen. A client names a thousand resources
//! in its first requests and sends some bytes for each acknowledgement after that: two thousand clients would hold
//! hundreds of megabytes for nothing. Here the buffer goes with the message.

use std::{pin::Pin, sync::Arc};

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant, timeout_at},
};
use tonic::Status;

/// Length of the prefix of a message: a flag and a length.
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests>
const PREFIX: usize = 5;

/// Messages below this don't ask for room: acknowledgements.
const SMALL_BYTES: usize = 4 << 10;
/// What a message takes, decoded and not, in terms of its length.
const DECODED: usize = 3;
/// How long a message that is on its way may keep its room. A client that stops within a message goes on without:
/// it must not hold up others.
const ROOM_TIME: Duration = Duration::from_secs(2);

/// One budget for the large requests of all streams, from the first byte until the core has seen to them. When a
/// control plane comes back, all its clients name all they hold at once: what does not fit yet stays with the
/// clients, behind the windows of HTTP/2 (I-4).
#[derive(Clone, Debug)]
pub struct Room {
    kilobytes: Arc<Semaphore>,
    max: u32,
}

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let max = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).max(1);
        Self { kilobytes: Arc::new(Semaphore::new(max as usize)), max }
    }

    /// Waits until a message of this length has room. One that is larger than all of it takes all of it.
    async fn take(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(length.saturating_mul(DECODED) >> 10).unwrap_or(u32::MAX).min(self.max);
        // It is never closed.
        self.kilobytes.clone().acquire_many_owned(wanted).await.ok()
    }
}

/// The room of the message that is being read.
#[derive(Debug)]
enum Taken {
    NotAsked,
    Until(Instant, OwnedSemaphorePermit),
    TooLate,
}

/// Messages of a request body.
#[derive(Debug)]
pub struct Messages {
    body: Body,
    received: BytesMut,
    bytes_max: usize,
    room: Room,
    taken: Taken,
}

/// A message, and the room that it takes until this is dropped.
pub type Message = (Bytes, Option<OwnedSemaphorePermit>);

impl Messages {
    /// Reads messages of at most `bytes_max` bytes.
    pub fn new(body: Body, bytes_max: usize, room: Room) -> Self {
        Self { body, received: BytesMut::new(), bytes_max, room, taken: Taken::NotAsked }
    }

    /// The next message; `None` at the end of the body.
    pub async fn next(&mut self) -> Result<Option<Message>, Status> {
        loop {
            if let Some(message) = self.take()? {
                let taken = std::mem::replace(&mut self.taken, Taken::NotAsked);
                let room = if let Taken::Until(_, room) = taken { Some(room) } else { None };
                return Ok(Some((message, room)));
            }
            if let (Taken::NotAsked, Some(length)) = (&self.taken, self.length()?)
                && length > SMALL_BYTES
                && let Some(room) = self.room.take(length).await
            {
                self.taken = Taken::Until(Instant::now() + ROOM_TIME, room);
            }
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
            let frame = match &self.taken {
                Taken::Until(until, _) => timeout_at(*until, frame).await,
                Taken::NotAsked | Taken::TooLate => Ok(frame.await),
            };
            let Ok(frame) = frame else {
                self.taken = Taken::TooLate;
                continue;
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.receive(data);
                    }
                }
                Some(Err(error)) => return Err(Status::unavailable(error.to_string())),
                None if self.received.is_empty() => return Ok(None),
                None => return Err(Status::internal("the stream ended within a message")),
            }
        }
    }

    fn receive(&mut self, data: Bytes) {
        if self.received.is_empty() {
            // Most messages are one frame: its memory is used as it is.
            self.received = BytesMut::from(data);
        } else {
            self.received.extend_from_slice(&data);
        }
    }

    /// Length of the message that is being read, once it is known.
    fn length(&self) -> Result<Option<usize>, Status> {
        let Some((prefix, _)) = self.received.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [flag, length @ ..] = *prefix;
        if flag != 0 {
            return Err(Status::unimplemented("compressed messages are not supported, use identity"));
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > self.bytes_max {
            let (is, max) = (length, self.bytes_max);
            return Err(Status::resource_exhausted(format!(
                "a request of {is} bytes exceeds the limit of {max} bytes"
            )));
        }
        Ok(Some(length))
    }

    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(length) = self.length()?.filter(|length| self.received.len() >= PREFIX + length) else {
            return Ok(None);
        };
        self.received.advance(PREFIX);
        let message = self.received.split_to(length).freeze();
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_cut_wherever_frames_end() {
        let bytes = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x01z";
        for cut in 0..bytes.len() {
            let mut messages = Messages::new(Body::empty(), 100, Room::new(1 << 20));
            let mut all = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                messages.receive(Bytes::copy_from_slice(part));
                while let Some(message) = messages.take().unwrap() {
                    all.push(message);
                }
            }
            assert_eq!(all, [&b"abc"[..], b"", b"z"]);
            assert_eq!(messages.received.capacity(), 0);
        }
    }

    #[tokio::test]
    async fn a_message_above_the_limit_is_refused_before_it_is_read() {
        let mut messages = Messages::new(Body::from(&b"\0\0\0\x01\0"[..]), 255, Room::new(1 << 20));
        let status = messages.next().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        let mut messages = Messages::new(Body::from(&b"\x01\0\0\0\0"[..]), 255, Room::new(1 << 20));
        assert_eq!(messages.next().await.unwrap_err().code(), tonic::Code::Unimplemented);
    }

    /// A message of `length` bytes, of which `sent` are there; the rest never comes.
    fn begun(length: u32, sent: usize) -> Body {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(PREFIX + sent, b'x');
        // In frames, as it comes.
        let frames: Vec<_> =
            bytes.chunks(16 << 10).map(|frame| Ok::<_, Status>(Bytes::copy_from_slice(frame))).collect();
        let begin = tokio_stream::iter(frames);
        Body::from_stream(tokio_stream::StreamExt::chain(begin, tokio_stream::pending()))
    }

    #[tokio::test]
    async fn large_messages_wait_for_room_and_small_ones_do_not() {
        let room = Room::new(300 << 10);
        let large = 100 << 10;
        let read = |length: u32, sent| Messages::new(begun(length, sent), 1 << 20, room.clone());
        let first = read(large, large as usize).next().await.unwrap().unwrap();
        assert!(first.1.is_some());
        let mut second = read(large, large as usize);
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, second.next()).await.is_err(), "there is no room");
        assert!(read(10, 10).next().await.unwrap().is_some(), "an acknowledgement asks for none");
        drop(first);
        assert!(second.next().await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_client_that_stops_within_a_message_holds_up_others_for_a_bounded_time() {
        let room = Room::new(300 << 10);
        let read = |length: u32, sent| Messages::new(begun(length, sent), 1 << 20, room.clone());
        let mut stops = read(100 << 10, 10);
        let stalled = tokio::spawn(async move { stops.next().await });
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert!(read(100 << 10, 100 << 10).next().await.unwrap().is_some());
        assert!(began.elapsed() <= 3 * ROOM_TIME, "{:?}", began.elapsed());
        stalled.abort();
    }
}
