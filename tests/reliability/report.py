"""Write what the sweeps found into docs/reference/reliability.md; run by `make reliability`.

`python report.py FOLDER` reads what each sweep printed there: `power-cuts`, `syscalls`, `buckets`
(of `tests/test_bucket_faults.py`) and `mutations`; the last line of each is JSON. What is missing
leaves its part of the page as it is.
"""

import json
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "reliability.md"


def table(heads, rows):
    """Give a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def counts(name, found):
    """Give a table of counts, and their sum."""
    rows = [(what, f"{number:,}") for what, number in found.items()]
    return table((name, "count"), [*rows, ("**all**", f"**{sum(found.values()):,}**")])


def power_cuts(report):
    """Say how many cuts there were, and what was found wrong."""
    return f"{counts('mount', report['cuts'])}\n\nFound wrong: {len(report['problems'])}."


def syscalls(report):
    """Say how many calls failed, what the writers were told, and what was found wrong."""
    told = counts("what the writer was told", report["endings"])
    calls = counts("call that failed", report["faults"])
    return f"{calls}\n\n{told}\n\nFound wrong: {len(report['problems'])}."


def buckets(report):
    """Say how many requests failed in one way or another."""
    single = counts("operation, one fault", report["single"])
    return f"{single}\n\n{counts('operation, two faults', report['pairs'])}"


def mutations(report):
    """Say which test notices that a guard is away."""
    rows = [(*what.split(": ", 1), f"`{found}`") for what, found in report.items()]
    return table(("where", "what is taken away", "noticed first by"), rows)


PARTS = {
    part.__name__.replace("_", "-"): part for part in (power_cuts, syscalls, buckets, mutations)
}


def main(folder):
    """Put each part between its marks."""
    page = PAGE.read_text("utf-8")
    for name, render in PARTS.items():
        found = Path(folder) / name
        if found.exists():
            text = render(json.loads(found.read_text("utf-8").splitlines()[-1]))
            marks = rf"(% begin {name}\n).*?(\n% end {name}\n)"
            page, number = re.subn(
                marks, lambda m, t=text: f"{m[1]}\n{t}\n{m[2]}", page, flags=re.DOTALL
            )
            assert number == 1, f"{PAGE} has no place for {name}"
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
