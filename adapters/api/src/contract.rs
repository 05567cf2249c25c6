//! The contract suite: what every adapter must do on its real platform.
//!
//! A platform implements [`Backend`] over something that its adapter reads; [`run`] runs every [`CASES`] entry on a
//! fresh one and says what failed, and which rules the platform can't have. Cases wait for messages, never for
//! time: the one limit is when to give up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    time::Duration,
};

use async_trait::async_trait;
use lateen_model::{ObjectId, Scope, SourceEvent, event::Object};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{Adapter, Backoff, ToCore, supervise_with};

/// A wait that is longer than this has failed.
const PATIENCE: Duration = Duration::from_mins(2);
/// Of the queue to the core: small, so that adapters meet a full one.
const QUEUE: usize = 4;

/// A platform under test: a real one, empty at first, whose documents are named by text and hold text.
#[async_trait]
pub trait Backend: Send {
    /// A new adapter for it.
    fn adapter(&self) -> Box<dyn Adapter>;
    /// Writes a document.
    async fn put(&mut self, name: &str, body: &str);
    /// Removes a document.
    async fn delete(&mut self, name: &str);
    /// Makes a document impossible to read, while it still exists; false where the platform can't have that.
    async fn corrupt(&mut self, _name: &str) -> bool {
        false
    }
    /// Makes the platform unreachable; it can still be written to. False where it can't be.
    async fn disconnect(&mut self) -> bool {
        false
    }
    /// Makes it reachable again.
    async fn reconnect(&mut self) {}
    /// What was put, from how the adapter hands it over: for platforms that keep documents in a form of their own.
    /// None for what the platform has besides, which the suite passes over.
    fn text_of(_id: &ObjectId, body: &str) -> Option<String>
    where
        Self: Sized,
    {
        Some(body.to_owned())
    }
}

/// A rule that an adapter broke.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Name of the case.
    pub case: &'static str,
    /// What was wrong.
    pub why: String,
}

/// What the suite found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Cases that passed.
    pub passed: Vec<&'static str>,
    /// Cases about something that the platform can't have.
    pub impossible: Vec<&'static str>,
    /// Cases that failed.
    pub failed: Vec<Failure>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.passed {
            writeln!(f, "passed      {case}")?;
        }
        for case in &self.impossible {
            writeln!(f, "impossible  {case}")?;
        }
        for Failure { case, why } in &self.failed {
            writeln!(f, "FAILED      {case}: {why}")?;
        }
        Ok(())
    }
}

/// Names of the cases, in the order in which they run.
pub const CASES: &[&str] = &[
    "initial sync",
    "an empty platform is synced",
    "update",
    "delete",
    "one bad object among good ones",
    "delete while disconnected",
    "nothing is removed while disconnected",
    "reconnect",
    "a second adapter lists the same",
    "mass removal",
    "updates of one object are in order",
    "random operations",
];

enum Outcome {
    Passed,
    Impossible,
}

type Judged = Result<Outcome, String>;

/// Runs all cases; each has a backend of its own. `operations` is how many random ones are done.
pub async fn run<B, F, M>(make: M, operations: usize) -> Report
where
    B: Backend,
    F: Future<Output = B>,
    M: Fn() -> F,
{
    let mut report = Report::default();
    for case in CASES {
        let backend = make().await;
        match judge(case, backend, operations).await {
            Ok(Outcome::Passed) => report.passed.push(case),
            Ok(Outcome::Impossible) => report.impossible.push(case),
            Err(why) => report.failed.push(Failure { case, why }),
        }
    }
    report
}

async fn judge<B: Backend>(case: &str, backend: B, operations: usize) -> Judged {
    match case {
        "initial sync" => initial_sync(backend).await,
        "an empty platform is synced" => empty(backend).await,
        "update" => update(backend).await,
        "delete" => delete(backend).await,
        "one bad object among good ones" => bad_among_good(backend).await,
        "delete while disconnected" => delete_while_disconnected(backend).await,
        "nothing is removed while disconnected" => kept_while_disconnected(backend).await,
        "reconnect" => reconnect(backend).await,
        "a second adapter lists the same" => second(backend).await,
        "mass removal" => mass_removal(backend).await,
        "updates of one object are in order" => order(backend).await,
        "random operations" => random(backend, operations).await,
        unknown => Err(format!("there is no case {unknown}")),
    }
}

