//! One run of the adapter: lists, then follows.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use lateen_adapter::{AdapterError, EventSink};
use lateen_adapter_http::Lines;
use lateen_model::SourceEvent;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::{
    client::{Client, ClientError, ReadVariable},
    due::Due,
    mirror::{Mirror, ServiceKey},
    read::{
        Everything, Places, READS, look_for, names, read_everything, read_places, read_variables,
        take_places, take_variable, unknown,
    },
    stopped::Stopped,
    wire::{Alloc, Line, NamespaceServices, Registration, VariableStub},
};

/// News that wait to be looked at. When it is full the event stream is not read, and Nomad closes the stream of a
/// reader that falls behind; what follows is a full listing.
const NEWS: usize = 256;
/// Answers older than what is known, until they are believed.
const WENT_BACK_MAX: u32 = 5;
/// How long the event stream may lag behind the blocking query before an event counts as lost.
const LAG_MAX: Duration = Duration::from_secs(2);
/// How often the agent is asked whether it is there: all other questions wait for something to happen.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(10);
/// Full readings because of something odd are at least this far apart.
const ODD_INTERVAL: Duration = Duration::from_secs(5);

/// What the followers of Nomad's answers hand over.
#[derive(Debug)]
enum News {
    /// A line of the event stream.
    Line(Line),
    /// A line that is not understood: what it told has to be read.
    Garbled(serde_json::Error),
    /// The list of services changed.
    Services(u64, Vec<NamespaceServices>),
    /// The list of Variables changed.
    Variables(Vec<VariableStub>),
    /// One of them can't go on.
    Failed(ClientError),
}

/// Something that was read.
#[derive(Debug)]
enum Read {
    Service(ServiceKey, u64, Vec<Registration>),
    /// The same, with what its registrations refer to.
    Facts(ServiceKey, u64, Vec<Registration>, Places),
    Variables(Vec<(VariableStub, ReadVariable)>),
    Everything(Everything),
    /// Allocations of jobs that were taken away.
    Stopped(Vec<(String, Option<Alloc>)>),
}

/// Runs until something fails.
pub(crate) async fn run(
    client: Client,
    mirror: &mut Mirror,
    has_config: bool,
    reconcile: Duration,
    events: &mut EventSink,
) -> Result<Infallible, AdapterError> {
    let client = Arc::new(client);
    let (news, messages) = mpsc::channel(NEWS);
    let mut followers = JoinSet::new();
    // The stream is opened before anything is listed: a stream that starts later than it was asked to does not
    // say so, and so nothing of it is relied on that the listing does not cover.
    let lines = client.events().await?;
    followers.spawn(follow_lines(lines, news.clone()));
    let (index, variables_index) = list(&client, mirror, has_config).await?;
    events.send(mirror.listing()).await?;
    followers.spawn(follow_services(client.clone(), index, news.clone()));
    if has_config {
        followers.spawn(follow_variables(client.clone(), variables_index, news.clone()));
    }
    followers.spawn(follow_life(client.clone(), news));
    let now = Instant::now();
    let mut following = Following {
        client,
        mirror,
        messages,
        reads: JoinSet::new(),
        due: Due::default(),
        streamed: index,
        expected: None,
        variables: Variables::default(),
        reconcile,
        everything_at: now + reconcile,
        everything_read: now,
        is_reading_everything: false,
        went_back: 0,
        stopped: Stopped::default(),
    };
    let result = following.follow(events).await;
    followers.abort_all();
    result
}

