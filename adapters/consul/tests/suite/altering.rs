//! A server before Consul that changes what it answers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

type Change = Box<dyn FnMut(&str, String) -> String + Send>;

/// Changes the head of each answer, given the first line of the request.
pub(crate) struct Altering {
    pub(crate) address: SocketAddr,
    change: Arc<Mutex<Change>>,
    task: JoinHandle<()>,
}

impl Drop for Altering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Altering {
    pub(crate) async fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let change: Arc<Mutex<Change>> = Arc::new(Mutex::new(Box::new(|_, head| head)));
        let shared = change.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(exchange(client, to, shared.clone()));
            }
        });
        Self { address, change, task }
    }

    pub(crate) fn change(&self, change: impl FnMut(&str, String) -> String + Send + 'static) {
        *self.change.lock().unwrap() = Box::new(change);
    }
}

/// One request of a connection: as HTTP/1.0, so that the answer ends with the connection.
async fn exchange(mut client: TcpStream, to: SocketAddr, change: Arc<Mutex<Change>>) -> Option<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(client.read_u8().await.ok()?);
    }
    let request = String::from_utf8(request).ok()?.replacen("HTTP/1.1", "HTTP/1.0", 1);
    let mut server = TcpStream::connect(to).await.ok()?;
    server.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // Who asked may go first.
    let mut end = [0];
    tokio::select! {
        read = server.read_to_end(&mut answer) => read.ok().map(drop)?,
        _ = client.read(&mut end) => return None,
    }
    let body_at = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..body_at].to_vec()).ok()?;
    let first = request.lines().next().unwrap_or_default();
    let head = change.lock().unwrap()(first, head);
    client.write_all(head.as_bytes()).await.ok()?;
    client.write_all(&answer[body_at..]).await.ok()?;
    client.shutdown().await.ok()
}

/// A head with another value of a header.
pub(crate) fn with_header(head: &str, name: &str, value: &str) -> String {
    let is_other =
        |line: &&str| !line.to_ascii_lowercase().starts_with(&format!("{}:", name.to_ascii_lowercase()));
    let mut lines: Vec<&str> = head.lines().filter(is_other).collect();
    let line = format!("{name}: {value}");
    lines.push(&line);
    lines.join("\r\n")
}
