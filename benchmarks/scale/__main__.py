"""Writes docs/scale.md from benchmarks/results/ and the assumptions, so that nobody types a number.

Run it with ``python -m benchmarks.scale``; ``--check`` only says whether the page is up to date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.scale.assumptions import Assumptions
from benchmarks.scale.measured import Measured
from benchmarks.scale.page import page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scale.md"
RESULTS = ROOT / "benchmarks" / "results"


def up_to_date(path: Path, results: Path, *, write: bool) -> bool:
    """Write the page, or only say whether it is what the results make."""
    made = page(Assumptions(), Measured.read(results))
    if write:
        path.write_text(made, encoding="utf-8")
    return path.is_file() and path.read_text(encoding="utf-8") == made


def main() -> int:
    """Write the page, or with ``--check`` compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page differs")
    check = parser.parse_args().check
    if up_to_date(PAGE, RESULTS, write=not check):
        return 0
    print("docs/scale.md differs from benchmarks/results; run python -m benchmarks.scale", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
