//! The folder on disk, and what the core was told of it. Everything here blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use lateen_model::{
    Diagnostic, Document, ObjectId, ObjectKind, Origin, Scope, Severity, SourceEvent, SourceId,
    diagnostic::Code, event::Object,
};

use crate::{FILE_BYTES_MAX, codes, names, shape::Shape, watch::Watches};

/// Files that are followed at most; the rest is a finding.
const FILES_MAX: usize = 100_000;
/// Folders in folders that are followed at most.
const DEPTH_MAX: usize = 64;
/// A file this young may still be written, by somebody who began before the watch did.
const FRESH: Duration = Duration::from_millis(25);
/// How long a folder that has come back may go on filling before it is listed as it is.
const PUT_OFF_MAX: Duration = Duration::from_secs(5);
/// How long a file that changes again and again may be in doubt.
const DOUBT_MAX: Duration = Duration::from_secs(10);
/// Links that lead to links, at most.
const HOPS_MAX: usize = 40;

/// What a look at the disk gave.
pub(crate) enum Scan {
    /// There is no folder, or it can't be read.
    Missing(String),
    /// It has just come back and still fills.
    Unsettled,
    /// It was read.
    Done {
        /// What was seen.
        seen: Seen,
        /// All folders that are followed, and what links beyond them lead to; none when only some files were
        /// looked at.
        directories: Option<BTreeSet<PathBuf>>,
    },
}

/// What a look at files gave.
#[derive(Default)]
pub(crate) struct Seen {
    /// What differs from before, with the path it is about.
    pub(crate) events: Found,
    /// Files to look at again when it is quiet.
    pub(crate) again: Vec<PathBuf>,
    /// Files to look at again after this time: they are not believed yet.
    pub(crate) later: Vec<(PathBuf, Duration)>,
}

/// Events with the paths they are about.
type Found = Vec<(PathBuf, SourceEvent)>;

/// Which state of a file was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// What the core was told of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Told {
    /// The content of this state.
    Content(Stamp),
    /// That it can't be read, and why.
    Invalid(String),
    /// Something, and then not what was read last.
    Outdated,
}

/// The folder.
pub(crate) struct Tree {
    source: Arc<str>,
    root: PathBuf,
    /// The folder as the user named it: how findings name it too.
    shown: PathBuf,
    told: BTreeMap<PathBuf, Told>,
    /// Of what was told last.
    shapes: BTreeMap<PathBuf, Shape>,
    doubts: BTreeMap<PathBuf, Doubt>,
    /// How long a file is gone before that is believed; twice that for less text.
    settle: Duration,
    /// Since when the listing is put off, and since when nothing has come into the folder.
    put_off: Option<(Instant, Instant)>,
}

/// What is not believed yet: whoever replaces files may do so in several steps.
struct Doubt {
    loss: Loss,
    /// When this was seen first, and when anything of the kind was.
    since: Instant,
    first: Instant,
}

/// How objects may be gone for a moment only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// There is no file.
    Gone,
    /// It says nothing any more, or only what it said first.
    Cut(Stamp),
}

/// What a walk found.
#[derive(Default)]
struct Walk {
    files: BTreeMap<PathBuf, Metadata>,
    directories: BTreeSet<PathBuf>,
    /// Device and inode of each, against loops.
    visited: BTreeSet<(u64, u64)>,
    /// Folders that can't be read, files that can't be followed.
    faults: BTreeMap<PathBuf, (Code, String)>,
    /// Where the limit of files was reached.
    overflow: Option<PathBuf>,
    /// Links to files.
    links: Vec<PathBuf>,
}

enum FileRead {
    Content(Arc<[u8]>, Stamp),
    Fault(Code, String),
    /// It changed while it was read.
    Moving,
    /// It is not there, or is no file.
    Gone,
}

impl Tree {
    pub(crate) fn new(source: &SourceId, root: &Path, shown: &Path, settle: Duration) -> Self {
        Self {
            source: source.0.clone(),
            root: root.to_owned(),
            shown: shown.to_owned(),
            told: BTreeMap::new(),
            shapes: BTreeMap::new(),
            doubts: BTreeMap::new(),
            settle,
            put_off: None,
        }
    }

