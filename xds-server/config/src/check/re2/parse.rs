//! From text to a [`Tree`].

use std::rc::Rc;

use super::{
    Refused,
    charclass::{self, Builder, RUNE_MAX, Ranges},
    escape, factor,
    group::{self, Group},
    tree::{Flags, Id, Op, Place, Tree},
    unicode,
};

/// Most copies that a repetition may ask for, with the repetitions around it multiplied.
const REPEAT_MAX: u32 = 1000;

/// An expression that RE2's parser takes.
pub(super) struct Parsed {
    pub(super) tree: Tree,
    pub(super) root: Id,
    /// Groups that capture.
    pub(super) groups: usize,
}

/// What the parser has put together so far, and where groups and alternatives began.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Part(Id),
    /// `(`, with the flags to return to
    Paren {
        captures: bool,
        flags: Flags,
    },
    /// `|`; the alternatives stand before it
    Bar,
}

struct Parser {
    tree: Tree,
    stack: Vec<Item>,
    flags: Flags,
    groups: usize,
    /// For each node how many copies of its innermost part it asks for.
    copies: Vec<u32>,
}

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<Parsed, Refused> {
    let mut parser = Parser {
        tree: Tree::default(),
        stack: Vec::new(),
        flags: Flags::default(),
        groups: 0,
        copies: Vec::new(),
    };
    let mut rest = text;
    let mut after_repetition = false;
    while let Some(c) = rest.chars().next() {
        let behind = rest.get(c.len_utf8()..).unwrap_or_default();
        let repetition = match c {
            '*' | '+' | '?' => Some((Times::Sign(c), behind)),
            '{' => counted(behind).map(|(min, max, behind)| (Times::Counted(min, max), behind)),
            _ => None,
        };
        if let Some((times, behind)) = repetition {
            let (behind, lazy) = behind.strip_prefix('?').map_or((behind, false), |behind| (behind, true));
            if after_repetition {
                return Err(Refused::RepeatOp);
            }
            parser.repeat(times, lazy)?;
            (rest, after_repetition) = (behind, true);
        } else {
            rest = parser.step(c, rest, behind)?;
            after_repetition = false;
        }
    }
    parser.end()
}

#[derive(Clone, Copy)]
enum Times {
    Sign(char),
    Counted(u32, Option<u32>),
}

/// Reads `2}`, `2,}` or `2,4}` after a `{`; `None` if it is something else, and the brace a character like others.
fn counted(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (min, rest) = number(text)?;
    if let Some(behind) = rest.strip_prefix('}') {
        return Some((min, Some(min), behind));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(behind) = rest.strip_prefix('}') {
        return Some((min, None, behind));
    }
    let (max, rest) = number(rest)?;
    Some((min, Some(max), rest.strip_prefix('}')?))
}

/// Reads a number without leading zeros. RE2 reads nine digits at most.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let plain = digits == "0" || !digits.starts_with('0');
    let number = digits.parse().ok().filter(|_| plain && digits.len() <= 9)?;
    Some((number, rest))
}

impl Parser {
    /// Reads one thing that is no repetition; returns the text behind it.
    fn step<'t>(&mut self, c: char, text: &'t str, behind: &'t str) -> Result<&'t str, Refused> {
        match c {
            '(' if behind.starts_with('?') => return self.open(text),
            '(' => {
                self.groups += 1;
                self.push(Item::Paren { captures: true, flags: self.flags });
            }
            '|' => self.bar(),
            ')' => self.close()?,
            '^' if self.flags.has(Flags::MULTI_LINE) => self.place(Place::BeginLine, self.flags),
            '^' => self.place(Place::BeginText, self.flags),
            '$' if self.flags.has(Flags::MULTI_LINE) => self.place(Place::EndLine, self.flags),
            '$' => self.place(Place::EndText, self.flags.with(Flags::DOLLAR)),
            '.' if self.flags.has(Flags::DOT_NEWLINE) => self.simple(Op::AnyChar, self.flags),
            '.' => self.class(vec![(0, 0x09), (0x0b, RUNE_MAX)]),
            '[' => {
                let (ranges, behind) = escape::bracketed(text, self.flags.has(Flags::FOLD))?;
                self.class(ranges);
                return Ok(behind);
            }
            '\\' => return self.escape(text, behind),
            c => self.literal(c.into()),
        }
        Ok(behind)
    }

