//! Unicode's classes and case orbits, in the version that RE2 has.

use std::{
    collections::{BTreeMap, HashMap},
    sync::OnceLock,
};

use super::charclass::{RUNE_MAX, Ranges};

/// Made by `tools/re2/tables.py`, which describes the form.
const TABLES: &str = include_str!("unicode.txt");

struct Tables {
    classes: HashMap<&'static str, Ranges>,
    orbits: BTreeMap<u32, Vec<u32>>,
}

fn tables() -> &'static Tables {
    static READ: OnceLock<Tables> = OnceLock::new();
    READ.get_or_init(|| {
        let mut tables = Tables { classes: HashMap::new(), orbits: BTreeMap::new() };
        let number = |text: &str| u32::from_str_radix(text, 16).expect("the table holds numbers");
        for line in TABLES.lines() {
            if let Some((name, ranges)) = line.split_once(' ') {
                let mut end = 0;
                let ranges = ranges.split(' ').filter_map(|part| part.split_once('+'));
                let ranges = ranges.map(|(gap, length)| {
                    let lo = end + number(gap);
                    end = lo + number(length);
                    (lo, end - 1)
                });
                tables.classes.insert(name, ranges.collect());
            } else {
                let orbit: Vec<u32> = line.split(',').map(number).collect();
                for point in &orbit {
                    drop(tables.orbits.insert(*point, orbit.clone()));
                }
            }
        }
        tables.classes.insert("Any", vec![(0, RUNE_MAX)]);
        tables
    })
}

/// The class of a name, such as `Lu` or `Greek`; `None` if RE2 has none of it.
pub(super) fn class(name: &str) -> Option<&'static [(u32, u32)]> {
    tables().classes.get(name).map(Vec::as_slice)
}

/// The code points of the range that differ from others by case only.
pub(super) fn folds_within(lo: u32, hi: u32) -> impl Iterator<Item = u32> {
    tables().orbits.range(lo..=hi).map(|(point, _)| *point)
}

/// The code points that differ from the given one by case only, itself among them; empty if there are none.
pub(super) fn orbit(point: u32) -> &'static [u32] {
    tables().orbits.get(&point).map_or(&[], Vec::as_slice)
}

/// May the character occur in the name of a group?
pub(super) fn in_name(point: u32) -> bool {
    ["Lu", "Ll", "Lt", "Lm", "Lo", "Nl", "Mn", "Mc", "Nd", "Pc"].iter().any(|name| {
        class(name).is_some_and(|ranges| {
            let at = ranges.partition_point(|(_, hi)| *hi < point);
            ranges.get(at).is_some_and(|(lo, _)| *lo <= point)
        })
    })
}