/// Documents by what they hold: names of objects are the adapter's affair.
type Bodies = BTreeSet<String>;

fn bodies(texts: &[&str]) -> Bodies {
    texts.iter().map(|text| document(text)).collect()
}

/// A valid document that holds a text.
fn document(text: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {text}\n")
}

/// What a core has understood so far: the naive model of the contract.
struct Observed {
    messages: mpsc::Receiver<ToCore>,
    supervisor: JoinHandle<()>,
    held: BTreeMap<ObjectId, String>,
    invalid: BTreeSet<ObjectId>,
    open: Vec<(Scope, BTreeSet<ObjectId>)>,
    synced: usize,
    failed: bool,
    removals: usize,
    /// All bodies that ever came, in order.
    history: Vec<String>,
    /// [`Backend::text_of`] of the platform.
    text_of: fn(&ObjectId, &str) -> Option<String>,
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Observed {
    fn start<B: Backend>(backend: &B) -> Self {
        let (core, messages) = mpsc::channel(QUEUE);
        let backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(200) };
        Self {
            messages,
            supervisor: tokio::spawn(supervise_with(backend.adapter(), core, backoff)),
            held: BTreeMap::new(),
            invalid: BTreeSet::new(),
            open: Vec::new(),
            synced: 0,
            failed: false,
            removals: 0,
            history: Vec::new(),
            text_of: B::text_of,
        }
    }

    /// An adapter that has listed everything.
    fn synced<B: Backend>(backend: &B) -> impl Future<Output = Result<Self, String>> + Send + use<B> {
        let mut observed = Self::start(backend);
        async move {
            observed.until("the first listing", Self::is_synced).await?;
            Ok(observed)
        }
    }

    fn is_synced(&self) -> bool {
        self.synced > 0 && self.open.is_empty()
    }

    fn bodies(&self) -> Bodies {
        self.held.values().cloned().collect()
    }

    /// Waits until this is so.
    async fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool + Send) -> Result<(), String> {
        let waited = timeout(PATIENCE, async {
            while !is(self) {
                let message = self.messages.recv().await.ok_or("the adapter ended")?;
                self.take(message)?;
            }
            Ok(())
        });
        match waited.await {
            Ok(result) => result,
            Err(_) => Err(format!("waited in vain for {what}; there are {:?}", self.bodies())),
        }
    }

    async fn until_bodies(&mut self, expected: &Bodies) -> Result<(), String> {
        self.until(&format!("{expected:?}"), |observed| {
            observed.is_synced() && observed.bodies() == *expected
        })
        .await
    }

    fn take(&mut self, message: ToCore) -> Result<(), String> {
        match message {
            ToCore::Events(_, events) => return events.into_iter().try_for_each(|event| self.event(event)),
            ToCore::Failed(..) => {
                self.failed = true;
                self.open.clear();
            }
            ToCore::Recovered(_) if self.failed => self.failed = false,
            ToCore::Recovered(_) => return Err("recovered without having failed".to_owned()),
        }
        Ok(())
    }

    fn event(&mut self, event: SourceEvent) -> Result<(), String> {
        match event {
            SourceEvent::Resync(scope) => self.open.push((scope, BTreeSet::new())),
            SourceEvent::Synced(scope) => {
                let at = self.open.iter().position(|(open, _)| *open == scope);
                let (_, seen) = self.open.remove(at.ok_or("a listing ended that had not begun")?);
                let before = self.held.len();
                self.held.retain(|id, _| !scope.contains(id) || seen.contains(id));
                self.removals += before - self.held.len();
                self.invalid.retain(|id| !scope.contains(id) || seen.contains(id));
                self.synced += 1;
            }
            SourceEvent::Upsert { id, object } => {
                let Object::Document(document) = object else { return Err(format!("{id:?} is no document")) };
                let body = String::from_utf8(document.body.to_vec()).map_err(|error| error.to_string())?;
                let Some(body) = (self.text_of)(&id, &body) else { return Ok(()) };
                self.history.push(body.clone());
                self.see(&id);
                self.invalid.remove(&id);
                self.held.insert(id, body);
            }
            SourceEvent::Remove { id } => {
                self.removals += usize::from(self.held.remove(&id).is_some());
                self.invalid.remove(&id);
            }
            SourceEvent::Invalid { id, .. } => {
                self.see(&id);
                self.invalid.insert(id);
            }
        }
        Ok(())
    }

    fn see(&mut self, id: &ObjectId) {
        for (scope, seen) in &mut self.open {
            if scope.contains(id) {
                seen.insert(id.clone());
            }
        }
    }
}

