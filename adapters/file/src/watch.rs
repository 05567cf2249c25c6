//! The watch on all folders that are followed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::hints::Hints;

/// Folders that are watched, each by itself: what is followed is decided by the scan, not by the watch.
pub(crate) struct Watches {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Could some folder not be watched? Then the scan comes often.
    is_blind: bool,
}

impl Watches {
    /// Watches the folder above the root, so that the root's coming and going is seen. Where there is no watch
    /// to be had, for example because the user has too many, the scan comes often instead.
    pub(crate) fn new(root: &Path, hints: &Arc<Hints>) -> Self {
        let hints = hints.clone();
        let made = notify::recommended_watcher(move |event| hints.note(event)).inspect_err(
            |error| tracing::warn!(%error, "files can't be watched and are looked at every second"),
        );
        let mut watches = Self { watcher: made.ok(), watched: BTreeSet::new(), is_blind: false };
        watches.add_above(root);
        watches
    }

    /// Is there something that changes unseen?
    pub(crate) fn is_blind(&self) -> bool {
        self.is_blind || self.watcher.is_none()
    }

    /// Watches the folder above the root. It may itself be gone and be made anew.
    pub(crate) fn add_above(&mut self, root: &Path) {
        if let Some(above) = root.parent() {
            self.add(above);
        }
    }

    /// Watches a folder. To be called before the folder is read, and again with each scan: after it was replaced
    /// by another of the same name a watch is on the old one.
    pub(crate) fn add(&mut self, directory: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        match watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(directory.to_owned());
            }
            Err(error) if directory.is_dir() => {
                if !std::mem::replace(&mut self.is_blind, true) {
                    let directory = directory.display();
                    tracing::warn!(%directory, %error, "a folder can't be watched; all are looked at every second");
                }
            }
            // It is gone again.
            Err(_) => {}
        }
    }

    /// Watches no others than these and the one above the root.
    pub(crate) fn keep(&mut self, directories: &BTreeSet<PathBuf>, root: &Path) {
        let gone: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(|watched| !directories.contains(*watched) && Some(watched.as_path()) != root.parent())
            .cloned()
            .collect();
        for directory in gone {
            self.watched.remove(&directory);
            if let Some(watcher) = &mut self.watcher {
                // An error means that the watch ended with the folder.
                let _ = watcher.unwatch(&directory);
            }
        }
    }
}
