//! Repetitions become copies: `x{2,4}` is `xx(?:x(?:x)?)?`, after `x*x` has become `x{1,}`.

use super::{
    charclass::{self, RUNE_MAX},
    tree::{Flags, Id, Op, Tree},
};

/// Expands all repetitions; returns the new root. Copies of a part are one node.
pub(super) fn simplify(tree: &mut Tree, root: Id) -> Id {
    let root = map(tree, root, coalesce);
    map(tree, root, expand)
}

/// Rewrites all nodes, parts first, each with its parts rewritten.
fn map(tree: &mut Tree, root: Id, rewrite: fn(&mut Tree, Id) -> Id) -> Id {
    let count = Tree::position(root) + 1;
    let mut new: Vec<Id> = Vec::with_capacity(count);
    for id in Tree::ids(count) {
        let of = |id: &Id| new.get(Tree::position(*id)).copied().unwrap_or(*id);
        let node = tree.node(id);
        let flags = node.flags;
        let op = match &node.op {
            Op::Concat(parts) => Op::Concat(parts.iter().map(of).collect()),
            Op::Alternate(parts) => Op::Alternate(parts.iter().map(of).collect()),
            Op::Star(part) => Op::Star(of(part)),
            Op::Plus(part) => Op::Plus(of(part)),
            Op::Quest(part) => Op::Quest(of(part)),
            Op::Capture(part) => Op::Capture(of(part)),
            Op::Repeat { of: part, min, max } => Op::Repeat { of: of(part), min: *min, max: *max },
            leaf => leaf.clone(),
        };
        let same = op == node.op;
        let id = if same { id } else { tree.add(op, flags) };
        new.push(rewrite(tree, id));
    }
    new.pop().unwrap_or(root)
}

/// A repetition with its bounds.
fn repetition(tree: &Tree, id: Id) -> Option<(Id, u32, Option<u32>)> {
    match tree.op(id) {
        Op::Star(of) => Some((*of, 0, None)),
        Op::Plus(of) => Some((*of, 1, None)),
        Op::Quest(of) => Some((*of, 0, Some(1))),
        Op::Repeat { of, min, max } => Some((*of, *min, *max)),
        _ => None,
    }
}

fn is_character(op: &Op) -> bool {
    matches!(op, Op::Literal(_) | Op::Class(_) | Op::AnyChar | Op::AnyByte)
}

/// Makes one repetition of those of the same character side by side, and of that character behind them.
fn coalesce(tree: &mut Tree, id: Id) -> Id {
    let Op::Concat(parts) = tree.op(id) else { return id };
    let mut parts = parts.clone();
    let mut changed = false;
    for at in 1..parts.len() {
        let (Some(one), Some(two)) = (parts.get(at - 1).copied(), parts.get(at).copied()) else { break };
        if let Some((one, two)) = pair(tree, one, two) {
            changed = true;
            for (slot, id) in parts.iter_mut().skip(at - 1).zip([one, two]) {
                *slot = id;
            }
        }
    }
    if !changed {
        return id;
    }
    parts.retain(|part| *tree.op(*part) != Op::Empty);
    let flags = tree.flags(id);
    tree.add(Op::Concat(parts), flags)
}

fn pair(tree: &mut Tree, one: Id, two: Id) -> Option<(Id, Id)> {
    let (of, min, max) = repetition(tree, one).filter(|(of, ..)| is_character(tree.op(*of)))?;
    let flags = tree.flags(one);
    let plus = |max: Option<u32>, more: Option<u32>| Some(max? + more?);
    let (min, max) = match repetition(tree, two) {
        Some((other, more, most)) => {
            let greedy = |id| tree.flags(id).has(Flags::NON_GREEDY);
            if !tree.same(of, other) || greedy(one) != greedy(two) {
                return None;
            }
            (min + more, plus(max, most))
        }
        None if tree.same(of, two) => (min + 1, plus(max, Some(1))),
        None => return text(tree, one, two),
    };
    let whole = tree.add(Op::Repeat { of, min, max }, flags);
    let empty = tree.add(Op::Empty, Flags::default());
    Some((empty, whole))
}

