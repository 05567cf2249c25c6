//! Content hashes: the only source of xDS versions.

use std::fmt;

/// Version of an xDS resource: a 64-bit hash of its encoded bytes, so that two replicas, or one before and
/// after a restart, name equal content equally.
///
/// xDS says a version is opaque to the client:
/// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-versioning>
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Version(pub u64);

impl Version {
    /// Hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(bytes))
    }

    /// Parses what [`Version`]'s `Display` printed; anything else is a version that is not ours.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 16 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Order-independent combination of element hashes, kept up to date one element at a time: the version of a
/// collection without a walk over the collection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SetHash(u128);

impl SetHash {
    /// Adds an element's hash.
    pub fn add(&mut self, key: &[u8], version: Version) {
        self.0 = self.0.wrapping_add(element(key, version));
    }

    /// Takes an element's hash out again.
    pub fn remove(&mut self, key: &[u8], version: Version) {
        self.0 = self.0.wrapping_sub(element(key, version));
    }

    /// The version of the whole set.
    pub fn version(self) -> Version {
        Version::of(&self.0.to_le_bytes())
    }
}

fn element(key: &[u8], version: Version) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(version.0);
    hasher.update(key);
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_round_trips_and_refuses_foreign_text() {
        let version = Version::of(b"abc");
        assert_eq!(Version::parse(&version.to_string()), Some(version));
        for foreign in ["", "1", "v1", "00000000000000zz", "+000000000000001", "ABCDEF0123456789"] {
            assert_eq!(Version::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn set_hash_forgets_order_and_removed_elements() {
        let (mut left, mut right) = (SetHash::default(), SetHash::default());
        left.add(b"a", Version(1));
        left.add(b"b", Version(2));
        right.add(b"b", Version(2));
        right.add(b"c", Version(3));
        right.add(b"a", Version(1));
        assert_ne!(left, right);
        right.remove(b"c", Version(3));
        assert_eq!(left, right);
    }
}
