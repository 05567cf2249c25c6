//! An answer without end, line by line.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::{HttpError, client::Connection};

/// The lines of an endless answer.
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// Bytes at the buffer's beginning that hold no end of line.
    scanned: usize,
    idle_max: Duration,
    line_bytes_max: usize,
    /// The connection lives as long as this.
    _connection: Connection,
}

impl Lines {
    pub(crate) fn new(
        body: Incoming,
        connection: Connection,
        idle_max: Duration,
        line_bytes_max: usize,
    ) -> Self {
        Self { body, buffer: BytesMut::new(), scanned: 0, idle_max, line_bytes_max, _connection: connection }
    }

    /// The next whole line with its end; `None` at the end, where half a line is no line. Silence longer than what
    /// was agreed is an error, as is a line that is too long. May be dropped and called again without loss.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.scanned + at + 1).freeze();
                self.scanned = 0;
                return Ok(Some(line));
            }
            self.scanned = self.buffer.len();
            if self.scanned > self.line_bytes_max {
                return Err(HttpError::Line(self.line_bytes_max));
            }
            let frame = timeout(self.idle_max, self.body.frame()).await;
            match frame.map_err(|_| HttpError::Timeout(self.idle_max))? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}
