//! What a platform tells those who watch it, and when.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use anyhow::{Context, ensure};
use futures::{Stream, StreamExt};
use lateen_tests::backend::RUNTIME;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinHandle,
};

/// Something that a platform said.
#[derive(Debug)]
pub struct Seen {
    /// When it was here.
    pub at: Instant,
    /// What it said.
    pub body: Value,
}

/// A watch that goes on until it is dropped.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: Option<JoinHandle<()>>,
}

impl Watch {
    /// Values that come one after the other.
    pub fn stream(values: impl Stream<Item = Value> + Send + 'static) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let noted = Arc::clone(&seen);
        let task = RUNTIME.spawn(async move {
            let mut values = std::pin::pin!(values);
            while let Some(body) = values.next().await {
                noted.lock().expect("what was seen").push(Seen { at: Instant::now(), body });
            }
        });
        Self { seen, task: Some(task) }
    }

    /// The lines, each of them JSON, of an answer that does not end.
    pub async fn lines(address: SocketAddr, method: &str, path: &str, body: &str) -> anyhow::Result<Self> {
        let mut lines = BufReader::new(ask(address, method, path, body).await?).lines();
        let status = lines.next_line().await?.context("no answer")?;
        ensure!(status.contains(" 200 "), "{method} {path}: {status}");
        while !lines.next_line().await?.context("no end of the head")?.is_empty() {}
        Ok(Self::stream(futures::stream::unfold(lines, async |mut lines| {
            loop {
                let line = lines.next_line().await.ok()??;
                if let Ok(value) = serde_json::from_str(&line) {
                    return Some((value, lines));
                }
            }
        })))
    }

    /// Answers to a question of Consul that waits until there is news.
    /// <https://developer.hashicorp.com/consul/api-docs/features/blocking>
    pub fn questions(address: SocketAddr, path: &'static str) -> Self {
        Self::stream(futures::stream::unfold("0".to_owned(), move |index| async move {
            let path = format!("{path}?index={index}&wait=60s");
            let mut answer = String::new();
            ask(address, "GET", &path, "").await.ok()?.read_to_string(&mut answer).await.ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            let index = head.lines().find_map(|line| line.strip_prefix("X-Consul-Index: "))?;
            Some((serde_json::from_str(body).ok()?, index.to_owned()))
        }))
    }

    /// Looks at what came since then.
    pub fn since<T>(&self, then: Instant, look: impl FnOnce(&[Seen]) -> T) -> T {
        let seen = self.seen.lock().expect("what was seen");
        look(&seen[seen.partition_point(|seen| seen.at < then)..])
    }

    /// Looks at everything that came.
    pub fn all<T>(&self, look: impl FnOnce(&[Seen]) -> T) -> T {
        look(&self.seen.lock().expect("what was seen"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

/// A request by HTTP/1.0, whose answer comes as it is and ends with the connection.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.0\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}
