//! Commands of Envoy in header values, such as `%REQ(:path)%`: with one that it does not know, or whose arguments it
//! does not take, Envoy refuses the whole configuration.
//!
//! The list is that of Envoy 1.40, asked one by one.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/advanced/substitution_formatter#command-operators>

mod coalesce;
mod list;

use list::{Argument, COMMANDS, Command};

use super::names;

/// Finds the first fault in the commands of a value; `None` if Envoy takes all of them.
pub(super) fn fault(value: &str) -> Option<Fault> {
    let mut rest = value;
    while let Some((_, tail)) = rest.split_once('%') {
        if let Some(behind) = tail.strip_prefix('%') {
            rest = behind;
            continue;
        }
        let Some((call, behind)) = Call::read(tail) else {
            return Some(Fault::new("a single % begins a command of Envoy, and this is none", PERCENT));
        };
        if let Some(fault) = call.fault() {
            return Some(fault);
        }
        rest = behind;
    }
    None
}

const PERCENT: &str = "write %% for a percent sign";

/// What is wrong with a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    fn new(message: impl Into<String>, hint: &str) -> Self {
        Self { message: message.into(), hint: Some(hint.to_owned()) }
    }

    fn plain(message: String) -> Self {
        Self { message, hint: None }
    }
}

/// A command as it was written: `NAME`, `NAME(argument)`, `NAME(argument):length`.
#[derive(Clone, Copy, Debug)]
struct Call<'t> {
    name: &'t str,
    /// Empty if there is none; Envoy makes no difference.
    argument: &'t str,
    has_length: bool,
}

impl<'t> Call<'t> {
    /// Reads what follows a `%`, up to the next one that ends the command; returns the text behind it too.
    fn read(text: &'t str) -> Option<(Self, &'t str)> {
        let end = text.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')?;
        let (name, rest) = text.split_at(end);
        if name.is_empty() {
            return None;
        }
        let Some(inner) = rest.strip_prefix('(') else {
            let (has_length, behind) = length(rest)?;
            return Some((Self { name, argument: "", has_length }, behind));
        };
        // The argument ends with the first bracket that the end of the command follows.
        inner.match_indices(')').find_map(|(at, _)| {
            let (has_length, behind) = length(inner.get(at + 1..)?)?;
            Some((Self { name, argument: inner.get(..at)?, has_length }, behind))
        })
    }

    fn fault(self) -> Option<Fault> {
        let Self { name, argument, has_length } = self;
        let Some(Command { takes, length, .. }) = COMMANDS.iter().find(|command| command.name == name) else {
            let near = crate::decode::nearest(name, COMMANDS.iter().map(|command| command.name));
            let message = format!("Envoy has no command {}", names::shorten(name));
            return Some(Fault { message, hint: near.map(|near| format!("did you mean %{near}%?")) });
        };
        if has_length && !length {
            return Some(Fault::plain(format!("the command {name} takes no length")));
        }
        let wrong = |what: &str| {
            let shown = names::shorten(argument);
            Some(Fault::plain(format!(
                "the command {name} can't have the argument \"{shown}\": it takes {what}"
            )))
        };
        match takes {
            _ if argument.is_empty() && takes.is_needed() => {
                Some(Fault::new(format!("the command {name} needs an argument"), "write %NAME(ARGUMENT)%"))
            }
            Argument::None if !argument.is_empty() => {
                Some(Fault::plain(format!("the command {name} takes no argument")))
            }
            Argument::Header if !is_header(argument) => wrong("a header's name, perhaps ? and another one"),
            Argument::Time if has_newline(argument) => wrong("a format of the time without line breaks"),
            Argument::Filter if !is_filter_state(argument) => {
                wrong("KEY, KEY:PLAIN, KEY:TYPED or KEY:FIELD:NAME")
            }
            Argument::Span if !is_span(argument) => wrong("START:END, perhaps with :ms, :us or :ns"),
            Argument::Metadata(kinds) if !kinds.contains(&first(argument)) => wrong(&kinds.join(", ")),
            Argument::Words(words) if !argument.is_empty() && !words.contains(&argument) => {
                wrong(&words.join(", "))
            }
            Argument::AnyCase(words) if !words.iter().any(|word| word.eq_ignore_ascii_case(argument)) => {
                wrong(&words.join(", "))
            }
            Argument::Path if !is_path(argument) => {
                wrong("WQ or NQ, perhaps with :ORIG, :PATH or :ORIG_OR_PATH")
            }
            Argument::Expression if !is_balanced(argument) => wrong("an expression in CEL"),
            Argument::Commands => coalesce::fault(argument),
            _ => None,
        }
    }
}

/// Digits of the largest length.
const DIGITS_MAX: usize = 20;

/// Reads `%`, or `:10%`; tells whether there was a length. It looks no further than a length can reach: it is asked for
/// each bracket of an argument.
fn length(text: &str) -> Option<(bool, &str)> {
    if let Some(behind) = text.strip_prefix('%') {
        return Some((false, behind));
    }
    let text = text.strip_prefix(':')?;
    let count = text.bytes().take(DIGITS_MAX + 1).take_while(u8::is_ascii_digit).inspect(|_| step()).count();
    let (digits, rest) = text.split_at(count);
    digits.parse::<u64>().ok()?;
    Some((true, rest.strip_prefix('%')?))
}

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts the characters that are looked at for a length, in tests.
fn step() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

