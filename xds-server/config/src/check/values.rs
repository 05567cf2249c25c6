//! Numbers, durations, expressions and what several kinds share.

use std::{collections::BTreeMap, time::Duration};

use super::{names, re2};
use crate::{
    codes,
    findings::Findings,
    istio::{Destination, HeaderOperations, Headers, Percent, PortSelector, StringMatch},
    path::Path,
};

/// Longest regular expression: the Gateway API's bound of a header's value. Istio's is 1024.
const REGEX_LEN_MAX: usize = 4096;

/// A port's number.
pub(crate) fn port(number: u32, at: &Path<'_>, out: &mut Findings) {
    if !(1..=65_535).contains(&number) {
        out.error(codes::PORT, at, format!("{number} is not a port")).hint("a port is within 1..=65535");
    }
}

/// A port's number, where there is one.
pub(crate) fn maybe_port(number: Option<u32>, at: &Path<'_>, out: &mut Findings) {
    if let Some(number) = number {
        port(number, at, out);
    }
}

/// A selected port, where there is one.
pub(crate) fn port_selector(selector: Option<&PortSelector>, at: &Path<'_>, out: &mut Findings) {
    if let Some(selector) = selector {
        port(selector.number, &at.field("number"), out);
    }
}

/// A regular expression, which must be one of RE2; returns how many groups it has if it is.
pub(crate) fn regex(text: &str, at: &Path<'_>, out: &mut Findings) -> Option<usize> {
    if text.len() > REGEX_LEN_MAX {
        let message = format!("the expression has {} bytes, at most {REGEX_LEN_MAX} are allowed", text.len());
        out.error(codes::REGEX, at, message);
        return None;
    }
    if !out.spend(0, at) {
        return None;
    }
    let re2::Examined { verdict, steps } = re2::remembered(text);
    out.spend(steps, at);
    match verdict {
        Ok(accepted) => Some(accepted.groups),
        Err(why) => {
            out.error(codes::REGEX, at, format!("the regular expression is invalid: {why}"))
                .hint("Envoy's expressions are those of RE2: https://github.com/google/re2/wiki/Syntax");
            None
        }
    }
}

/// A text in which Envoy refuses line breaks and NUL.
pub(crate) fn one_line(text: &str, at: &Path<'_>, out: &mut Findings) {
    if text.contains(['\0', '\r', '\n']) {
        out.error(codes::URI, at, "the text must not hold line breaks");
    }
}

/// What takes the place of a match, in which `\1` is what the first group matched.
pub(crate) fn substitution(text: &str, groups: Option<usize>, at: &Path<'_>, out: &mut Findings) {
    one_line(text, at, out);
    let mut rest = text;
    while let Some((_, tail)) = rest.split_once('\\') {
        let c = tail.chars().next().unwrap_or(' ');
        let why = match (c.to_digit(10), groups) {
            (Some(group), Some(groups)) if group as usize > groups => {
                Some(format!("the expression has no group {group}"))
            }
            (None, _) if c != '\\' => Some("a \\ is followed by neither a digit nor another \\".to_owned()),
            _ => None,
        };
        if let Some(why) = why {
            out.warn(codes::NO_EFFECT, at, format!("{why}: the path is not rewritten"));
            return;
        }
        rest = tail.get(c.len_utf8()..).unwrap_or_default();
    }
}

/// May a match ask only that there is a value?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Yes: headers and query parameters.
    Allowed,
    /// No: the value is always there.
    Pointless,
}

/// A match of a text.
pub(crate) fn string_match(
    wanted: Option<&StringMatch>,
    presence: Presence,
    at: &Path<'_>,
    out: &mut Findings,
) {
    match wanted {
        Some(StringMatch::Regex(text)) => drop(regex(text, &at.field("regex"), out)),
        Some(StringMatch::Prefix(text)) if text.is_empty() => {
            out.error(codes::MISSING, &at.field("prefix"), "an empty prefix matches everything");
        }
        Some(StringMatch::Present) if presence == Presence::Pointless => {
            out.error(codes::MISSING, at, "one of exact, prefix, regex is needed");
        }
        Some(StringMatch::Exact(_) | StringMatch::Prefix(_) | StringMatch::Present) | None => {}
    }
}

/// Matches by name of a header.
pub(crate) fn header_matches(matches: &BTreeMap<String, StringMatch>, at: &Path<'_>, out: &mut Findings) {
    for (name, wanted) in matches {
        let at = at.key(name);
        names::header_name(name, &at, out);
        string_match(Some(wanted), Presence::Allowed, &at, out);
    }
}

/// A percentage from 0 to 100.
pub(crate) fn percentage(value: f64, at: &Path<'_>, out: &mut Findings) {
    if !(0.0..=100.0).contains(&value) {
        out.error(codes::PERCENTAGE, at, format!("{value} is not within 0..=100"));
    }
}

/// A percentage, where there is one.
pub(crate) fn percent(percent: Option<&Percent>, at: &Path<'_>, out: &mut Findings) {
    if let Some(percent) = percent {
        percentage(percent.value, &at.field("value"), out);
    }
}

