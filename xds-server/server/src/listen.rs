//! Sockets: plaintext on loopback and Unix sockets, TLS on any other address.

use std::{
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    str::FromStr,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

use crate::{
    peer::{Identity, Peer},
    tls::TlsConfig,
};

/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes under way at once; further connections wait in the kernel's backlog.
const HANDSHAKES_MAX: usize = 256;
/// Accepted connections that wait to be served; when full, accepting pauses.
const ACCEPTED_MAX: usize = 128;

/// Where to listen: `HOST:PORT` or `unix:PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// Unix socket; a stale file of the name is replaced.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: needs a path".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!("{text:?} is neither IP:PORT (127.0.0.1:15010, [::1]:15010) nor unix:PATH")
            }),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => fmt::Display::fmt(address, f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Plaintext is for this machine only.
    #[error(
        "{0} is not a loopback address: give --tls-cert, --tls-key and --tls-ca to serve it with mTLS, or listen on 127.0.0.1, [::1] or unix:PATH"
    )]
    PlaintextBeyondLoopback(SocketAddr),
    /// The operating system said no.
    #[error("can't listen on {address}")]
    Bind {
        /// Where.
        address: ListenAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An open socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    tls: Option<TlsConfig>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Opens the socket. A TCP address that is not loopback needs `tls`.
    pub async fn bind(address: &ListenAddress, tls: Option<TlsConfig>) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { address: address.clone(), source };
        let socket = match address {
            ListenAddress::Tcp(tcp) if tls.is_none() && !tcp.ip().is_loopback() => {
                return Err(ListenError::PlaintextBeyondLoopback(*tcp));
            }
            ListenAddress::Tcp(tcp) => Socket::Tcp(bind_tcp(*tcp).map_err(failed)?),
            ListenAddress::Unix(path) => {
                remove_stale(path).await.map_err(failed)?;
                Socket::Unix(UnixListener::bind(path).map_err(failed)?, path.clone())
            }
        };
        Ok(Self { socket, tls })
    }

    /// The address, with the port the system chose.
    pub fn address(&self) -> io::Result<ListenAddress> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => ListenAddress::Tcp(listener.local_addr()?),
            Socket::Unix(_, path) => ListenAddress::Unix(path.clone()),
        })
    }

    /// Accepts until `accepted` is closed. A handshake never holds up other connections.
    pub async fn run(self, accepted: mpsc::Sender<io::Result<Conn>>) {
        self.accept_all(accepted).await;
        if let Socket::Unix(_, path) = &self.socket {
            // The socket is still open: nobody else can have taken its place. A file that is gone is none to remove.
            let _ = tokio::fs::remove_file(path).await;
        }
    }

    async fn accept_all(&self, accepted: mpsc::Sender<io::Result<Conn>>) {
        let mut handshakes = JoinSet::new();
        loop {
            while handshakes.try_join_next().is_some() {}
            if handshakes.len() >= HANDSHAKES_MAX {
                handshakes.join_next().await;
            }
            let conn = tokio::select! {
                () = accepted.closed() => return,
                conn = self.accept() => conn,
            };
            let conn = match conn {
                Ok(conn) => conn,
                Err(error) => {
                    // Out of file descriptors, most likely: the next accept would fail at once, too.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            match (conn, &self.tls) {
                (Conn { io: Io::Tcp(stream), .. }, Some(tls)) => {
                    let (acceptor, accepted) = (TlsAcceptor::from(tls.borrow().clone()), accepted.clone());
                    handshakes.spawn(handshake(stream, acceptor, accepted));
                }
                (conn, _) => {
                    if accepted.send(Ok(conn)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Conn> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Conn::new(Io::Tcp(stream), Peer::tcp(address)))
            }
            Socket::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                Ok(Conn::new(Io::Unix(stream), Peer::unix(uid)))
            }
        }
    }
}

/// When a control plane comes back, all its clients do at once: the kernel keeps them waiting rather than
/// refusing them.
const BACKLOG: u32 = 4096;

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A channel between a [`Listener`] and the server that serves its connections.
pub fn accepted() -> (mpsc::Sender<io::Result<Conn>>, mpsc::Receiver<io::Result<Conn>>) {
    mpsc::channel(ACCEPTED_MAX)
}

