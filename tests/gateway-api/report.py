"""Reads what a run of the suite left, compares it with the reasons in docs/gateway-api.md, and writes its table.

    report.py LOGS DOCUMENT [--write FILE]

Fails if a test went wrong that the document gives no reason for, or has a reason and went right.
"""

import json
import pathlib
import re
import sys

BEGIN, END = "<!-- results: machine-written -->", "<!-- end of results -->"


def reasons(document: str) -> dict[str, str]:
    """Rows `| TEST | REASON |` of the section "Not right"."""
    section = document.partition("## Not right")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", section, re.MULTILINE)
    return dict(rows)


def checks(log: str) -> dict[str, tuple[int, int]]:
    """By test: how many of its checks went right, and how many wrong. A test without parts is one check."""
    lines = re.findall(r"^ *--- (PASS|FAIL): TestSuite/(\S+)", log, re.MULTILINE)
    parents = {name.rpartition("/")[0] for _, name in lines}
    counts: dict[str, tuple[int, int]] = {}
    for verdict, name in lines:
        if name in parents:
            continue
        test = name.partition("/")[0]
        right, wrong = counts.get(test, (0, 0))
        counts[test] = (right + 1, wrong) if verdict == "PASS" else (right, wrong + 1)
    return counts


def main() -> int:
    logs, document = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    known = reasons(document.read_text())
    counted = checks((logs / "suite.log").read_text())
    rows, faults = [], []
    totals = {"right": 0, "wrong": 0, "status only": 0, "not built": 0}
    sums = [0, 0]
    for outcome in json.loads((logs / "outcomes.json").read_text()):
        test = outcome["test"]
        right, wrong = counted.get(test, (0, 0))
        if outcome.get("skipped"):
            verdict, detail = "not built", outcome["skipped"]
        elif outcome["requests"] == 0:
            verdict, detail = "status only", ""
        else:
            sums[0] += right
            sums[1] += wrong
            verdict = "right" if outcome["passed"] else "wrong"
            detail = f"{right} of {right + wrong}"
            if verdict == "wrong" and test not in known:
                faults.append(f"{test}: {wrong} of {right + wrong} checks are wrong, and no reason is given")
            if verdict == "right" and test in known:
                faults.append(f"{test} is right, and a reason is given why it were not")
        totals[verdict] += 1
        if verdict != "not built":
            rows.append(f"| `{test}` | {verdict} | {detail} |")
    summary = (
        f"{totals['right']} tests right, {totals['wrong']} wrong, {totals['status only']} about status only; "
        f"{sums[0]} of {sums[0] + sums[1]} checks right. {totals['not built']} tests are about kinds that are not built."
    )
    print(summary)
    print("\n".join(faults), file=sys.stderr)
    if "--write" in sys.argv:
        table = "\n".join([BEGIN, summary, "", "| test | answers | checks right |", "|---|---|---|", *rows, END])
        target = pathlib.Path(sys.argv[sys.argv.index("--write") + 1])
        text = target.read_text()
        before, _, rest = text.partition(BEGIN)
        target.write_text(before + table + rest.partition(END)[2])
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
