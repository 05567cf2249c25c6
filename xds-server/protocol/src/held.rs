//! What a client asks for and what it holds, 16 bytes a name (I-11), shared by the streams that hold the same.

use std::{collections::HashMap, sync::Arc};

use lateen_model::Version;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use crate::NameId;

/// What the client holds is uncertain: a response with the name in it was rejected because of another one, and
/// Envoy applies the good part of a response that it rejects.
pub(crate) const UNSURE: u32 = 1 << 27;
/// The client asked for the name.
pub(crate) const NAMED: u32 = 1 << 28;
/// The client holds a version of it, or one is on its way.
pub(crate) const HELD: u32 = 1 << 29;
/// It is in the list of names to look at (or in a trial).
pub(crate) const PENDING: u32 = 1 << 30;
/// It is to be answered even if nothing changed.
pub(crate) const FORCE: u32 = 1 << 31;
/// The number of a response. It wraps; only equality with a number in flight matters.
pub(crate) const SEQ: u32 = UNSURE - 1;

/// A version that is none of ours: held at a version that we did not make, or an answer without content.
pub(crate) const FOREIGN: Version = Version(0);

/// One name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: NameId,
    bits: u32,
    /// Meaningless unless held.
    pub(crate) version: Version,
}

const _: () = assert!(size_of::<Entry>() == 16, "the memory of a stream is counted in these");

impl Entry {
    fn blank(name: NameId) -> Self {
        Self { name, bits: 0, version: FOREIGN }
    }

    /// What is left of an entry when a response that replaced `before` was rejected together with others.
    pub(crate) fn unsure(name: NameId, before: Option<Self>) -> Self {
        let mut entry = before.unwrap_or(Self::blank(name));
        entry.bits = (entry.bits & SEQ) | HELD | UNSURE;
        entry
    }

    /// Is it known that the client holds exactly `version`?
    pub(crate) fn holds(&self, version: Version) -> bool {
        self.is(HELD) && !self.is(UNSURE) && self.version == version
    }

    /// Does the client hold something, as far as is known?
    pub(crate) fn holds_any(&self) -> bool {
        self.is(HELD) && !(self.is(UNSURE) && self.version == FOREIGN)
    }

    pub(crate) fn is(&self, mark: u32) -> bool {
        self.bits & mark != 0
    }

    pub(crate) fn set(&mut self, marks: u32) {
        self.bits |= marks;
    }

    pub(crate) fn clear(&mut self, marks: u32) {
        self.bits &= !marks;
    }

    /// The response in which it was sent last.
    pub(crate) fn seq(&self) -> u32 {
        self.bits & SEQ
    }

    pub(crate) fn set_seq(&mut self, seq: u32) {
        self.bits = (self.bits & !SEQ) | (seq & SEQ);
    }

    fn is_dead(&self) -> bool {
        self.bits & !(SEQ | UNSURE) == 0
    }

    /// All that there is to it.
    fn key(&self) -> [u8; 16] {
        let head = (name_bits(self.name) << 32) | u64::from(self.bits);
        (u128::from(head) << 64 | u128::from(self.version.0)).to_le_bytes()
    }
}

/// How many ids a chunk spans.
const SPAN: u32 = 32;

/// The entries of the names whose ids are in one span, sorted by id.
#[derive(Clone, Debug)]
struct Chunk {
    /// Which span.
    span: u32,
    /// May others hold the same memory?
    shared: bool,
    entries: Arc<[Entry]>,
}

/// All names of a type, sorted by id, in chunks. Streams that hold the same share the memory of it: a chunk is
/// copied when it changes and given back by [`Held::share`].
#[derive(Debug, Default)]
pub(crate) struct Held {
    chunks: Vec<Chunk>,
    /// Spans of the chunks that are not shared, some perhaps twice or gone.
    loose: Vec<u32>,
    len: usize,
    /// Sum of the hashes of everything held: order does not count, and a change costs two hashes.
    hash: u128,
}

fn name_bits(name: NameId) -> u64 {
    name.index() as u64
}

fn span_of(name: NameId) -> u32 {
    // Ids are `u32`.
    u32::try_from(name.index()).unwrap_or(u32::MAX) / SPAN
}

impl Chunk {
    fn position(&self, name: NameId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&name, |entry| entry.name)
    }

    /// The chunk is about to be the stream's own.
    fn loosen(&mut self, loose: &mut Vec<u32>) {
        if std::mem::take(&mut self.shared) {
            loose.push(self.span);
        }
    }

    fn entries_mut(&mut self, loose: &mut Vec<u32>) -> &mut [Entry] {
        self.loosen(loose);
        Arc::make_mut(&mut self.entries)
    }

    fn replace(&mut self, entries: Vec<Entry>, loose: &mut Vec<u32>) {
        self.loosen(loose);
        self.entries = entries.into();
    }
}