/// Reads everything; the indexes are those of the lists.
async fn list(
    client: &Arc<Client>,
    mirror: &mut Mirror,
    has_config: bool,
) -> Result<(u64, u64), AdapterError> {
    mirror.forget_services();
    mirror.distrust_variables();
    let everything = read_everything(client).await?;
    for alloc in everything.allocs {
        mirror.alloc(alloc);
    }
    let reading = everything.services.into_iter().map(|key| async move {
        let (index, registrations) = client.service(&key, 0).await?;
        Ok::<_, ClientError>((key, index, registrations))
    });
    let mut read = stream::iter(reading).buffer_unordered(READS);
    while let Some((key, index, registrations)) = read.try_next().await? {
        let (allocs, nodes) = unknown(mirror, &registrations);
        let places = read_places(client, allocs, nodes).await?;
        take_places(mirror, places);
        // Nothing was known of it: there is nothing that its index could be older than.
        if mirror.service(&key, index, registrations).is_err() {
            tracing::debug!(service = &*key.1, "read twice");
        }
    }
    if !has_config {
        return Ok((everything.index, 0));
    }
    let (variables_index, listed) = client.variables(0).await?;
    let read = read_variables(
        client.clone(),
        mirror.changed_variables(&listed),
        mirror.missing_variables(&listed),
        listed,
    );
    for (stub, variable) in read.await? {
        take_variable(mirror, &stub, variable);
    }
    Ok((everything.index, variables_index))
}

async fn follow_lines(mut lines: Lines, news: mpsc::Sender<News>) {
    loop {
        let message = match lines.next().await {
            Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
            Ok(Some(line)) => serde_json::from_slice(&line).map_or_else(News::Garbled, News::Line),
            Ok(None) => News::Failed(ClientError::Ended),
            Err(source) => News::Failed(ClientError::Http { act: "/v1/event/stream".to_owned(), source }),
        };
        let is_over = matches!(message, News::Failed(_));
        if news.send(message).await.is_err() || is_over {
            return;
        }
    }
}

async fn follow_services(client: Arc<Client>, mut index: u64, news: mpsc::Sender<News>) {
    loop {
        let message = match client.services(index).await {
            Ok((now, _)) if now == index => continue,
            Ok((now, _)) if now < index => News::Failed(ClientError::WentBack),
            Ok((now, services)) => {
                index = now;
                News::Services(now, services)
            }
            Err(error) => News::Failed(error),
        };
        let is_over = matches!(message, News::Failed(_));
        if news.send(message).await.is_err() || is_over {
            return;
        }
    }
}

async fn follow_variables(client: Arc<Client>, mut index: u64, news: mpsc::Sender<News>) {
    loop {
        let message = match client.variables(index).await {
            Ok((now, _)) if now == index => continue,
            Ok((now, _)) if now < index => News::Failed(ClientError::WentBack),
            Ok((now, listed)) => {
                index = now;
                News::Variables(listed)
            }
            Err(error) => News::Failed(error),
        };
        let is_over = matches!(message, News::Failed(_));
        if news.send(message).await.is_err() || is_over {
            return;
        }
    }
}

async fn follow_life(client: Arc<Client>, news: mpsc::Sender<News>) {
    loop {
        tokio::time::sleep(SIGN_OF_LIFE_INTERVAL).await;
        if let Err(error) = client.is_there().await {
            // A receiver that is gone has ended already.
            let _ = news.send(News::Failed(error)).await;
            return;
        }
    }
}

/// Lists of Variables: one is worked off at a time, and of those that come meanwhile only the newest counts.
#[derive(Debug, Default)]
struct Variables {
    is_reading: bool,
    next: Option<Vec<VariableStub>>,
    /// The list that was worked off last.
    last: Vec<VariableStub>,
}

struct Following<'a> {
    client: Arc<Client>,
    mirror: &'a mut Mirror,
    messages: mpsc::Receiver<News>,
    reads: JoinSet<Result<Read, ClientError>>,
    /// Services to read.
    due: Due,
    /// The newest index of a service's event.
    streamed: u64,
    /// The index that the event stream has to reach, and until when.
    expected: Option<(u64, Instant)>,
    variables: Variables,
    reconcile: Duration,
    everything_at: Instant,
    everything_read: Instant,
    is_reading_everything: bool,
    /// Answers in a row that were older than what is known.
    went_back: u32,
    /// Jobs that were taken away, whose allocations may vanish without an event.
    stopped: Stopped,
}