/// The repeated character may be how the text behind begins.
fn text(tree: &mut Tree, one: Id, two: Id) -> Option<(Id, Id)> {
    let (of, min, max) = repetition(tree, one)?;
    let (Op::Literal(point), Op::Text(points)) = (tree.op(of), tree.op(two)) else { return None };
    let (flags, rest_flags) = (tree.flags(one), tree.flags(two));
    if tree.flags(of).fold() != rest_flags.fold() {
        return None;
    }
    let (same, points) = (points.iter().take_while(|other| *other == point).count(), points.clone());
    let more = u32::try_from(same).ok().filter(|more| *more > 0)?;
    let whole = tree.add(Op::Repeat { of, min: min + more, max: max.map(|max| max + more) }, flags);
    if same == points.len() {
        let empty = tree.add(Op::Empty, Flags::default());
        return Some((empty, whole));
    }
    let rest = tree.text(points.get(same..).unwrap_or_default(), rest_flags);
    Some((whole, rest))
}

fn expand(tree: &mut Tree, id: Id) -> Id {
    let flags = tree.flags(id);
    match tree.op(id).clone() {
        Op::Star(part) | Op::Plus(part) | Op::Quest(part) => {
            let same = std::mem::discriminant(tree.op(part)) == std::mem::discriminant(tree.op(id));
            // Nothing, as often as one likes, is nothing.
            let idle = *tree.op(part) == Op::Empty || same && tree.flags(part) == flags;
            if idle { part } else { id }
        }
        Op::Repeat { of, min, max } if *tree.op(of) != Op::Empty => repeat(tree, of, min, max, flags),
        Op::Repeat { of, .. } => of,
        Op::Class(ranges) if ranges.is_empty() => tree.add(Op::NoMatch, flags),
        Op::Class(ranges) if charclass::count(&ranges) == RUNE_MAX + 1 => tree.add(Op::AnyChar, flags),
        _ => id,
    }
}

fn is_place(tree: &Tree, id: Id) -> bool {
    matches!(tree.op(id), Op::Place(_))
}

#[allow(clippy::similar_names, reason = "a prefix and a suffix")]
fn repeat(tree: &mut Tree, of: Id, mut min: u32, mut max: Option<u32>, flags: Flags) -> Id {
    let once = match tree.op(of) {
        Op::Concat(parts) | Op::Alternate(parts) => parts.iter().all(|part| is_place(tree, *part)),
        _ => is_place(tree, of),
    };
    if once {
        (min, max) = (min.min(1), max.map(|max| max.min(1)));
    }
    let Some(max) = max else {
        if min == 0 {
            return squash(tree, Op::Star(of), flags);
        }
        let last = squash(tree, Op::Plus(of), flags);
        let mut parts = vec![of; min as usize - 1];
        parts.push(last);
        return tree.concat(parts, flags);
    };
    match (min, max) {
        (0, 0) => return tree.add(Op::Empty, flags),
        (1, 1) => return of,
        _ => {}
    }
    let prefix = (min > 0).then(|| tree.concat(vec![of; min as usize], flags));
    let mut suffix = None;
    for _ in min..max {
        let inner = match suffix {
            None => of,
            Some(suffix) => tree.add(Op::Concat(vec![of, suffix]), flags),
        };
        suffix = Some(squash(tree, Op::Quest(inner), flags));
    }
    match (prefix, suffix) {
        (Some(prefix), Some(suffix)) => tree.add(Op::Concat(vec![prefix, suffix]), flags),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => tree.add(Op::NoMatch, flags),
    }
}

/// A repetition of a repetition with the same flags is that one if both are the same, and a star otherwise.
fn squash(tree: &mut Tree, op: Op, flags: Flags) -> Id {
    let (Op::Star(of) | Op::Plus(of) | Op::Quest(of)) = op else { return tree.add(op, flags) };
    if tree.flags(of) == flags {
        match tree.op(of).clone() {
            Op::Star(_) => return of,
            Op::Plus(_) if matches!(op, Op::Plus(_)) => return of,
            Op::Quest(_) if matches!(op, Op::Quest(_)) => return of,
            Op::Plus(inner) | Op::Quest(inner) => return tree.add(Op::Star(inner), flags),
            _ => {}
        }
    }
    tree.add(op, flags)
}
