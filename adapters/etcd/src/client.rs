//! Talking to etcd: connections, listings, and what errors mean.

use std::{future::Future, path::PathBuf, time::Duration};

use etcd_client::{
    Certificate, Client, ConnectOptions, GetOptions, Identity, KvClient, TlsOptions, WatchClient,
    WatchOptions, WatchRequestSender, WatchResponseStream,
};
use lateen_adapter::AdapterError;
use tokio::time::timeout;
use tonic::Code;

use crate::{
    config::{Settings, TlsFiles},
    store::Pair,
};

/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long one answer may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// How long a member may take to answer when another one could be asked.
pub(crate) const QUICK: Duration = Duration::from_secs(2);
/// Keep-alive of a connection. Servers refuse clients that ping more often than each 5 s.
/// <https://etcd.io/docs/v3.6/op-guide/configuration/>, `--grpc-keepalive-min-time`
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
/// Keys of one answer to a listing.
const PAGE: i64 = 1000;
/// The largest answer: a page of keys that are each somewhat larger than common.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// etcd did not do it.
    #[error("{act}")]
    Etcd {
        /// What was tried.
        act: &'static str,
        /// Why not.
        #[source]
        source: etcd_client::Error,
    },
    /// It took too long.
    #[error("{act}: no answer for {after:?}")]
    Silent {
        /// What was tried.
        act: &'static str,
        /// After how long it was given up.
        after: Duration,
    },
    /// A file can't be read.
    #[error("reading {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The server ended a watch.
    #[error("the watch was ended: {0}")]
    Ended(String),
    /// A lease has expired, or was taken away.
    #[error("the lease is gone")]
    LeaseGone,
    /// What was asked for makes no sense.
    #[error("{0}")]
    Wrong(String),
}

impl ClientError {
    fn code(&self) -> Option<Code> {
        match self {
            Self::Etcd { source: etcd_client::Error::GRpcStatus(status), .. } => Some(status.code()),
            Self::Etcd { .. }
            | Self::Silent { .. }
            | Self::File { .. }
            | Self::Ended(_)
            | Self::LeaseGone
            | Self::Wrong(_) => None,
        }
    }

    /// Does it help only that somebody changes something? A wrong password is `InvalidArgument`.
    /// <https://github.com/etcd-io/etcd/blob/v3.6.0/api/v3rpc/rpctypes/error.go>
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.code(), Some(Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument))
    }

    /// With its causes.
    pub(crate) fn chain(&self) -> String {
        let cause = std::error::Error::source(self);
        cause.map_or_else(|| self.to_string(), |cause| format!("{self}: {cause}"))
    }

    /// `ErrCompacted` has this code, and so has an answer that is too large.
    fn is_out_of_range(&self) -> bool {
        self.code() == Some(Code::OutOfRange)
    }
}

impl From<ClientError> for AdapterError {
    fn from(error: ClientError) -> Self {
        let act = "reading etcd".to_owned();
        if error.is_refusal() {
            Self::Refused { act, source: error.into() }
        } else {
            Self::Unavailable { act, source: error.into() }
        }
    }
}

/// Waits for an answer, but not for ever.
pub(crate) async fn answer<T>(
    act: &'static str,
    after: Duration,
    asked: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, ClientError> {
    match timeout(after, asked).await {
        Err(_) => Err(ClientError::Silent { act, after }),
        Ok(Err(source)) => Err(ClientError::Etcd { act, source }),
        Ok(Ok(answer)) => Ok(answer),
    }
}

/// A connection to one member: which member is asked is our choice, so that a dead one is left at once. Certificates
/// and the password are read each time.
pub(crate) async fn connect(
    settings: &Settings,
    member: &str,
    after: Duration,
) -> Result<Client, ClientError> {
    let options = options(settings).await?;
    // Boxed: it is large, and held by every future that connects.
    answer("connecting", after, Box::pin(Client::connect([member], Some(options)))).await
}

/// A connection to all members, for single requests.
pub(crate) async fn connect_all(settings: &Settings) -> Result<Client, ClientError> {
    let options = options(settings).await?;
    answer("connecting", ANSWER, Box::pin(Client::connect(&settings.members, Some(options)))).await
}

async fn options(settings: &Settings) -> Result<ConnectOptions, ClientError> {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(CONNECT)
        .with_keep_alive(PING, PONG)
        .with_keep_alive_while_idle(true)
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let (Some(user), Some(file)) = (&settings.user, &settings.password_file) {
        let password = read(file).await?;
        let password = String::from_utf8(password)
            .map_err(|_| ClientError::Wrong(format!("{} is not UTF-8", file.display())))?;
        options = options.with_user(user, password.trim_end_matches(['\n', '\r']));
    }
    if settings.tls != TlsFiles::default() {
        options = options.with_tls(tls(&settings.tls).await?);
    }
    Ok(options)
}

async fn tls(files: &TlsFiles) -> Result<TlsOptions, ClientError> {
    let TlsFiles { ca, identity, server_name } = files;
    let mut tls = TlsOptions::new();
    if let Some(ca) = ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(ca).await?));
    }
    if let Some((cert, key)) = identity {
        tls = tls.identity(Identity::from_pem(read(cert).await?, read(key).await?));
    }
    if let Some(name) = server_name {
        tls = tls.domain_name(name);
    }
    Ok(tls)
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, ClientError> {
    tokio::fs::read(path).await.map_err(|source| ClientError::File { path: path.clone(), source })
}

