//! A TCP relay that fails on demand: refuses, cuts, or keeps connections open and silent.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What the relay does with bytes and connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Passes them on.
    Pass,
    /// Closes all there are, and new ones at once.
    Cut,
    /// Takes new connections, and moves no byte of any.
    Hang,
}

/// A relay to a server; it ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port and passes connections on to `to`.
    pub async fn to(to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (mode, watched) = watch::channel(Mode::Pass);
        let task = tokio::spawn(accept(listener, to, watched));
        Ok(Self { address, mode, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections, and new ones as soon as they open.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// From now on no byte moves, while all connections stay open and new ones are taken.
    pub fn hang(&self) {
        self.mode.send_replace(Mode::Hang);
    }

    /// Passes everything on again; bytes that were held back too.
    pub fn restore(&self) {
        self.mode.send_replace(Mode::Pass);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let mut mode = mode.clone();
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(to).await else { return };
            // Small messages must not wait for each other's acknowledgement.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::select! {
                () = pass(from_client, to_server, mode.clone()) => {}
                () = pass(from_server, to_client, mode.clone()) => {}
                _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
            }
        });
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count) = from.read(&mut buffer).await else { return };
        if mode.wait_for(|mode| *mode == Mode::Pass).await.is_err() || count == 0 {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
