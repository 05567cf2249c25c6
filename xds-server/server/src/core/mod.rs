//! The core: the one owner of world, compiled tables and sessions, in a task of its own.
//!
//! A turn takes what has come in (a burst is taken whole), applies it, compiles, marks sessions, and composes
//! responses for the streams that can send. Nothing here waits for a client.

mod client_status;
mod pace;
pub(crate) mod places;
mod query;
mod reading;
mod sources;
mod streams;
mod sweep;
mod tables;

use std::{path::PathBuf, sync::Arc, time::Duration};

use lateen_adapter::ToCore;
use lateen_model::{SourceId, Unapplied};
use lateen_registry::{Changes, GuardSettings, Registry};
use lateen_xds::ResourceType;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    StreamId,
    answers::{Collected, Ground},
    budget::Budget,
    csds,
    metrics::Metrics,
    raw,
    service::StreamEvent,
    status::Status,
};

pub use sources::SourceEnds;
pub use tables::Contents;

/// Settings of the core.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// `control_plane.identifier` of every response: which replica served me.
    pub identifier: Arc<str>,
    /// Bytes composed and not yet written, over all streams.
    pub in_flight_bytes_max: usize,
    /// Where resources come from.
    pub contents: Contents,
    /// What counts as a mass removal, and how long it is held.
    pub guard: GuardSettings,
    /// What happens to settings that can't be applied.
    pub unapplied: Unapplied,
    /// The folder where what sources said last is kept; none keeps nothing.
    pub state: Option<PathBuf>,
    /// How long sources may take for their first listing before what was saved of them is served.
    pub saved_grace: Duration,
    /// A deliberate fault.
    #[cfg(feature = "faults")]
    pub fault: Option<lateen_xds::faults::Fault>,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            identifier: format!("lateen-{}", std::process::id()).into(),
            in_flight_bytes_max: 16 << 20,
            contents: Contents::default(),
            guard: GuardSettings::default(),
            unapplied: Unapplied::default(),
            state: None,
            saved_grace: Duration::from_secs(3),
            #[cfg(feature = "faults")]
            fault: None,
        }
    }
}

/// Questions of the admin port.
#[derive(Debug)]
pub enum Query {
    /// The whole status.
    Status(oneshot::Sender<Status>),
    /// What a node is given.
    Config {
        /// Its id, or a part of it.
        node: String,
        /// The answer, or why there is none.
        reply: oneshot::Sender<Result<Collected, String>>,
    },
    /// What it takes to tell what documents would change.
    Ground(oneshot::Sender<Ground>),
    /// How clients stand (CSDS).
    ClientStatus {
        /// Which clients, and how much of them.
        question: csds::Question,
        /// The answer.
        reply: oneshot::Sender<csds::Answer>,
    },
    /// Tells resources, where they are told ([`Contents::Raw`]); false where they are not.
    Raw {
        /// What is different from now on.
        change: raw::RawChange,
        /// Said when it was taken over; it may not have been sent.
        reply: oneshot::Sender<bool>,
    },
    /// Forgets the resources of a group.
    ClearRaw {
        /// Which.
        group: String,
        /// As for [`Query::Raw`].
        reply: oneshot::Sender<bool>,
    },
    /// Tells when a client next asks for a resource by its name, where resources are told.
    AskedFor {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: String,
        /// Told once.
        asked: oneshot::Sender<()>,
    },
    /// How many streams the node with this id has open.
    Streams {
        /// The id.
        node: String,
        /// The answer.
        reply: oneshot::Sender<usize>,
    },
}

/// The core's ends of its channels.
#[derive(Debug)]
pub struct CoreEnds {
    /// From streams.
    pub streams: mpsc::Receiver<StreamEvent>,
    /// Streams whose slot became free.
    pub runnable: mpsc::UnboundedReceiver<StreamId>,
    /// From sources.
    pub sources: mpsc::Receiver<ToCore>,
    /// From the admin port.
    pub queries: mpsc::Receiver<Query>,
    /// Turns true when every source was listed.
    pub ready: watch::Sender<bool>,
    /// Turns true when the server stops.
    pub shutdown: watch::Receiver<bool>,
}

/// How many messages of one kind are taken in a turn.
const TURN_MAX: usize = 1024;

/// The core.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    /// Shared with the questions that are being answered elsewhere.
    registry: Arc<Registry>,
    sources: sources::Sources,
    compiler: tables::Tables,
    streams: streams::Streams,
    budget: Budget,
    metrics: Metrics,
    began: Instant,
    /// Changes that were applied to the world and are not compiled yet.
    pending: Option<Changes>,
    revision: u64,
    /// How much of what waits is done in a turn.
    pace: pace::Pace,
    /// Memory for what requests tell, used again and again.
    outcome: lateen_xds::Outcome,
    /// Number of names above which those that nobody holds are forgotten.
    names_limit: usize,
}