    /// Looks at the whole folder, watches its parts, and reads what differs from what was told before; with
    /// `list`, everything. Files in `writing` are left for later, but in a listing.
    pub(crate) fn scan(&mut self, list: bool, writing: &BTreeSet<PathBuf>, watches: &mut Watches) -> Scan {
        watches.add_above(&self.root);
        let mut walk = Walk::default();
        if let Err(error) = walk.begin(&self.root, watches) {
            return self.missing(&error);
        }
        watches.keep(&walk.directories, &self.root);
        if list && self.puts_off(&walk) {
            return Scan::Unsettled;
        }
        self.put_off = None;
        let mut seen = Seen::default();
        if list {
            seen.events.push((self.root.clone(), SourceEvent::Resync(scope())));
        }
        for (path, found) in &walk.files {
            let stamp = Told::Content(Stamp::of(found));
            if !list && (writing.contains(path) || self.told.get(path) == Some(&stamp)) {
                continue;
            }
            if !list && is_fresh(found) {
                seen.again.push(path.clone());
            } else {
                self.read_file(path, list, &mut seen);
            }
        }
        self.report_faults(&walk, list, &mut seen.events);
        self.settle_missing(&walk, list, &mut seen);
        if list {
            seen.events.push((self.root.clone(), SourceEvent::Synced(scope())));
        }
        Scan::Done { seen, directories: Some(walk.directories) }
    }

    fn missing(&self, error: &io::Error) -> Scan {
        let shown = self.shown.display();
        Scan::Missing(match error.kind() {
            io::ErrorKind::NotFound => format!("there is no folder {shown}"),
            io::ErrorKind::NotADirectory => format!("{shown} is not a folder"),
            _ => format!("the folder {shown} can't be read: {error}"),
        })
    }

    /// Does a folder that has come back still fill? What it lacks, a listing would take out.
    fn puts_off(&mut self, walk: &Walk) -> bool {
        if self.told.is_empty() {
            return false;
        }
        let now = Instant::now();
        let (first, calm) = self.put_off.get_or_insert((now, now));
        let fills = walk.files.values().any(is_fresh);
        if fills {
            *calm = now;
        }
        let lacks = |path: &PathBuf| match walk.files.get(path) {
            Some(found) => {
                found.len() == 0 && self.shapes.get(path).is_some_and(|shape| *shape != Shape::default())
            }
            None => !walk.directories.contains(path),
        };
        let lacking = now < *calm + self.settle * 2 && self.told.keys().any(lacks);
        now < *first + PUT_OFF_MAX && (fills || lacking)
    }

    /// Reads these files.
    pub(crate) fn read(&mut self, paths: &BTreeSet<PathBuf>) -> Scan {
        // Without the folder a missing file says nothing.
        if let Err(error) = fs::read_dir(&self.root) {
            return self.missing(&error);
        }
        let mut seen = Seen::default();
        for path in paths {
            self.read_file(path, false, &mut seen);
        }
        Scan::Done { seen, directories: None }
    }

    /// What was read of this path was not told after all.
    pub(crate) fn not_told(&mut self, path: &Path) {
        self.told.insert(path.to_owned(), Told::Outdated);
    }

    fn read_file(&mut self, path: &Path, list: bool, seen: &mut Seen) {
        match read(path) {
            FileRead::Content(body, stamp) => {
                let shape = Shape::of(&body);
                let is_cut = self.shapes.get(path).is_some_and(|before| shape.is_cut_of(before));
                if is_cut && !list && self.doubts(path, Loss::Cut(stamp), seen) {
                    return;
                }
                self.doubts.remove(path);
                self.shapes.insert(path.to_owned(), shape);
                self.told.insert(path.to_owned(), Told::Content(stamp));
                let object = Object::Document(Document { body });
                seen.events.push((path.to_owned(), SourceEvent::Upsert { id: self.id(path), object }));
            }
            FileRead::Fault(code, why) => self.invalid(path, code, why, false, &mut seen.events),
            FileRead::Moving => seen.again.push(path.to_owned()),
            FileRead::Gone if !self.told.contains_key(path) => {}
            FileRead::Gone => {
                if list || !self.doubts(path, Loss::Gone, seen) {
                    self.forget(path);
                    seen.events.push((path.to_owned(), SourceEvent::Remove { id: self.id(path) }));
                }
            }
        }
    }

    /// Is the loss too young to be believed? Then it is looked at again.
    fn doubts(&mut self, path: &Path, loss: Loss, seen: &mut Seen) -> bool {
        let now = Instant::now();
        let doubt = self.doubts.entry(path.to_owned()).or_insert(Doubt { loss, since: now, first: now });
        if doubt.loss != loss {
            (doubt.loss, doubt.since) = (loss, now);
        }
        let believed_at = match loss {
            Loss::Gone => doubt.since + self.settle,
            Loss::Cut(_) => doubt.since + self.settle * 2,
        };
        let left = believed_at.min(doubt.first + DOUBT_MAX).saturating_duration_since(now);
        if left.is_zero() {
            return false;
        }
        seen.later.push((path.to_owned(), left));
        true
    }

