//! Exit codes, tables, ages.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};

/// Something was found, differs, or is out of sync.
pub const EXIT_FINDINGS: u8 = 1;
/// It could not be done.
pub const EXIT_FAILED: u8 = 3;

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

/// Prints a value as JSON.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn ages_are_short() {
        let ages = [5, 1000, 119_000, 120_000, 7_200_000, 200_000_000].map(super::age);
        assert_eq!(ages, ["5ms", "1s", "119s", "2m", "2h", "2d"]);
    }
}
