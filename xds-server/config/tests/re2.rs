//! RE2's verdicts on generated expressions, written by `tools/re2/verdicts.py corpus 3000 7`, are ours too: whether it
//! takes the expression, how large its program is, and how many groups it has. `make unit` asks RE2 itself about more.

#![allow(clippy::unwrap_used)] // a test's functions are tests too

use std::fmt::Write as _;

use lateen_config::re2::{self, PROGRAM_MAX, Refused};

fn ours(text: &str) -> String {
    re2::examine(text).map_or_else(|_| "refused".to_owned(), |it| format!("{} {}", it.size, it.groups))
}

#[test]
fn our_verdicts_are_those_of_re2() {
    let (mut all, mut accepted, mut different) = (0, 0, String::new());
    for line in include_str!("../cases/re2.txt").lines() {
        let (hex, verdict) = line.split_once(' ').unwrap();
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let text = String::from_utf8(bytes.collect()).unwrap();
        all += 1;
        accepted += usize::from(verdict != "refused");
        if ours(&text) != verdict {
            writeln!(different, "{text:?}: RE2 says {verdict}, we say {}", ours(&text)).unwrap();
        }
    }
    assert!(different.is_empty(), "{different}");
    assert!(all > 1000 && accepted * 4 > all, "{accepted} of {all} are accepted");
}

#[test]
fn what_other_engines_take_is_refused() {
    let refused = [
        ("/api/[^/]++/x", Refused::RepeatOp),
        ("a**", Refused::RepeatOp),
        ("a{1001}", Refused::RepeatSize),
        ("(a{100}){11}", Refused::RepeatSize),
        ("(?x)a", Refused::PerlOp),
        ("(?i-u)a", Refused::PerlOp),
        ("(?R)", Refused::PerlOp),
        ("(?=a)", Refused::PerlOp),
        ("(?<!a)b", Refused::PerlOp),
        ("(?<a-b>c)", Refused::GroupName),
        (r"(a)\1", Refused::Escape),
        (r"\u00e9", Refused::Escape),
        (r"\p{Garay}", Refused::CharRange),
        (r"\p{Script=Greek}", Refused::CharRange),
        ("[z-a]", Refused::CharRange),
        ("*", Refused::RepeatArgument),
        ("(a", Refused::MissingParen),
        ("a)", Refused::UnexpectedParen),
        ("[a", Refused::MissingBracket),
        ("a\\", Refused::TrailingBackslash),
        (r"\pL{500}", Refused::TooLarge),
    ];
    for (text, why) in refused {
        assert_eq!(re2::examine(text), Err(why), "{text}");
    }
    for text in ["", "(?P<a>b)(?<c>d)", r"\Qa.b\E", r"\C", "(?)", "[[:^alpha:]]", "a{,2}", r"\pN\p{^Greek}"] {
        assert!(re2::examine(text).is_ok(), "{text}");
    }
}

/// RE2 flattens a program before it counts: branches that lead nowhere else don't count, up to a bound of their own.
#[test]
fn branches_and_no_ops_are_bounded_apart() {
    let empties = |times: usize| format!("(?:{}){{1000}}", "(?:a||||||||b)".repeat(times));
    assert_eq!(re2::examine(&empties(7)).map(|it| it.size), Ok(21_004));
    let bars = |count: usize| format!("a{}", "|".repeat(count));
    assert!(re2::examine(&bars(349_495)).is_ok());
    assert_eq!(re2::examine(&bars(349_496)), Err(Refused::TooLarge));
    let parts = |count: usize| "(?:)".repeat(count);
    assert!(re2::examine(&parts(698_992)).is_ok());
    assert_eq!(re2::examine(&parts(698_993)), Err(Refused::TooLarge));
}

/// The bounds hold before the work is done: what is too large is not counted to its end.
#[test]
fn hostile_expressions_are_bounded() {
    let deep = 4096;
    let nested = ["(".repeat(deep / 2), ")".repeat(deep / 2)].concat();
    assert_eq!(re2::examine(&nested).map(|it| it.groups), Ok(deep / 2));
    assert_eq!(re2::examine(&"(?:".repeat(deep / 3)), Err(Refused::MissingParen));
    assert_eq!(re2::examine(&r"\PL{1000}".repeat(deep / 9)), Err(Refused::TooLarge));
    let alternatives = (0..deep / 5).map(|n| format!("a{:03}", n % 1000)).collect::<Vec<_>>().join("|");
    assert!(re2::examine(&alternatives).is_ok_and(|it| it.size < PROGRAM_MAX));
    assert!(re2::examine(&"a?".repeat(deep / 2)).is_ok());
}