impl Held {
    fn chunk(&self, name: NameId) -> Result<usize, usize> {
        let span = span_of(name);
        self.chunks.binary_search_by_key(&span, |chunk| chunk.span)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.chunks.iter().flat_map(|chunk| chunk.entries.iter())
    }

    /// Changes every entry for which `wanted` is true.
    pub(crate) fn change(&mut self, wanted: impl Fn(&Entry) -> bool, mut change: impl FnMut(&mut Entry)) {
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.entries.iter().any(&wanted)) {
            chunk.entries_mut(&mut self.loose).iter_mut().filter(|entry| wanted(entry)).for_each(&mut change);
        }
    }

    pub(crate) fn get(&self, name: NameId) -> Option<&Entry> {
        let chunk = self.chunks.get(self.chunk(name).ok()?)?;
        chunk.entries.get(chunk.position(name).ok()?)
    }

    /// The entry of `name`, to be changed: memory that others hold too is copied.
    pub(crate) fn get_mut(&mut self, name: NameId) -> Option<&mut Entry> {
        let at = self.chunk(name).ok()?;
        let chunk = self.chunks.get_mut(at)?;
        let at = chunk.position(name).ok()?;
        chunk.entries_mut(&mut self.loose).get_mut(at)
    }

    /// The entry of `name`, made if there is none.
    pub(crate) fn entry(&mut self, name: NameId) -> &mut Entry {
        if self.get(name).is_none() {
            self.make_room(&[name]);
        }
        self.get_mut(name).expect("invariant: found or just made")
    }

    /// Makes entries for many names at once: one merge for each chunk in place of as many insertions.
    pub(crate) fn make_room(&mut self, names: &[NameId]) {
        let mut missing: Vec<NameId> =
            names.iter().copied().filter(|name| self.get(*name).is_none()).collect();
        missing.sort_unstable();
        missing.dedup();
        self.len += missing.len();
        for group in missing.chunk_by(|a, b| span_of(*a) == span_of(*b)) {
            let blank = group.iter().map(|name| Entry::blank(*name));
            match group.first().map(|first| (span_of(*first), self.chunk(*first))) {
                Some((_, Ok(at))) => {
                    if let Some(chunk) = self.chunks.get_mut(at) {
                        let mut entries: Vec<Entry> = chunk.entries.iter().copied().chain(blank).collect();
                        entries.sort_unstable_by_key(|entry| entry.name);
                        chunk.replace(entries, &mut self.loose);
                    }
                }
                Some((span, Err(at))) => {
                    self.chunks.insert(at, Chunk { span, shared: false, entries: blank.collect() });
                    self.loose.push(span);
                }
                None => {}
            }
        }
    }

    /// The client holds `version` of `name` from now on.
    pub(crate) fn hold(&mut self, name: NameId, text: &str, version: Version, seq: u32) {
        let entry = self.entry(name);
        let before = entry.is(HELD).then_some(entry.version);
        entry.version = version;
        entry.set(HELD);
        entry.clear(UNSURE);
        entry.set_seq(seq);
        if before != Some(version) {
            if let Some(before) = before {
                self.hash = self.hash.wrapping_sub(hash_of(text, before));
            }
            self.hash = self.hash.wrapping_add(hash_of(text, version));
        }
    }

    /// The client holds what `before` says.
    pub(crate) fn restore(&mut self, before: &Entry, text: &str) {
        self.hold(before.name, text, before.version, before.seq());
        if before.is(UNSURE) {
            self.entry(before.name).set(UNSURE);
        }
    }

    /// The client holds nothing of that name any more.
    pub(crate) fn release(&mut self, name: NameId, text: &str) {
        if let Some(entry) = self.get_mut(name)
            && entry.is(HELD)
        {
            entry.clear(HELD | UNSURE);
            let version = entry.version;
            self.hash = self.hash.wrapping_sub(hash_of(text, version));
        }
    }

    /// Drops the entry of `name` unless something is still known of it.
    pub(crate) fn drop_if_dead(&mut self, name: NameId) {
        if self.get(name).is_some_and(Entry::is_dead)
            && let Ok(at) = self.chunk(name)
        {
            self.drop_dead_of(at);
        }
    }

    /// Drops all entries of which nothing is known.
    pub(crate) fn drop_dead(&mut self) {
        for at in (0..self.chunks.len()).rev() {
            self.drop_dead_of(at);
        }
        self.chunks.shrink_to_fit();
    }

    fn drop_dead_of(&mut self, at: usize) {
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let live: Vec<Entry> = chunk.entries.iter().copied().filter(|entry| !entry.is_dead()).collect();
        let gone = chunk.entries.len() - live.len();
        if gone > 0 {
            self.len -= gone;
            chunk.replace(live, &mut self.loose);
            if chunk.entries.is_empty() {
                self.chunks.remove(at);
            }
        }
    }

    /// Gives memory back for what others hold, too. Only when no response is in flight: in which response
    /// something was sent is forgotten here.
    pub(crate) fn share(&mut self, common: &mut Common) {
        let Self { chunks, loose, .. } = self;
        for span in loose.drain(..) {
            let Ok(at) = chunks.binary_search_by_key(&span, |chunk| chunk.span) else { continue };
            let Some(chunk) = chunks.get_mut(at).filter(|chunk| !chunk.shared) else { continue };
            for entry in Arc::make_mut(&mut chunk.entries) {
                entry.set_seq(0);
            }
            chunk.entries = common.of(&chunk.entries);
            chunk.shared = true;
        }
        loose.shrink_to(4);
        self.chunks.shrink_to_fit();
    }

    /// Version of everything held, independent of order and of the process.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-versions>
    pub(crate) fn version(&self) -> Version {
        Version::of(&self.hash.to_le_bytes())
    }
}

