//! Lists, then watches, and finds another member when one is gone.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use async_trait::async_trait;
use etcd_client::{Client, EventType, WatchResponse};
use futures::FutureExt;
use lateen_adapter::{Adapter, AdapterError, EventSink};
use lateen_model::{ObjectKind, Scope, SourceEvent, SourceId};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    EtcdAdapter,
    client::{self, ANSWER, ClientError, Head, Listed, QUICK, Watch},
    config::Settings,
    pace::Pace,
    store::{Listing, Store},
};

/// How often it is asked whether we may still read, and whether the store is the one that we know.
const PROBE: Duration = Duration::from_secs(10);
/// Between two rounds over all members.
const ROUND: Duration = Duration::from_millis(100);
/// After another member took over, everything is compared soon.
const RECONCILE_SOON: Duration = Duration::from_secs(1);
/// After much has gone, everything is listed once more: what is held because it went is confirmed by that.
const SECOND_LOOK: Duration = Duration::from_secs(5);
/// A watch that lives shorter than this has not worked.
const WORKED: Duration = Duration::from_secs(1);
/// Messages that are taken over together when they are there already.
const TOGETHER_MAX: usize = 256;

#[async_trait]
impl Adapter for EtcdAdapter {
    fn source(&self) -> SourceId {
        self.settings.source.clone()
    }

    async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
        let now = Instant::now();
        Following {
            settings: &self.settings,
            store: &mut self.store,
            member: &mut self.member,
            events,
            pace: Pace::default(),
            told_next: None,
            head: Head { cluster: 0, revision: 0 },
            next: 0,
            reconcile_at: now,
            second_look: None,
        }
        .run()
        .await
    }
}

/// One run of the adapter.
struct Following<'a> {
    settings: &'a Settings,
    store: &'a mut Store,
    /// Which member is asked next.
    member: &'a mut usize,
    events: &'a mut EventSink,
    pace: Pace,
    /// When a service may be told whose changes wait.
    told_next: Option<Instant>,
    /// The highest revision that was seen, and of which store.
    head: Head,
    /// Where a watch begins: behind a listing, else *at* the last event, whose revision may have been cut in two.
    next: i64,
    reconcile_at: Instant,
    /// When all is to be told once more.
    second_look: Option<Instant>,
}

/// Why a watch ended.
enum Ended {
    /// No contact, or no permission.
    Lost(ClientError),
    /// What was to be watched is not there any more: history was compacted, or the store is an older one.
    Behind(&'static str),
    /// Much has gone: it is to be seen whether that is so.
    LookAgain,
    /// The adapter is to stop.
    Stop(AdapterError),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        Self::Lost(error)
    }
}

impl From<AdapterError> for Ended {
    fn from(error: AdapterError) -> Self {
        Self::Stop(error)
    }
}

