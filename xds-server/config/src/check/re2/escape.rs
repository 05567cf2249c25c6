//! Escapes and classes in brackets. Each function takes the text from where it stands, and returns what it read
//! together with the text that follows.

use super::{
    Refused,
    charclass::{Builder, RUNE_MAX, Ranges, negated},
    unicode,
};

/// Takes a character.
fn take(text: &str) -> Option<(char, &str)> {
    let mut rest = text.chars();
    rest.next().map(|c| (c, rest.as_str()))
}

/// Reads an escape of a single character (`\n`, `\x41`, `\.`); the text begins with the backslash.
pub(super) fn character(text: &str) -> Result<(u32, &str), Refused> {
    let (_, rest) = take(text).ok_or(Refused::TrailingBackslash)?;
    let (c, rest) = take(rest).ok_or(Refused::TrailingBackslash)?;
    let octal = |text: &str| text.bytes().next().filter(|b| (b'0'..=b'7').contains(b));
    let point = match c {
        // A single digit other than 0 would be a back-reference.
        '1'..='7' if octal(rest).is_none() => return Err(Refused::Escape),
        '0'..='7' => {
            let mut code = c.to_digit(8).unwrap_or_default();
            let mut rest = rest;
            for _ in 0..2 {
                let Some((digit, tail)) = take(rest).filter(|_| octal(rest).is_some()) else { break };
                code = code * 8 + digit.to_digit(8).unwrap_or_default();
                rest = tail;
            }
            return Ok((code, rest));
        }
        'x' => return hexadecimal(rest),
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'a' => '\x07',
        'f' => '\x0c',
        'v' => '\x0b',
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
        _ => return Err(Refused::Escape),
    };
    Ok((point.into(), rest))
}

/// Reads `41` or `{1F600}` after `\x`.
fn hexadecimal(text: &str) -> Result<(u32, &str), Refused> {
    let (digits, rest) = match text.strip_prefix('{') {
        Some(inner) => inner.split_once('}').ok_or(Refused::Escape)?,
        None => text.split_at_checked(2).ok_or(Refused::Escape)?,
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Refused::Escape);
    }
    let significant = digits.trim_start_matches('0');
    let code = if significant.is_empty() { Ok(0) } else { u32::from_str_radix(significant, 16) };
    match code {
        Ok(code) if code <= RUNE_MAX => Ok((code, rest)),
        _ => Err(Refused::Escape),
    }
}

/// Reads a class such as `\d`, `\pL` or `\P{^Greek}` into the builder; `None` if the text does not begin with one.
pub(super) fn class<'t>(text: &'t str, fold: bool, into: &mut Builder) -> Result<Option<&'t str>, Refused> {
    let Some((letter, rest)) = text.strip_prefix('\\').and_then(take) else { return Ok(None) };
    if let Some(ranges) = perl(letter.to_ascii_lowercase()) {
        into.add_class(ranges, letter.is_ascii_lowercase(), fold);
        return Ok(Some(rest));
    }
    if !matches!(letter, 'p' | 'P') {
        return Ok(None);
    }
    let (name, rest) = if let Some(inner) = rest.strip_prefix('{') {
        inner.split_once('}').ok_or(Refused::CharRange)?
    } else {
        let length = rest.chars().next().map_or(0, char::len_utf8);
        rest.split_at(length)
    };
    let (name, inverted) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
    let ranges = unicode::class(name).ok_or(Refused::CharRange)?;
    into.add_class(ranges, (letter == 'p') != inverted, fold);
    Ok(Some(rest))
}

const DIGIT: &[(u32, u32)] = &[(0x30, 0x39)];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];

fn perl(letter: char) -> Option<&'static [(u32, u32)]> {
    match letter {
        'd' => Some(DIGIT),
        's' => Some(&[(0x09, 0x0a), (0x0c, 0x0d), (0x20, 0x20)]),
        'w' => Some(WORD),
        _ => None,
    }
}

fn posix(name: &str) -> Option<&'static [(u32, u32)]> {
    Some(match name {
        "alnum" => &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)],
        "alpha" => &[(0x41, 0x5a), (0x61, 0x7a)],
        "ascii" => &[(0x00, 0x7f)],
        "blank" => &[(0x09, 0x09), (0x20, 0x20)],
        "cntrl" => &[(0x00, 0x1f), (0x7f, 0x7f)],
        "digit" => DIGIT,
        "graph" => &[(0x21, 0x7e)],
        "lower" => &[(0x61, 0x7a)],
        "print" => &[(0x20, 0x7e)],
        "punct" => &[(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)],
        "space" => &[(0x09, 0x0d), (0x20, 0x20)],
        "upper" => &[(0x41, 0x5a)],
        "word" => WORD,
        "xdigit" => &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)],
        _ => return None,
    })
}

/// Reads `[:alpha:]` into the builder; `None` if the text does not begin with such a name.
fn named<'t>(text: &'t str, fold: bool, into: &mut Builder) -> Result<Option<&'t str>, Refused> {
    let Some((name, rest)) = text.strip_prefix("[:").and_then(|inner| inner.split_once(":]")) else {
        return Ok(None);
    };
    let (name, positive) = name.strip_prefix('^').map_or((name, true), |name| (name, false));
    into.add_class(posix(name).ok_or(Refused::CharRange)?, positive, fold);
    Ok(Some(rest))
}

/// Reads a class in brackets; the text begins with `[`.
pub(super) fn bracketed(text: &str, fold: bool) -> Result<(Ranges, &str), Refused> {
    let inner = text.strip_prefix('[').ok_or(Refused::MissingBracket)?;
    let (mut rest, negative) = inner.strip_prefix('^').map_or((inner, false), |rest| (rest, true));
    let mut class_builder = Builder::default();
    let mut first = true;
    loop {
        match rest.strip_prefix(']') {
            _ if rest.is_empty() => return Err(Refused::MissingBracket),
            // As the first one, a ] is a character like others.
            Some(behind) if !first => {
                let ranges = class_builder.finish();
                return Ok((if negative { negated(&ranges) } else { ranges }, behind));
            }
            _ => {}
        }
        first = false;
        // RE2 looks for names and properties only where more than two bytes are left.
        let roomy = rest.len() > 2;
        if let Some(behind) = roomy.then(|| named(rest, fold, &mut class_builder)).transpose()?.flatten() {
            rest = behind;
            continue;
        }
        let property = rest.starts_with("\\p") || rest.starts_with("\\P");
        if (roomy || !property)
            && let Some(behind) = class(rest, fold, &mut class_builder)?
        {
            rest = behind;
            continue;
        }
        let (lo, behind) = member(rest)?;
        rest = behind;
        let mut hi = lo;
        if let Some(end) = rest.strip_prefix('-').filter(|end| !end.is_empty() && !end.starts_with(']')) {
            (hi, rest) = member(end)?;
            if hi < lo {
                return Err(Refused::CharRange);
            }
        }
        class_builder.add_folded(lo, hi, fold);
    }
}

/// Reads a character of a class in brackets.
fn member(text: &str) -> Result<(u32, &str), Refused> {
    if text.starts_with('\\') {
        return character(text);
    }
    take(text).map(|(c, rest)| (c.into(), rest)).ok_or(Refused::MissingBracket)
}
