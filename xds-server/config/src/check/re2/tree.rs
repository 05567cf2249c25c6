//! Parsed expressions.

use std::rc::Rc;

use super::charclass::Ranges;

/// Where a [`Node`] is in its [`Tree`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Id(u32);

/// Flags that hold where a node was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flags(u8);

impl Flags {
    /// `i`
    pub(super) const FOLD: Self = Self(1);
    /// `m`
    pub(super) const MULTI_LINE: Self = Self(2);
    /// `s`
    pub(super) const DOT_NEWLINE: Self = Self(4);
    /// `U`, or a repetition written with `?`
    pub(super) const NON_GREEDY: Self = Self(8);
    /// An end of text that was written as `$`.
    pub(super) const DOLLAR: Self = Self(16);

    pub(super) const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) const fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }

    pub(super) const fn without(self, flag: Self) -> Self {
        Self(self.0 & !flag.0)
    }

    pub(super) const fn toggled(self, flag: Self) -> Self {
        Self(self.0 ^ flag.0)
    }

    /// The part of the flags that two literals must share to be joined.
    pub(super) const fn fold(self) -> Self {
        Self(self.0 & Self::FOLD.0)
    }
}

/// An operation and its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Op {
    NoMatch,
    Empty,
    /// One code point.
    Literal(u32),
    /// Two code points or more.
    Text(Vec<u32>),
    Concat(Vec<Id>),
    Alternate(Vec<Id>),
    Star(Id),
    Plus(Id),
    Quest(Id),
    Repeat {
        of: Id,
        min: u32,
        /// `None` is without bound.
        max: Option<u32>,
    },
    Capture(Id),
    AnyChar,
    AnyByte,
    /// `^` in lines, `$` in lines, `\A`, `\z`, `\b`, `\B`: what matches a place.
    Place(Place),
    Class(Rc<Ranges>),
}

/// What matches a place and no character.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    BeginLine,
    EndLine,
    BeginText,
    EndText,
    WordBoundary,
    NoWordBoundary,
}

/// A part of an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) op: Op,
    pub(super) flags: Flags,
}

/// Nodes by [`Id`]. But for [`Tree::join`] no node is ever edited, so it may be part of several; its parts stand
/// before it.
#[derive(Debug, Default)]
pub(super) struct Tree(Vec<Node>);

impl Tree {
    pub(super) fn add(&mut self, op: Op, flags: Flags) -> Id {
        let id = Id(u32::try_from(self.0.len()).expect("an expression is short"));
        self.0.push(Node { op, flags });
        id
    }

    /// Appends one literal to another, which is part of nothing yet; false if they are not of the same kind.
    pub(super) fn join(&mut self, to: Id, from: Id) -> bool {
        let same = self.flags(to).fold() == self.flags(from).fold();
        let more: &[u32] = match self.op(from) {
            Op::Literal(point) if same => &[*point],
            Op::Text(points) if same => &points.clone(),
            _ => return false,
        };
        match self.0.get_mut(to.0 as usize).map(|node| &mut node.op) {
            Some(Op::Text(points)) => points.extend(more),
            Some(op @ Op::Literal(_)) => {
                let Op::Literal(point) = *op else { return false };
                *op = Op::Text([&[point], more].concat());
            }
            _ => return false,
        }
        true
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        self.0.get(id.0 as usize).expect("ids come from the tree")
    }

    pub(super) fn op(&self, id: Id) -> &Op {
        &self.node(id).op
    }

    pub(super) fn flags(&self, id: Id) -> Flags {
        self.node(id).flags
    }

    /// Does a part match nothing at all?
    pub(super) fn has_no_match(&self) -> bool {
        self.0.iter().any(|node| match &node.op {
            Op::NoMatch => true,
            Op::Class(ranges) => ranges.is_empty(),
            _ => false,
        })
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The ids of the first `count` nodes, parts before what they are parts of.
    pub(super) fn ids(count: usize) -> impl Iterator<Item = Id> {
        (0..u32::try_from(count).unwrap_or(u32::MAX)).map(Id)
    }

    /// The place of the node in the order of [`Tree::ids`].
    pub(super) const fn position(id: Id) -> usize {
        id.0 as usize
    }

    /// A text of any length as the node for it.
    pub(super) fn text(&mut self, text: &[u32], flags: Flags) -> Id {
        match text {
            [] => self.add(Op::Empty, flags),
            [one] => self.add(Op::Literal(*one), flags),
            more => self.add(Op::Text(more.to_vec()), flags),
        }
    }

    /// The parts one after the other. A single part stands for itself.
    pub(super) fn concat(&mut self, parts: Vec<Id>, flags: Flags) -> Id {
        match &*parts {
            [] => self.add(Op::Empty, flags),
            [one] => *one,
            _ => self.add(Op::Concat(parts), flags),
        }
    }

    /// One of the parts. A single part stands for itself.
    pub(super) fn alternate(&mut self, parts: Vec<Id>, flags: Flags) -> Id {
        match &*parts {
            [] => self.add(Op::NoMatch, flags),
            [one] => *one,
            _ => self.add(Op::Alternate(parts), flags),
        }
    }

    /// Are two nodes without parts of their own, or repetitions of such, the same?
    pub(super) fn same(&self, a: Id, b: Id) -> bool {
        let (one, two) = (self.node(a), self.node(b));
        let flags_matter = match &one.op {
            Op::Literal(_) | Op::Text(_) => one.flags.fold() == two.flags.fold(),
            Op::Place(Place::EndText) => one.flags.has(Flags::DOLLAR) == two.flags.has(Flags::DOLLAR),
            Op::Repeat { .. } => one.flags.has(Flags::NON_GREEDY) == two.flags.has(Flags::NON_GREEDY),
            _ => true,
        };
        flags_matter
            && match (&one.op, &two.op) {
                (
                    Op::Repeat { of: one, min, max },
                    Op::Repeat { of: two, min: other_min, max: other_max },
                ) => min == other_min && max == other_max && self.same(*one, *two),
                (one, two) => one == two,
            }
    }
}
