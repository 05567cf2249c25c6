//! When what is known to change may be read: a state machine without a clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

/// How long a file may be written before it is read although its writer has not closed it.
const WRITING_MAX: Duration = Duration::from_secs(1);
/// How long nothing may vanish before what has vanished is looked for: editors remove a file before they write it
/// anew, and a folder that is removed loses its files one by one before it goes itself. When it counts as gone is
/// said by who looks.
const QUIET: Duration = Duration::from_millis(25);
/// How long things that go on vanishing may hold that up.
const QUIET_MAX: Duration = Duration::from_secs(1);

/// Paths that wait to be read.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// Files that are being written, since when.
    writing: BTreeMap<PathBuf, Instant>,
    /// Files that can be read now.
    ready: BTreeSet<PathBuf>,
    /// Files that vanished or may still change, to be looked at when it is quiet.
    soon: BTreeSet<PathBuf>,
    /// Files to be looked at then, if nothing is heard of them before.
    later: BTreeMap<PathBuf, Instant>,
    /// When the first and the last of those that wait for quiet came.
    unquiet: Option<(Instant, Instant)>,
    all: bool,
    all_soon: bool,
}

/// What can be read now.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Due {
    /// The whole folder.
    pub(crate) all: bool,
    /// These files, whatever is known of them.
    pub(crate) paths: BTreeSet<PathBuf>,
}

impl Settling {
    /// Somebody writes the file.
    pub(crate) fn write(&mut self, path: PathBuf, now: Instant) {
        self.soon.remove(&path);
        self.later.remove(&path);
        self.writing.entry(path).or_insert(now);
    }

    /// The file is complete.
    pub(crate) fn complete(&mut self, path: PathBuf) {
        self.soon.remove(&path);
        self.later.remove(&path);
        self.writing.remove(&path);
        self.ready.insert(path);
    }

    /// Something about the file has changed that is not its content; a writer is waited for.
    pub(crate) fn touch(&mut self, path: PathBuf) {
        if !self.writing.contains_key(&path) {
            self.complete(path);
        }
    }

    /// The file is gone, at least for the moment.
    pub(crate) fn vanish(&mut self, path: PathBuf, now: Instant) {
        self.writing.remove(&path);
        self.ready.remove(&path);
        self.soon(path, now);
    }

    /// The file is to be looked at when it is quiet, unless a writer is waited for.
    pub(crate) fn soon(&mut self, path: PathBuf, now: Instant) {
        if !self.writing.contains_key(&path) {
            self.soon.insert(path);
            self.disturb(now);
        }
    }

    /// The file is to be looked at again at that time, unless something is heard of it before.
    pub(crate) fn later(&mut self, path: PathBuf, at: Instant) {
        if !self.is_pending(&path) {
            self.later.insert(path, at);
        }
    }

    /// The whole folder is to be looked at.
    pub(crate) fn all(&mut self) {
        self.all = true;
    }

    /// The whole folder is to be looked at when it is quiet.
    pub(crate) fn all_soon(&mut self, now: Instant) {
        self.all_soon = true;
        self.disturb(now);
    }

    /// Is there something more recent about the file than what was read?
    pub(crate) fn is_pending(&self, path: &Path) -> bool {
        self.writing.contains_key(path) || self.ready.contains(path) || self.soon.contains(path)
    }

    /// The files that are being written.
    pub(crate) fn writing(&self) -> impl Iterator<Item = &PathBuf> {
        self.writing.keys()
    }

    fn disturb(&mut self, now: Instant) {
        let (_, last) = self.unquiet.get_or_insert((now, now));
        *last = now;
    }

    fn quiet_at(&self) -> Option<Instant> {
        self.unquiet.map(|(first, last)| (last + QUIET).min(first + QUIET_MAX))
    }