impl Following<'_> {
    async fn follow(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
        loop {
            let mut told = Vec::new();
            let next_at = self.next_at();
            tokio::select! {
                Some(first) = self.messages.recv() => {
                    self.news(first, &mut told)?;
                    // What waits already is looked at together: a burst costs one reading of each service.
                    for _ in 1..NEWS {
                        let Ok(next) = self.messages.try_recv() else { break };
                        self.news(next, &mut told)?;
                    }
                }
                Some(read) = self.reads.join_next() => {
                    let read = read.map_err(|source| AdapterError::Unavailable {
                        act: "reading Nomad".to_owned(),
                        source: source.into(),
                    })?;
                    self.read(read?, &mut told)?;
                }
                () = tokio::time::sleep_until(next_at) => {}
            }
            self.start_due(Instant::now());
            if !told.is_empty() {
                events.send(told).await?;
            }
        }
    }

    fn news(&mut self, news: News, told: &mut Vec<SourceEvent>) -> Result<(), AdapterError> {
        let now = Instant::now();
        match news {
            News::Line(line) => self.line(line, now, told)?,
            News::Garbled(error) => {
                tracing::warn!(%error, "a line of the event stream is not understood");
                self.odd();
            }
            News::Services(index, namespaces) => self.listed(index, &names(namespaces), now),
            News::Variables(listed) => self.variables.next = Some(listed),
            News::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn line(&mut self, line: Line, now: Instant, told: &mut Vec<SourceEvent>) -> Result<(), AdapterError> {
        if line.error.is_some() {
            return Err(ClientError::Ended.into());
        }
        for event in line.events {
            let index = if event.index == 0 { line.index } else { event.index };
            if event.kind == "JobDeregistered" {
                self.stopped.add((event.namespace, event.key), now);
            }
            if let Some(registration) = event.payload.service {
                self.streamed = self.streamed.max(index);
                let Registration { namespace, service_name, .. } = registration;
                let key: ServiceKey = (namespace.into(), service_name.into());
                // An event from before the service was last read is known already.
                if self.mirror.index_of(&key).is_none_or(|known| index > known) {
                    self.due.changed(key, index, now);
                }
            }
            if let Some(alloc) = event.payload.allocation {
                told.extend(self.mirror.alloc(alloc));
            }
        }
        if self.expected.is_some_and(|(index, _)| self.streamed >= index) {
            self.expected = None;
        }
        Ok(())
    }

    /// The blocking query makes sure of what the stream tells: a service that came or went is read, and an event
    /// that does not come in time counts as lost.
    fn listed(&mut self, index: u64, listed: &BTreeSet<ServiceKey>, now: Instant) {
        let known: BTreeSet<ServiceKey> = self.mirror.services().cloned().collect();
        for key in known.symmetric_difference(listed) {
            self.due.changed(key.clone(), index, now);
        }
        if index > self.streamed {
            self.expected.get_or_insert((index, now + LAG_MAX)).0 = index;
        }
    }

    /// Something does not fit: everything is read, but not all the time.
    fn odd(&mut self) {
        self.everything_at = self.everything_at.min(self.everything_read + ODD_INTERVAL);
    }

    fn next_at(&self) -> Instant {
        let mut next =
            if self.is_reading_everything { Instant::now() + self.reconcile } else { self.everything_at };
        if let Some((_, until)) = self.expected {
            next = next.min(until);
        }
        [self.stopped.next_at(), self.due.next_at()].into_iter().flatten().fold(next, Instant::min)
    }

    fn start_due(&mut self, now: Instant) {
        if let Some((index, _)) = self.expected.take_if(|(_, until)| *until <= now) {
            tracing::warn!(
                index,
                streamed = self.streamed,
                "the event stream has lost something; reading everything"
            );
            self.streamed = index;
            self.odd();
        }
        if now >= self.everything_at && !self.is_reading_everything {
            self.is_reading_everything = true;
            self.due.forget_quiet(now);
            let client = self.client.clone();
            self.reads.spawn(async move { read_everything(&client).await.map(Read::Everything) });
        }
        let gone = self.stopped.due(now, |(namespace, job)| self.mirror.allocs_of((namespace, job)));
        if !gone.is_empty() {
            let read = look_for(self.client.clone(), gone);
            self.reads.spawn(async move { read.await.map(Read::Stopped) });
        }
        for (key, index) in self.due.take(now) {
            let client = self.client.clone();
            self.reads.spawn(async move {
                let (index, registrations) = client.service(&key, index).await?;
                Ok(Read::Service(key, index, registrations))
            });
        }
        if !self.variables.is_reading
            && let Some(listed) = self.variables.next.take()
        {
            self.variables.is_reading = true;
            let (changed, missing) =
                (self.mirror.changed_variables(&listed), self.mirror.missing_variables(&listed));
            self.variables.last.clone_from(&listed);
            let read = read_variables(self.client.clone(), changed, missing, listed);
            self.reads.spawn(async move { read.await.map(Read::Variables) });
        }
    }

    fn read(&mut self, read: Read, told: &mut Vec<SourceEvent>) -> Result<(), AdapterError> {
        match read {
            Read::Service(key, index, registrations) => {
                let (allocs, nodes) = unknown(self.mirror, &registrations);
                if allocs.is_empty() && nodes.is_empty() {
                    return self.read_service(key, index, registrations, told);
                }
                let client = self.client.clone();
                self.reads.spawn(async move {
                    let places = read_places(&client, allocs, nodes).await?;
                    Ok(Read::Facts(key, index, registrations, places))
                });
            }
            Read::Facts(key, index, registrations, places) => {
                told.extend(take_places(self.mirror, places));
                return self.read_service(key, index, registrations, told);
            }
            Read::Variables(read) => {
                self.variables.is_reading = false;
                for (stub, variable) in read {
                    told.extend(take_variable(self.mirror, &stub, variable));
                }
            }
            Read::Everything(everything) => self.read_everything(everything, told),
            Read::Stopped(found) => {
                for (id, alloc) in found {
                    told.extend(match alloc {
                        Some(alloc) => self.mirror.alloc(alloc),
                        None => self.mirror.alloc_vanished(&id),
                    });
                }
            }
        }
        Ok(())
    }

    fn read_service(
        &mut self,
        key: ServiceKey,
        index: u64,
        registrations: Vec<Registration>,
        told: &mut Vec<SourceEvent>,
    ) -> Result<(), AdapterError> {
        let at_least = self.due.was_read(&key);
        if index >= at_least
            && let Ok(events) = self.mirror.service(&key, index, registrations)
        {
            self.went_back = 0;
            told.extend(events);
            return Ok(());
        }
        // One server may lag behind another. When it stays so, the data are other data.
        self.went_back += 1;
        if self.went_back > WENT_BACK_MAX {
            return Err(ClientError::WentBack.into());
        }
        tracing::warn!(service = &*key.1, index, "an answer is older than one before; asking again");
        self.due.too_old(key, at_least, Instant::now());
        Ok(())
    }

    fn read_everything(&mut self, everything: Everything, told: &mut Vec<SourceEvent>) {
        let now = Instant::now();
        self.is_reading_everything = false;
        self.everything_read = now;
        self.everything_at = now + self.reconcile;
        self.streamed = self.streamed.max(everything.index);
        told.extend(self.mirror.allocs_listed(everything.allocs_index, &everything.listed_allocs));
        for alloc in everything.allocs {
            told.extend(self.mirror.alloc(alloc));
        }
        self.mirror.forget_nodes();
        let known: Vec<ServiceKey> = self.mirror.services().cloned().collect();
        for key in everything.services.into_iter().chain(known) {
            self.due.changed(key, 0, now);
        }
        self.mirror.distrust_variables();
        if self.variables.next.is_none() {
            self.variables.next = Some(self.variables.last.clone());
        }
    }
}