impl Core {
    /// A core that waits for `sources`.
    pub fn new(config: CoreConfig, sources: &[SourceId], metrics: Metrics, mut ends: SourceEnds) -> Self {
        let mut compiler = tables::Tables::new(config.contents);
        if let Some(writer) = &mut ends.writer {
            compiler.remember(&writer.take_accepted());
            compiler.remember_forms(writer.take_forms());
        }
        let mut registry = Registry::new(sources);
        registry.set_guard(config.guard);
        // Nobody reads the world yet: what changes need not be told.
        registry.set_unapplied(config.unapplied);
        registry.set_portion(pace::AT_ONCE);
        let grace_ms = u64::try_from(config.saved_grace.as_millis()).unwrap_or(u64::MAX);
        Self {
            registry: Arc::new(registry),
            sources: sources::Sources::new(ends, sources, grace_ms),
            compiler,
            streams: streams::Streams::default(),
            budget: Budget::new(config.in_flight_bytes_max),
            config,
            metrics,
            began: Instant::now(),
            pending: None,
            revision: 0,
            pace: pace::Pace::default(),
            outcome: lateen_xds::Outcome::default(),
            names_limit: sweep::SLACK,
        }
    }

    /// Runs until told to stop, or until nobody is left to talk to.
    pub async fn run(mut self, ends: CoreEnds) {
        #[cfg(feature = "faults")]
        lateen_xds::faults::activate(self.config.fault);
        let CoreEnds { mut streams, mut runnable, mut sources, mut queries, ready, mut shutdown } = ends;
        let (mut stream_events, mut source_events) = (Vec::new(), Vec::new());
        let freed = self.budget.freed();
        let mut reading = reading::Reading::default();
        loop {
            let deadline = self.deadline().map(|ms| self.began + Duration::from_millis(ms));
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break,
                Some(query) = queries.recv() => self.answer(query),
                told = reading.next() => told.into_iter().for_each(|told| self.on_source(told)),
                count = sources.recv_many(&mut source_events, TURN_MAX),
                    if reading.has_room() && (!sources.is_closed() || !sources.is_empty()) =>
                {
                    if count > 0 {
                        let told = source_events.drain(..).filter_map(|event| reading.take(event));
                        told.for_each(|told| self.on_source(told));
                    }
                }
                count = streams.recv_many(&mut stream_events, TURN_MAX) => {
                    if count == 0 {
                        break;
                    }
                }
                Some(id) = runnable.recv() => self.streams.enqueue(id),
                () = freed.notified() => {}
                () = sleep_until(deadline) => {}
            }
            self.metrics.turns.inc();
            self.tend_sources();
            self.compile();
            // Whoever woke us: a source that never falls silent must not keep clients from being heard.
            while stream_events.len() < TURN_MAX
                && let Ok(event) = streams.try_recv()
            {
                stream_events.push(event);
            }
            stream_events.drain(..).for_each(|event| self.on_stream(event));
            while let Ok(id) = runnable.try_recv() {
                self.streams.enqueue(id);
            }
            self.deliver();
            self.sweep_names();
            self.pump();
            self.save_accepted();
            let synced = self.registry.synced();
            ready.send_if_modified(|ready| std::mem::replace(ready, synced) != synced);
            // Whoever is about to tell something does so before the next turn: there are fewer of them.
            tokio::task::yield_now().await;
        }
        self.streams.end_all();
    }

    /// Milliseconds since the start: the clock of everything pure.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When something must be done without anything coming in.
    fn deadline(&self) -> Option<u64> {
        // Before everything is listed nothing is sent, whatever room there is.
        if self.is_behind() {
            return Some(0);
        }
        let waits = self.streams.is_waiting() && self.registry.synced();
        let room = waits.then(|| self.budget.epoch_ends_ms());
        [self.streams.deadline(), room, self.sources_deadline()].into_iter().flatten().min()
    }

    /// Compiles what has changed, and a portion of what waits. Before every source was listed nothing is: an empty
    /// world is never invented.
    fn compile(&mut self) {
        if !self.registry.synced() {
            return;
        }
        let began = Instant::now();
        let waited = self.is_behind();
        if self.registry.is_behind() {
            // What is served first is whole.
            let portion = if self.revision == 0 { usize::MAX } else { self.pace.portion() };
            let changes = self.registry_mut().advance(portion);
            self.add_changes(changes);
        }
        let changes = self.pending.take().filter(|changes| !changes.is_empty());
        if let Some(changes) = &changes {
            self.compiler.apply(self.registry.world(), changes);
            self.sources.findings_changed = true;
            self.revision += 1;
            self.metrics.ready.set(1.0);
        }
        if self.compiler.is_behind() {
            self.compiler.advance(self.registry.world(), self.pace.portion());
            self.sources.findings_changed = true;
        }
        if waited {
            self.pace.took(began.elapsed());
        }
        if waited || changes.is_some() {
            self.metrics.compile_seconds.0.observe(began.elapsed().as_secs_f64());
        }
    }

    /// Does anything wait to be taken over or compiled?
    fn is_behind(&self) -> bool {
        self.registry.is_behind() && self.registry.synced() || self.compiler.is_behind()
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
