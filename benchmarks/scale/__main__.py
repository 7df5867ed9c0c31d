"""Writes docs/scale.md from benchmarks/results/ and the assumptions, so that nobody types a number.

Run it with ``python -m benchmarks.scale``; ``--check`` only says whether the page is up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.pages import write_or_check
from benchmarks.scale.assumptions import Assumptions
from benchmarks.scale.measured import Measured
from benchmarks.scale.page import page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scale.md"
RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Write the page, or with ``--check`` compare."""
    text = page(Assumptions(), Measured.read(RESULTS))
    return write_or_check(text, PAGE, "benchmarks.scale", (__doc__ or "").splitlines()[0])


if __name__ == "__main__":
    sys.exit(main())
