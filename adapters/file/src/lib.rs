//! The adapter for a folder of YAML and JSON files.
//!
//! The folder is watched, and read again as a whole every half minute in case the watch missed something. Each file
//! is one document under its path; what a document holds is not looked at here. A file that is being written is
//! read when its writer closes it, a file that can't be read keeps what it said before, and when the folder itself
//! is gone everything stays until it is back. What is new or different is told at once; a file that is gone, that
//! turns empty, or that ends where one of its documents ended before is believed when it has stayed so for
//! [`SETTLE`] or three times that, because whoever replaces files may do so in several steps.
//!
//! Links are followed, and where they lead is watched too, on this file system: what changes on another machine (NFS)
//! is seen when the whole folder is read again.

mod codes;
mod file;
mod hints;
mod names;
mod settle;
mod shape;
mod tree;
mod walk;
mod watch;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use codes::UNREADABLE;
pub use names::{is_document, is_ignored};

use async_trait::async_trait;
use lateen_adapter::{Adapter, AdapterError, EventSink};
use lateen_model::{SourceEvent, SourceId};
use tokio::time::Instant;

use self::{
    hints::Hints,
    settle::{Due, Settling},
    tree::{Scan, Seen, Tree},
    watch::Watches,
};

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// How long a file is gone before it counts as gone, unless told otherwise.
pub const SETTLE: Duration = Duration::from_millis(300);

/// How often the whole folder is looked at without being told.
const RESCAN: Duration = Duration::from_secs(30);
/// The same while the folder is missing, or can't be watched.
const RESCAN_BLIND: Duration = Duration::from_secs(1);

/// How long the watch may take to tell what has happened.
const ECHO: Duration = Duration::from_millis(3);
/// How long files that are written again and again may hold themselves back.
const OVERTAKEN_MAX: Duration = Duration::from_secs(1);

/// A folder as a source.
#[derive(Debug)]
pub struct FileAdapter {
    folder: PathBuf,
    settle: Duration,
}

impl FileAdapter {
    /// The folder, whether it exists or not. Origins name files as paths that begin with it as given here.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, settle: SETTLE }
    }

    /// The same with another time than [`SETTLE`].
    #[must_use]
    pub fn settling(self, settle: Duration) -> Self {
        Self { settle, ..self }
    }
}

#[async_trait]
impl Adapter for FileAdapter {
    fn source(&self) -> SourceId {
        SourceId(format!("file:{}", self.folder.display()).into())
    }

    async fn run(&mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
        // A relative folder is taken from where the process is now, not from where it may go.
        let root = std::path::absolute(&self.folder).map_err(|source| AdapterError::Refused {
            act: "resolving the folder".to_owned(),
            source: source.into(),
        })?;
        let tree = Tree::new(&self.source(), &root, &self.folder, self.settle);
        Following::new(&root, tree).run(events).await
    }
}

/// One run of the adapter.
struct Following {
    hints: Arc<Hints>,
    settling: Settling,
    /// Both are handed to a blocking task and come back with its result.
    disk: Option<(Tree, Watches)>,
    /// Does the core know the whole folder, as of some time since the folder was last missing?
    listed: bool,
    rescan_at: Instant,
    /// Since when something that was read had to be left out each time.
    overtaken_since: Option<Instant>,
}

/// What a look at the disk is about.
struct Task {
    list: bool,
    all: bool,
    paths: BTreeSet<PathBuf>,
    writing: BTreeSet<PathBuf>,
}

impl Following {
    fn new(root: &Path, tree: Tree) -> Self {
        let hints = Arc::new(Hints::new(root));
        let watches = Watches::new(root, &hints);
        let mut settling = Settling::default();
        settling.all();
        Self {
            hints,
            settling,
            disk: Some((tree, watches)),
            listed: false,
            rescan_at: Instant::now(),
            overtaken_since: None,
        }
    }

    async fn run(mut self, events: &mut EventSink) -> Result<Infallible, AdapterError> {
        loop {
            self.hints.take(&mut self.settling);
            match self.settling.due(Instant::now()) {
                Some(due) => self.look(due, events).await?,
                None => self.wait().await,
            }
        }
    }