impl Following<'_> {
    async fn run(mut self) -> Result<Infallible, AdapterError> {
        let (mut client, listed) = self.first().await?;
        self.take_over(&listed, &HashSet::new(), Listing::All).await?;
        drop(listed);
        self.reconcile_at = Instant::now() + self.settings.reconcile;
        let mut failed_at_once = 0;
        loop {
            let began = Instant::now();
            let Err(ended) = self.follow(&client).await;
            failed_at_once = if began.elapsed() < WORKED { failed_at_once + 1 } else { 0 };
            let lost = match ended {
                Ended::Stop(error) => return Err(error),
                Ended::Behind(why) => {
                    tracing::info!(source = %self.settings.source, why, "everything is listed again");
                    self.list_again(&client, Listing::Differences).await
                }
                Ended::LookAgain => self.list_again(&client, Listing::All).await,
                Ended::Lost(error) => Err(Ended::Lost(error)),
            };
            let lost = match lost {
                Err(Ended::Lost(error)) => Some(error),
                Err(Ended::Stop(error)) => return Err(error),
                // A listing ends in neither of the two.
                Ok(()) | Err(Ended::Behind(_) | Ended::LookAgain) => None,
            };
            if let Some(error) = lost {
                if failed_at_once > self.settings.members.len() {
                    return Err(error.into());
                }
                tracing::info!(source = %self.settings.source, %error, "another member is tried");
                client = self.another(error).await?;
            }
        }
    }

    /// The first member that lists everything.
    async fn first(&mut self) -> Result<(Client, Listed), AdapterError> {
        let mut failure = None;
        for _ in 0..self.settings.members.len() {
            let tried = async {
                let client = client::connect(self.settings, self.member_now(), ANSWER).await?;
                let listed = client::list(client.kv_client(), &self.settings.prefix).await?;
                Ok((client, listed))
            };
            match tried.await {
                Ok(found) => return Ok(found),
                Err(error) => self.failed(error, &mut failure),
            }
        }
        Err(failure.unwrap_or_else(|| ClientError::Wrong("there is no member".to_owned())).into())
    }

    fn member_now(&self) -> &str {
        let members = &self.settings.members;
        members.get(*self.member % members.len().max(1)).map_or("", String::as_str)
    }

    /// Remembers why a member could not be used, a refusal above all, and goes on to the next one.
    fn failed(&mut self, error: ClientError, failure: &mut Option<ClientError>) {
        tracing::debug!(source = %self.settings.source, member = self.member_now(), %error, "member failed");
        *self.member = self.member.wrapping_add(1);
        if failure.as_ref().is_none_or(|failure| !failure.is_refusal()) {
            *failure = Some(error);
        }
    }

    /// Another member that has all that we have seen, or the same one again when it is the only one. Rounds are made
    /// for about as long as electing a leader takes.
    async fn another(&mut self, error: ClientError) -> Result<Client, AdapterError> {
        let members = self.settings.members.len();
        let until = Instant::now() + if members > 1 { self.settings.silence } else { Duration::ZERO };
        let mut failure = None;
        self.failed(error, &mut failure);
        failure = None;
        loop {
            for _ in 0..members {
                match self.resume().await {
                    Ok(client) => return Ok(client),
                    Err(Ended::Lost(error)) => self.failed(error, &mut failure),
                    Err(Ended::Behind(why)) => self.failed(ClientError::Ended(why.to_owned()), &mut failure),
                    Err(Ended::LookAgain) => {}
                    Err(Ended::Stop(error)) => return Err(error),
                }
            }
            if Instant::now() >= until {
                break;
            }
            sleep(ROUND).await;
        }
        Err(failure.unwrap_or_else(|| ClientError::Wrong("there is no member".to_owned())).into())
    }

    async fn resume(&mut self) -> Result<Client, Ended> {
        let client = client::connect(self.settings, self.member_now(), QUICK).await?;
        let head = client::head(client.kv_client(), &self.settings.prefix, QUICK).await?;
        if self.is_behind(head) {
            self.list_again(&client, Listing::Differences).await?;
        } else {
            self.reconcile_at = self.reconcile_at.min(Instant::now() + RECONCILE_SOON);
        }
        Ok(client)
    }

    /// Is this the state of another store, or of an earlier time? Heads are read linearizably: no member that merely
    /// lags behind gives such an answer, only a store that was restored or replaced does.
    fn is_behind(&self, head: Head) -> bool {
        head.cluster != self.head.cluster || head.revision < self.head.revision
    }

    /// Lists everything and tells it, or what is different.
    async fn list_again(&mut self, client: &Client, listing: Listing) -> Result<(), Ended> {
        let listed = client::list(client.kv_client(), &self.settings.prefix).await?;
        self.take_over(&listed, &HashSet::new(), listing).await?;
        Ok(())
    }

    async fn take_over(
        &mut self,
        listed: &Listed,
        touched: &HashSet<Vec<u8>>,
        listing: Listing,
    ) -> Result<(), AdapterError> {
        self.head = listed.head;
        self.next = listed.head.revision + 1;
        self.store.list(&listed.pairs, touched, listing);
        let events = self.all_events();
        self.told_next = None;
        let events = match listing {
            Listing::Differences => {
                self.plan_second_look();
                events
            }
            Listing::All => {
                self.second_look = None;
                let open = scopes().map(SourceEvent::Resync);
                open.chain(events).chain(scopes().map(SourceEvent::Synced)).collect()
            }
        };
        tracing::info!(
            source = %self.settings.source, revision = listed.head.revision, keys = self.store.keys(),
            events = events.len(), "listed"
        );
        if events.is_empty() { Ok(()) } else { self.events.send(events).await }
    }

    fn plan_second_look(&mut self) {
        if self.store.lost_much() {
            self.second_look.get_or_insert(Instant::now() + SECOND_LOOK);
        }
    }

    fn all_events(&mut self) -> Vec<SourceEvent> {
        let mut events = self.store.take_told();
        let dirty: Vec<_> = self.store.dirty().map(|(service, _)| service.clone()).collect();
        for service in dirty {
            events.extend(self.store.take_service(&service));
        }
        events
    }

    /// Tells what has changed, services at their pace.
    async fn tell(&mut self) -> Result<(), AdapterError> {
        let now = Instant::now();
        self.plan_second_look();
        let mut events = self.store.take_told();
        self.told_next = None;
        let dirty: Vec<_> = self.store.dirty().map(|(service, cost)| (service.clone(), cost)).collect();
        for (service, cost) in dirty {
            match self.pace.may(&service, cost, now) {
                Ok(()) => events.extend(self.store.take_service(&service)),
                Err(due) => self.told_next = Some(self.told_next.map_or(due, |next| next.min(due))),
            }
        }
        if events.is_empty() { Ok(()) } else { self.events.send(events).await }
    }

    async fn follow(&mut self, client: &Client) -> Result<Infallible, Ended> {
        let prefix = &self.settings.prefix;
        // A connection may have died since it was last used.
        let opening = QUICK.max(2 * self.settings.silence);
        let mut watch = client::watch(client.watch_client(), prefix, self.next, opening).await?;
        let mut background = Background::default();
        let mut heard = Instant::now();
        let mut asked = None;
        let mut probe_at = heard + PROBE;
        loop {
            let patience = asked.unwrap_or(heard) + self.settings.silence;
            let (told_next, second_look) = (self.told_next, self.second_look);
            tokio::select! {
                response = watch.responses.message() => {
                    self.take_responses(response, &mut watch, &mut background)?;
                    self.tell().await?;
                    // The time that the core took is not the server's silence.
                    (heard, asked) = (Instant::now(), None);
                    self.reconcile(&mut background).await?;
                }
                () = sleep_until(patience) => {
                    if asked.is_some() {
                        let after = self.settings.silence;
                        return Err(ClientError::Silent { act: "watching", after }.into());
                    }
                    ask(&mut watch).await?;
                    asked = Some(Instant::now());
                }
                () = sleep_until(told_next.unwrap_or(patience)), if told_next.is_some() => self.tell().await?,
                () = sleep_until(second_look.unwrap_or(patience)), if second_look.is_some() => {
                    return Err(Ended::LookAgain);
                }
                () = sleep_until(probe_at), if !background.is_probing => {
                    self.pace.sweep(Instant::now());
                    background.probe(client, prefix.to_string());
                }
                () = sleep_until(self.reconcile_at), if background.reconciling == Reconciling::Not => {
                    background.list(client, prefix.to_string());
                }
                Some(done) = background.tasks.join_next() => {
                    match done.map_err(|_| ClientError::Wrong("a task panicked".to_owned()))? {
                        Done::Probed(probed) => {
                            self.check(probed?)?;
                            background.is_probing = false;
                            probe_at = Instant::now() + PROBE;
                            if background.reconciling == Reconciling::Waits {
                                // A watch that was behind when it was asked did not answer.
                                ask(&mut watch).await?;
                            }
                        }
                        Done::Listed(listed) => {
                            let listed = listed?;
                            self.check(listed.head)?;
                            // What it saw is compared as soon as the watch has come as far.
                            background.listed = Some(listed);
                            background.reconciling = Reconciling::Waits;
                            ask(&mut watch).await?;
                            self.reconcile(&mut background).await?;
                        }
                    }
                }
            }
        }
    }

    fn check(&self, head: Head) -> Result<(), Ended> {
        if self.is_behind(head) {
            return Err(Ended::Behind("the store is another or an older one"));
        }
        Ok(())
    }

    /// Takes over a response, and those that are there already.
    fn take_responses(
        &mut self,
        first: Result<Option<WatchResponse>, etcd_client::Error>,
        watch: &mut Watch,
        background: &mut Background,
    ) -> Result<(), Ended> {
        let mut response = first;
        for _ in 0..TOGETHER_MAX {
            let taken = response.map_err(|source| ClientError::Etcd { act: "watching", source })?;
            let taken = taken.ok_or_else(|| ClientError::Ended("the stream was closed".to_owned()))?;
            self.take_response(&taken, background)?;
            match watch.responses.message().now_or_never() {
                Some(next) => response = next,
                None => return Ok(()),
            }
        }
        // The last one is not lost: it is handled as any other.
        let taken = response.map_err(|source| ClientError::Etcd { act: "watching", source })?;
        let taken = taken.ok_or_else(|| ClientError::Ended("the stream was closed".to_owned()))?;
        self.take_response(&taken, background)
    }

    fn take_response(&mut self, response: &WatchResponse, background: &mut Background) -> Result<(), Ended> {
        if response.canceled() {
            if response.compact_revision() > 0 {
                return Err(Ended::Behind("history was compacted"));
            }
            return Err(ClientError::Ended(response.cancel_reason().to_owned()).into());
        }
        let events = response.events();
        // A response without events says that the watch has come as far as its revision.
        if events.is_empty() && !response.created() {
            let revision = response.header().map_or(0, etcd_client::ResponseHeader::revision);
            background.watched = background.watched.max(revision);
        }
        for event in events {
            let Some(pair) = event.kv() else { continue };
            if background.reconciling != Reconciling::Not {
                background.touched.insert(pair.key().to_vec());
            }
            match event.event_type() {
                EventType::Put => {
                    self.store.put(pair.key(), pair.value());
                }
                EventType::Delete => self.store.delete(pair.key()),
            }
            self.next = self.next.max(pair.mod_revision());
            self.head.revision = self.head.revision.max(pair.mod_revision());
        }
        Ok(())
    }

    /// Compares with a listing once the watch has told all that the listing saw; then they are equal, but for what
    /// the watch has lost.
    async fn reconcile(&mut self, background: &mut Background) -> Result<(), AdapterError> {
        let Some(listed) = background.listed.take_if(|listed| background.watched >= listed.head.revision)
        else {
            return Ok(());
        };
        let lost = self.store.list(&listed.pairs, &background.touched, Listing::Differences);
        if lost > 0 {
            tracing::warn!(source = %self.settings.source, keys = lost, "the watch had lost changes");
        }
        background.touched = HashSet::new();
        background.reconciling = Reconciling::Not;
        self.reconcile_at = Instant::now() + self.settings.reconcile;
        self.tell().await
    }
}

