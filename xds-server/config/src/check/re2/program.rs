//! The program that RE2 makes of an expression, as far as its size depends on it.

use super::{
    PROGRAM_MAX, charclass, flatten, simplify,
    tree::{Id, Op, Place, Tree},
    utf8,
};

/// Most instructions before flattening, by RE2's own bound of memory: two thirds of 8 MiB, less what a program takes
/// itself, at 8 bytes each. `tools/re2/verdicts.py` asks RE2 about expressions on both sides of it.
/// <https://github.com/google/re2/blob/main/re2/compile.cc>
const RAW_MAX: usize = 698_996;

/// Most parts that RE2 visits to make the program, copies too.
const VISITS_MAX: usize = 2 * RAW_MAX;

/// Flattening takes out branches and no-ops, however many there are, and nothing else that can be reached. At worst every
/// second of the other instructions can't, where a class replaced a part of itself; so with more than this a program is
/// too large in any case, unless parts of it are unreachable because they stand beside what matches nothing.
const SOLID_MAX: usize = 2 * PROGRAM_MAX;

/// An instruction; `out` is 0 where it is not known yet, and in `Fail`, which is number 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Inst {
    Fail,
    Match,
    /// Goes both ways.
    Alt(u32, u32),
    /// A branch that RE2 marks with an instruction more: any byte, over and over, or the end.
    AltMatch(u32, u32),
    Bytes {
        lo: u8,
        hi: u8,
        fold: bool,
        out: u32,
    },
    /// Goes on, after it noted the place for a group.
    Capture(u32),
    /// Goes on if the place is right.
    Check(u32),
    Nop(u32),
}

/// Outs that are to be set: a list that is threaded through the outs themselves. An entry is the number of an
/// instruction, doubled, plus 1 if it means the second out; 0 is the end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Open {
    head: u32,
    tail: u32,
}

impl Open {
    pub(super) const fn one(entry: u32) -> Self {
        Self { head: entry, tail: entry }
    }
}

/// A part of the program, from where it begins to where it goes on; `begin` is 0 if it matches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    pub(super) begin: u32,
    pub(super) end: Open,
    nullable: bool,
}

impl Part {
    pub(super) const fn of(begin: u32, end: Open) -> Self {
        Self { begin, end, nullable: false }
    }

    const fn is_no_match(self) -> bool {
        self.begin == 0
    }
}

/// A program that is being made.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) insts: Vec<Inst>,
    /// How many of these are neither branches nor no-ops.
    solid: usize,
    solid_max: usize,
    visits: usize,
}

/// The program has too many instructions.
struct Full;

/// Counts the instructions of the flattened program; `None` if there are far too many.
pub(super) fn size(mut tree: Tree, root: Id, steps: &mut usize) -> Option<usize> {
    let root = required_prefix(&mut tree, root);
    let root = simplify::simplify(&mut tree, root);
    let start_anchored = anchor(&tree, root, 0, Side::Start).is_some();
    let root = anchor(&tree, root, 0, Side::Start).map_or(root, |path| without(&mut tree, root, &path));
    let root = match anchor(&tree, root, 0, Side::End) {
        Some(path) => without(&mut tree, root, &path),
        None => root,
    };
    let solid_max = if tree.has_no_match() { RAW_MAX } else { SOLID_MAX };
    let mut program = Program { insts: vec![Inst::Fail], solid: 0, solid_max, visits: 0 };
    let all = program.compile(&tree, root);
    *steps += tree.len() + program.visits + program.insts.len();
    let all = all.ok()?;
    let end = program.add(Inst::Match);
    let all = program.cat(all, Part::of(end, Open::default()));
    let mut unanchored = all.begin;
    if !start_anchored {
        let any = program.bytes(0, 0xff, false);
        let any = program.star(any, true);
        unanchored = program.cat(any, all).begin;
    }
    if program.is_full() {
        return None;
    }
    Some(flatten::size(&mut program.insts, all.begin, unanchored, steps))
}

/// RE2 compares a text at the anchored start of an expression itself, and compiles what follows it.
fn required_prefix(tree: &mut Tree, root: Id) -> Id {
    let Op::Concat(parts) = tree.op(root) else { return root };
    let anchors = parts.iter().take_while(|part| *tree.op(**part) == Op::Place(Place::BeginText)).count();
    let is_text = |part: &Id| matches!(tree.op(*part), Op::Literal(_) | Op::Text(_));
    if anchors == 0 || !parts.get(anchors).is_some_and(is_text) {
        return root;
    }
    let rest = parts.get(anchors + 1..).unwrap_or_default().to_vec();
    let flags = tree.flags(root);
    tree.concat(rest, flags)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Start,
    End,
}