    async fn wait(&mut self) {
        let settled = self.settling.deadline().unwrap_or(self.rescan_at);
        tokio::select! {
            () = self.hints.changed() => {}
            () = tokio::time::sleep_until(settled.min(self.rescan_at)) => {
                if Instant::now() >= self.rescan_at {
                    self.settling.all();
                }
            }
        }
    }

    async fn look(&mut self, due: Due, events: &mut EventSink) -> Result<(), AdapterError> {
        let Due { all, paths } = due;
        let writing = self.settling.writing().cloned().collect();
        let task = Task { list: !self.listed, all: all || !self.listed, paths, writing };
        let (whole, listing) = (task.all, task.list);
        let disk = self.disk.take();
        let (tree, watches, scan) = tokio::task::spawn_blocking(move || {
            let (mut tree, mut watches) =
                disk.expect("invariant: one look at a time, and each gives back the disk");
            let scan = perform(&mut tree, &mut watches, task);
            (tree, watches, scan)
        })
        .await
        .map_err(|source| AdapterError::Unavailable {
            act: "reading the folder".to_owned(),
            source: source.into(),
        })?;
        let blind = watches.is_blind();
        self.disk = Some((tree, watches));
        let now = Instant::now();
        match scan {
            Scan::Missing(why) => {
                self.listed = false;
                self.rescan_at = now + RESCAN_BLIND;
                events.stale(why).await?;
            }
            Scan::Unsettled => self.settling.all_soon(now),
            Scan::Done { seen: Seen { events: found, again, later }, directories } => {
                if let Some(directories) = directories {
                    self.hints.set_directories(directories);
                }
                if whole {
                    self.listed = true;
                    self.rescan_at = now + if blind { RESCAN_BLIND } else { RESCAN };
                }
                let found = if listing { found } else { self.without_overtaken(found).await };
                for path in again {
                    self.settling.soon(path, now);
                }
                for (path, left) in later {
                    self.settling.later(path, now + left);
                }
                events.send(found.into_iter().map(|(_, event)| event).collect()).await?;
            }
        }
        Ok(())
    }

    /// Leaves out what was overtaken: a file that somebody has begun to write again may have been read half
    /// written, and its writer is waited for. The watch tells of that a moment after the fact.
    async fn without_overtaken(
        &mut self,
        mut found: Vec<(PathBuf, SourceEvent)>,
    ) -> Vec<(PathBuf, SourceEvent)> {
        if found.is_empty() {
            return found;
        }
        tokio::time::sleep(ECHO).await;
        self.hints.take(&mut self.settling);
        let now = Instant::now();
        let read = found.len();
        let since = *self.overtaken_since.get_or_insert(now);
        if now < since + OVERTAKEN_MAX {
            found.retain(|(path, _)| {
                let is_pending = self.settling.is_pending(path);
                if let (true, Some((tree, _))) = (is_pending, &mut self.disk) {
                    tree.not_told(path);
                }
                !is_pending
            });
        }
        if found.len() == read || now >= since + OVERTAKEN_MAX {
            self.overtaken_since = None;
        }
        found
    }
}

fn perform(tree: &mut Tree, watches: &mut Watches, task: Task) -> Scan {
    let Task { list, all, paths, writing } = task;
    let scan = if all { tree.scan(list, &writing, watches) } else { tree.read(&paths) };
    match scan {
        // A file that is due is read whatever its stamp says: two writes within one tick of the file system's
        // clock leave the same stamp.
        Scan::Done { mut seen, directories } if all && !list && !paths.is_empty() => {
            match tree.read(&paths) {
                Scan::Done { seen: Seen { events, again, later }, .. } => {
                    seen.events.extend(events);
                    seen.again.extend(again);
                    seen.later.extend(later);
                    Scan::Done { seen, directories }
                }
                Scan::Missing(why) => Scan::Missing(why),
                Scan::Unsettled => Scan::Done { seen, directories },
            }
        }
        scan => scan,
    }
}