    fn open<'t>(&mut self, text: &'t str) -> Result<&'t str, Refused> {
        let (group, behind) = group::open(text, self.flags)?;
        match group {
            Group::Named => {
                self.groups += 1;
                self.push(Item::Paren { captures: true, flags: self.flags });
            }
            Group::Plain(flags) => {
                self.push(Item::Paren { captures: false, flags: self.flags });
                self.flags = flags;
            }
            Group::Setting(flags) => self.flags = flags,
        }
        Ok(behind)
    }

    fn escape<'t>(&mut self, text: &'t str, behind: &'t str) -> Result<&'t str, Refused> {
        let letter = behind.chars().next();
        let rest = behind.get(letter.map_or(0, char::len_utf8)..).unwrap_or_default();
        match letter {
            Some('b') => self.place(Place::WordBoundary, self.flags),
            Some('B') => self.place(Place::NoWordBoundary, self.flags),
            Some('A') => self.place(Place::BeginText, self.flags),
            Some('z') => self.place(Place::EndText, self.flags),
            Some('C') => self.simple(Op::AnyByte, self.flags),
            Some('Q') => {
                let (literal, behind) = rest.split_once("\\E").unwrap_or((rest, ""));
                literal.chars().for_each(|c| self.literal(c.into()));
                return Ok(behind);
            }
            _ => {
                let fold = self.flags.has(Flags::FOLD);
                let mut builder = Builder::default();
                if let Some(behind) = escape::class(text, fold, &mut builder)? {
                    self.class(builder.finish());
                    return Ok(behind);
                }
                let (point, behind) = escape::character(text)?;
                self.literal(point);
                return Ok(behind);
            }
        }
        Ok(rest)
    }

    fn push(&mut self, item: Item) {
        self.join();
        self.stack.push(item);
    }

    fn simple(&mut self, op: Op, flags: Flags) {
        let id = self.tree.add(op, flags);
        self.push(Item::Part(id));
    }

    fn place(&mut self, place: Place, flags: Flags) {
        self.simple(Op::Place(place), flags);
    }

    fn literal(&mut self, point: u32) {
        let orbit = if self.flags.has(Flags::FOLD) { unicode::orbit(point) } else { &[] };
        if orbit.is_empty() {
            return self.simple(Op::Literal(point), self.flags);
        }
        let mut builder = Builder::default();
        for point in orbit {
            builder.add(*point, *point);
        }
        self.class(builder.finish());
    }

    /// A class of one character, or of the two cases of a letter of ASCII, is a literal.
    fn class(&mut self, ranges: Ranges) {
        let first = ranges.first().map_or(0, |(lo, _)| *lo);
        match (charclass::count(&ranges), &*ranges) {
            (1, _) => self.simple(Op::Literal(first), self.flags),
            (2, [_, (lower, _)]) if (0x41..=0x5a).contains(&first) && *lower == first + 0x20 => {
                self.simple(Op::Literal(*lower), self.flags.with(Flags::FOLD));
            }
            _ => self.simple(Op::Class(Rc::new(ranges)), self.flags.without(Flags::FOLD)),
        }
    }

    /// Joins the last two parts if they are literals of the same kind. What comes last is not joined before another
    /// part follows, because a repetition may still take its last character.
    fn join(&mut self) {
        if let [.., Item::Part(before), Item::Part(last)] = *self.stack
            && self.tree.join(before, last)
        {
            self.stack.pop();
        }
    }

    fn repeat(&mut self, times: Times, lazy: bool) -> Result<(), Refused> {
        if let Times::Counted(min, max) = times
            && (min.max(max.unwrap_or(0)) > REPEAT_MAX || max.is_some_and(|max| max < min))
        {
            return Err(Refused::RepeatSize);
        }
        let Some(Item::Part(of)) = self.stack.last().copied() else { return Err(Refused::RepeatArgument) };
        let flags = if lazy { self.flags.toggled(Flags::NON_GREEDY) } else { self.flags };
        let op = match times {
            Times::Counted(min, max) => Op::Repeat { of, min, max },
            Times::Sign(sign) => match (sign, self.tree.op(of)) {
                // A repetition of a repetition is a star, unless both are the same.
                (_, Op::Star(inner) | Op::Plus(inner) | Op::Quest(inner)) if self.tree.flags(of) == flags => {
                    match (sign, self.tree.op(of)) {
                        ('+', Op::Plus(_)) | ('?', Op::Quest(_)) | ('*', Op::Star(_)) => return Ok(()),
                        _ => Op::Star(*inner),
                    }
                }
                ('*', _) => Op::Star(of),
                ('+', _) => Op::Plus(of),
                _ => Op::Quest(of),
            },
        };
        let counted = matches!(&op, Op::Repeat { min, max, .. } if (*min).max(max.unwrap_or(0)) >= 2);
        let id = self.tree.add(op, flags);
        self.stack.pop();
        self.stack.push(Item::Part(id));
        if counted && self.copies_left(id) == 0 {
            return Err(Refused::RepeatSize);
        }
        Ok(())
    }

    /// How many more copies the repetitions in the part leave of [`REPEAT_MAX`], rounded down at each.
    ///
    /// RE2 divides on the way down. `a / b / c` in whole numbers is `a / (b * c)`, so the product of the counts on
    /// the way to each leaf says the same, and is kept by node.
    fn copies_left(&mut self, id: Id) -> u32 {
        let len = self.tree.len();
        for id in Tree::ids(len).skip(self.copies.len()) {
            let of = |id: &Id| self.copies.get(Tree::position(*id)).copied().unwrap_or(1);
            let copies = match self.tree.op(id) {
                Op::Concat(parts) | Op::Alternate(parts) => parts.iter().map(of).max().unwrap_or(1),
                Op::Star(part) | Op::Plus(part) | Op::Quest(part) | Op::Capture(part) => of(part),
                Op::Repeat { of: part, min, max } => of(part).saturating_mul(max.unwrap_or(*min).max(1)),
                _ => 1,
            };
            self.copies.push(copies);
        }
        REPEAT_MAX / self.copies.get(Tree::position(id)).copied().unwrap_or(1)
    }

    /// Makes one part of the parts since the last `(` or `|`.
    fn concatenate(&mut self) {
        if !matches!(self.stack.last(), Some(Item::Part(_))) {
            let empty = self.tree.add(Op::Empty, self.flags);
            self.push(Item::Part(empty));
        }
        let parts = self.collapse();
        let flat = parts.into_iter().flat_map(|id| match self.tree.op(id) {
            Op::Concat(inner) => inner.clone(),
            _ => vec![id],
        });
        let parts: Vec<Id> = flat.collect();
        let id = self.tree.concat(parts, self.flags);
        self.stack.push(Item::Part(id));
    }

    /// Takes the parts since the last `(` or `|` off the stack.
    fn collapse(&mut self) -> Vec<Id> {
        let start = self.stack.iter().rposition(|item| !matches!(item, Item::Part(_))).map_or(0, |at| at + 1);
        let parts = self.stack.split_off(start);
        parts.into_iter().filter_map(|item| if let Item::Part(id) = item { Some(id) } else { None }).collect()
    }

    fn bar(&mut self) {
        self.join();
        self.concatenate();
        let [.., Item::Bar, Item::Part(last)] = *self.stack else { return self.stack.push(Item::Bar) };
        // What was behind the bar joins the alternatives before it. Any character takes in every other one.
        self.stack.truncate(self.stack.len() - 2);
        let one = |id| matches!(self.tree.op(id), Op::Literal(_) | Op::Class(_) | Op::AnyChar);
        let any = |id| matches!(self.tree.op(id), Op::AnyChar);
        match self.stack.last().copied() {
            Some(Item::Part(before)) if any(before) && one(last) => {}
            Some(Item::Part(before)) if any(last) && one(before) => {
                self.stack.pop();
                self.stack.push(Item::Part(last));
            }
            _ => self.stack.push(Item::Part(last)),
        }
        self.stack.push(Item::Bar);
    }

    /// Makes one part of the alternatives since the last `(`.
    fn alternate(&mut self) {
        self.bar();
        self.stack.pop();
        let parts = self.collapse();
        let id = if let [one] = *parts {
            one
        } else {
            let flat = parts.into_iter().flat_map(|id| match self.tree.op(id) {
                Op::Alternate(inner) => inner.clone(),
                _ => vec![id],
            });
            let parts: Vec<Id> = flat.collect();
            let parts = factor::factor(&mut self.tree, parts, self.flags);
            self.tree.alternate(parts, self.flags)
        };
        self.stack.push(Item::Part(id));
    }

    fn close(&mut self) -> Result<(), Refused> {
        self.alternate();
        let [.., Item::Paren { captures, flags }, Item::Part(inner)] = *self.stack else {
            return Err(Refused::UnexpectedParen);
        };
        self.stack.truncate(self.stack.len() - 2);
        self.flags = flags;
        let id = if captures { self.tree.add(Op::Capture(inner), flags) } else { inner };
        self.push(Item::Part(id));
        Ok(())
    }

    fn end(mut self) -> Result<Parsed, Refused> {
        self.alternate();
        match *self.stack {
            [Item::Part(root)] => Ok(Parsed { tree: self.tree, root, groups: self.groups }),
            _ => Err(Refused::MissingParen),
        }
    }
}
