//! What sources said last, on disk: so that a restart with every source out of reach still serves.
//!
//! One file of redb, written by a thread of its own. What waits to be written is one entry for each object, the
//! newest: the core never waits for the disk, and a commit, with its fsync, comes once a second at most. Whole
//! commits are there or not, whenever the process or the machine dies. Each record has a checksum beside that.
//!
//! A file that is damaged, or of another version, is moved aside and said so. One that another process uses, or that
//! the operating system refuses, is left alone: what is in it is served where it can be read, and nothing is saved.
//! None of that keeps the server from starting.

mod accepted;
mod change;
mod error;
mod forms;
mod record;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lateen_compile::{GoodForm, PartName};
use lateen_model::{ObjectId, ObjectKind, SourceId, event::Object};
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableError,
    WriteTransaction, backends::InMemoryBackend,
};

use self::{
    accepted::Acceptances,
    change::{Change, LATER_FORMS},
    error::Damage,
    forms::Forms,
};

pub use self::error::StateError;

/// The file in the folder.
const FILE: &str = "last-known.redb";
/// Layout of the file; another one is not read.
const FORMAT: u64 = 1;
/// Time between two commits, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// Objects that wait to be written, at most. When there are so many, further objects are not saved until they
/// change again: an older form of them stays saved, or none.
const WAITING_MAX: usize = 1 << 18;
/// Memory for pages of the file.
const CACHE_BYTES: usize = 8 << 20;

/// Objects by source, kind and name.
const OBJECTS: TableDefinition<'_, (&str, u8, &str), &[u8]> = TableDefinition::new("objects");
/// When something of a source was last saved, in milliseconds since 1970.
const SAVED: TableDefinition<'_, &str, u64> = TableDefinition::new("saved");
/// Sources that were listed once: what is saved of others is only a part of what they have.
const LISTED: TableDefinition<'_, &str, u64> = TableDefinition::new("listed");
/// The layout.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// What was saved of one source.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SavedSource {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Its objects. A document may come several times, its older forms first: of objects that can't be read in the
    /// newer ones the older ones are in force.
    pub objects: Vec<(ObjectId, Object)>,
}

/// What was saved, by source.
pub type Saved = BTreeMap<SourceId, SavedSource>;

/// Takes what is to be saved. Dropping it writes what still waits.
#[derive(Debug)]
pub struct Saver {
    queue: Arc<Queue>,
    /// What clients had accepted when the file was opened.
    accepted: Vec<u64>,
    /// What they went on with in place of what they rejected.
    forms: Vec<(PartName, GoodForm)>,
    thread: Option<JoinHandle<()>>,
}

/// What waits to be written.
///
/// Behind a mutex and not in a channel: of an object that changes a hundred times a second only the newest form is
/// to be written. It is held for single operations on the map only.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: Changes,
    listed: BTreeSet<SourceId>,
    /// What clients have accepted, as hashes.
    accepted: Acceptances,
    /// What they go on with in place of what they reject.
    forms: Forms,
    /// Are there so many of these that what is in use is to be said?
    wants_in_use: bool,
    closed: bool,
    /// Objects that found no room.
    refused: u64,
}

type Changes = BTreeMap<(SourceId, ObjectId), Change>;

impl Waiting {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.listed.is_empty() && self.accepted.is_empty() && self.forms.is_empty()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic between two operations can't leave the map in disorder.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the folder's file, reads what is in it, and starts to save. What is in it may be readable although nothing
/// can be saved.
pub fn open(folder: &Path) -> (Saved, Result<Saver, StateError>) {
    if let Err(source) = make_folder(folder) {
        return (Saved::new(), Err(StateError::Folder { path: folder.to_owned(), source }));
    }
    let path = folder.join(FILE);
    let damage = match read(&path).map_err(Damage::refusal) {
        Ok((database, saved)) => return (saved, start(database)),
        Err(Ok(source)) => return (read_only(&path), Err(StateError::Open { path, source })),
        Err(Err(Damage::Database(DatabaseError::DatabaseAlreadyOpen))) => {
            return (Saved::new(), Err(StateError::InUse { path }));
        }
        Err(Err(damage)) => damage,
    };
    let anew = move_aside(&path, &damage)
        .and_then(|()| read(&path).map_err(|damage| StateError::File { path, reason: damage.to_string() }));
    match anew {
        Ok((database, saved)) => (saved, start(database)),
        Err(error) => (Saved::new(), Err(error)),
    }
}

/// What is in a file that can't be written: a copy of it in memory is opened, which may be repaired where need be.
fn read_only(path: &Path) -> Saved {
    let copied = fs::read(path).map_err(Damage::from).and_then(|bytes| {
        unpanicking(move || {
            let copy = InMemoryBackend::new();
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            copy.set_len(length).and_then(|()| StorageBackend::write(&copy, 0, &bytes))?;
            load(&Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(copy)?)
        })
    });
    match copied {
        Ok(saved) => {
            tracing::warn!(path = %path.display(), "what was saved can only be read");
            saved
        }
        Err(Damage::Read(error)) if error.kind() == io::ErrorKind::NotFound => Saved::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what was saved can't be read and stays where it is");
            Saved::new()
        }
    }
}

