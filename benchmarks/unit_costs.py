"""What one row, one query and one event cost: the figures behind docs/scale.md that no other bench measures.

Run it with ``python -m benchmarks.unit_costs --json benchmarks/results/unit-costs.json``. It makes home folders of made
tracks in a temporary folder (about 3 GB), through the store, the engine and the client that users have, and measures
wall-clock and processor seconds, bytes on disk and resident bytes. A few minutes and less than 6 GiB of memory; Linux
alone, for resident bytes and other processes' processor time are read from ``/proc``.

Where a cost has two sizes, it is the difference between them, so that what a process costs anyway does not count; of
such, seconds on the processor alone are kept, which whatever else the machine does hardly moves.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anacrusis.server_process import running_server
from benchmarks.made_homes import SPACE_ID, MadeCatalogue, made_id
from benchmarks.unit_costs_serving import transport
from index import WriteBatch, build_snapshot
from jobs import Engine
from jobs.bridge import bridge_space
from jobs.factors import Factors, read_factors
from jobs.spaces import import_space

DIM = 128
TRACKS = 200_000
SMALL_TRACKS = 50_000
SCANNED_TRACKS = 1_000_000
TINY_TRACKS = 1_000
WARM_SHARE = 0.5
HEARD_WARM, HEARD_COLD = 12_288, 4_096
GROUP = 4_096  # rows a commit where many are written
SINGLE_COMMITS = 48
EVENTS, FEEDBACK_CALLS = 250, 25  # of up to 256 keys a look-up uses their index, of more it goes through all keys
FEW, MANY = 256, 16_384  # rows of a merge
MERGES = 7
LOOKED_UP, LOOK_UPS = 512, 25  # keys of a look-up: just enough for it to go through all of them
CHANGED_SHARE = 0.01
SWITCHES = 5


@dataclass
class Timed:
    """What a block took."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def timed() -> Iterator[Timed]:
    """Measure a block: seconds on the clock, and of all threads of this process on the processor."""
    found = Timed()
    wall, cpu = time.perf_counter(), time.process_time()
    yield found
    found.wall_s, found.cpu_s = time.perf_counter() - wall, time.process_time() - cpu


def middle(runs: Iterable[Timed]) -> Timed:
    """Give the medians of both."""
    all_runs = list(runs)
    return Timed(statistics.median(r.wall_s for r in all_runs), statistics.median(r.cpu_s for r in all_runs))


class Costs:
    """What was measured, by name."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, name: str, value: float, unit: str, what: str) -> None:
        """Keep one figure."""
        if value <= 0:
            raise SystemExit(
                f"{name} was found to be {value:g} {unit}: the machine is too busy to tell; measure again."
            )
        self.found[name] = {"value": float(value), "unit": unit, "what": what}
        print(f"{name:32} {value:12.4g} {unit}", flush=True)

    def add_times(self, name: str, times: Iterable[Timed], count: float, per: str, what: str) -> None:
        """Keep the medians of some runs, each of `count` rows."""
        took = middle(times)
        self.add(f"{name}.wall", took.wall_s / count, f"s/{per}", what)
        self.add(f"{name}.cpu", took.cpu_s / count, f"core s/{per}", what)


def bytes_of(path: Path) -> int:
    """Size of a file, or of all files in a folder."""
    return (
        path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    )


def bytes_a_row(address: str) -> tuple[float, int]:
    """Compact a table and weigh its latest version: data, deletions, indexes over keys. Gives bytes a row, and rows."""
    table = lance.dataset(address)
    table.optimize.compact_files(target_rows_per_fragment=1 << 20)
    table = lance.dataset(address)
    data = sum(
        bytes_of(Path(address, "data", file.path)) for part in table.get_fragments() for file in part.data_files()
    )
    used = {str(segment.uuid) for index in table.describe_indices() for segment in index.segments}
    keys = sum(bytes_of(Path(address, "_indices", name)) for name in used)
    rows = table.count_rows()
    return (data + keys) / rows, rows


def write_factors(path: Path, id_column: str, factors: Factors) -> None:
    """Write a training as recommenders hand it over."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(factors.vectors.reshape(-1)), factors.vectors.shape[1])
    columns = {id_column: factors.ids.tolist(), "vector": vectors}
    if factors.popularity is not None:
        columns["popularity"] = factors.popularity
    pq.write_table(pa.table(columns), path)


