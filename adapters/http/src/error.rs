//! Why there is no answer, or not the one that was asked for.

use std::{error::Error, io, path::PathBuf, time::Duration};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A file that the settings name can't be read.
    #[error("reading {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificates or the key make no sense.
    #[error("setting up TLS")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// The token can't be part of a header.
    #[error("the token holds characters that no token has")]
    Token,
    /// A path or a parameter can't be part of a request.
    #[error("making the request")]
    Request(#[from] http::Error),
    /// No connection; with TLS that may be a certificate that is not accepted.
    #[error("connecting")]
    Connect(#[source] io::Error),
    /// The connection broke before the answer.
    #[error("asking")]
    Exchange(#[from] hyper::Error),
    /// The connection broke within the answer, or the answer is too long.
    #[error("reading the answer")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// A line of a stream is longer than what is read.
    #[error("a line is longer than {0} bytes")]
    Line(usize),
    /// The agent refused: asking again helps only after somebody has changed something.
    #[error("refused with status {status}: {text}")]
    Refused {
        /// HTTP status, 400 to 499.
        status: u16,
        /// Beginning of what it said.
        text: String,
    },
    /// The agent can't answer at present.
    #[error("failed with status {status}: {text}")]
    Failing {
        /// HTTP status.
        status: u16,
        /// Beginning of what it said.
        text: String,
        /// `Retry-After`, where it was said in seconds.
        retry_after: Option<Duration>,
    },
}

impl HttpError {
    /// Does asking again help only after somebody has changed something?
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Token | Self::Request(_) | Self::Tls(_) => true,
            // Files are written anew by whoever rotates them.
            Self::File { .. }
            | Self::Connect(_)
            | Self::Exchange(_)
            | Self::Body(_)
            | Self::Timeout(_)
            | Self::Line(_)
            | Self::Failing { .. } => false,
        }
    }

    /// The status that the agent gave, where it answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Failing { status, .. } => Some(*status),
            _ => None,
        }
    }
}
