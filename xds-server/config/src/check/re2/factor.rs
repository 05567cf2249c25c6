//! What alternatives have in common at their start, RE2 takes out of them: `abc|abd` is `ab(?:c|d)` is `ab[cd]`.

use std::rc::Rc;

use super::{
    charclass::Builder,
    tree::{Flags, Id, Op, Tree},
};

/// Alternatives that have something in common.
struct Run {
    from: usize,
    to: usize,
    prefix: Id,
}

/// Factors alternatives; returns those that are left. Goes as deep as prefixes are nested, each a character shorter.
pub(super) fn factor(tree: &mut Tree, parts: Vec<Id>, flags: Flags) -> Vec<Id> {
    let parts = round(tree, parts, flags, common_text);
    let parts = round(tree, parts, flags, common_part);
    merge_characters(tree, &parts, flags)
}

/// Finds runs of alternatives with something in common and removes it from them, by the given function, and puts
/// it before the alternatives that are left, factored in turn.
fn round(
    tree: &mut Tree,
    mut parts: Vec<Id>,
    flags: Flags,
    find: fn(&mut Tree, &mut [Id]) -> Vec<Run>,
) -> Vec<Id> {
    let runs = find(tree, &mut parts);
    let mut left = Vec::with_capacity(parts.len());
    let mut next = 0;
    for Run { from, to, prefix } in runs {
        left.extend(parts.get(next..from).unwrap_or_default());
        let suffixes = parts.get(from..to).unwrap_or_default().to_vec();
        let suffixes = factor(tree, suffixes, flags);
        let suffix = tree.alternate(suffixes, flags);
        left.push(tree.concat(vec![prefix, suffix], flags));
        next = to;
    }
    left.extend(parts.get(next..).unwrap_or_default());
    left
}

/// The text that the part begins with, and whether it folds case.
fn leading_text(tree: &Tree, mut id: Id) -> (&[u32], Flags) {
    while let Op::Concat(parts) = tree.op(id)
        && let Some(first) = parts.first()
    {
        id = *first;
    }
    let flags = tree.flags(id).fold();
    match tree.op(id) {
        Op::Literal(point) => (std::slice::from_ref(point), flags),
        Op::Text(points) => (points, flags),
        _ => (&[], flags),
    }
}

fn without_leading_text(tree: &mut Tree, id: Id, len: usize) -> Id {
    let flags = tree.flags(id);
    match tree.op(id).clone() {
        Op::Literal(_) => tree.add(Op::Empty, flags),
        Op::Text(points) => tree.text(points.get(len..).unwrap_or_default(), flags),
        Op::Concat(mut parts) => {
            let Some(first) = parts.first().copied() else { return id };
            let first = without_leading_text(tree, first, len);
            if *tree.op(first) == Op::Empty {
                parts.remove(0);
            } else if let Some(slot) = parts.first_mut() {
                *slot = first;
            }
            tree.concat(parts, flags)
        }
        _ => id,
    }
}

fn common_text(tree: &mut Tree, parts: &mut [Id]) -> Vec<Run> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(first) = parts.get(start) {
        let (text, flags) = leading_text(tree, *first);
        let mut len = text.len();
        let mut end = start + 1;
        while let Some(other) = parts.get(end) {
            let (other, other_flags) = leading_text(tree, *other);
            let same = text.iter().take(len).zip(other).take_while(|(a, b)| a == b).count();
            if same == 0 || flags != other_flags {
                break;
            }
            len = same;
            end += 1;
        }
        if end - start > 1 {
            let text: Vec<u32> = text.iter().take(len).copied().collect();
            let prefix = tree.text(&text, flags);
            for part in parts.get_mut(start..end).unwrap_or_default() {
                *part = without_leading_text(tree, *part, len);
            }
            found.push(Run { from: start, to: end, prefix });
        }
        start = end;
    }
    found
}

/// The part that a part begins with.
fn leading_part(tree: &Tree, id: Id) -> Option<Id> {
    match tree.op(id) {
        Op::Empty => None,
        Op::Concat(parts) if parts.len() >= 2 => {
            parts.first().copied().filter(|first| *tree.op(*first) != Op::Empty)
        }
        _ => Some(id),
    }
}

fn without_leading_part(tree: &mut Tree, id: Id) -> Id {
    let flags = tree.flags(id);
    match tree.op(id).clone() {
        Op::Concat(mut parts) if parts.len() >= 2 => {
            parts.remove(0);
            tree.concat(parts, flags)
        }
        _ => tree.add(Op::Empty, flags),
    }
}

/// May the part be taken out? Only what has one way to match, or alternatives would change their order.
fn is_simple(tree: &Tree, id: Id) -> bool {
    match tree.op(id) {
        Op::Place(_) | Op::Class(_) | Op::AnyChar | Op::AnyByte => true,
        Op::Repeat { of, min, max } if *max == Some(*min) => {
            matches!(tree.op(*of), Op::Literal(_) | Op::Class(_) | Op::AnyChar | Op::AnyByte)
        }
        _ => false,
    }
}

fn common_part(tree: &mut Tree, parts: &mut [Id]) -> Vec<Run> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(part) = parts.get(start) {
        let first = leading_part(tree, *part).filter(|first| is_simple(tree, *first));
        let mut end = start + 1;
        if let Some(first) = first {
            let same = |other: &Id| leading_part(tree, *other).is_some_and(|other| tree.same(first, other));
            while parts.get(end).is_some_and(same) {
                end += 1;
            }
            if end - start > 1 {
                for part in parts.get_mut(start..end).unwrap_or_default() {
                    *part = without_leading_part(tree, *part);
                }
                found.push(Run { from: start, to: end, prefix: first });
            }
        }
        start = end;
    }
    found
}

/// Makes one class of characters and classes that stand side by side.
fn merge_characters(tree: &mut Tree, parts: &[Id], flags: Flags) -> Vec<Id> {
    let mut left = Vec::with_capacity(parts.len());
    let is_character = |tree: &Tree, id: Id| matches!(tree.op(id), Op::Literal(_) | Op::Class(_));
    let mut rest = parts;
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|id| is_character(tree, **id)).count();
        if run < 2 {
            left.push(*first);
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let mut class = Builder::default();
        for id in rest.iter().take(run) {
            let node = tree.node(*id);
            match &node.op {
                Op::Literal(point) => class.add_folded(*point, *point, node.flags.has(Flags::FOLD)),
                Op::Class(ranges) => ranges.iter().for_each(|(lo, hi)| class.add(*lo, *hi)),
                _ => {}
            }
        }
        left.push(tree.add(Op::Class(Rc::new(class.finish())), flags.without(Flags::FOLD)));
        rest = rest.get(run..).unwrap_or_default();
    }
    left
}