def fill(engine: Engine, home: Path, made: MadeCatalogue, costs: Costs | None) -> None:
    """Import the space, write tracks and content, stage projected rows, publish; measured where `costs` is given."""
    store, encoder_id = engine.store, engine.encoder.encoder_id
    items, users = home / "items.parquet", home / "users.parquet"
    write_factors(items, "track_id", made.factors())
    write_factors(users, "user_id", made.users(made.warm))
    with timed() as took:
        factors = read_factors(items, id_column="track_id"), read_factors(users, id_column="user_id")
        import_space(engine, SPACE_ID, *factors)
    if costs:
        what = f"space import of {made.warm:,} tracks and as many users, from Parquet files"
        costs.add_times("import", [took], made.warm * 2, "row", what)
    records = made.records()
    heard = [*records[:HEARD_WARM], *records[made.warm : made.warm + HEARD_COLD]] if costs else records[:1]
    content = np.random.default_rng(9).standard_normal((len(heard), engine.encoder.dim), np.float32)
    took_each = []
    for start in range(0, len(heard), GROUP):
        part = heard[start : start + GROUP]
        rows_of = [(one.track_id, content[start + row]) for row, one in enumerate(part)]
        with timed() as took:
            store.commit(WriteBatch(tracks=part, content={encoder_id: rows_of}))
        took_each.append(took)
    if costs:
        what = f"commit of tracks with content vectors, {GROUP:,} at once"
        costs.add_times("write_content", took_each, GROUP, "track", what)
    known = {one.track_id for one in heard}
    others = [one for one in records if one.track_id not in known]
    if costs:
        took_each = []
        for place, one in enumerate(others[:SINGLE_COMMITS]):
            with timed() as took:
                store.commit(WriteBatch(tracks=[one], content={encoder_id: [(one.track_id, content[place])]}))
            took_each.append(took)
        costs.add_times("write_one", took_each, 1, "commit", "the same, one track a commit")
    for start in range(0, len(others), GROUP):
        store.commit(WriteBatch(tracks=others[start : start + GROUP]))
    for start in range(made.warm, made.tracks, GROUP):
        rows = list(made.projected(records[start : start + GROUP], start))
        store.replace_served(SPACE_ID, rows, as_of=store.fresh_version(SPACE_ID))
    with timed() as took:
        snapshot = build_snapshot(store, SPACE_ID)
    if costs:
        costs.add_times("build", [took], made.tracks, "row", f"a snapshot of {made.tracks:,} rows, built anew")
    store.publish(snapshot.snapshot_id)


def snapshots(engine: Engine, home: Path, made: MadeCatalogue, costs: Costs) -> None:
    """Change some rows, build on the last snapshot, switch to and fro."""
    store = engine.store
    changed = int(made.tracks * CHANGED_SHARE)
    took_each = []
    for turn in range(3):
        records = made.records()[made.warm + turn * changed :][:changed]
        store.commit(WriteBatch(fresh={SPACE_ID: list(made.projected(records, turn))}))
        with timed() as took:
            snapshot = build_snapshot(store, SPACE_ID)
        took_each.append(took)
    what = f"the next snapshot of {made.tracks:,} rows, of which {CHANGED_SHARE:.0%} are new"
    costs.add_times("build_next", took_each, made.tracks, "row", what)
    index = bytes_of(home / "indexes" / snapshot.snapshot_id)
    costs.add("bytes.index", index / snapshot.row_count, "bytes/row", "files of a built index")
    switches = []
    store.publish(snapshot.snapshot_id)
    engine.adopt()
    for _ in range(SWITCHES):
        with timed() as took, engine.gate.alone():
            store.rollback()
            engine.adopt()
        switches.append(took)
        store.publish(snapshot.snapshot_id)
        engine.adopt()
    what = f"a rollback in the process that serves {made.tracks:,} rows, until it answers from the other snapshot"
    costs.add_times("switch", switches, made.tracks, "row", what)