    fn forget(&mut self, path: &Path) {
        self.told.remove(path);
        self.shapes.remove(path);
        self.doubts.remove(path);
    }

    /// Tells that a path can't be read, unless that was told already; with `list` in any case, because a listing
    /// names all that is there.
    fn invalid(&mut self, path: &Path, code: Code, why: String, list: bool, events: &mut Found) {
        let told = Told::Invalid(why.clone());
        if self.told.insert(path.to_owned(), told.clone()) == Some(told) && !list {
            return;
        }
        let id = self.id(path);
        let diagnostic = Diagnostic {
            code,
            severity: Severity::Error,
            object: None,
            origin: Some(Origin {
                source: self.source.clone(),
                location: id.name.clone(),
                line: 0,
                column: 0,
            }),
            path: String::new(),
            message: why,
            hint: None,
        };
        events.push((path.to_owned(), SourceEvent::Invalid { id, diagnostic }));
    }

    fn report_faults(&mut self, walk: &Walk, list: bool, events: &mut Found) {
        for (path, (code, why)) in &walk.faults {
            self.invalid(path, *code, why.clone(), list, events);
            // What is below can't be seen, which is not being gone.
            let below = self.told.keys().filter(|known| known.starts_with(path) && *known != path);
            let below: Vec<PathBuf> = below.cloned().collect();
            for known in below {
                self.invalid(&known, *code, why.clone(), list, events);
            }
        }
    }

    /// What was told and is not there any more: believed when it stays so, but in a listing, which sweeps it. Paths
    /// of folders were findings only.
    fn settle_missing(&mut self, walk: &Walk, list: bool, seen: &mut Seen) {
        let hidden = |path: &PathBuf| walk.faults.keys().any(|fault| path.starts_with(fault));
        let missing = self.told.keys().filter(|path| !walk.files.contains_key(*path) && !hidden(path));
        let missing: Vec<PathBuf> = missing.cloned().collect();
        for path in missing {
            if list {
                self.forget(&path);
            } else if walk.directories.contains(&path) {
                self.forget(&path);
                let id = self.id(&path);
                seen.events.push((path, SourceEvent::Remove { id }));
            } else {
                self.read_file(&path, false, seen);
            }
        }
    }

    fn id(&self, path: &Path) -> ObjectId {
        let inside = path.strip_prefix(&self.root).unwrap_or(path);
        let shown = if inside.as_os_str().is_empty() { self.shown.clone() } else { self.shown.join(inside) };
        ObjectId { kind: ObjectKind::Document, name: shown.to_string_lossy().into() }
    }
}

/// The whole folder.
fn scope() -> Scope {
    Scope { kind: ObjectKind::Document, prefix: "".into() }
}

fn is_fresh(found: &Metadata) -> bool {
    let age = found.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age < FRESH)
}

impl Walk {
    fn begin(&mut self, root: &Path, watches: &mut Watches) -> io::Result<()> {
        let found = fs::metadata(root)?;
        self.enter(root, &found, 0, watches)?;
        for link in std::iter::once(root.to_owned()).chain(std::mem::take(&mut self.links)) {
            self.watch_ways(root, link, watches);
        }
        Ok(())
    }