async fn handshake(stream: TcpStream, acceptor: TlsAcceptor, accepted: mpsc::Sender<io::Result<Conn>>) {
    let address = stream.peer_addr().map(|a| a.to_string()).unwrap_or_default();
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let identity = match stream.get_ref().1.peer_certificates() {
                Some([leaf, ..]) => Identity::from_certificate(leaf),
                Some([]) | None => Identity::Anonymous,
            };
            let peer = Peer { address: address.into(), identity };
            // The server is shutting down when nobody receives.
            let _ = accepted.send(Ok(Conn::new(Io::Tls(Box::new(stream)), peer))).await;
        }
        Ok(Err(error)) => tracing::info!(peer = address, %error, "handshake failed"),
        Err(_) => tracing::info!(peer = address, "handshake timed out"),
    }
}

async fn remove_stale(path: &PathBuf) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match tokio::fs::symlink_metadata(path).await {
        Ok(meta) if meta.file_type().is_socket() => {
            if UnixStream::connect(path).await.is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves this socket"));
            }
            tokio::fs::remove_file(path).await
        }
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A connection, with who is at its other end.
#[derive(Debug)]
pub struct Conn {
    io: Io,
    peer: Peer,
    greeting: Option<Greeting>,
}

#[derive(Debug)]
enum Io {
    /// Plaintext TCP over loopback.
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// What is left of the first bytes that a client must send, and until when: a connection that says nothing is
/// not kept. HTTP/2 has no word for it.
#[derive(Debug)]
struct Greeting {
    bytes_left: usize,
    deadline: Pin<Box<tokio::time::Sleep>>,
}

/// Length of the preface of HTTP/2. <https://www.rfc-editor.org/rfc/rfc9113#section-3.4>
const PREFACE_BYTES: usize = 24;

impl Conn {
    fn new(io: Io, peer: Peer) -> Self {
        let deadline = Box::pin(tokio::time::sleep(HANDSHAKE_TIMEOUT));
        Self { io, peer, greeting: Some(Greeting { bytes_left: PREFACE_BYTES, deadline }) }
    }
}

impl Connected for Conn {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, peer, greeting } = self.get_mut();
        let before = buf.filled().len();
        let read = match io {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let Some(awaited) = greeting else { return read };
        awaited.bytes_left = awaited.bytes_left.saturating_sub(buf.filled().len() - before);
        if awaited.bytes_left == 0 {
            *greeting = None;
        } else if read.is_pending() && awaited.deadline.as_mut().poll(cx).is_ready() {
            tracing::info!(peer = %peer.address, "a connection that said nothing is closed");
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
            Io::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plaintext_is_refused_beyond_loopback() {
        let any: ListenAddress = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(Listener::bind(&any, None).await, Err(ListenError::PlaintextBeyondLoopback(_))));
        let loopback: ListenAddress = "127.0.0.1:0".parse().unwrap();
        assert!(Listener::bind(&loopback, None).await.is_ok());
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_not_kept() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let pair = || async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stream, address) = listener.accept().await.unwrap();
            let mut conn = Conn::new(Io::Tcp(stream), Peer::tcp(address));
            let soon = tokio::time::Instant::now() + Duration::from_millis(50);
            conn.greeting.as_mut().unwrap().deadline.as_mut().reset(soon);
            (client, conn)
        };
        let mut byte = [0; 24];
        let (mut silent, mut conn) = pair().await;
        silent.write_all(b"PRI").await.unwrap();
        assert_eq!(conn.read(&mut byte).await.unwrap(), 3);
        assert_eq!(conn.read(&mut byte).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut greets, mut conn) = pair().await;
        greets.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        conn.read_exact(&mut byte).await.unwrap();
        let later = tokio::time::timeout(Duration::from_millis(150), conn.read(&mut byte)).await;
        assert!(later.is_err(), "who has greeted may be silent: {later:?}");
    }

    #[tokio::test]
    async fn stale_socket_is_replaced_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let address = ListenAddress::Unix(folder.path().join("xds.sock"));
        let first = Listener::bind(&address, None).await.unwrap();
        assert!(Listener::bind(&address, None).await.is_err());
        drop(first);
        assert!(Listener::bind(&address, None).await.is_ok());
    }
}
