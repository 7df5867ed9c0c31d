"""A page that a command writes from results, and that `make check` holds against them."""

from __future__ import annotations

import argparse
from pathlib import Path


def write_or_check(text: str, page: Path, module: str, description: str) -> int:
    """Write a page, or with ``--check`` on the command line compare it.

    Parameters
    ----------
    text : str
        What the page should hold.
    page : Path
    module : str
        What `python -m` runs to write it, for the sentence that says so.
    description : str
        For ``--help``.

    Returns
    -------
    int
        The exit status: 1 where the page differs.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page differs")
    if not parser.parse_args().check:
        page.write_text(text, encoding="utf-8")
        return 0
    if not page.is_file() or page.read_text(encoding="utf-8") != text:
        print(f"{page.name} differs from benchmarks/results; run python -m {module}")
        return 1
    return 0
