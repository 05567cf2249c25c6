//! `docs/fields.md`.

use std::{collections::BTreeMap, fmt::Write as _};

use super::probe::Outcome;

const HEAD: &str = "# Fields

What Lateen does with each field of Istio's and the Gateway API's objects. The page is machine-made: the fields are those
of the schemas of {versions}, and what happens is measured by
`xds-server/compile/tests/fields.rs`, which puts two values into each field and compares what clients are given.

- **applied**: another value gives clients other resources.
- **LAT….**: the value is taken and this finding tells that, and why, it has no effect, or what happens instead.
- **refused (LAT….)**: an object with the field is invalid.
- **not shown**: no value was found so far that changes anything, and nothing is said: a name that only people read, or
  a gap.

An unknown field is always an error in these kinds.
";

/// The page.
pub(crate) fn write(found: &BTreeMap<String, Vec<(String, Outcome)>>, versions: &str) -> String {
    let mut page = HEAD.replace("{versions}", versions);
    page.push_str("\n| Kind | Applied | Finding | Refused | Not shown |\n|---|---|---|---|---|\n");
    for (kind, fields) in found {
        let count =
            |wanted: fn(&Outcome) -> bool| fields.iter().filter(|(_, outcome)| wanted(outcome)).count();
        let applied = count(|outcome| matches!(outcome, Outcome::Applied));
        let told = count(|outcome| matches!(outcome, Outcome::Told(_) | Outcome::Kind(_)));
        let refused = count(|outcome| matches!(outcome, Outcome::Refused(_)));
        let silent = count(|outcome| matches!(outcome, Outcome::Nothing(_)));
        writeln!(page, "| {kind} | {applied} | {told} | {refused} | {silent} |").unwrap();
    }
    for (kind, fields) in found {
        writeln!(page, "\n## {kind}\n").unwrap();
        if let [(_, Outcome::Kind(code)), ..] = fields.as_slice()
            && fields.iter().all(|(_, outcome)| matches!(outcome, Outcome::Kind(_)))
        {
            writeln!(page, "{code}: the whole kind, with its {} fields.", fields.len()).unwrap();
            continue;
        }
        page.push_str("| Field | What happens |\n|---|---|\n");
        for (path, outcome) in fields {
            writeln!(page, "| `{path}` | {} |", describe(outcome)).unwrap();
        }
    }
    page
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied => "applied".to_owned(),
        Outcome::Told(code) => code.clone(),
        Outcome::Kind(code) => format!("{code}, of the whole kind"),
        Outcome::Refused(code) => format!("refused ({code})"),
        Outcome::Nothing(_) => "**not shown**".to_owned(),
    }
}