/// What the store is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) cluster: u64,
    pub(crate) revision: i64,
}

/// A full listing at one revision.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) head: Head,
    pub(crate) pairs: Vec<Pair>,
}

/// Asks for the present state of the store: a linearizable read, so that no member that lags behind answers.
pub(crate) async fn head(mut kv: KvClient, prefix: &str, after: Duration) -> Result<Head, ClientError> {
    let options = GetOptions::new().with_prefix().with_count_only();
    let answer = answer("asking for the revision", after, kv.get(prefix, Some(options))).await?;
    head_of(answer.header())
}

fn head_of(header: Option<&etcd_client::ResponseHeader>) -> Result<Head, ClientError> {
    header
        .map(|header| Head { cluster: header.cluster_id(), revision: header.revision() })
        .ok_or_else(|| ClientError::Wrong("an answer has no header".to_owned()))
}

/// Lists all keys below the prefix, as they are at one revision.
pub(crate) async fn list(kv: KvClient, prefix: &str) -> Result<Listed, ClientError> {
    let mut page = PAGE;
    loop {
        // The revision was compacted meanwhile, or pages are too large: from the beginning, with smaller ones.
        match list_in_pages(kv.clone(), prefix, page).await {
            Err(error) if error.is_out_of_range() && page > 1 => page /= 4,
            result => return result,
        }
    }
}

async fn list_in_pages(kv: KvClient, prefix: &str, page: i64) -> Result<Listed, ClientError> {
    let mut kv = kv.max_decoding_message_size(MESSAGE_BYTES_MAX);
    let end = after_all(prefix);
    let mut from = prefix.as_bytes().to_vec();
    let mut head: Option<Head> = None;
    let mut pairs: Vec<Pair> = Vec::new();
    loop {
        let mut options = GetOptions::new().with_range(end.clone()).with_limit(page.max(1));
        if let Some(head) = head {
            options = options.with_revision(head.revision);
        }
        let mut answer = answer("listing", ANSWER, kv.get(from, Some(options))).await?;
        let this = head_of(answer.header())?;
        let head = *head.get_or_insert(this);
        let more = answer.more();
        pairs.extend(answer.take_kvs().into_iter().map(etcd_client::KeyValue::into_key_value));
        match pairs.last() {
            Some((last, _)) if more => {
                // The smallest key behind the last one.
                from = [last, &[0][..]].concat();
            }
            _ => return Ok(Listed { head, pairs }),
        }
    }
}

/// The smallest key that is behind all that begin with the prefix; prefixes end in a slash.
fn after_all(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// A watch on one prefix.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) requests: WatchRequestSender,
    pub(crate) responses: WatchResponseStream,
}

/// Watches a prefix from a revision on.
pub(crate) async fn watch(
    watch: WatchClient,
    prefix: &str,
    from: i64,
    after: Duration,
) -> Result<Watch, ClientError> {
    let options = WatchOptions::new().with_prefix().with_progress_notify().with_fragment();
    watch_with(watch, prefix.as_bytes(), options.with_start_revision(from), after).await
}

/// Watches one key from a revision on.
pub(crate) async fn watch_key(watch: WatchClient, key: &[u8], from: i64) -> Result<Watch, ClientError> {
    watch_with(watch, key, WatchOptions::new().with_start_revision(from), QUICK).await
}

async fn watch_with(
    watch: WatchClient,
    key: &[u8],
    options: WatchOptions,
    after: Duration,
) -> Result<Watch, ClientError> {
    let mut watch = watch.max_decoding_message_size(MESSAGE_BYTES_MAX);
    let stream = answer("watching", after, watch.watch(key, Some(options))).await?;
    let (requests, responses) = stream.split();
    Ok(Watch { requests, responses })
}
