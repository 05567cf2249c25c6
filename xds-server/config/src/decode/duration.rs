//! Durations as users write them.

use std::time::Duration;

/// Reads `1.5s`, `100ms`, `1h30m`: a sum of numbers with units, as in Go, which Istio's API follows.
/// <https://pkg.go.dev/time#ParseDuration>
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    let body = text.strip_prefix('+').unwrap_or(text);
    if body.starts_with('-') {
        return Err("a duration must not be negative");
    }
    if body == "0" {
        return Ok(Duration::ZERO);
    }
    if body.is_empty() {
        return Err("a duration must not be empty");
    }
    let mut rest = body;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or("a unit is missing")?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let nanos = nanos(unit).ok_or("the units are h, m, s, ms, us, ns")?;
        total = total.saturating_add(scale(number, nanos).ok_or("a number is missing or too large")?);
        rest = tail;
    }
    // Envoy counts nanoseconds in 64 bits and refuses what does not fit.
    if total >= 9_223_372_036 * 1_000_000_000 {
        return Err("a duration must be shorter than 9223372036s, 292 years");
    }
    let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| "the duration is too long")?;
    let nanos = u32::try_from(total % 1_000_000_000).map_err(|_| "the duration is too long")?;
    Ok(Duration::new(seconds, nanos))
}

fn nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "h" => 3_600_000_000_000,
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" | "µs" | "μs" => 1_000,
        "ns" => 1,
        _ => return None,
    })
}

fn scale(number: &str, nanos: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 18 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits behind the thirteenth can't change the nanoseconds of an hour by as much as one.
    let fraction = fraction.get(..fraction.len().min(13))?;
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let unit = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(whole * nanos + part * nanos / unit)
}

/// Writes a duration so that [`duration`] reads it back.
pub fn format_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match (seconds, duration.subsec_nanos()) {
        (_, 0) => format!("{seconds}s"),
        (0, nanos) if nanos % 1_000_000 == 0 => format!("{millis}ms"),
        (_, nanos) => format!("{seconds}.{}s", format!("{nanos:09}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases: [(&str, u64); 9] = [
            ("5s", 5_000_000_000),
            ("1.5s", 1_500_000_000),
            ("100ms", 100_000_000),
            ("1h30m", 5_400_000_000_000),
            ("0", 0),
            ("0s", 0),
            (".5s", 500_000_000),
            ("2us", 2_000),
            ("0.000000001s", 1),
        ];
        for (text, nanos) in cases {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
            assert_eq!(duration(&format_duration(Duration::from_nanos(nanos))), duration(text));
        }
        for text in ["", "5", "s", "-1s", "1x", "1s5", "1..5s", "1 s", "99999999999999999999h", "1e3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