fn start(database: Database) -> Result<Saver, StateError> {
    let queue = Arc::<Queue>::default();
    let (accepted, forms) = (accepted::load(&database), forms::load(&database));
    queue.lock().wants_in_use = accepted.len() > accepted::ACCEPTED_MAX;
    let shared = queue.clone();
    let thread = std::thread::Builder::new()
        .name("lateen-state".to_owned())
        .spawn(move || write_until_closed(&database, &shared))
        .map_err(StateError::Thread)?;
    Ok(Saver { queue, accepted, forms, thread: Some(thread) })
}

/// What is saved may say more about a mesh than everybody should know.
fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn move_aside(path: &Path, damage: &Damage) -> Result<(), StateError> {
    let aside = path.with_extension(format!("damaged-{}", unix_ms()));
    tracing::warn!(
        path = %path.display(), aside = %aside.display(), error = %damage,
        "what was saved can't be read and is moved aside"
    );
    fs::rename(path, &aside)
        .map_err(|error| StateError::File { path: path.to_owned(), reason: format!("{damage}; {error}") })
}

/// Opens the file and reads all of it.
fn read(path: &Path) -> Result<(Database, Saved), Damage> {
    unpanicking(|| {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let saved = load(&database)?;
        Ok((database, saved))
    })
}

/// Damage that the database does not expect may end in a panic there.
fn unpanicking<T>(act: impl FnOnce() -> Result<T, Damage>) -> Result<T, Damage> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(Err(Damage::Panicked))
}

fn load(database: &Database) -> Result<Saved, Damage> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        // A new file.
        Err(TableError::TableDoesNotExist(_)) => return Ok(Saved::new()),
        Err(error) => return Err(Damage::Redb(error.into())),
    };
    let format = meta.get("format").map_err(redb::Error::from)?.map_or(0, |format| format.value());
    if format != FORMAT {
        return Err(Damage::Format(format));
    }
    let mut saved = Saved::new();
    let mut listed = BTreeSet::new();
    for row in transaction.open_table(LISTED).map_err(redb::Error::from)?.iter().map_err(redb::Error::from)? {
        listed.insert(SourceId(row.map_err(redb::Error::from)?.0.value().into()));
    }
    for row in transaction.open_table(SAVED).map_err(redb::Error::from)?.iter().map_err(redb::Error::from)? {
        let (source, at) = row.map_err(redb::Error::from)?;
        let entry = SavedSource { at_unix_ms: at.value(), objects: Vec::new() };
        saved.insert(SourceId(source.value().into()), entry);
    }
    for row in
        transaction.open_table(OBJECTS).map_err(redb::Error::from)?.iter().map_err(redb::Error::from)?
    {
        let (key, value) = row.map_err(redb::Error::from)?;
        let (source, kind, name) = key.value();
        let object = kind_of(kind).and_then(|kind| record::decode(kind, name, value.value()));
        let (Some(kind), Some(object)) = (kind_of(kind), object) else {
            return Err(Damage::Record(format!("{name:?} of {source}")));
        };
        let id = ObjectId { kind, name: name.into() };
        saved.entry(SourceId(source.into())).or_default().objects.push((id, object));
    }
    saved.retain(|source, _| listed.contains(source));
    Ok(saved)
}

fn number_of(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::Document => 0,
        ObjectKind::Service => 1,
        ObjectKind::Endpoints => 2,
    }
}

fn kind_of(number: u8) -> Option<ObjectKind> {
    if LATER_FORMS.contains(&number) {
        return Some(ObjectKind::Document);
    }
    [ObjectKind::Document, ObjectKind::Service, ObjectKind::Endpoints].into_iter().nth(number.into())
}

impl Saver {
    /// Saves the object's newest form, or that it is gone, soon.
    pub fn save(&self, source: &SourceId, id: ObjectId, object: Option<Object>) {
        self.change(source, id, Change { replaces: true, forms: object.into_iter().collect() });
    }

    /// Saves a newer form beside those that are saved, which stay in force where it can't be read.
    pub fn save_over(&self, source: &SourceId, id: ObjectId, object: Object) {
        self.change(source, id, Change { replaces: false, forms: vec![object] });
    }

    fn change(&self, source: &SourceId, id: ObjectId, change: Change) {
        let mut waiting = self.queue.lock();
        let full = waiting.changes.len() >= WAITING_MAX;
        match waiting.changes.entry((source.clone(), id)) {
            Entry::Occupied(mut entry) => entry.get_mut().then(change),
            Entry::Vacant(_) if full => {
                waiting.refused += 1;
                return;
            }
            Entry::Vacant(entry) => drop(entry.insert(change)),
        }
        drop(waiting);
        self.queue.bell.notify_one();
    }

