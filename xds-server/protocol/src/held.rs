//! What a client asks for and what it holds, 16 bytes a name (I-11).

use lateen_model::Version;
use xxhash_rust::xxh3::xxh3_128_with_seed;

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
}

/// All names of a type, sorted by id.
#[derive(Debug, Default)]
pub(crate) struct Held {
    entries: Vec<Entry>,
    /// Sum of the hashes of everything held: order does not count, and a change costs two hashes.
    hash: u128,
}

impl Held {
    fn position(&self, name: NameId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&name, |entry| entry.name)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Entry> {
        self.entries.iter_mut()
    }

    pub(crate) fn get(&self, name: NameId) -> Option<&Entry> {
        self.entries.get(self.position(name).ok()?)
    }

    pub(crate) fn get_mut(&mut self, name: NameId) -> Option<&mut Entry> {
        let at = self.position(name).ok()?;
        self.entries.get_mut(at)
    }

    /// The entry of `name`, made if there is none.
    pub(crate) fn entry(&mut self, name: NameId) -> &mut Entry {
        let at = match self.position(name) {
            Ok(at) => at,
            Err(at) => {
                self.entries.insert(at, Entry::blank(name));
                at
            }
        };
        self.entries.get_mut(at).expect("invariant: found or just inserted")
    }

    /// Makes entries for many names at once: one merge in place of as many insertions.
    pub(crate) fn make_room(&mut self, names: &[NameId]) {
        let mut missing: Vec<Entry> =
            names.iter().filter(|n| self.position(**n).is_err()).map(|n| Entry::blank(*n)).collect();
        if missing.is_empty() {
            return;
        }
        missing.sort_unstable_by_key(|entry| entry.name);
        missing.dedup_by_key(|entry| entry.name);
        self.entries.reserve_exact(missing.len());
        self.entries.append(&mut missing);
        self.entries.sort_by_key(|entry| entry.name);
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
        if let Ok(at) = self.position(name)
            && self.entries.get(at).is_some_and(Entry::is_dead)
        {
            self.entries.remove(at);
        }
    }

    /// Drops all entries of which nothing is known.
    pub(crate) fn drop_dead(&mut self) {
        self.entries.retain(|entry| !entry.is_dead());
        if self.entries.capacity() > 64 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to_fit();
        }
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