/// Writes documents whose names are their texts.
async fn put_all(backend: &mut impl Backend, names: &[&str]) {
    for name in names {
        backend.put(name, &document(name)).await;
    }
}

async fn initial_sync(mut backend: impl Backend) -> Judged {
    put_all(&mut backend, &["a", "b", "c"]).await;
    let observed = Observed::synced(&backend).await?;
    // The listing itself must be complete, not what follows it.
    if observed.bodies() == bodies(&["a", "b", "c"]) {
        Ok(Outcome::Passed)
    } else {
        Err(format!("the first listing gave {:?}", observed.bodies()))
    }
}

async fn empty(backend: impl Backend) -> Judged {
    let observed = Observed::synced(&backend).await?;
    if observed.held.is_empty() { Ok(Outcome::Passed) } else { Err("there is something".to_owned()) }
}

async fn update(mut backend: impl Backend) -> Judged {
    put_all(&mut backend, &["a", "b"]).await;
    let mut observed = Observed::synced(&backend).await?;
    backend.put("a", &document("a2")).await;
    observed.until_bodies(&bodies(&["a2", "b"])).await?;
    backend.put("c", &document("c")).await;
    observed.until_bodies(&bodies(&["a2", "b", "c"])).await?;
    Ok(Outcome::Passed)
}

async fn delete(mut backend: impl Backend) -> Judged {
    put_all(&mut backend, &["a", "b"]).await;
    let mut observed = Observed::synced(&backend).await?;
    backend.delete("a").await;
    observed.until_bodies(&bodies(&["b"])).await?;
    backend.put("a", &document("again")).await;
    observed.until_bodies(&bodies(&["again", "b"])).await?;
    Ok(Outcome::Passed)
}

async fn bad_among_good(mut backend: impl Backend) -> Judged {
    put_all(&mut backend, &["a", "b", "c"]).await;
    let mut observed = Observed::synced(&backend).await?;
    if !backend.corrupt("b").await {
        return Ok(Outcome::Impossible);
    }
    observed.until("one invalid object", |observed| observed.invalid.len() == 1).await?;
    backend.put("c", &document("c2")).await;
    // What the bad one said before is still there.
    observed.until_bodies(&bodies(&["a", "b", "c2"])).await?;
    if observed.failed {
        return Err("one bad object made the source fail".to_owned());
    }
    let mut other = Observed::synced(&backend).await?;
    other
        .until("the good ones", |other| other.bodies() == bodies(&["a", "c2"]) && other.invalid.len() == 1)
        .await?;
    backend.put("b", &document("b2")).await;
    observed.until_bodies(&bodies(&["a", "b2", "c2"])).await?;
    observed.until("no invalid object", |observed| observed.invalid.is_empty()).await?;
    Ok(Outcome::Passed)
}

async fn delete_while_disconnected(mut backend: impl Backend) -> Judged {
    put_all(&mut backend, &["a", "b"]).await;
    let mut observed = Observed::synced(&backend).await?;
    if !backend.disconnect().await {
        return Ok(Outcome::Impossible);
    }
    observed.until("the failure", |observed| observed.failed).await?;
    backend.delete("a").await;
    backend.put("b", &document("b2")).await;
    backend.reconnect().await;
    observed.until_bodies(&bodies(&["b2"])).await?;
    observed.until("the recovery", |observed| !observed.failed).await?;
    Ok(Outcome::Passed)
}

