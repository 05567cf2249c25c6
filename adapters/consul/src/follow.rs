//! One run of the adapter: a listing, then what changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, stream};
use lateen_adapter::{AdapterError, EventSink};
use lateen_model::{Diagnostic, Severity, SourceEvent, diagnostic::Code};
use serde::de::IgnoredAny;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use crate::{
    client::{Client, ConsulError, Reply, Topic, parsed},
    config::Settings,
    mirror::{Mirror, scopes},
    translate,
    watch::{AT_ONCE, News, follow, sweep, wake},
    wire::{Instance, Pair},
};

/// Answers about a service that can't be read.
const UNREADABLE: Code = Code("LAT3204");
/// News that wait to be told to the core; those who bring more wait.
const NEWS_MAX: usize = 64;
/// Consul's own service.
const CONSUL: &str = "consul";

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error(transparent)]
    Consul(#[from] ConsulError),
    #[error(transparent)]
    Core(#[from] AdapterError),
}

/// A run.
pub(crate) struct Run<'a> {
    settings: Arc<Settings>,
    client: Arc<Client>,
    events: &'a mut EventSink,
    mirror: Mirror,
    /// Did Consul show any service, its own too? Kept from run to run.
    showed: &'a mut bool,
    tasks: Tasks,
}

/// The tasks that wait for news; they end with this.
struct Tasks {
    set: JoinSet<()>,
    news: mpsc::Sender<News>,
    of_services: BTreeMap<Arc<str>, AbortHandle>,
    /// Services without a task of their own, when there are any.
    rest: Option<watch::Sender<BTreeSet<Arc<str>>>>,
}