    /// Reads one folder and those below it. Real folders come before links, so that a file is found under its
    /// own path rather than a link's.
    fn enter(
        &mut self,
        directory: &Path,
        found: &Metadata,
        depth: usize,
        watches: &mut Watches,
    ) -> io::Result<()> {
        if !self.visited.insert((found.dev(), found.ino())) {
            return Ok(());
        }
        watches.add(directory);
        let mut links = Vec::new();
        let mut below = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if names::is_ignored(&entry.file_name()) {
                continue;
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    below.insert(path, depth);
                }
                Ok(kind) if kind.is_symlink() => links.push(path),
                Ok(kind) if kind.is_file() => self.add_file(path, entry.metadata(), directory),
                // Sockets, pipes, devices; or it is gone again.
                Ok(_) | Err(_) => {}
            }
        }
        self.directories.insert(directory.to_owned());
        for path in below.into_keys() {
            self.enter_below(&path, fs::symlink_metadata(&path), depth + 1, watches);
        }
        links.sort();
        for path in links {
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() => self.enter_below(&path, Ok(found), depth + 1, watches),
                Ok(found) if found.is_file() => {
                    self.add_file(path.clone(), Ok(found), directory);
                    self.links.push(path);
                }
                // It leads to no file or nowhere.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn enter_below(&mut self, path: &Path, found: io::Result<Metadata>, depth: usize, watches: &mut Watches) {
        if depth > DEPTH_MAX {
            let why = format!("folders are followed to a depth of {DEPTH_MAX}");
            self.faults.insert(path.to_owned(), (codes::TOO_MANY, why));
            return;
        }
        let entered = found.and_then(|found| self.enter(path, &found, depth, watches));
        if let Err(error) = entered
            && error.kind() != io::ErrorKind::NotFound
        {
            self.faults
                .insert(path.to_owned(), (codes::UNREADABLE, format!("the folder can't be read: {error}")));
        }
    }

    fn add_file(&mut self, path: PathBuf, found: io::Result<Metadata>, directory: &Path) {
        if !names::is_document(&path) {
            return;
        }
        if self.files.len() >= FILES_MAX {
            // One finding says it; what is beyond the limit keeps what it said.
            let directory = self.overflow.get_or_insert_with(|| directory.to_owned()).clone();
            let why = format!("more than {FILES_MAX} files are not followed");
            self.faults.insert(directory, (codes::TOO_MANY, why));
            return;
        }
        if let Ok(found) = found {
            self.files.insert(path, found);
        }
    }

    /// What is behind a link changes where it is, not where the link is; or a link on the way to it does. Comes
    /// after the walk, for which the folders count as not visited.
    fn watch_ways(&mut self, root: &Path, mut path: PathBuf, watches: &mut Watches) {
        for _ in 0..HOPS_MAX {
            let parts: Vec<&Path> = path.ancestors().collect();
            let link = parts.iter().rev().find_map(|part| Some((*part, fs::read_link(part).ok()?)));
            let (place, next) = match link {
                Some((link, target)) => {
                    let rest = path.strip_prefix(link).ok().filter(|rest| !rest.as_os_str().is_empty());
                    let next = link.parent().unwrap_or(link).join(target);
                    (link.to_owned(), Some(rest.map_or(next.clone(), |rest| next.join(rest))))
                }
                None => (path.clone(), None),
            };
            self.watch_place(root, &place, watches);
            match next {
                Some(next) => path = next,
                None => return,
            }
        }
    }

    fn watch_place(&mut self, root: &Path, place: &Path, watches: &mut Watches) {
        let Some(directory) = place.parent().and_then(|directory| fs::canonicalize(directory).ok()) else {
            return;
        };
        let Ok(found) = fs::metadata(&directory) else { return };
        if let Some(name) = place.file_name()
            && !directory.starts_with(root)
        {
            self.directories.insert(directory.join(name));
        }
        // One folder has one watch: under two names the second would take the events of the first.
        if self.visited.insert((found.dev(), found.ino())) {
            watches.add(&directory);
            self.directories.insert(directory);
        }
    }
}

/// Reads a regular file. Nothing else is waited for: a pipe put in a file's place would hold up everything.
fn read(path: &Path) -> FileRead {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileRead::Gone,
        _ => FileRead::Fault(codes::UNREADABLE, format!("the file can't be read: {error}")),
    };
    match opened.and_then(|mut file| read_open(&mut file)) {
        Ok(read) => read,
        Err(error) => unreadable(error),
    }
}

fn read_open(file: &mut File) -> io::Result<FileRead> {
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(FileRead::Gone);
    }
    if before.len() > FILE_BYTES_MAX {
        return Ok(too_large(before.len()));
    }
    let mut body = Vec::with_capacity(usize::try_from(before.len()).unwrap_or_default());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut body)?;
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    if length > FILE_BYTES_MAX {
        return Ok(too_large(length));
    }
    let after = Stamp::of(&file.metadata()?);
    let before = Stamp::of(&before);
    if (before.size, before.modified) != (after.size, after.modified) || length != after.size {
        return Ok(FileRead::Moving);
    }
    Ok(FileRead::Content(body.into(), after))
}

fn too_large(length: u64) -> FileRead {
    let max = FILE_BYTES_MAX >> 20;
    FileRead::Fault(
        codes::TOO_LARGE,
        format!("the file has {} MiB; files of up to {max} MiB are read", length >> 20),
    )
}