fn scopes() -> impl Iterator<Item = Scope> {
    let kinds = [ObjectKind::Document, ObjectKind::Service, ObjectKind::Endpoints];
    kinds.into_iter().map(|kind| Scope { kind, prefix: "".into() })
}

async fn ask(watch: &mut Watch) -> Result<(), ClientError> {
    let act = "asking whether the watch lives";
    client::answer(act, QUICK, watch.requests.request_progress()).await
}

/// What goes on beside a watch. Its tasks end with it.
#[derive(Default)]
struct Background {
    tasks: JoinSet<Done>,
    is_probing: bool,
    reconciling: Reconciling,
    listed: Option<Listed>,
    /// Keys that changed since the listing began.
    touched: HashSet<Vec<u8>>,
    /// How far the watch has come.
    watched: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Reconciling {
    #[default]
    Not,
    Lists,
    Waits,
}

enum Done {
    Probed(Result<Head, ClientError>),
    Listed(Result<Listed, ClientError>),
}

impl Background {
    fn probe(&mut self, client: &Client, prefix: String) {
        self.is_probing = true;
        let kv = client.kv_client();
        self.tasks.spawn(async move { Done::Probed(client::head(kv, &prefix, ANSWER).await) });
    }

    fn list(&mut self, client: &Client, prefix: String) {
        self.reconciling = Reconciling::Lists;
        self.touched.clear();
        let kv = client.kv_client();
        self.tasks.spawn(async move { Done::Listed(client::list(kv, &prefix).await) });
    }
}