/// The way to the anchor at a side of the expression, if one stands there.
fn anchor(tree: &Tree, id: Id, depth: usize, side: Side) -> Option<Vec<Id>> {
    // RE2 looks no deeper.
    if depth >= 4 {
        return None;
    }
    let inner = match (tree.op(id), side) {
        (Op::Concat(parts), Side::Start) => *parts.first()?,
        (Op::Concat(parts), Side::End) => *parts.last()?,
        (Op::Capture(part), _) => *part,
        (Op::Place(Place::BeginText), Side::Start) | (Op::Place(Place::EndText), Side::End) => {
            return Some(vec![id]);
        }
        _ => return None,
    };
    let mut path = anchor(tree, inner, depth + 1, side)?;
    path.push(id);
    Some(path)
}

/// The expression with nothing in place of the anchor that the path leads to.
fn without(tree: &mut Tree, root: Id, path: &[Id]) -> Id {
    let Some((anchor, way)) = path.split_first() else { return root };
    let mut old = *anchor;
    let flags = tree.flags(old);
    let mut new = tree.add(Op::Empty, flags);
    for id in way {
        let at_end = matches!(tree.op(*id), Op::Concat(parts) if parts.first() != Some(&old));
        let op = match tree.op(*id).clone() {
            Op::Concat(mut parts) => {
                let slot = if at_end { parts.last_mut() } else { parts.first_mut() };
                if let Some(slot) = slot {
                    *slot = new;
                }
                Op::Concat(parts)
            }
            Op::Capture(_) => Op::Capture(new),
            other => other,
        };
        let flags = tree.flags(*id);
        (old, new) = (*id, tree.add(op, flags));
    }
    new
}

enum Task {
    Visit(Id),
    Combine(Id),
}

impl Program {
    pub(super) fn add(&mut self, inst: Inst) -> u32 {
        let id = u32::try_from(self.insts.len()).unwrap_or(u32::MAX);
        self.solid += usize::from(!matches!(inst, Inst::Alt(..) | Inst::Nop(_)));
        self.insts.push(inst);
        id
    }

    fn is_full(&self) -> bool {
        self.insts.len() > RAW_MAX || self.solid > self.solid_max || self.visits > VISITS_MAX
    }

    pub(super) fn at(&self, id: u32) -> Inst {
        self.insts.get(id as usize).copied().unwrap_or(Inst::Fail)
    }

    fn out(&mut self, entry: u32) -> Option<&mut u32> {
        match self.insts.get_mut((entry >> 1) as usize)? {
            Inst::Alt(_, out) if entry & 1 == 1 => Some(out),
            Inst::Alt(out, _)
            | Inst::Bytes { out, .. }
            | Inst::Capture(out)
            | Inst::Check(out)
            | Inst::Nop(out) => Some(out),
            Inst::Fail | Inst::Match | Inst::AltMatch(..) => None,
        }
    }

    pub(super) fn patch(&mut self, open: Open, to: u32) {
        let mut entry = open.head;
        while entry != 0 {
            let Some(out) = self.out(entry) else { break };
            entry = std::mem::replace(out, to);
        }
    }

    pub(super) fn append(&mut self, one: Open, two: Open) -> Open {
        if one.head == 0 {
            return two;
        }
        if two.head == 0 {
            return one;
        }
        if let Some(out) = self.out(one.tail) {
            *out = two.head;
        }
        Open { head: one.head, tail: two.tail }
    }

    pub(super) fn bytes(&mut self, lo: u8, hi: u8, fold: bool) -> Part {
        let id = self.add(Inst::Bytes { lo, hi, fold, out: 0 });
        Part::of(id, Open::one(id << 1))
    }

    fn nop(&mut self) -> Part {
        self.nullable(Inst::Nop(0))
    }

    /// An instruction that takes no byte.
    fn nullable(&mut self, inst: Inst) -> Part {
        let id = self.add(inst);
        Part { begin: id, end: Open::one(id << 1), nullable: true }
    }

    fn cat(&mut self, one: Part, two: Part) -> Part {
        if one.is_no_match() || two.is_no_match() {
            return Part::default();
        }
        self.patch(one.end, two.begin);
        let idle = one.end.head == one.begin << 1 && one.end.tail == one.end.head;
        if idle && matches!(self.at(one.begin), Inst::Nop(_)) {
            return two;
        }
        Part { begin: one.begin, end: two.end, nullable: one.nullable && two.nullable }
    }

    fn alt(&mut self, one: Part, two: Part) -> Part {
        if one.is_no_match() {
            return two;
        }
        if two.is_no_match() {
            return one;
        }
        let begin = self.add(Inst::Alt(one.begin, two.begin));
        Part { begin, end: self.append(one.end, two.end), nullable: one.nullable || two.nullable }
    }

    /// A branch into the part, or on; returns the branch and where it goes on.
    fn branch(&mut self, part: Part, lazy: bool) -> (u32, Open) {
        let outs = if lazy { (0, part.begin) } else { (part.begin, 0) };
        let id = self.add(Inst::Alt(outs.0, outs.1));
        (id, Open::one(id << 1 | u32::from(!lazy)))
    }

    fn plus(&mut self, part: Part, lazy: bool) -> Part {
        let (id, end) = self.branch(part, lazy);
        self.patch(part.end, id);
        Part { begin: part.begin, end, nullable: part.nullable }
    }