    /// Takes what can be read now.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Due> {
        let mut paths = std::mem::take(&mut self.ready);
        let late: Vec<PathBuf> = self
            .writing
            .iter()
            .filter(|(_, since)| now >= **since + WRITING_MAX)
            .map(|(path, _)| path.clone())
            .collect();
        for path in late {
            self.writing.remove(&path);
            paths.insert(path);
        }
        let due: Vec<PathBuf> =
            self.later.iter().filter(|(_, at)| now >= **at).map(|(path, _)| path.clone()).collect();
        for path in due {
            self.later.remove(&path);
            paths.insert(path);
        }
        let mut all = std::mem::take(&mut self.all);
        if self.quiet_at().is_some_and(|at| now >= at) {
            self.unquiet = None;
            paths.append(&mut self.soon);
            all |= std::mem::take(&mut self.all_soon);
        }
        (all || !paths.is_empty()).then_some(Due { all, paths })
    }

    /// When something will be due that is not due yet.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let written = self.writing.values().min().map(|since| *since + WRITING_MAX);
        written.into_iter().chain(self.quiet_at()).chain(self.later.values().min().copied()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> PathBuf {
        PathBuf::from("/mesh/a.yaml")
    }

    fn only_file() -> Due {
        Due { all: false, paths: [file()].into() }
    }

    #[test]
    fn a_written_file_is_due_when_it_is_closed() {
        let (mut settling, now) = (Settling::default(), Instant::now());
        settling.write(file(), now);
        settling.touch(file());
        assert_eq!(settling.due(now + QUIET_MAX / 2), None);
        settling.complete(file());
        assert_eq!(settling.due(now), Some(only_file()));
        assert_eq!(settling.due(now), None);
    }

    #[test]
    fn a_writer_that_never_closes_is_not_waited_for_for_ever() {
        let (mut settling, now) = (Settling::default(), Instant::now());
        settling.write(file(), now);
        settling.write(file(), now + WRITING_MAX / 2);
        assert_eq!(settling.deadline(), Some(now + WRITING_MAX));
        assert_eq!(settling.due(now + WRITING_MAX), Some(only_file()));
        assert_eq!(settling.deadline(), None);
    }

    #[test]
    fn a_file_that_vanishes_and_comes_back_is_not_gone_in_between() {
        let (mut settling, now) = (Settling::default(), Instant::now());
        settling.vanish(file(), now);
        assert_eq!(settling.due(now + QUIET / 2), None);
        settling.write(file(), now + QUIET / 2);
        assert_eq!(settling.due(now + QUIET * 3), None);
        settling.complete(file());
        assert_eq!(settling.due(now + QUIET * 3), Some(only_file()));
    }

    #[test]
    fn what_is_looked_at_later_is_looked_at_sooner_when_it_changes() {
        let (mut settling, now) = (Settling::default(), Instant::now());
        settling.later(file(), now + QUIET);
        assert_eq!(settling.due(now), None);
        assert_eq!(settling.deadline(), Some(now + QUIET));
        assert!(!settling.is_pending(&file()));
        settling.complete(file());
        assert_eq!(settling.due(now), Some(only_file()));
        assert_eq!(settling.due(now + QUIET), None);
        settling.later(file(), now + QUIET);
        assert_eq!(settling.due(now + QUIET), Some(only_file()));
        assert_eq!(settling.deadline(), None);
    }

    #[test]
    fn vanishing_counts_when_it_has_stopped() {
        let (mut settling, now) = (Settling::default(), Instant::now());
        settling.vanish(file(), now);
        settling.vanish(PathBuf::from("/mesh/b.yaml"), now + QUIET / 2);
        assert_eq!(settling.due(now + QUIET), None);
        assert_eq!(settling.deadline(), Some(now + QUIET / 2 + QUIET));
        assert_eq!(settling.due(now + QUIET * 2).unwrap().paths.len(), 2);
        settling.vanish(file(), now);
        let mut later = now;
        while settling.due(later).is_none() {
            later += QUIET / 2;
            settling.vanish(file(), later);
        }
        assert!(later <= now + QUIET_MAX, "things that go on vanishing hold up the rest");
    }
}
