//! What the watch says, as hints of what to look at: the watch is never trusted with more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use notify::{
    Event,
    event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode},
};
use tokio::{sync::Notify, time::Instant};

use crate::{names, settle::Settling};

/// More files than these are not remembered one by one: the whole folder is looked at instead.
const PATHS_MAX: usize = 4096;

/// What is known to have happened to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hint {
    Written(Instant),
    Complete,
    Touched,
    Vanished(Instant),
}

impl Hint {
    /// What both together say. The last one counts, but that a touch says nothing about the content, and that a
    /// file is written since the first time.
    fn after(self, before: Option<Self>) -> Self {
        match (before, self) {
            (Some(before), Self::Touched) | (Some(before @ Self::Written(_)), Self::Written(_)) => before,
            (_, hint) => hint,
        }
    }
}

/// Hints not yet taken.
#[derive(Debug)]
pub(crate) struct Hints {
    root: PathBuf,
    /// The watch calls back on a thread of its own, and must neither wait nor pile up: a set that forgets details
    /// when it is full does both, where a channel would have to drop or grow.
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    paths: BTreeMap<PathBuf, Hint>,
    all: bool,
    directories: BTreeSet<PathBuf>,
}

impl Hints {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), state: Mutex::default(), wake: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folders that are followed, and what links beyond them lead to.
    pub(crate) fn set_directories(&self, directories: BTreeSet<PathBuf>) {
        self.state().directories = directories;
    }

    /// Returns when there are hints.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Takes all hints.
    pub(crate) fn take(&self, settling: &mut Settling) {
        let (paths, all) = {
            let mut state = self.state();
            (std::mem::take(&mut state.paths), std::mem::take(&mut state.all))
        };
        if all {
            settling.all();
        }
        for (path, hint) in paths {
            match hint {
                Hint::Written(at) => settling.write(path, at),
                Hint::Complete => settling.complete(path),
                Hint::Touched => settling.touch(path),
                Hint::Vanished(at) => settling.vanish(path, at),
            }
        }
    }

    /// Takes note of what the watch says.
    pub(crate) fn note(&self, event: notify::Result<Event>) {
        let Ok(event) = event else { return self.note_all() };
        if event.need_rescan() {
            return self.note_all();
        }
        for path in &event.paths {
            self.note_path(path, event.kind);
        }
    }

    fn note_all(&self) {
        self.state().all = true;
        self.wake.notify_one();
    }

    fn note_path(&self, path: &Path, kind: EventKind) {
        if matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write)) {
            // Among these is our own reading.
            return;
        }
        let Ok(inside) = path.strip_prefix(&self.root) else {
            // Beside the folder, or where a link of it leads.
            let is_target = || self.state().directories.contains(path);
            if names::is_document(path) || is_swap(path, kind) || is_target() {
                self.note_all();
            }
            return;
        };
        if inside.as_os_str().is_empty() {
            return self.note_all();
        }
        if inside.iter().any(names::is_ignored) {
            // In a hidden folder there may be files to which links lead.
            let followed = || path.parent().is_some_and(|parent| self.state().directories.contains(parent));
            if is_swap(path, kind) || names::is_document(path) && followed() {
                self.note_all();
            }
        } else if names::is_document(path) {
            self.note_document(path, kind);
        } else if self.concerns_directory(path, kind) {
            self.note_all();
        }
    }

    fn note_document(&self, path: &Path, kind: EventKind) {
        let now = Instant::now();
        let hint = match kind {
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Hint::Complete,
            EventKind::Modify(ModifyKind::Metadata(_)) => Hint::Touched,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(RemoveKind::File) => {
                Hint::Vanished(now)
            }
            // What is told as one move was told as two halves before.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
            EventKind::Create(CreateKind::File) if is_complete_at_birth(path) => Hint::Complete,
            EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
                Hint::Written(now)
            }
            EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(_)
            | EventKind::Any
            | EventKind::Other => return self.note_all(),
        };
        let mut state = self.state();
        // Where a link leads is watched only by a look at the whole.
        state.all |= matches!(hint, Hint::Complete)
            && fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let before = state.paths.get(path).copied();
        if before.is_none() && state.paths.len() >= PATHS_MAX {
            state.all = true;
        } else {
            state.paths.insert(path.to_owned(), hint.after(before));
        }
        drop(state);
        self.wake.notify_one();
    }

    fn concerns_directory(&self, path: &Path, kind: EventKind) -> bool {
        match kind {
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)) => false,
            EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => true,
            EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Name(RenameMode::From)) => {
                self.state().directories.contains(path)
            }
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {
                fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() || found.is_symlink())
            }
        }
    }
}

/// Links are made, not written; so is a second name of a file.
fn is_complete_at_birth(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink() || found.nlink() > 1)
}

/// Is a hidden link put in place, to which visible ones lead? So volumes of Kubernetes change all files at once
/// (`..data`). <https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically>
fn is_swap(path: &Path, kind: EventKind) -> bool {
    matches!(kind, EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)))
        && fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}