/// A listing of everything.
struct Listing {
    names: Reply,
    keys: Option<Reply>,
    services: Vec<(Arc<str>, Reply)>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        settings: Arc<Settings>,
        client: Arc<Client>,
        events: &'a mut EventSink,
        showed: &'a mut bool,
    ) -> (Self, mpsc::Receiver<News>) {
        let (news, received) = mpsc::channel(NEWS_MAX);
        let mirror = Mirror::new(settings.clone());
        let tasks = Tasks { set: JoinSet::new(), news, of_services: BTreeMap::new(), rest: None };
        (Self { settings, client, events, mirror, showed, tasks }, received)
    }

    /// Lists, and follows until something fails, or until Consul's data are others: then all is to be read anew.
    pub(crate) async fn run(&mut self, mut news: mpsc::Receiver<News>) -> Result<(), Ended> {
        let listing = self.list().await?;
        self.tell(&listing).await?;
        self.follow(listing);
        while let Some(message) = news.recv().await {
            let events = match message {
                News::Is(Topic::Services, reply) => self.names(&reply).await?,
                News::Is(Topic::Instances(name), reply) => self.instances(&name, &reply).await?,
                News::Is(Topic::Keys, reply) => self.keys(&reply).await?,
                News::Is(Topic::Checks, _) => Vec::new(),
                News::WentBack => return Ok(()),
                News::Failed(error) => return Err(error.into()),
            };
            self.events.send(events).await?;
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<Listing, ConsulError> {
        let names = self.client.now(&Topic::Services).await?;
        let listed = self.visible(&names).await?;
        let keys = if self.settings.config_prefix.is_empty() {
            None
        } else {
            let reply = self.client.now(&Topic::Keys).await?;
            self.check_keys(&reply).await?;
            Some(reply)
        };
        let services = self.read(listed).await?;
        if services.iter().any(|(_, reply)| is_empty(reply)) {
            // Gone since, or hidden: then they are still listed.
            let listed = self.visible(&self.client.now(&Topic::Services).await?).await?;
            let hidden = services.iter().find(|(name, reply)| is_empty(reply) && listed.contains(name));
            if let Some((name, reply)) = hidden {
                return Err(hidden_instances(name, reply));
            }
        }
        Ok(Listing { names, keys, services })
    }

    async fn read(&self, names: BTreeSet<Arc<str>>) -> Result<Vec<(Arc<str>, Reply)>, ConsulError> {
        let client = &self.client;
        stream::iter(names)
            .map(|name| async move {
                let reply = client.now(&Topic::Instances(name.clone())).await?;
                Ok((name, reply))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Tells a listing to the core: all scopes are opened before the first is closed.
    async fn tell(&mut self, listing: &Listing) -> Result<(), Ended> {
        let mut events: Vec<_> = scopes().into_iter().map(SourceEvent::Resync).collect();
        if let Some(keys) = &listing.keys {
            events.extend(self.mirror.set_keys(pairs(keys)?));
        }
        for (name, reply) in &listing.services {
            events.extend(self.service(name, reply));
        }
        events.extend(scopes().into_iter().map(SourceEvent::Synced));
        Ok(self.events.send(events).await?)
    }

    fn follow(&mut self, listing: Listing) {
        let Listing { names, keys, services } = listing;
        let (client, tasks) = (&self.client, &mut self.tasks);
        tasks.set.spawn(follow(client.clone(), Topic::Services, names, tasks.news.clone()));
        if let Some(keys) = keys {
            tasks.set.spawn(follow(client.clone(), Topic::Keys, keys, tasks.news.clone()));
        }
        for (name, reply) in services {
            self.start(name, Some(reply));
        }
    }

    /// Follows a service, from a reply or from nothing.
    fn start(&mut self, name: Arc<str>, last: Option<Reply>) {
        let (client, tasks) = (&self.client, &mut self.tasks);
        if tasks.of_services.len() >= self.settings.watches {
            let rest = tasks.rest.get_or_insert_with(|| {
                let (sender, names) = watch::channel(BTreeSet::new());
                let changed = Arc::new(Notify::new());
                for topic in [Topic::Services, Topic::Checks] {
                    tasks.set.spawn(wake(client.clone(), topic, changed.clone(), tasks.news.clone()));
                }
                tasks.set.spawn(sweep(client.clone(), names, changed, tasks.news.clone()));
                sender
            });
            rest.send_modify(|names| _ = names.insert(name));
            return;
        }
        // From nothing: the first answer comes at once, and nobody has seen it.
        let last = last.unwrap_or(Reply { index: 0, is_filtered: false, body: bytes::Bytes::new() });
        let task = follow(client.clone(), Topic::Instances(name.clone()), last, tasks.news.clone());
        let handle = tasks.set.spawn(task);
        tasks.of_services.insert(name, handle);
    }

    fn stop(&mut self, name: &str) {
        if let Some(task) = self.tasks.of_services.remove(name) {
            task.abort();
            // One of the others gets the place.
            let next = self.tasks.rest.as_ref().and_then(|rest| rest.borrow().first().cloned());
            if let (Some(next), Some(rest)) = (next, &self.tasks.rest) {
                rest.send_modify(|names| _ = names.remove(&next));
                self.start(next, None);
            }
        } else if let Some(rest) = &self.tasks.rest {
            rest.send_modify(|names| _ = names.remove(name));
        }
    }

    fn is_followed(&self, name: &str) -> bool {
        self.tasks.of_services.contains_key(name)
            || self.tasks.rest.as_ref().is_some_and(|rest| rest.borrow().contains(name))
    }

    /// The list of services is new.
    async fn names(&mut self, reply: &Reply) -> Result<Vec<SourceEvent>, ConsulError> {
        while self.tasks.set.try_join_next().is_some() {}
        let listed = self.visible(reply).await?;
        let gone: Vec<_> = self.followed().filter(|name| !listed.contains(name)).collect();
        let mut events = Vec::new();
        for name in gone {
            self.stop(&name);
            events.extend(self.mirror.remove_service(&name));
        }
        for name in listed {
            if !self.is_followed(&name) {
                self.start(name, None);
            }
        }
        Ok(events)
    }

    fn followed(&self) -> impl Iterator<Item = Arc<str>> {
        let rest = self.tasks.rest.iter().flat_map(|rest| rest.borrow().clone());
        let told = self.mirror.names().cloned();
        let all: BTreeSet<_> = self.tasks.of_services.keys().cloned().chain(rest).chain(told).collect();
        all.into_iter()
    }

    /// The instances of a service are others.
    async fn instances(&mut self, name: &Arc<str>, reply: &Reply) -> Result<Vec<SourceEvent>, ConsulError> {
        if !self.is_followed(name) {
            // An answer that was on its way when the service went.
            return Ok(Vec::new());
        }
        if is_empty(reply) {
            // The last instance is gone, or the token shows none any more: then the service is still listed.
            let listed = self.visible(&self.client.now(&Topic::Services).await?).await?;
            if !listed.contains(name) {
                // The list's own news will end the task.
                return Ok(self.mirror.remove_service(name));
            }
            let now = self.client.now(&Topic::Instances(name.clone())).await?;
            if is_empty(&now) {
                return Err(hidden_instances(name, &now));
            }
            return Ok(self.service(name, &now));
        }
        Ok(self.service(name, reply))
    }

    fn service(&mut self, name: &Arc<str>, reply: &Reply) -> Vec<SourceEvent> {
        let translated = match parsed::<Vec<Instance>>(name, &reply.body) {
            Ok(instances) => translate::service(&self.settings, name, &instances),
            Err(error) => Err(unreadable(name, &error)),
        };
        match translated.transpose() {
            Some(translated) => self.mirror.set_service(name, translated),
            None => self.mirror.remove_service(name),
        }
    }

    /// Configuration has changed.
    async fn keys(&mut self, reply: &Reply) -> Result<Vec<SourceEvent>, ConsulError> {
        self.check_keys(reply).await?;
        Ok(self.mirror.set_keys(pairs(reply)?))
    }

    /// No keys are to be seen: is it because there are none?
    async fn check_keys(&self, reply: &Reply) -> Result<(), ConsulError> {
        if is_empty(reply) { self.client.may_read_keys().await } else { Ok(()) }
    }

    /// The services listed, without Consul's own. Somebody without permission sees an empty list, where there is at
    /// least Consul itself: nothing at all is taken for an answer only when this token never saw anything, and is
    /// known to be good for something.
    async fn visible(&mut self, reply: &Reply) -> Result<BTreeSet<Arc<str>>, ConsulError> {
        let listed: BTreeMap<String, Option<Vec<IgnoredAny>>> = parsed("the services", &reply.body)?;
        // Neither a peer nor a namespace has a service of Consul's own.
        let is_part = self.settings.peer.is_some() || !self.settings.everywhere.to_string().is_empty();
        if listed.is_empty() {
            if *self.showed && !is_part {
                return Err(ConsulError::Hidden("it no longer shows any service, not even Consul's own"));
            }
            if reply.is_filtered && *self.showed {
                return Err(ConsulError::Hidden("it no longer shows any service"));
            }
            if !is_part {
                self.check_token().await?;
            }
        }
        *self.showed |= !listed.is_empty();
        Ok(listed.into_keys().filter(|name| name != CONSUL).map(Arc::from).collect())
    }

    async fn check_token(&self) -> Result<(), ConsulError> {
        if self.settings.config_prefix.is_empty() {
            return Err(ConsulError::Hidden(
                "it shows no service, not even Consul's own; it needs service:read",
            ));
        }
        self.client.may_read_keys().await
    }
}

fn hidden_instances(name: &str, reply: &Reply) -> ConsulError {
    if reply.is_filtered {
        ConsulError::Hidden("it shows services, and not their nodes; it needs node:read")
    } else {
        ConsulError::Contradiction(name.to_owned())
    }
}

/// Nothing found, `[]` or `null`.
fn is_empty(reply: &Reply) -> bool {
    let text = reply.body.trim_ascii();
    text.is_empty() || text == b"[]" || text == b"null"
}

fn pairs(reply: &Reply) -> Result<Vec<Pair>, ConsulError> {
    parsed("the keys of configuration", &reply.body)
}

fn unreadable(name: &str, error: &ConsulError) -> Box<Diagnostic> {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Box::new(Diagnostic {
        code: UNREADABLE,
        severity: Severity::Error,
        object: None,
        origin: None,
        path: String::new(),
        message: format!("the instances of {name:?} can't be read: {cause}"),
        hint: None,
    })
}