async fn kept_while_disconnected(mut backend: impl Backend) -> Judged {
    put_all(&mut backend, &["a", "b"]).await;
    let mut observed = Observed::synced(&backend).await?;
    if !backend.disconnect().await {
        return Ok(Outcome::Impossible);
    }
    observed.until("the failure", |observed| observed.failed).await?;
    backend.reconnect().await;
    observed.until("the recovery", |observed| !observed.failed).await?;
    observed.until_bodies(&bodies(&["a", "b"])).await?;
    if observed.removals > 0 {
        return Err(format!("{} objects were removed meanwhile", observed.removals));
    }
    Ok(Outcome::Passed)
}

async fn reconnect(mut backend: impl Backend) -> Judged {
    put_all(&mut backend, &["a"]).await;
    let mut observed = Observed::synced(&backend).await?;
    for round in 0..3 {
        if !backend.disconnect().await {
            return Ok(Outcome::Impossible);
        }
        observed.until("the failure", |observed| observed.failed).await?;
        backend.reconnect().await;
        observed.until("the recovery", |observed| !observed.failed).await?;
        let text = format!("after{round}");
        backend.put("a", &document(&text)).await;
        observed.until_bodies(&bodies(&[&text])).await?;
    }
    Ok(Outcome::Passed)
}

async fn second(mut backend: impl Backend) -> Judged {
    put_all(&mut backend, &["a", "b"]).await;
    let mut first = Observed::synced(&backend).await?;
    backend.put("a", &document("a2")).await;
    backend.delete("b").await;
    backend.put("c", &document("c")).await;
    first.until_bodies(&bodies(&["a2", "c"])).await?;
    let second = Observed::synced(&backend).await?;
    if first.held == second.held {
        Ok(Outcome::Passed)
    } else {
        Err(format!("the first has {:?}, the second {:?}", first.held, second.held))
    }
}

async fn mass_removal(mut backend: impl Backend) -> Judged {
    let names: Vec<String> = (0..200).map(|n| format!("n{n}")).collect();
    for name in &names {
        backend.put(name, &document(name)).await;
    }
    let mut observed = Observed::synced(&backend).await?;
    observed.until_bodies(&names.iter().map(|name| document(name)).collect()).await?;
    for name in names.iter().skip(1) {
        backend.delete(name).await;
    }
    observed.until_bodies(&bodies(&["n0"])).await?;
    Ok(Outcome::Passed)
}

async fn order(mut backend: impl Backend) -> Judged {
    backend.put("a", &document("v0")).await;
    let mut observed = Observed::synced(&backend).await?;
    let versions: Vec<String> = (1..=100).map(|n| document(&format!("v{n}"))).collect();
    for version in &versions {
        backend.put("a", version).await;
    }
    observed.until_bodies(&versions.last().cloned().into_iter().collect()).await?;
    let place = |body: &String| versions.iter().position(|version| version == body);
    if observed.history.iter().map(place).is_sorted() {
        Ok(Outcome::Passed)
    } else {
        Err("an older version came after a newer one".to_owned())
    }
}

/// A sequence that looks random and is the same every time. <https://prng.di.unimi.it/splitmix64.c>
struct Sequence(u64);

impl Sequence {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

async fn random(mut backend: impl Backend, operations: usize) -> Judged {
    let mut sequence = Sequence(1);
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut observed = Observed::synced(&backend).await?;
    for operation in 0..operations {
        let name = format!("n{}", sequence.next(20));
        match sequence.next(40) {
            0 => {
                if backend.disconnect().await {
                    observed.until("the failure", |observed| observed.failed).await?;
                    backend.reconnect().await;
                }
            }
            1..=12 => {
                if expected.remove(&name).is_some() {
                    backend.delete(&name).await;
                }
            }
            _ => {
                let body = document(&format!("o{operation}"));
                backend.put(&name, &body).await;
                expected.insert(name, body);
            }
        }
        if sequence.next(10) == 0 {
            observed.until_bodies(&expected.values().cloned().collect()).await?;
        }
    }
    observed.until_bodies(&expected.values().cloned().collect()).await?;
    let fresh = Observed::synced(&backend).await?;
    if fresh.held == observed.held {
        Ok(Outcome::Passed)
    } else {
        Err(format!("watching gave {:?}, a fresh listing {:?}", observed.held, fresh.held))
    }
}
