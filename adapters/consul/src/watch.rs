//! Tasks that wait for news of one topic each.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};

use crate::{
    client::{Client, ConsulError, Reply, Topic},
    pace::Pace,
};

/// So many answers at once, then one each [`EVERY`]: an instance that flaps holds up nobody else.
const BURST: u32 = 10;
const EVERY: Duration = Duration::from_millis(50);
/// The same for reading many services.
const SWEEP_BURST: u32 = 2;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often services without a question of their own are read without being told.
const SWEEP_IDLE: Duration = Duration::from_mins(5);
/// Questions at once, when many services are read.
pub(crate) const AT_ONCE: usize = 16;

/// What a task has to say.
#[derive(Debug)]
pub(crate) enum News {
    /// A topic as it is now.
    Is(Topic, Reply),
    /// The list of services is older than one that was seen: Consul was restored from a snapshot.
    WentBack,
    /// The task ended.
    Failed(ConsulError),
}

/// Tells each change of a topic since `last`. The queue to the one who listens is bounded: when it is full the
/// question waits, and its answer is then the latest.
pub(crate) async fn follow(client: Arc<Client>, topic: Topic, last: Reply, news: mpsc::Sender<News>) {
    let failed = match follow_on(&client, &topic, last, &news).await {
        Ok(()) => return,
        Err(error) => error,
    };
    // Nobody listens when all ends.
    let _ = news.send(News::Failed(failed)).await;
}

async fn follow_on(
    client: &Client,
    topic: &Topic,
    mut last: Reply,
    news: &mpsc::Sender<News>,
) -> Result<(), ConsulError> {
    let mut pace = Pace::new(BURST, EVERY);
    loop {
        pace.turn().await;
        let mut reply = client.since(topic, last.index).await?;
        if reply.index < last.index {
            // Either a server that is behind, or other data: what the leader says now is so.
            // <https://developer.hashicorp.com/consul/api-docs/features/blocking#implementation-details>
            reply = client.now(topic).await?;
            if *topic == Topic::Services && reply.index < last.index {
                let _ = news.send(News::WentBack).await;
                return Ok(());
            }
        }
        if reply.body != last.body && news.send(News::Is(topic.clone(), reply.clone())).await.is_err() {
            return Ok(());
        }
        last = reply;
    }
}

/// Wakes whoever reads many services, at each change of a topic.
pub(crate) async fn wake(client: Arc<Client>, topic: Topic, changed: Arc<Notify>, news: mpsc::Sender<News>) {
    let mut index = 0;
    let mut pace = Pace::new(BURST, EVERY);
    let failed = loop {
        pace.turn().await;
        match client.since(&topic, index).await {
            Ok(reply) => {
                if reply.index != index {
                    changed.notify_one();
                }
                index = if reply.index < index { 0 } else { reply.index };
            }
            Err(error) => break error,
        }
    };
    let _ = news.send(News::Failed(failed)).await;
}

/// Reads services that have no question of their own, whenever anything has changed: Consul limits the connections
/// of a client (`http_max_conns_per_client`, 200), and each question that waits takes one.
pub(crate) async fn sweep(
    client: Arc<Client>,
    mut names: watch::Receiver<BTreeSet<Arc<str>>>,
    changed: Arc<Notify>,
    news: mpsc::Sender<News>,
) {
    let mut pace = Pace::new(SWEEP_BURST, SWEEP_EVERY);
    let mut known: HashMap<Arc<str>, u64> = HashMap::new();
    loop {
        let told = timeout(SWEEP_IDLE, async {
            tokio::select! {
                () = changed.notified() => true,
                given = names.changed() => given.is_ok(),
            }
        });
        if let Ok(false) = told.await {
            return;
        }
        pace.turn().await;
        let now: Vec<Arc<str>> = names.borrow_and_update().iter().cloned().collect();
        known.retain(|name, _| now.contains(name));
        let client = &client;
        let mut read = stream::iter(now)
            .map(|name| async move {
                let reply = client.since(&Topic::Instances(name.clone()), 0).await;
                (name, reply)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((name, reply)) = read.next().await {
            let message = match reply {
                // The index of a service changes with the service only.
                Ok(reply) if known.insert(name.clone(), reply.index) == Some(reply.index) => continue,
                Ok(reply) => News::Is(Topic::Instances(name), reply),
                Err(error) => News::Failed(error),
            };
            if news.send(message).await.is_err() {
                return;
            }
        }
    }
}