def merges(engine: Engine) -> dict[str, Timed]:
    """Stage few rows and many, and look many up; medians of each."""
    made = MadeCatalogue(MANY, 0, DIM, seed=1)
    records = [replace(one, track_id=made_id("staged", row)) for row, one in enumerate(made.records())]
    as_of = engine.store.fresh_version(SPACE_ID)
    found = {}
    for count in (FEW, MANY):
        runs = []
        for turn in range(MERGES + 1):
            rows = list(made.projected(records[:count], turn))
            with timed() as took:
                engine.store.replace_served(SPACE_ID, rows, as_of=as_of)
            runs.append(took)
        found[f"merge {count}"] = middle(runs[1:])  # the first one inserts, the others replace
    runs = []
    for _ in range(LOOK_UPS):
        with timed() as took:
            engine.store.served_rows(SPACE_ID, track_ids=[one.track_id for one in records[:LOOKED_UP]])
        runs.append(took)
    found["look-up"] = middle(runs)
    return found


def passes(small: dict[str, Timed], large: dict[str, Timed], costs: Costs) -> None:
    """Tell what a merge and a look-up of many keys cost for each row that is there already, and for each that comes."""
    there = SCANNED_TRACKS - SMALL_TRACKS
    sizes = f"difference between tables of {SCANNED_TRACKS:,} and {SMALL_TRACKS:,} rows"
    rows = MANY - FEW
    of_many, of_few = large[f"merge {MANY}"], large[f"merge {FEW}"]
    what = f"a row of a merge into the served table; difference between {MANY:,} and {FEW:,} rows"
    costs.add("stage.row.cpu", (of_many.cpu_s - of_few.cpu_s) / rows, "core s/row", what)
    before = small[f"merge {FEW}"]
    what = f"going through the keys that are there, for a merge; {sizes}"
    costs.add("stage.pass.cpu", (of_few.cpu_s - before.cpu_s) / there, "core s/(merge row)", what)
    after, before = large["look-up"], small["look-up"]
    what = f"the same for a look-up of {LOOKED_UP:,} keys; {sizes}"
    costs.add("lookup.pass.cpu", (after.cpu_s - before.cpu_s) / there, "core s/(lookup row)", what)


def feedback(engine: Engine, made: MadeCatalogue, costs: Costs) -> None:
    """Record events on tracks that can be projected anew."""
    cold = [one.track_id for one in made.records()[made.warm : made.warm + HEARD_COLD]]
    took_each = []
    for call in range(FEEDBACK_CALLS):
        events = made.events(cold, made.warm, EVENTS, call * EVENTS)
        with timed() as took:
            report = engine.record_feedback(events)
        if any(one.error for one in report.outcomes):
            raise SystemExit(f"An event was refused: {next(one.error for one in report.outcomes if one.error)}")
        if call:  # the first one measures the space's background and builds the projector
            took_each.append(took)
    what = f"{EVENTS:,} events a call on {HEARD_COLD:,} cold tracks, recorded and their tracks projected anew"
    costs.add_times("feedback", took_each, EVENTS, "event", what)


def bridge(engine: Engine, made: MadeCatalogue, costs: Costs) -> None:
    """Import the same training once more, turned around, and carry the cold rows into it."""
    items = made.factors()
    rotation = np.linalg.qr(np.random.default_rng(11).normal(size=(DIM, DIM)))[0]
    turned = np.ascontiguousarray(items.vectors @ rotation, dtype=np.float32)
    import_space(engine, f"{SPACE_ID}-next", Factors(items.ids, turned, items.popularity))
    with timed() as took:
        report = bridge_space(engine, f"{SPACE_ID}-next")
    what = f"cold rows of a space of {made.tracks:,}, {report.carried:,} of them, carried into a newer training"
    costs.add_times("bridge", [took], made.tracks, "row", what)


def weigh(engine: Engine, home: Path, made: MadeCatalogue, costs: Costs) -> None:
    """Weigh every table's rows."""
    (space,) = (one for one in engine.store.spaces() if one.space_id == SPACE_ID)
    addresses = {
        "tracks": engine.store.layout.tracks,
        "content": engine.store.layout.content(engine.encoder.encoder_id),
        "feedback": engine.store.layout.feedback,
        **{
            kind: str(next(Path(home, kind).glob(f"{space.space_id}.*.lance"))) for kind in ("served", "fresh", "users")
        },
    }
    for name, address in addresses.items():
        size, rows = bytes_a_row(address)
        costs.add(
            f"bytes.{name}", size, "bytes/row", f"{rows:,} rows on disk with the index over their keys, compacted"
        )


