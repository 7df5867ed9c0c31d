"""What a snapshot costs, built anew and patched, and what loading it costs, at a million tracks.

Run it with ``python -m benchmarks.snapshot_costs [--tracks N] [--dim D] [--home FOLDER] [--json FILE]``. The home is
made of random vectors, and kept where ``--home`` names a folder. 1 % of the rows change
before the patch, as after a refresh of 1 % of the artists.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from index import (
    BuildProgress,
    Searcher,
    ServedVector,
    SpaceRecord,
    Store,
    Tier,
    TrackRecord,
    WriteBatch,
    build_snapshot,
)
from index.snapshots import load_base

SPACE = "made"
CHANGED_SHARE = 0.01
_COMMIT_ROWS = 50_000


def make_home(folder: Path, tracks: int, dim: int) -> None:
    """Write a space of `tracks` vectors, and the tracks' metadata."""
    rng = np.random.default_rng(0)
    ids = [f"track-{number:09d}" for number in rng.permutation(tracks)]
    with Store.open(folder) as store:
        store.create_space(SpaceRecord(SPACE, dim), ids, rng.normal(size=(tracks, dim)).astype(np.float32))
        for start in range(0, tracks, _COMMIT_ROWS):
            some = [
                TrackRecord(track_id, title=track_id, artist_ids=(f"artist-{int(track_id[-9:]) % (tracks // 8 + 1)}",))
                for track_id in ids[start : start + _COMMIT_ROWS]
            ]
            store.commit(WriteBatch(tracks=some))


def change(store: Store, tracks: int, dim: int, seed: int) -> None:
    """Project 1 % of the tracks anew."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(tracks, size=max(1, int(tracks * CHANGED_SHARE)), replace=False)
    rows = [
        ServedVector(f"track-{number:09d}", rng.normal(size=dim).astype(np.float32), Tier.ARTIST_TRANSFER, 0.5, "m")
        for number in chosen
    ]
    store.replace_served(SPACE, rows, as_of=store.fresh_version(SPACE))


class Stages:
    """Seconds between the steps that `build_snapshot` tells of."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", time.perf_counter()

    def __call__(self, step: BuildProgress) -> None:
        """Note a step."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = round(self.seconds.get(self._stage, 0.0) + now - self._since, 3)
        self._stage, self._since = step.stage, now


@contextmanager
def timed(figures: dict[str, Any], name: str) -> Iterator[None]:
    """Note how long a block takes."""
    began, cpu = time.perf_counter(), time.process_time()
    yield
    figures[f"{name}_s"] = round(time.perf_counter() - began, 3)
    figures[f"{name}_cpu_s"] = round(time.process_time() - cpu, 3)
    print(f"{name}: {figures[f'{name}_s']:.3f} s, {figures[f'{name}_cpu_s']:.3f} s of CPU", flush=True)


def measure(folder: Path, tracks: int, dim: int) -> dict[str, Any]:
    """Build, load, change 1 %, build and load again."""
    figures: dict[str, Any] = {"tracks": tracks, "dim": dim, "changed_share": CHANGED_SHARE}

    def build(store: Store, name: str) -> str:
        stages = Stages()
        with timed(figures, name):
            record = build_snapshot(store, SPACE, on_progress=stages)
        figures[f"{name}_stages_s"] = stages.seconds
        print(stages.seconds, flush=True)
        return record.snapshot_id

    with Store.open(folder) as store:
        first = build(store, "first_build")
        store.publish(first)
        with timed(figures, "open_searcher_in_builder"), Searcher.open(store, device="cpu"):
            pass
    with Store.open(folder) as store, timed(figures, "load_base_from_files"):
        load_base(store, store.snapshot(first))
    with Store.open(folder) as store:
        with timed(figures, "open_searcher_from_files"):
            searcher = Searcher.open(store, device="cpu")
        with searcher:
            change(store, tracks, dim, 1)
            second = build(store, "second_build")
            store.publish(second)
            with timed(figures, "switch_in_builder"):
                searcher.sync()
    with Store.open(folder) as store:
        change(store, tracks, dim, 2)
        build(store, "third_build_in_another_process")
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.home or Path(temporary) / "home"
        if not folder.exists():
            make_home(folder, arguments.tracks, arguments.dim)
        figures = measure(folder, arguments.tracks, arguments.dim)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