fn hash_of(text: &str, version: Version) -> u128 {
    xxh3_128_with_seed(text.as_bytes(), version.0)
}

/// Chunks that streams hold, by their content.
#[derive(Debug, Default)]
pub(crate) struct Common {
    by_hash: HashMap<u64, Arc<[Entry]>>,
    /// How many there were after the last look at which of them are still held.
    live: usize,
}

/// How many chunks may gather at least between two such looks.
const SLACK: usize = 1024;

impl Common {
    /// The memory that all who hold these share.
    fn of(&mut self, entries: &Arc<[Entry]>) -> Arc<[Entry]> {
        if self.by_hash.len() > 2 * self.live + SLACK {
            self.by_hash.retain(|_, chunk| Arc::strong_count(chunk) > 1);
            self.live = self.by_hash.len();
        }
        let mut hasher = Xxh3::new();
        for entry in entries.iter() {
            hasher.update(&entry.key());
        }
        let known = self.by_hash.entry(hasher.digest()).or_insert_with(|| entries.clone());
        // Equal hashes of different entries: they are not shared, which is all.
        let same =
            known.len() == entries.len() && known.iter().zip(entries.iter()).all(|(a, b)| a.key() == b.key());
        if same { known.clone() } else { entries.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Names;

    #[test]
    fn equal_streams_share_memory_until_one_changes() {
        let mut names = Names::default();
        let ids: Vec<NameId> = (0..1_000).map(|n| names.intern(&format!("name-{n}"))).collect();
        let mut common = Common::default();
        let mut streams = [Held::default(), Held::default()];
        for (number, held) in (1..).zip(&mut streams) {
            held.make_room(&ids);
            for id in &ids {
                held.hold(*id, names.text(*id), Version(7), number);
            }
            held.share(&mut common);
        }
        let [one, two] = &mut streams;
        let same = |one: &Held, two: &Held| {
            one.chunks.iter().zip(&two.chunks).filter(|(a, b)| Arc::ptr_eq(&a.entries, &b.entries)).count()
        };
        assert_eq!((same(one, two), one.chunks.len()), (32, 32));
        one.hold(ids[500], names.text(ids[500]), Version(8), 3);
        assert_eq!((same(one, two), one.len(), two.len()), (31, 1_000, 1_000));
        assert_eq!(two.get(ids[500]).unwrap().version, Version(7), "the other one is as it was");
        one.hold(ids[500], names.text(ids[500]), Version(7), 4);
        one.share(&mut common);
        assert_eq!((same(one, two), one.version()), (32, two.version()));
        one.release(ids[3], names.text(ids[3]));
        one.drop_if_dead(ids[3]);
        assert_eq!((one.len(), one.iter().count(), same(one, two)), (999, 999, 31));
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let mut names = Names::default();
        let id = names.intern("a");
        let mut common = Common::default();
        let mut held = Held::default();
        for version in 0..10_000 {
            held.hold(id, "a", Version(version), 1);
            held.share(&mut common);
        }
        assert!(common.by_hash.len() <= SLACK + 2, "{}", common.by_hash.len());
    }
}
