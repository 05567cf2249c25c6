//! Ranges of code points as ranges of bytes, in UTF-8.

use std::collections::HashMap;

use super::{
    charclass::RUNE_MAX,
    program::{Inst, Open, Part, Program},
};

/// The bytes of a code point and how many there are. Surrogates, which RE2 takes for characters, have three.
pub(super) fn encode(point: u32) -> ([u8; 4], usize) {
    let low = |shift: u32| u8::try_from(point >> shift & 0x3f).unwrap_or_default() | 0x80;
    let top = |shift: u32, mark: u8| u8::try_from(point >> shift).unwrap_or_default() | mark;
    match point {
        0..0x80 => ([top(0, 0), 0, 0, 0], 1),
        0x80..0x800 => ([top(6, 0xc0), low(0), 0, 0], 2),
        0x800..0x1_0000 => ([top(12, 0xe0), low(6), low(0), 0], 3),
        _ => ([top(18, 0xf0), low(12), low(6), low(0)], 4),
    }
}

/// The instruction's bytes and where it goes on.
type Key = (u8, u8, bool, u32);

/// Puts a class of characters together as a trie of bytes whose common ends are shared.
pub(super) struct Builder<'p> {
    program: &'p mut Program,
    shared: HashMap<Key, u32>,
    root: u32,
    end: Open,
}

impl<'p> Builder<'p> {
    pub(super) fn new(program: &'p mut Program) -> Self {
        Self { program, shared: HashMap::new(), root: 0, end: Open::default() }
    }

    pub(super) fn finish(self) -> Part {
        Part::of(self.root, self.end)
    }

    /// Adds the code points from `lo` to `hi`; ranges come in order.
    pub(super) fn add(&mut self, lo: u32, hi: u32, fold: bool) {
        if lo > hi {
            return;
        }
        if (lo, hi) == (0x80, RUNE_MAX) {
            return self.add_all_but_ascii();
        }
        for max in [0x7f, 0x7ff, 0xffff] {
            if lo <= max && max < hi {
                self.add(lo, max, fold);
                return self.add(max + 1, hi, fold);
            }
        }
        if let (Ok(low), Ok(high @ ..=0x7f)) = (u8::try_from(lo), u8::try_from(hi)) {
            let id = self.fresh((low, high, fold, 0));
            return self.insert(id);
        }
        for bits in [6, 12, 18] {
            let mask = (1 << bits) - 1;
            if lo & !mask != hi & !mask {
                if lo & mask != 0 {
                    self.add(lo, lo | mask, fold);
                    return self.add((lo | mask) + 1, hi, fold);
                }
                if hi & mask != mask {
                    self.add(lo, (hi & !mask) - 1, fold);
                    return self.add(hi & !mask, hi, fold);
                }
            }
        }
        let ((low, len), (high, _)) = (encode(lo), encode(hi));
        let mut next = 0;
        for (at, (lo, hi)) in low.into_iter().zip(high).enumerate().take(len).rev() {
            // Ends are shared; first bytes never, as they may begin others too.
            let shared = at == len - 1 || lo < hi && at != 0;
            let key = (lo, hi, false, next);
            next = if shared { self.shared(key) } else { self.fresh(key) };
        }
        self.insert(next);
    }

    /// Everything beyond ASCII is common enough that RE2 has a short form, which takes a few malformed bytes too.
    fn add_all_but_ascii(&mut self) {
        let mut next = 0;
        for first in [(0xc2, 0xdf), (0xe0, 0xef), (0xf0, 0xf4)] {
            next = self.fresh((0x80, 0xbf, false, next));
            let id = self.fresh((first.0, first.1, false, next));
            self.insert(id);
        }
    }

    fn fresh(&mut self, (lo, hi, fold, next): Key) -> u32 {
        let part = self.program.bytes(lo, hi, fold);
        if next == 0 {
            self.end = self.program.append(self.end, part.end);
        } else {
            self.program.patch(part.end, next);
        }
        part.begin
    }

    fn shared(&mut self, key: Key) -> u32 {
        if let Some(id) = self.shared.get(&key) {
            return *id;
        }
        let id = self.fresh(key);
        self.shared.insert(key, id);
        id
    }

    fn is_shared(&self, id: u32) -> bool {
        let Inst::Bytes { lo, hi, fold, out } = self.program.at(id) else { return false };
        self.shared.contains_key(&(lo, hi, fold, out))
    }

    fn same_bytes(&self, one: u32, two: u32) -> bool {
        let key = |id| match self.program.at(id) {
            Inst::Bytes { lo, hi, fold, .. } => Some((lo, hi, fold)),
            _ => None,
        };
        key(one).is_some() && key(one) == key(two)
    }

    fn insert(&mut self, id: u32) {
        self.root = if self.root == 0 { id } else { self.merge(self.root, id, 0) };
    }

    /// Adds a chain of bytes to the trie at `root`; returns the new root. Goes at most as deep as UTF-8 is long.
    fn merge(&mut self, root: u32, id: u32, depth: usize) -> u32 {
        // As ranges come in order, only what was added last can begin with the same bytes.
        let (parent, last) = match self.program.at(root) {
            Inst::Alt(_, last) => (Some(root), last),
            _ => (None, root),
        };
        if depth > 4 || !self.same_bytes(last, id) {
            return self.program.add(Inst::Alt(root, id));
        }
        let (mut root, mut head) = (root, last);
        if self.is_shared(head) {
            // What is shared is not to be changed: a copy is.
            head = self.program.add(self.program.at(last));
            match parent {
                None => root = head,
                Some(parent) => self.set_out(parent, true, head),
            }
        }
        let out = |inst| if let Inst::Bytes { out, .. } = inst { out } else { 0 };
        let tail = out(self.program.at(id));
        if !self.is_shared(id) && id as usize + 1 == self.program.insts.len() {
            self.program.insts.pop();
        }
        let merged = self.merge(out(self.program.at(head)), tail, depth + 1);
        self.set_out(head, false, merged);
        root
    }

    fn set_out(&mut self, id: u32, second: bool, to: u32) {
        match self.program.insts.get_mut(id as usize) {
            Some(Inst::Alt(_, out)) if second => *out = to,
            Some(Inst::Bytes { out, .. }) => *out = to,
            _ => {}
        }
    }
}
