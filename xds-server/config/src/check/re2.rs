//! What RE2, the engine of Envoy's regular expressions, takes: its syntax, and the size of its programs.
//!
//! Envoy compiles expressions by RE2 with its default options, and refuses one whose program has more instructions
//! than the runtime key `re2.max_program_size.error_level` allows. Syntax that resembles RE2's, such as that of
//! the `regex` crate, is not good enough: with one expression Envoy refuses a whole `RouteConfiguration`. So this
//! module follows RE2 step by step: it parses, factors alternations, expands repetitions, and counts the
//! instructions that are left after RE2 flattens its program. It matches nothing.
//! <https://github.com/google/re2/wiki/Syntax>
//!
//! The work is bounded: parsing is linear but for factoring, and counting stops beyond RE2's own bound. It is told in
//! steps, of which a text has a budget, and verdicts are remembered.
//! `tools/re2/verdicts.py` compares verdicts and sizes with RE2's own.

mod charclass;
mod escape;
mod factor;
mod flatten;
mod group;
mod memo;
mod parse;
mod program;
mod simplify;
mod tree;
mod unicode;
mod utf8;

/// Most instructions of a program: what `lateen bootstrap` and Istio set for `re2.max_program_size.error_level`.
pub const PROGRAM_MAX: usize = 32_768;

/// Why RE2, or Envoy, refuses an expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// A class in brackets does not end.
    #[error("a ] is missing")]
    MissingBracket,
    /// A group does not end.
    #[error("a ) is missing")]
    MissingParen,
    /// A group ends that did not begin.
    #[error("a ) has no ( before it")]
    UnexpectedParen,
    /// An escape has nothing to escape.
    #[error("it ends with a single \\")]
    TrailingBackslash,
    /// A repetition has nothing to repeat.
    #[error("there is nothing for a repetition to repeat")]
    RepeatArgument,
    /// A repetition asks for too many copies.
    #[error("a repetition exceeds 1000, alone or together with those around it")]
    RepeatSize,
    /// A repetition follows a repetition.
    #[error("a repetition follows another one (RE2 has no possessive ones, either)")]
    RepeatOp,
    /// An escape is unknown.
    #[error("RE2 has no such escape (nor back-references)")]
    Escape,
    /// A class is unknown, or a range ends before it begins.
    #[error("a class of characters is unknown or its range is reversed")]
    CharRange,
    /// A group begins in a way that RE2 does not know.
    #[error("RE2 has no such group after (? (no look-around, and no flags but imsU)")]
    PerlOp,
    /// A group's name is malformed.
    #[error("the name of a group is malformed")]
    GroupName,
    /// The program has more instructions than [`PROGRAM_MAX`].
    #[error("its program is larger than 32768 instructions, the limit that Envoy is started with")]
    TooLarge,
}

/// Ranges of the largest classes of Unicode, which are put together wherever one is named.
const CLASS_STEPS: usize = 700;

/// What is known of an expression that is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Instructions of the program.
    pub size: usize,
    /// Groups that capture.
    pub groups: usize,
}

/// A verdict, and how many steps it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Examined {
    /// What RE2 and Envoy say.
    pub verdict: Result<Accepted, Refused>,
    /// Steps: bytes that were read, parts that were visited, instructions that were made and looked at.
    pub steps: usize,
}

/// Parses and measures an expression.
pub fn examine(text: &str) -> Result<Accepted, Refused> {
    measure(text).verdict
}

/// Parses and measures an expression, and tells what that cost.
pub fn measure(text: &str) -> Examined {
    let classes = text.matches(r"\p").count() + text.matches(r"\P").count();
    let mut steps = text.len() + CLASS_STEPS * classes;
    let verdict = parse::parse(text).and_then(|parse::Parsed { tree, root, groups }| {
        steps += tree.len();
        let size = program::size(tree, root, &mut steps).filter(|size| *size <= PROGRAM_MAX);
        Ok(Accepted { size: size.ok_or(Refused::TooLarge)?, groups })
    });
    Examined { verdict, steps }
}

/// The same, from memory where the text was examined a while ago. The steps are those of the examination, so that what
/// is refused does not depend on what is remembered.
pub(crate) fn remembered(text: &str) -> Examined {
    memo::recall(text, measure)
}

/// How often a text names regular expressions, at least: what it costs to read it can't be told from its length alone.
pub fn mentions(text: &[u8]) -> usize {
    let is_one = |word: &&[u8]| [b"regex", b"regul"].iter().any(|name| word.eq_ignore_ascii_case(*name));
    text.windows(5).filter(is_one).count()
}
