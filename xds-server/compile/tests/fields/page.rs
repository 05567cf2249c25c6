//! `docs/fields.md`.

use std::{collections::BTreeMap, fmt::Write as _};

use super::probe::{Outcome, Told};

const HEAD: &str = "# Fields

What Lateen does with each field of Istio's and the Gateway API's objects. The page is machine-made
(`xds-server/compile/tests/fields.rs`): the fields are those of the schemas of {versions},
below `spec`. `status` is not configuration, and `metadata` is Kubernetes' own; neither is in the table.

The test puts values into each field of an object that is otherwise the same and is in force with each of them, in a small
mesh with two sidecars, a gateway of each API and a gRPC client, and compares what the clients are given:

- **bytes**: two values give some client other resources, of these types. A code behind them is a finding that some values raise.
- **LAT….**: the value is taken, clients are given the same, and this finding (`docs/diagnostics.md`) names the field, or
  what holds it, or says of the whole object that it has no effect.
- **refused LAT….**: each value is an error at this field, or each but the one that goes with the rest of the object.
- **a name, checked**: it is for people only; some values are errors at this field. The test has the list.
- **not shown**: no object was found yet in which it does anything. `fields/unproved.txt` beside the test has these
  fields; the list may only get shorter.

A row ends in `.*` where one finding speaks of several fields at once. Unknown fields are errors (LAT1101). A new field of a
schema fails the test until it has a row here.
";

/// The page.
pub(crate) fn write(found: &BTreeMap<String, Vec<(String, Outcome)>>, versions: &str) -> String {
    let mut page = HEAD.replace("{versions}", versions);
    page.push_str("\n| Kind | Fields | Bytes | Finding | Refused | Name |\n|---|---|---|---|---|---|\n");
    for (kind, fields) in found {
        let count =
            |wanted: fn(&Outcome) -> bool| fields.iter().filter(|(_, outcome)| wanted(outcome)).count();
        let bytes = count(|outcome| matches!(outcome, Outcome::Bytes(..)));
        let told = count(|outcome| matches!(outcome, Outcome::Told(_)));
        let refused = count(|outcome| matches!(outcome, Outcome::Refused(_)));
        let names = count(|outcome| matches!(outcome, Outcome::Name(_)));
        writeln!(page, "| {kind} | {} | {bytes} | {told} | {refused} | {names} |", fields.len()).unwrap();
    }
    for (kind, fields) in found {
        writeln!(page, "\n## {kind}\n\n| Field | What happens |\n|---|---|").unwrap();
        let mut rest = fields.as_slice();
        while let Some(((path, outcome), behind)) = rest.split_first() {
            let group = holder(path, outcome);
            let same =
                behind.iter().take_while(|(path, outcome)| group.is_some() && holder(path, outcome) == group);
            let more = same.count();
            let name = match group {
                Some((holder, _)) if more > 0 => format!("{holder}.*` ({} fields)", more + 1),
                _ => format!("{path}`"),
            };
            writeln!(page, "| `{name} | {} |", describe(outcome)).unwrap();
            rest = &behind[more..];
        }
    }
    page
}

/// What holds the field, where the finding is about all of that.
fn holder<'a>(path: &str, outcome: &'a Outcome) -> Option<(&'a str, &'a str)> {
    match outcome {
        Outcome::Told(told) if told.path != path => Some((told.holder(), told.code)),
        _ => None,
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Bytes(types, told) => {
            let types: Vec<_> = types.iter().copied().collect();
            let told = told.as_ref().map(|told| format!("; {}", told.code));
            format!("bytes: {}{}", types.join(", "), told.unwrap_or_default())
        }
        Outcome::Told(told) => said(told),
        Outcome::Refused(told) => format!("refused {}", said(told)),
        Outcome::Name(told) => format!("a name, checked: {}", said(told)),
        Outcome::Nothing(..) => "**not shown**".to_owned(),
    }
}

/// The code, and the reason where there is one.
fn said(told: &Told) -> String {
    match told.message.split_once("because ") {
        Some((_, why)) if told.code != "LAT1102" => format!("{}: {}", told.code, why.replace('|', "\\|")),
        _ => told.code.to_owned(),
    }
}
