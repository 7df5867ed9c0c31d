"""How many tracks a second the two ways into a home take: one process, and Ray on the same machine.

Run it with ``python -m benchmarks.backfill [--copies 8] [--json FILE]``. Made music is of no use here: the catalogue is
the bundled soundtrack, each of its 36 excerpts of 30 s as often as asked for, under another id each time. ``anacrusis
ingest`` and ``anacrusis backfill`` take it in one after the other, each in a process and a home of its own; what is
compared are their own reports, in which starting Ray and its workers counts. Ray runs its workers at a niceness of 15;
``ingest`` is run at the same one, so that whatever else the machine does takes its time from both alike. Then both
homes are compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from anacrusis.wesnoth_catalogue import load_catalogue
from index import Store

TOLERANCE = 1e-5
NICENESS = 15  # that of Ray's workers


def write_manifest(path: Path, copies: int) -> int:
    catalogue = load_catalogue()
    rows = [
        (f"{release.track_id}-{copy}", release.artist_ids[0], str(release.audio))
        for copy in range(copies)
        for release in (*catalogue.warm, *catalogue.cold)
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("track_id", "artist_ids", "audio"), *rows])
    return len(rows)


def run(command: str, home: Path, manifest: Path) -> dict[str, Any]:
    arguments = [sys.executable, "-m", "anacrusis", "--home", str(home), command, str(manifest), "--json", "-"]
    nice = ["nice", "-n", str(NICENESS)] if command == "ingest" else []
    done = subprocess.run([*nice, *arguments], check=True, stdout=subprocess.PIPE)
    report = json.loads(done.stdout)
    kept = ("created", "wall_s", "tracks_per_s", "audio_s", "stage_s", "workers", "gpus_each")
    return {name: report[name] for name in kept if name in report}


def content(home: Path) -> tuple[list[str], Any]:
    (table,) = (home / "content").iterdir()
    with Store.open(home, create=False) as store:
        ids, vectors = store.content(table.name.removesuffix(".lance"))
    order = np.argsort(ids)
    return [ids[row] for row in order], vectors[order]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracks = write_manifest(folder / "manifest.csv", options.copies)
        load = os.getloadavg()[0]
        ways = {way: run(way, folder / way, folder / "manifest.csv") for way in ("ingest", "backfill")}
        (ids, one), (others, many) = content(folder / "ingest"), content(folder / "backfill")
    difference = float(np.abs(one - many).max()) if ids == others else float("inf")
    result = {
        "command": f"python -m benchmarks.backfill --copies {options.copies}",
        "tracks": tracks,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": load,
        "ways": ways,
        "backfill_times_as_fast": ways["backfill"]["tracks_per_s"] / ways["ingest"]["tracks_per_s"],
        "checks": [
            {
                "name": "largest difference of a content vector's element between the two",
                "measured": difference,
                "bound": TOLERANCE,
                "holds": difference <= TOLERANCE,
            }
        ],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
