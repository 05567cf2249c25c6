//! RE2 flattens its programs: what branches lead to becomes a list, and branches disappear. How long the lists are in
//! all is the size of the program.

use super::program::Inst;

/// Counts the instructions of the flattened program.
pub(super) fn size(insts: &mut [Inst], start: u32, unanchored: u32, steps: &mut usize) -> usize {
    if start == 0 && unanchored == 0 {
        return 1;
    }
    skip_nops(insts, start);
    mark_matches(insts, start);
    let mut flat = Flat {
        insts,
        is_root: vec![false; insts.len()],
        roots: Vec::new(),
        seen: vec![0; insts.len()],
        round: 0,
        before: vec![u32::MAX; insts.len()],
        edges: Vec::new(),
        steps: 0,
    };
    flat.find_roots(start, unanchored);
    flat.find_dominators(start, unanchored);
    let size = (0..flat.roots.len()).map(|at| flat.list(at)).sum();
    *steps += flat.steps;
    size
}

fn outs(inst: Inst) -> [u32; 2] {
    match inst {
        Inst::Fail | Inst::Match => [0, 0],
        Inst::Alt(one, two) | Inst::AltMatch(one, two) => [one, two],
        Inst::Bytes { out, .. } | Inst::Capture(out) | Inst::Check(out) | Inst::Nop(out) => [out, 0],
    }
}

fn at(insts: &[Inst], id: u32) -> Inst {
    insts.get(id as usize).copied().unwrap_or(Inst::Fail)
}

/// Visits all instructions that can be reached, each once, and lets them be changed.
fn reach(insts: &mut [Inst], start: u32, mut visit: impl FnMut(&mut [Inst], u32)) {
    let mut seen = vec![false; insts.len()];
    let mut queue = vec![start];
    while let Some(id) = queue.pop() {
        let Some(seen) = seen.get_mut(id as usize).filter(|seen| !**seen) else { continue };
        *seen = true;
        visit(insts, id);
        queue.extend(outs(at(insts, id)).into_iter().rev());
    }
}

fn skip_nops(insts: &mut [Inst], start: u32) {
    reach(insts, start, |insts, id| {
        let skip = |mut out: u32| {
            while let (true, Inst::Nop(next)) = (out != 0, at(insts, out)) {
                out = next;
            }
            out
        };
        let new = match at(insts, id) {
            Inst::Alt(one, two) => Inst::Alt(skip(one), skip(two)),
            Inst::Bytes { lo, hi, fold, out } => Inst::Bytes { lo, hi, fold, out: skip(out) },
            Inst::Capture(out) => Inst::Capture(skip(out)),
            Inst::Check(out) => Inst::Check(skip(out)),
            Inst::Nop(out) => Inst::Nop(skip(out)),
            other => other,
        };
        insts.get_mut(id as usize).into_iter().for_each(|inst| *inst = new);
    });
}

/// Marks branches between any byte, again and again, and the end.
fn mark_matches(insts: &mut [Inst], start: u32) {
    let is_match = |insts: &[Inst], mut id: u32| loop {
        match at(insts, id) {
            Inst::Capture(out) | Inst::Nop(out) => id = out,
            other => return other == Inst::Match,
        }
    };
    let is_loop = |insts: &[Inst], id: u32, back: u32| matches!(at(insts, id), Inst::Bytes { lo: 0, hi: 0xff, out, .. } if out == back);
    reach(insts, start, |insts, id| {
        if let Inst::Alt(one, two) = at(insts, id)
            && (is_loop(insts, one, id) && is_match(insts, two)
                || is_match(insts, one) && is_loop(insts, two, id))
        {
            insts.get_mut(id as usize).into_iter().for_each(|inst| *inst = Inst::AltMatch(one, two));
        }
    });
}

struct Flat<'i> {
    insts: &'i [Inst],
    is_root: Vec<bool>,
    roots: Vec<u32>,
    /// The round in which an instruction was last seen.
    seen: Vec<u32>,
    round: u32,
    /// For each instruction its latest entry in `edges`.
    before: Vec<u32>,
    /// The branch that leads to an instruction, and the entry before.
    edges: Vec<(u32, u32)>,
    /// How often an instruction was looked at.
    steps: usize,
}

impl Flat<'_> {
    fn add_root(&mut self, id: u32) {
        if let Some(is_root) = self.is_root.get_mut(id as usize)
            && !std::mem::replace(is_root, true)
        {
            self.roots.push(id);
        }
    }

    fn is_root(&self, id: u32) -> bool {
        self.is_root.get(id as usize).copied().unwrap_or(false)
    }

    /// Notes the instruction as seen in this round; false if it was already.
    fn see(&mut self, id: u32) -> bool {
        self.steps += 1;
        let round = self.round;
        self.seen.get_mut(id as usize).is_some_and(|seen| std::mem::replace(seen, round) != round)
    }

    fn find_roots(&mut self, start: u32, unanchored: u32) {
        for root in [0, unanchored, start] {
            self.add_root(root);
        }
        self.round += 1;
        let mut stack = vec![unanchored];
        while let Some(id) = stack.pop() {
            if !self.see(id) {
                continue;
            }
            match at(self.insts, id) {
                Inst::Alt(one, two) | Inst::AltMatch(one, two) => {
                    for out in [one, two] {
                        let entry = u32::try_from(self.edges.len()).unwrap_or(u32::MAX);
                        if let Some(before) = self.before.get_mut(out as usize) {
                            self.edges.push((id, std::mem::replace(before, entry)));
                        }
                    }
                    stack.extend([two, one]);
                }
                Inst::Bytes { out, .. } | Inst::Capture(out) | Inst::Check(out) => {
                    self.add_root(out);
                    stack.push(out);
                }
                Inst::Nop(out) => stack.push(out),
                Inst::Match | Inst::Fail => {}
            }
        }
    }

    /// An instruction that can be reached from another list too begins one of its own.
    fn find_dominators(&mut self, start: u32, unanchored: u32) {
        let mut sorted = self.roots.clone();
        sorted.sort_unstable();
        for root in sorted.into_iter().skip(1).rev() {
            if root == start || root == unanchored {
                continue;
            }
            let reached = self.tree(root, |_| {});
            for id in reached {
                let mut entry = self.before.get(id as usize).copied().unwrap_or(u32::MAX);
                while let Some((from, before)) = self.edges.get(entry as usize).copied() {
                    if self.seen.get(from as usize) != Some(&self.round) {
                        self.add_root(id);
                        break;
                    }
                    entry = before;
                }
            }
        }
    }

    /// Counts the instructions of a list.
    fn list(&mut self, at: usize) -> usize {
        let mut count = 0;
        let root = self.roots.get(at).copied().unwrap_or_default();
        self.tree(root, |length| count += length);
        count
    }

    /// Goes from a root as far as there are only branches; tells how many instructions of the list each place makes.
    fn tree(&mut self, root: u32, mut list: impl FnMut(usize)) -> Vec<u32> {
        self.round += 1;
        let mut reached = Vec::new();
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            if !self.see(id) {
                continue;
            }
            reached.push(id);
            if id != root && self.is_root(id) {
                list(1);
                continue;
            }
            match at(self.insts, id) {
                Inst::Alt(one, two) => stack.extend([two, one]),
                Inst::AltMatch(one, two) => {
                    list(1);
                    stack.extend([two, one]);
                }
                Inst::Nop(out) => stack.push(out),
                Inst::Bytes { .. } | Inst::Capture(_) | Inst::Check(_) | Inst::Match | Inst::Fail => list(1),
            }
        }
        reached
    }
}
