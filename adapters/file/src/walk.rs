//! What is in the folder and in those below it, and where links lead.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use lateen_model::diagnostic::Code;

use crate::{codes, names, watch::Watches};

/// Files that are followed at most; the rest is a finding.
const FILES_MAX: usize = 100_000;
/// Folders in folders that are followed at most.
const DEPTH_MAX: usize = 64;
/// Links that lead to links, at most.
const HOPS_MAX: usize = 40;

/// What a walk found.
#[derive(Default)]
pub(crate) struct Walk {
    pub(crate) files: BTreeMap<PathBuf, Metadata>,
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Device and inode of each, against loops.
    visited: BTreeSet<(u64, u64)>,
    /// Folders that can't be read, files that can't be followed.
    pub(crate) faults: BTreeMap<PathBuf, (Code, String)>,
    /// Where the limit of files was reached.
    overflow: Option<PathBuf>,
    /// Links to files.
    links: Vec<PathBuf>,
}

impl Walk {
    /// Walks through the folder, and watches what it finds.
    pub(crate) fn begin(&mut self, root: &Path, watches: &mut Watches) -> io::Result<()> {
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
