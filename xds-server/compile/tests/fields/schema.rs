//! The table of fields.

const TABLE: &str = include_str!("schema.tsv");

/// A field of a kind.
pub(crate) struct Field {
    /// `Kind.group`.
    pub(crate) kind: String,
    /// `spec.http[].match[].headers{}.exact`: `[]` is an item of a list, `{}` a value of a map.
    pub(crate) path: String,
    /// `string`, `integer`, `number`, `boolean`, `object`, `array`, `map`, `any`, `empty`, `int-or-string`.
    pub(crate) of: String,
    /// The values of an enumeration, or the format.
    pub(crate) values: Vec<String>,
}

impl Field {
    /// Does it hold a value rather than other fields?
    pub(crate) fn is_leaf(&self) -> bool {
        !matches!(&*self.of, "object" | "array" | "map")
    }
}

/// All fields.
pub(crate) fn read() -> Vec<Field> {
    let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let mut cells = row.split('\t').map(str::to_owned);
        let mut next = || cells.next().unwrap_or_default();
        let (kind, path, of, values) = (next(), next(), next(), next());
        let values = values.split(',').filter(|value| !value.is_empty()).map(str::to_owned).collect();
        Field { kind, path, of, values }
    })
    .collect()
}

/// What the table was made from.
pub(crate) fn versions() -> String {
    let first = TABLE.lines().next().unwrap_or_default();
    first
        .trim_start_matches("# Written by tools/schema.py from ")
        .trim_end_matches("; do not edit.")
        .to_owned()
}
