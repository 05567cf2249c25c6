//! The folder on disk, and what the core was told of it. Everything here blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use lateen_model::{
    Diagnostic, Document, ObjectId, ObjectKind, Origin, Scope, Severity, SourceEvent, SourceId,
    diagnostic::Code, event::Object,
};

use crate::{
    file::{FileRead, Stamp, read},
    shape::Shape,
    walk::Walk,
    watch::Watches,
};

/// A file this young may still be written, by somebody who began before the watch did.
const FRESH: Duration = Duration::from_millis(25);
/// How long a folder that has come back may go on filling before it is listed as it is.
const PUT_OFF_MAX: Duration = Duration::from_secs(5);
/// How long a file that changes again and again may be in doubt.
const DOUBT_MAX: Duration = Duration::from_secs(10);
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
    /// How long a file is gone before that is believed; three times that for less text.
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
        let lacking = now < *calm + self.settle * 3 && self.told.keys().any(lacks);
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
            Loss::Cut(_) => doubt.since + self.settle * 3,
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
