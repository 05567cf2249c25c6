//! Reading gRPC messages from a request body.
//!
//! tonic's reader keeps a buffer as large as the largest message it has seen. A client names a thousand resources
//! in its first requests and sends some bytes for each acknowledgement after that: two thousand clients would hold
//! hundreds of megabytes for nothing. Here the buffer goes with the message.

use std::pin::Pin;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use tonic::Status;

/// Length of the prefix of a message: a flag and a length.
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests>
const PREFIX: usize = 5;

/// Messages of a request body.
#[derive(Debug)]
pub struct Messages {
    body: Body,
    received: BytesMut,
    bytes_max: usize,
}

impl Messages {
    /// Reads messages of at most `bytes_max` bytes.
    pub fn new(body: Body, bytes_max: usize) -> Self {
        Self { body, received: BytesMut::new(), bytes_max }
    }

    /// The next message; `None` at the end of the body.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
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

    fn take(&mut self) -> Result<Option<Bytes>, Status> {
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
        if self.received.len() < PREFIX + length {
            return Ok(None);
        }
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
            let mut messages = Messages::new(Body::empty(), 100);
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
        let mut messages = Messages::new(Body::from(&b"\0\0\0\x01\0"[..]), 255);
        let status = messages.next().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        let mut messages = Messages::new(Body::from(&b"\x01\0\0\0\0"[..]), 255);
        assert_eq!(messages.next().await.unwrap_err().code(), tonic::Code::Unimplemented);
    }
}