    fn star(&mut self, part: Part, lazy: bool) -> Part {
        if part.nullable {
            let part = self.plus(part, lazy);
            return self.quest(part, lazy);
        }
        let (begin, end) = self.branch(part, lazy);
        self.patch(part.end, begin);
        Part { begin, end, nullable: true }
    }

    fn quest(&mut self, part: Part, lazy: bool) -> Part {
        if part.is_no_match() {
            return self.nop();
        }
        let (begin, end) = self.branch(part, lazy);
        Part { begin, end: self.append(end, part.end), nullable: true }
    }

    fn literal(&mut self, point: u32, fold: bool) -> Part {
        let (bytes, len) = utf8::encode(point);
        let mut parts = bytes.iter().take(len);
        let first = parts.next().copied().unwrap_or_default();
        let mut part = self.bytes(first, first, fold && len == 1);
        for byte in parts {
            let next = self.bytes(*byte, *byte, false);
            part = self.cat(part, next);
        }
        part
    }

    fn text(&mut self, points: &[u32], fold: bool) -> Part {
        let mut whole: Option<Part> = None;
        for point in points {
            let part = self.literal(*point, fold);
            whole = Some(match whole {
                Some(before) => self.cat(before, part),
                None => part,
            });
        }
        whole.unwrap_or_default()
    }

    fn class(&mut self, ranges: &[(u32, u32)]) -> Part {
        // What is the same in upper and lower case is written once.
        let folds = charclass::folds_ascii(ranges);
        let (upper, lower) = ((0x41, 0x5a), (0x61, 0x7a));
        let mut builder = utf8::Builder::new(self);
        for (lo, hi) in ranges {
            if folds && upper.0 <= *lo && *hi <= upper.1 {
                continue;
            }
            let all = *lo <= upper.0 && lower.1 <= *hi;
            let none = *hi < upper.0 || lower.1 < *lo || upper.1 < *lo && *hi < lower.0;
            builder.add(*lo, *hi, folds && !all && !none);
        }
        builder.finish()
    }

    fn compile(&mut self, tree: &Tree, root: Id) -> Result<Part, Full> {
        let mut tasks = vec![Task::Visit(root)];
        let mut parts: Vec<Part> = Vec::new();
        while let Some(task) = tasks.pop() {
            if self.is_full() {
                return Err(Full);
            }
            match task {
                Task::Visit(id) => {
                    self.visits += 1;
                    tasks.push(Task::Combine(id));
                    match tree.op(id) {
                        Op::Concat(of) | Op::Alternate(of) => {
                            tasks.extend(of.iter().rev().map(|id| Task::Visit(*id)));
                        }
                        Op::Star(of) | Op::Plus(of) | Op::Quest(of) | Op::Capture(of) => {
                            tasks.push(Task::Visit(*of));
                        }
                        _ => {}
                    }
                }
                Task::Combine(id) => {
                    let part = self.combine(tree, id, &mut parts);
                    parts.push(part);
                }
            }
        }
        Ok(parts.pop().unwrap_or_default())
    }

    fn combine(&mut self, tree: &Tree, id: Id, parts: &mut Vec<Part>) -> Part {
        let fold = tree.flags(id).has(super::tree::Flags::FOLD);
        let lazy = tree.flags(id).has(super::tree::Flags::NON_GREEDY);
        let mut one = || parts.pop().unwrap_or_default();
        match tree.op(id) {
            Op::NoMatch | Op::Repeat { .. } => Part::default(),
            Op::Empty => self.nop(),
            Op::Literal(point) => self.literal(*point, fold),
            Op::Text(points) => self.text(points, fold),
            Op::Concat(of) => {
                let of = parts.split_off(parts.len().saturating_sub(of.len()));
                of.into_iter().reduce(|one, two| self.cat(one, two)).unwrap_or_default()
            }
            Op::Alternate(of) => {
                let of = parts.split_off(parts.len().saturating_sub(of.len()));
                of.into_iter().reduce(|one, two| self.alt(one, two)).unwrap_or_default()
            }
            Op::Star(_) => self.star(one(), lazy),
            Op::Plus(_) => self.plus(one(), lazy),
            Op::Quest(_) => self.quest(one(), lazy),
            Op::Capture(_) => {
                let inner = one();
                if inner.is_no_match() {
                    return inner;
                }
                let (before, behind) = (self.nullable(Inst::Capture(0)), self.nullable(Inst::Capture(0)));
                let nullable = inner.nullable;
                self.patch(before.end, inner.begin);
                self.patch(inner.end, behind.begin);
                Part { begin: before.begin, end: behind.end, nullable }
            }
            Op::AnyChar => self.class(&[(0, charclass::RUNE_MAX)]),
            Op::AnyByte => self.bytes(0, 0xff, false),
            Op::Place(_) => self.nullable(Inst::Check(0)),
            Op::Class(ranges) => self.class(ranges),
        }
    }
}
