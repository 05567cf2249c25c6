//! The only way from a compute function to the world.

use lateen_registry::{Fact, FactKey, World};
use lateen_xds::{NameId, Names};

use crate::translate::Read;

/// Reads facts and records that it did.
#[derive(Debug)]
pub struct Reader<'a> {
    world: &'a World,
    names: &'a mut Names,
    reads: Vec<FactKey>,
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing.
    pub fn new(world: &'a World, names: &'a mut Names) -> Self {
        Self { world, names, reads: Vec::new() }
    }

    /// What was read, perhaps repeatedly.
    pub fn into_reads(self) -> Vec<FactKey> {
        self.reads
    }
}

impl Read for Reader<'_> {
    fn fact(&mut self, key: &FactKey) -> Option<Fact> {
        if !dropped(key) {
            self.reads.push(key.clone());
        }
        self.world.get(key).cloned()
    }

    fn name(&mut self, text: &str) -> NameId {
        self.names.intern(text)
    }
}

#[cfg(not(test))]
const fn dropped(_: &FactKey) -> bool {
    false
}

/// Tests plant a read that is not recorded, and must find that out.
#[cfg(test)]
fn dropped(key: &FactKey) -> bool {
    planted::DROP.with_borrow(|drop| drop.is_some_and(|drop| drop(key)))
}

#[cfg(test)]
pub(crate) mod planted {
    use std::cell::RefCell;

    use lateen_registry::FactKey;

    /// Says of a read whether it goes unrecorded.
    pub(crate) type Drop = fn(&FactKey) -> bool;

    thread_local! {
        /// Which reads go unrecorded.
        pub(crate) static DROP: RefCell<Option<Drop>> = const { RefCell::new(None) };
    }
}
