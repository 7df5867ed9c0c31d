"""Kill server and jobs at random moments, load a server for an hour, and write what came of it.

Run it with ``python -m benchmarks.soak [--kills N] [--minutes M] [--json FILE]``, or `make soak`. What it worked on is
kept where `--keep` names a folder. A part that is left out, by 0, keeps its figures in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.soak.rounds import Options, Soak
from benchmarks.soak.steady import steady


def main() -> int:
    """Run both, and exit with 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=300, help="0 leaves them out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="of mixed load; 0 leaves it out")
    parser.add_argument("--idle", type=int, default=10_000, help="connections that say nothing")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty one, for the homes")
    arguments = parser.parse_args()
    if not arguments.kills and not arguments.minutes:
        parser.error("Nothing is left to do; give --kills or --minutes.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whose way out ends all processes

    def told(place: str, done: int) -> None:
        print(f"{done}/{arguments.kills} {place}", file=sys.stderr, flush=True)

    kept = nullcontext(arguments.keep) if arguments.keep else tempfile.TemporaryDirectory(prefix="soak-")
    found: dict[str, Any] = {}
    with kept as folder:
        if arguments.kills:
            part = Soak(Path(folder, "crashes"), Options(arguments.kills, arguments.seed)).run(told)
            found = _with_part(found, "crashes", part, arguments.json)
        if arguments.minutes:
            part = steady(Path(folder, "steady"), 60 * arguments.minutes, arguments.idle)
            found = _with_part(found, "steady", part, arguments.json)
    print(json.dumps(found, indent=1))
    return 0 if all(check["holds"] for check in found["checks"]) else 1


def _with_part(found: dict[str, Any], name: str, part: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """Add a part to what was found, or to what the file has by now, and write it."""
    if path is not None and path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
    parts = {**{one: found[one] for one in ("crashes", "steady") if one in found}, name: part}
    found = {
        **parts,
        "cores": os.cpu_count(),
        "checks": [check for one in parts.values() for check in one["checks"]],
    }
    if path is not None:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    sys.exit(main())