fn first(argument: &str) -> &str {
    argument.split(':').next().unwrap_or_default()
}

fn is_header(argument: &str) -> bool {
    let is_name = |name: &str| {
        let plain = name.strip_prefix(':').unwrap_or(name);
        plain.bytes().all(names::is_token_byte) && name != ":"
    };
    let mut parts = argument.split('?');
    parts.next().is_some_and(is_name) && parts.next().is_none_or(is_name) && parts.next().is_none()
}

/// Would the format make a line break? `%n` does, with the flags and widths that `strftime` allows.
fn has_newline(format: &str) -> bool {
    format.match_indices('%').any(|(at, _)| {
        let rest = format.get(at + 1..).unwrap_or_default();
        let rest = rest.trim_start_matches(['-', '_', '0', '^', '#']);
        let rest = rest.trim_start_matches(|c: char| matches!(c, '1'..='9'));
        rest.strip_prefix(['E', 'O']).unwrap_or(rest).starts_with('n')
    })
}

fn is_filter_state(argument: &str) -> bool {
    let mut parts = argument.splitn(4, ':');
    let key = parts.next().unwrap_or_default();
    let (kind, field) = (parts.next(), parts.next());
    let good = match (kind, field) {
        (None | Some(""), None) => true,
        (Some("PLAIN" | "TYPED"), field) => field.is_none(),
        (Some("FIELD"), Some(field)) => !field.is_empty(),
        _ => false,
    };
    !key.is_empty() && good
}

fn is_span(argument: &str) -> bool {
    let parts: Vec<&str> = argument.split(':').collect();
    matches!(*parts, [_, _] | [_, _, "ms" | "us" | "ns"])
}

fn is_path(argument: &str) -> bool {
    let mut parts = argument.split(':');
    matches!(parts.next(), Some("" | "WQ" | "NQ"))
        && matches!(parts.next(), None | Some("" | "ORIG" | "PATH" | "ORIG_OR_PATH"))
}

/// Are all brackets and quotes of an expression closed? More is not looked at.
fn is_balanced(expression: &str) -> bool {
    let mut open = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for c in expression.chars() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => open.push(c),
            (None, ')' | ']' | '}')
                if !matches!((open.pop(), c), (Some('('), ')') | (Some('['), ']') | (Some('{'), '}')) =>
            {
                return false;
            }
            _ => {}
        }
    }
    open.is_empty() && quote.is_none() && !expression.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of the brackets might end the command.
    #[test]
    fn the_work_grows_with_the_value() {
        let steps = |text: &str| {
            STEPS.with(|steps| steps.set(0));
            assert!(fault(text).is_some());
            STEPS.with(std::cell::Cell::get)
        };
        for count in [1_000, 10_000] {
            let digits = "):1".repeat(count);
            assert_eq!(steps(&format!("%REQ({digits}")), count);
            let long = format!("):{}", "1".repeat(1_000)).repeat(count / 1_000);
            assert_eq!(steps(&format!("%REQ({long}%")), (DIGITS_MAX + 1) * count / 1_000);
        }
        assert_eq!(length(":18446744073709551615%"), Some((true, "")));
        assert_eq!(length(":18446744073709551616%"), None);
        assert_eq!(length(":%"), None);
    }

    #[test]
    fn commands_and_their_arguments() {
        let good = [
            "a",
            "100%%",
            "%START_TIME%",
            "%REQ(x-a?y):10%b",
            "%DOWNSTREAM_REMOTE_ADDRESS%",
            "%%REQ(%%",
            "%PROTOCOL()%",
            "%%%REQ(:path)%",
            "%START_TIME(a)b%)%",
            "%FILTER_STATE(k:FIELD:x)%",
            "%PATH(NQ:ORIG)%",
            "%GRPC_STATUS(NUMBER)%",
            "%COALESCE({\"operators\":[{\"command\":\"REQ\",\"param\":\"a\"},\"DURATION\"]})%",
            "%METADATA(ROUTE:a)%",
        ];
        for good in good {
            assert_eq!(fault(good), None, "{good}");
        }
        let bad = [
            "100%",
            "%a%",
            "%REQ(x%",
            "%%%",
            "%SUBJECT%",
            "%REQ%",
            "%REQ()%",
            "%REQ(x y)%",
            "%COALESCE({})%",
            "%PROTOCOL(a)%",
            "%PROTOCOL:3%",
            "%REQ(a?b?c)%",
            "%START_TIME(%3n)%",
            "%REQ(a):99999999999999999999%",
            "%METADATA(X:a)%",
            "%COALESCE({\"operators\":[{\"command\":\"REQ\",\"param\":\"a b\"}]})%",
            "%PATH(X)%",
            "%GRPC_STATUS(number)%",
            "%FILTER_STATE(k:FIELD)%",
            "%COMMON_DURATION(a)%",
            "%CEL(a()%",
            "%XFCC_VALUE(a)%",
            "%CEL()%",
        ];
        for bad in bad {
            assert!(fault(bad).is_some(), "{bad}");
        }
        assert_eq!(
            fault("%PROTOCOLS%").and_then(|fault| fault.hint).as_deref(),
            Some("did you mean %PROTOCOL%?")
        );
    }
}
