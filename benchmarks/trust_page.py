"""Writes docs/results/trust.md from benchmarks/results/, so that nobody types a number.

Run it with ``python -m benchmarks.trust_page`` after the commands that the page names have written their JSON;
``--check`` only says whether the page is up to date. What was not measured yet is left out, and says so.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from benchmarks.pages import write_or_check
from benchmarks.spaces_page import promises, table
from benchmarks.trust_promises import PROMISES, Promise, Result

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results" / "trust.md"
COMMANDS = {
    "soak": "python -m benchmarks.soak --json benchmarks/results/soak.json",
    "fuzz": "python -m tests.fuzz --json benchmarks/results/fuzz.json",
    "decoding": "python -m benchmarks.decoding --json benchmarks/results/decoding.json",
    "defences": "python -m benchmarks.defences --json benchmarks/results/defences.json",
}
"""What writes each result; `make soak` and `make fuzz` run the first two."""

_UNMEASURED = "not measured yet"


def missing_tests() -> list[str]:
    """List tests that a promise names and that are not there."""
    named = [one for promise in PROMISES for one in promise.tests]
    return [one for one in named if not _is_there(*one.split("::"))]


def _is_there(file: str, name: str) -> bool:
    path = ROOT / file
    return path.is_file() and re.search(rf"^(async )?def {name}\(", path.read_text("utf-8"), re.MULTILINE) is not None


def _is_slow(file: str, name: str) -> bool:
    text = (ROOT / file).read_text("utf-8")
    return re.search(rf"^@pytest\.mark\.slow\n(@.*\n)*(async )?def {name}\(", text, re.MULTILINE) is not None


def _held_by(promise: Promise) -> str:
    slow = any(_is_slow(*one.split("::")) for one in promise.tests)
    return f"held by `make test{'-all' if slow else ''}`"


def page() -> str:
    """Compose the page."""
    results = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in (RESULTS / f"{name}.json" for name in COMMANDS)
        if path.is_file()
    }
    rows = []
    for promise in PROMISES:
        tests = "<br>".join(f"`{one.split('/')[-1]}`" for one in promise.tests)
        command = f"`{COMMANDS[promise.result].split(' --json')[0]}`" if promise.result else ""
        shown = "<br>".join(part for part in (tests, command) if part)
        found = results.get(promise.result)
        if not promise.result:
            rows.append([promise.words, shown, "", _held_by(promise)])
        else:
            try:
                rows.append([promise.words, shown, promise.cases(found or {}), promise.outcome(found or {})])
            except KeyError:
                rows.append([promise.words, shown, "", _UNMEASURED])
    parts = [
        "# Trust: what is promised, and what shows it",
        "Every figure comes from the command named beside it; `python -m benchmarks.trust_page` writes this page from "
        "their JSON in `benchmarks/results/`, and refuses where a test that it names is not there.",
        table(["promise", "how it is tested", "cases", "result"], rows),
    ]
    if "crashes" in results.get("soak", {}):
        parts += ["## Kills by place", _places(results["soak"]["crashes"])]
    if results:
        parts += ["## Checks", promises(results)]
    return "\n\n".join(parts) + "\n"


def _places(crashes: Result) -> str:
    rows = [[place, f"{count:,}"] for place, count in crashes["kills"].items()]
    done = ", ".join(f"{count:,} {what}" for what, count in crashes["acknowledged"].items())
    return table(["killed during", "kills"], rows) + f"\n\nAcknowledged meanwhile: {done}."


def main() -> int:
    """Write the page, or with ``--check`` compare."""
    missing = missing_tests()
    if missing:
        print(f"These tests are promised and not there: {', '.join(missing)}")
        return 1
    return write_or_check(page(), PAGE, "benchmarks.trust_page", (__doc__ or "").splitlines()[0])


if __name__ == "__main__":
    sys.exit(main())