    /// Takes what clients had accepted before.
    pub fn take_accepted(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.accepted)
    }

    /// Takes what clients went on with before.
    pub fn take_forms(&mut self) -> Vec<(PartName, GoodForm)> {
        std::mem::take(&mut self.forms)
    }

    /// Clients go on with these forms of parts, or no longer.
    pub fn forms(&self, forms: Vec<(PartName, Option<GoodForm>)>) {
        self.queue.lock().forms.extend(forms);
        self.queue.bell.notify_one();
    }

    /// Clients have accepted these, for the first time. When too many wait to be written, they are left out: whoever
    /// accepts them after a restart says so anew.
    pub fn accepted(&self, hashes: &[u64]) {
        let mut waiting = self.queue.lock();
        let room = accepted::ACCEPTED_MAX.saturating_sub(waiting.accepted.fresh.len());
        waiting.accepted.fresh.extend(hashes.iter().take(room));
        drop(waiting);
        self.queue.bell.notify_one();
    }

    /// Are so many acceptances kept that [`Saver::in_use`] is to be said?
    pub fn wants_in_use(&self) -> bool {
        self.queue.lock().wants_in_use
    }

    /// Clients go by these now: they stay, whatever their age.
    pub fn in_use(&self, hashes: Vec<u64>) {
        let mut waiting = self.queue.lock();
        waiting.accepted.in_use = Some(hashes.into_iter().collect());
        waiting.wants_in_use = false;
        drop(waiting);
        self.queue.bell.notify_one();
    }

    /// The source was listed: with what was saved before, all of it is there.
    pub fn listed(&self, source: &SourceId) {
        self.queue.lock().listed.insert(source.clone());
        self.queue.bell.notify_one();
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.bell.notify_one();
        // A thread that panicked has said so itself.
        self.thread.take().map(JoinHandle::join).map(drop).unwrap_or_default();
    }
}

/// The thread: takes all that waits, commits it, pauses.
fn write_until_closed(database: &Database, queue: &Queue) {
    let mut failed = false;
    loop {
        let mut waiting = queue.lock();
        while waiting.is_empty() && !waiting.closed {
            waiting = queue.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let (changes, listed) = (std::mem::take(&mut waiting.changes), std::mem::take(&mut waiting.listed));
        let accepted = std::mem::take(&mut waiting.accepted);
        let forms = std::mem::take(&mut waiting.forms);
        let refused = std::mem::take(&mut waiting.refused);
        drop(waiting);
        if refused > 0 {
            tracing::warn!(refused, "the disk is too slow: some objects are not saved");
        }
        if !(changes.is_empty() && listed.is_empty() && accepted.is_empty() && forms.is_empty()) {
            let result =
                catch_unwind(AssertUnwindSafe(|| commit(database, &changes, &listed, &accepted, &forms)));
            let error = match result {
                Ok(Ok(is_full)) => {
                    queue.lock().wants_in_use |= is_full;
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("it panicked; the log says where".to_owned()),
            };
            if let Some(error) = &error {
                give_back(queue, changes, listed, forms);
                if !failed {
                    tracing::warn!(error, "what sources say can't be saved; it is tried again");
                }
            }
            failed = error.is_some();
        }
        let waiting = queue.lock();
        if waiting.closed && (waiting.is_empty() || failed) {
            return;
        }
        let open = |waiting: &mut Waiting| !waiting.closed;
        drop(queue.bell.wait_timeout_while(waiting, PAUSE, open).unwrap_or_else(PoisonError::into_inner));
    }
}

/// What could not be written waits again, unless there is something newer.
fn give_back(queue: &Queue, changes: Changes, listed: BTreeSet<SourceId>, forms: Forms) {
    let mut waiting = queue.lock();
    for (part, form) in forms {
        waiting.forms.entry(part).or_insert(form);
    }
    waiting.listed.extend(listed);
    for (key, mut change) in changes {
        if let Some(later) = waiting.changes.remove(&key) {
            change.then(later);
        }
        waiting.changes.insert(key, change);
    }
}

fn commit(
    database: &Database,
    changes: &Changes,
    listed: &BTreeSet<SourceId>,
    accepted: &Acceptances,
    forms: &Forms,
) -> Result<bool, redb::Error> {
    let transaction = database.begin_write()?;
    write(&transaction, changes, listed)?;
    forms::write(&transaction, forms)?;
    let is_full = accepted::write(&transaction, accepted, unix_ms())?;
    transaction.commit()?;
    Ok(is_full)
}

fn write(
    transaction: &WriteTransaction,
    changes: &Changes,
    listed: &BTreeSet<SourceId>,
) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert("format", FORMAT)?;
    let mut objects = transaction.open_table(OBJECTS)?;
    let mut saved = transaction.open_table(SAVED)?;
    let mut complete = transaction.open_table(LISTED)?;
    let now = unix_ms();
    for source in listed {
        complete.insert(&*source.0, now)?;
        saved.insert(&*source.0, now)?;
    }
    for ((source, id), change) in changes {
        change.write(&mut objects, source, id)?;
        saved.insert(&*source.0, now)?;
    }
    Ok(())
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
