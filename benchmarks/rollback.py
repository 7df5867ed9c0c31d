"""What a rollback costs that has many tracks to take along: within a space, and to another one.

Run it with ``python -m benchmarks.rollback [--tracks N] [--json FILE]``. Two trainings of one made catalogue are served
one after the other; then N tracks are taken in and a refresh folds them into the second one's snapshot. None of them is
in the older snapshots that are gone back to.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from artist_transfer import FitOptions, RankingOptions, fit
from benchmarks.made_homes import MadeCatalogue
from index import WriteBatch
from jobs import Engine, Query
from jobs.factors import Factors
from jobs.models import keep_model
from jobs.projector import warm_tracks
from jobs.spaces import import_space, rollback_snapshot

WARM = 20_000
DIM = 128
TRAINED_ON = 3000  # warm tracks, for few steps: what is learned does not matter here, only what its answers cost
STEPS = 5
GROUP = 8192
QUERIES = 20


def add_tracks(engine: Engine, made: MadeCatalogue, first: int, last: int) -> None:
    """Store some of the catalogue's tracks as a backfill does: heard, not projected."""
    encoder = engine.encoder
    records = made.records()[first:last]
    rng = np.random.default_rng([1, first])
    for start in range(0, len(records), GROUP):
        part = records[start : start + GROUP]
        content = rng.standard_normal((len(part), encoder.dim), np.float32)
        rows = [(record.track_id, vector) for record, vector in zip(part, content, strict=True)]
        engine.store.commit(WriteBatch(tracks=part, content={encoder.encoder_id: rows}))


def add_training(engine: Engine, made: MadeCatalogue, space_id: str, seed: int) -> str:
    """Import a training of the warm tracks, fit a transfer to it, publish it, and give its snapshot."""
    vectors = np.random.default_rng(seed).normal(scale=0.1, size=(made.warm, made.dim)) + made.factors().vectors
    import_space(engine, space_id, Factors(made.factors().ids, vectors.astype(np.float32)))
    known = warm_tracks(engine.store, space_id, engine.encoder.encoder_id, made.ids()[:TRAINED_ON])
    assert known is not None  # they were just stored
    ranking = RankingOptions(steps=STEPS, candidates=256, listeners=128)
    keep_model(engine.home, fit(known, FitOptions(method="ranking", ranking=ranking, device=engine.device)))
    return engine.refresh(space_id=space_id).snapshot_id


def timed_rollback(engine: Engine, made: MadeCatalogue, snapshot_id: str) -> dict[str, Any]:
    """Go back, and say how long it took until all tracks were found, and what a query takes from then on."""
    began, cpu = time.perf_counter(), time.process_time()
    rollback_snapshot(engine, snapshot_id)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    status = engine.status()
    if status.tracks != made.tracks or engine.serving()[1] != snapshot_id:
        raise SystemExit(f"{made.tracks - status.tracks} tracks were lost on the way back.")
    queries = []
    for vector in made.vectors()[:QUERIES]:
        asked = time.perf_counter()
        engine.ask(Query(vector=vector, k=10))
        queries.append(1e3 * (time.perf_counter() - asked))
    return {
        "seconds": round(seconds, 2),
        "cpu_s": round(cpu_s, 2),
        "fresh_rows": status.fresh_rows,
        "query_p50_ms": round(statistics.median(queries), 2),
    }


def measure(home: Path, tracks: int) -> dict[str, Any]:
    """Go back to another space, forth to what was left, and back within its space."""
    made = MadeCatalogue(WARM + tracks, WARM, DIM)
    with Engine.open(home, create=True) as engine:
        add_tracks(engine, made, 0, WARM)
        old = add_training(engine, made, "old", 1)
        new = add_training(engine, made, "new", 2)
        add_tracks(engine, made, WARM, made.tracks)
        newest = engine.refresh()
        refreshed_s = sum(newest.stage_s.values())
    found = {"tracks_served_before": WARM, "tracks_to_take_along": tracks, "dim": DIM, "refresh_s": refreshed_s}
    for name, snapshot_id in (("to another space", old), ("forth again", newest.snapshot_id), ("within a space", new)):
        with Engine.open(home) as engine:
            found[name] = timed_rollback(engine, made, snapshot_id)
        print(name, found[name], flush=True)
    return found | {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[1], 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder) / "home", arguments.tracks)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