def answering(home: Path, *, scan: bool) -> dict[str, Any]:
    """Open a home in a process of its own, and let it say what that took and what a search takes."""
    command = [sys.executable, "-m", "benchmarks.unit_costs_serving", str(home), *(["--scan"] if scan else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def between(large: dict[str, Any], small: dict[str, Any], name: str) -> float:
    """Cost of a row: the difference of two sizes."""
    return float(large[name] - small[name]) / float(large["rows"] - small["rows"])


def measure(folder: Path) -> dict[str, Any]:
    """Measure everything in a folder."""
    load: list[float] = []

    def tell(what: str) -> None:
        print(f"-- {what}", file=sys.stderr, flush=True)
        load.append(os.getloadavg()[0])

    costs = Costs()
    made = MadeCatalogue(TRACKS, int(TRACKS * WARM_SHARE), DIM)
    tell(f"a home of {TRACKS:,} tracks")
    with Engine.open(folder / "large", create=True, device="cpu") as engine:
        fill(engine, folder / "large", made, costs)
    tell(f"the same with {SMALL_TRACKS:,}, and opening both")
    with Engine.open(folder / "small", create=True, device="cpu") as engine:
        fill(engine, folder / "small", MadeCatalogue(SMALL_TRACKS, int(SMALL_TRACKS * WARM_SHARE), DIM), None)
    large, small = (answering(folder / name, scan=False) for name in ("large", "small"))
    with Engine.open(folder / "small", device="cpu") as engine:
        few_there = merges(engine)
    tell("snapshots and feedback")
    with Engine.open(folder / "large", device="cpu") as engine:
        snapshots(engine, folder / "large", made, costs)
        feedback(engine, made, costs)
        bridge(engine, made, costs)
        weigh(engine, folder / "large", made, costs)
    sizes = f"difference between {TRACKS:,} and {SMALL_TRACKS:,} rows"
    for name, unit, what in (
        ("resident_bytes", "bytes/row", "memory of a process that has answered its first query"),
        ("peak_bytes", "bytes/row", "the most memory that it took on the way"),
        ("open.cpu", "core s/row", "from opening the home to the first answer"),
    ):
        costs.add(name, between(large, small, name), unit, f"{what}; {sizes}")
    tell(f"a scan of {SCANNED_TRACKS:,} rows")
    with Engine.open(folder / "scanned", create=True, device="cpu") as engine:
        import_space(engine, SPACE_ID, MadeCatalogue(SCANNED_TRACKS, SCANNED_TRACKS, DIM).factors())
        engine.store.publish(build_snapshot(engine.store, SPACE_ID).snapshot_id)
        many_there = merges(engine)
    passes(few_there, many_there, costs)
    for batch, took in answering(folder / "scanned", scan=True)["scan"].items():
        what = (
            f"an exact float16 scan for k = 100 of {SCANNED_TRACKS:,} rows of {DIM}, {batch} queries a call, one thread"
        )
        per = SCANNED_TRACKS * DIM
        costs.add(f"scan.{batch}.wall", took["wall_s"] / per, "s/(query row dimension)", what)
        costs.add(f"scan.{batch}.cpu", took["cpu_s"] / per, "core s/(query row dimension)", what)
    tell("the transport")
    with Engine.open(folder / "tiny", create=True, device="cpu") as engine:
        import_space(engine, SPACE_ID, MadeCatalogue(TINY_TRACKS, TINY_TRACKS, DIM).factors())
        engine.store.publish(build_snapshot(engine.store, SPACE_ID).snapshot_id)
    with running_server(folder / "tiny") as server:
        for name, value, unit, what in transport(server.address, server.process.pid, DIM):
            costs.add(name, value, unit, f"{what}, {TINY_TRACKS:,} rows")
    return {
        "machine": {
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "gpu": "none",
            "load_average": statistics.median(load),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "dim": DIM,
        "content_dim": int(engine.encoder.dim),
        "warm_share": WARM_SHARE,
        "costs": costs.found,
    }


def main() -> None:
    """Print each figure as it is found, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