/// Whole numbers that must not be negative.
pub(crate) fn not_negative(value: Option<i32>, at: &Path<'_>, out: &mut Findings) {
    if let Some(value) = value.filter(|value| *value < 0) {
        out.error(codes::RANGE, at, format!("{value} must not be negative"));
    }
}

/// Whole numbers that are a percentage.
pub(crate) fn whole_percentage(value: Option<i32>, at: &Path<'_>, out: &mut Findings) {
    if let Some(value) = value {
        percentage(f64::from(value), at, out);
    }
}

/// A duration of at least a millisecond, Envoy's finest unit of timers.
pub(crate) fn at_least_1ms(duration: Option<Duration>, at: &Path<'_>, out: &mut Findings) {
    if duration.is_some_and(|duration| duration < Duration::from_millis(1)) {
        out.error(codes::DURATION, at, "the duration must be at least 1ms");
    }
}

/// A timeout: 0 is none, otherwise at least a millisecond.
pub(crate) fn timeout(duration: Option<Duration>, at: &Path<'_>, out: &mut Findings) {
    at_least_1ms(duration.filter(|duration| !duration.is_zero()), at, out);
}

/// Operations on headers, where there are some.
pub(crate) fn headers(headers: Option<&Headers>, at: &Path<'_>, out: &mut Findings) {
    let Some(headers) = headers else { return };
    let sides = [("request", headers.request.as_ref()), ("response", headers.response.as_ref())];
    for (side, operations) in sides {
        if let Some(operations) = operations {
            header_operations(operations, side == "request", &at.field(side), out);
        }
    }
}

fn header_operations(operations: &HeaderOperations, request: bool, at: &Path<'_>, out: &mut Findings) {
    for (field, values) in [("set", &operations.set), ("add", &operations.add)] {
        let at = at.field(field);
        for (name, value) in values {
            // Envoy changes none of these. The host of a request is rewritten instead, as Istio does, which refuses
            // the others too.
            let host = name.eq_ignore_ascii_case("host");
            let rewritten = request && (host || name.eq_ignore_ascii_case(":authority"));
            if (host || name.starts_with(':')) && !rewritten {
                let message = format!("the header \"{}\" can't be changed", names::shorten(name));
                out.error(codes::HEADER, &at.key(name), message);
            }
            names::header_name(name, &at.key(name), out);
            names::header_value(value, &at.key(name), out);
        }
    }
    for (index, name) in operations.remove.iter().enumerate() {
        let at = at.field("remove");
        names::header_name(name, &at.index(index), out);
        // Envoy rejects a configuration that removes these.
        if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
            out.error(codes::HEADER, &at.index(index), format!("the header \"{name}\" can't be removed"));
        }
    }
}

/// A destination, which must be there.
pub(crate) fn destination(destination: Option<&Destination>, at: &Path<'_>, out: &mut Findings) {
    let Some(destination) = destination else {
        out.error(codes::MISSING, at, "a destination is needed");
        return;
    };
    let host = &*destination.host;
    if host.is_empty() {
        out.error(codes::MISSING, &at.field("host"), "the destination has no host");
    } else if host == "*" || !names::is_wildcard_host(host) && !names::is_ip(host) {
        let message = format!("\"{}\" is not the host of a destination", names::shorten(host));
        out.error(codes::HOST, &at.field("host"), message);
    }
    if !destination.subset.is_empty() && !names::is_dns_label(&destination.subset) {
        let message = format!("\"{}\" is not the name of a subset", names::shorten(&destination.subset));
        out.error(codes::NAME, &at.field("subset"), message);
    }
    port_selector(destination.port.as_ref(), &at.field("port"), out);
}

/// The weights of several destinations.
pub(crate) fn weights(weights: &[Option<i32>], at: &Path<'_>, out: &mut Findings) {
    for (index, weight) in weights.iter().enumerate() {
        not_negative(*weight, &at.index(index).field("weight"), out);
    }
    let total: i64 = weights.iter().map(|weight| i64::from(weight.unwrap_or_default().max(0))).sum();
    if weights.len() > 1 && total == 0 {
        out.error(codes::WEIGHTS, at, "the weights of the destinations sum up to 0")
            .hint("give each destination its weight, usually 100 in all");
    }
    if total > i64::from(u32::MAX) {
        out.error(codes::WEIGHTS, at, "the weights of the destinations sum up to more than 4294967295");
    }
}

/// Which of the named things are there: more than one is an error, and so is none where one is needed.
pub(crate) fn at_most_one(present: &[(&str, bool)], at: &Path<'_>, out: &mut Findings) {
    let given: Vec<&str> = present.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    if let [_, second, ..] = &*given {
        let message = format!("{} exclude each other", given.join(" and "));
        out.error(codes::EXCLUSIVE, &at.field(second), message);
    }
}

/// Adds a warning that a field is deprecated.
pub(crate) fn deprecated(field: &str, instead: &str, at: &Path<'_>, out: &mut Findings) {
    out.warn(codes::DEPRECATED, &at.field(field), format!("{field} is deprecated"))
        .hint(format!("use {instead}"));
}
