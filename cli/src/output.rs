//! Exit codes, tables, ages.

use std::io::Write as _;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use lateen_model::text::printable;

/// Something was found, differs, or is out of sync.
pub const EXIT_FINDINGS: u8 = 1;
/// It was asked for in a way that makes no sense; clap's own code.
pub const EXIT_USAGE: u8 = 2;
/// It could not be done.
pub const EXIT_FAILED: u8 = 3;

/// Flags that make no sense together, or a value that clap can't judge.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A table without lines, as wide as the terminal.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}

/// `850ms`, `12s`, `3m`, `5h`, `2d`.
pub fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A time of day in UTC as in RFC 3339, from milliseconds since 1970.
pub fn time(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March end with the leap day; 400 of them have 146,097 days, 4 have 1,461:
    // https://howardhinnant.github.io/date_algorithms.html#civil_from_days
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Prints a line of the answer. When it can't be written there is nothing left to do: a reader who has seen enough
/// (`| head`) ends the command quietly, anything else is an error.
///
/// Names and words of others can't give the terminal orders.
pub fn line(text: std::fmt::Arguments<'_>) {
    raw(&printable(&text.to_string(), &['\n', '\t']));
}

fn raw(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        aside(format_args!("lateen: can't write: {error}"));
        std::process::exit(EXIT_FAILED.into());
    }
}

/// Prints a line beside the answer, to stderr. It is not missed when nobody can read it.
pub fn aside(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{}", printable(&text.to_string(), &['\n', '\t']));
}

/// Prints a value as JSON.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    raw(&serde_json::to_string_pretty(value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_those_of_the_calendar() {
        let times = [0, 951_782_400_000, 1_709_251_199_999, 1_795_408_196_000].map(super::time);
        assert_eq!(
            times,
            ["1970-01-01T00:00:00Z", "2000-02-29T00:00:00Z", "2024-02-29T23:59:59Z", "2026-11-23T04:29:56Z"]
        );
    }

    #[test]
    fn ages_are_short() {
        let ages = [5, 1000, 119_000, 120_000, 7_200_000, 200_000_000].map(super::age);
        assert_eq!(ages, ["5ms", "1s", "119s", "2m", "2h", "2d"]);
    }
}
