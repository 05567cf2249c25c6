//! What follows `(?`: names and flags of groups.

use super::{Refused, tree::Flags, unicode};

/// How a `(?` goes on.
pub(super) enum Group {
    /// `(?P<name>` or `(?<name>`
    Named,
    /// `(?i:` and the like
    Plain(Flags),
    /// `(?i)` and the like, which opens no group
    Setting(Flags),
}

/// Reads from `(?` on; returns the text that follows too.
pub(super) fn open(text: &str, flags: Flags) -> Result<(Group, &str), Refused> {
    let inner = text.strip_prefix("(?").ok_or(Refused::PerlOp)?;
    let look_around =
        ["=", "!", "<=", "<!"].iter().any(|op| inner.strip_prefix(*op).is_some_and(|rest| !rest.is_empty()));
    if look_around {
        return Err(Refused::PerlOp);
    }
    let name = inner.strip_prefix("P<").or_else(|| inner.strip_prefix('<'));
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        let (name, rest) = name.split_once('>').ok_or(Refused::GroupName)?;
        let good = !name.is_empty() && name.chars().all(|c| unicode::in_name(c.into()));
        return if good { Ok((Group::Named, rest)) } else { Err(Refused::GroupName) };
    }
    settings(inner, flags)
}

fn settings(text: &str, mut flags: Flags) -> Result<(Group, &str), Refused> {
    let (mut off, mut some) = (false, false);
    for (at, c) in text.char_indices() {
        let flag = match c {
            'i' => Flags::FOLD,
            'm' => Flags::MULTI_LINE,
            's' => Flags::DOT_NEWLINE,
            'U' => Flags::NON_GREEDY,
            '-' if !off => {
                (off, some) = (true, false);
                continue;
            }
            ':' | ')' if !off || some => {
                let rest = text.get(at + 1..).unwrap_or_default();
                let group = if c == ':' { Group::Plain(flags) } else { Group::Setting(flags) };
                return Ok((group, rest));
            }
            _ => return Err(Refused::PerlOp),
        };
        some = true;
        flags = if off { flags.without(flag) } else { flags.with(flag) };
    }
    Err(Refused::PerlOp)
}
