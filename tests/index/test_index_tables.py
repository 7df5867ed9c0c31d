"""One table under an index over its keys: what it gives is what it gives without one."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from index import SpaceRecord, build_snapshot, tables
from index.table_reads import ROW_VERSION
from index.tables import Table

ROOT = Path(__file__).parents[2]
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"}),
        pa.field("value", pa.int64()),
    ]
)

_WRITER = """
import sys, pyarrow as pa
from index import tables
tables._COMPACT_EVERY, tables._INDEX_ROWS, tables._INDEX_PARTS = 3, 100, 3
address, name = sys.argv[1:]
table = tables.Table(address, "test", "key")
print("ready", flush=True); sys.stdin.readline()
for turn in range(15):
    keys = [f"{name}-{turn}", "shared", f"k{turn:04d}"]
    table.upsert(pa.table([keys, [turn] * 3], schema=table.schema))
    table.compact_if_due()
    assert table.read(keys=keys).num_rows == 3
print("done", flush=True)
"""


@pytest.fixture(autouse=True)
def small_tables_are_indexed(monkeypatch):
    monkeypatch.setattr(tables, "_INDEX_ROWS", 100)
    monkeypatch.setattr(tables, "_INDEX_PARTS", 3)


def rows(values: dict[str, int]) -> pa.Table:
    return pa.table([list(values), list(values.values())], schema=SCHEMA)


def values(table: pa.Table) -> dict[str, int]:
    found = dict(zip(table["key"].to_pylist(), table["value"].to_pylist(), strict=True))
    assert len(found) == table.num_rows
    return found


def indices(table: Table) -> int:
    return sum(len(index.segments) for index in lance.dataset(table.address).describe_indices())


def test_large_tables_have_an_index_and_small_ones_none(tmp_path):
    small = Table.create(str(tmp_path / "small.lance"), "small", "key", rows({f"k{n}": n for n in range(99)}))
    large = Table.create(str(tmp_path / "large.lance"), "large", "key", rows({f"k{n}": n for n in range(100)}))
    assert (indices(small), indices(large)) == (0, 1)
    for turn in range(8):
        small.upsert(rows({f"n{turn}": turn}))
        small.compact()
        assert 1 <= indices(small) <= 3  # parts are added, then made one again
    plan = small.latest().scanner(filter="key IN ('k3')").explain_plan()
    assert "ScalarIndexQuery" in plan


@pytest.mark.parametrize("seed", [0, 1])
def test_an_indexed_table_is_read_and_written_as_any_other(tmp_path, seed):
    rng = random.Random(seed)
    shown = {f"k{n:04d}": 0 for n in range(1000)}
    table = Table.create(str(tmp_path / "t.lance"), "test", "key", rows(shown))
    written = dict.fromkeys(shown, 1)
    history = []
    for _turn in range(60):
        batch = {
            rng.choice([f"k{rng.randrange(1000):04d}", f"n{rng.randrange(60)}"]): rng.randrange(100)
            for _ in range(rng.choice([1, 2, 30]))
        }
        kind = rng.choice(["all", "larger", "new"])
        if kind == "all":
            changed, version = batch, table.upsert(rows(batch))
        elif kind == "larger":
            changed = {key: value for key, value in batch.items() if value > shown.get(key, -1)}
            version = table.upsert(rows(batch), update_if="source.value > target.value")
        else:
            changed = {key: value for key, value in batch.items() if key not in shown}
            assert table.insert(rows(batch)) == len(changed)
            version = table.version
        shown |= changed
        written |= dict.fromkeys(changed, version)
        history.append((version, dict(shown)))
        if rng.random() < 0.3:
            table.compact()
        keys = [*batch, *(f"k{rng.randrange(1000):04d}" for _ in range(5)), "unknown"]
        expected = {key: shown[key] for key in keys if key in shown}
        found = table.read(columns=["key", "value", ROW_VERSION], keys=keys)
        assert values(found) == expected
        if kind != "new":
            assert found[ROW_VERSION].to_pylist() == [written[key] for key in found["key"].to_pylist()]
            since = max(1, version - rng.randrange(4))
            newer = table.read(keys=keys, since=since)
            assert values(newer) == {key: value for key, value in expected.items() if written[key] > since}
        version, then = rng.choice(history)
        assert values(table.read(keys=keys, version=version)) == {key: then[key] for key in keys if key in then}
    assert values(table.read()) == shown
    assert indices(table) >= 1


def test_processes_write_an_indexed_table_without_loss(tmp_path):
    table = Table.create(str(tmp_path / "t.lance"), "test", "key", rows({f"k{n:04d}": -1 for n in range(200)}))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, table.address, name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "AB"
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout.readline() == "done\n"
        with child:
            assert child.wait() == 0
    expected = {f"k{n:04d}": n if n < 15 else -1 for n in range(200)}
    expected |= {f"{name}-{turn}": turn for name in "AB" for turn in range(15)} | {"shared": 14}
    assert values(table.read()) == expected
    for key, value in expected.items():
        assert values(table.read(keys=[key])) == {key: value}


def test_a_snapshots_version_is_indexed(store):
    ids = [f"t{n:03d}" for n in range(120)]
    store.create_space(SpaceRecord("als", 2), ids, np.ones((120, 2), dtype=np.float32))
    snapshot = build_snapshot(store, "als")
    served = store.space_tables.served("als").at(snapshot.served_version)
    assert len(served.describe_indices()) == 1
    assert list(store.served_vectors("als", ["t007"], snapshot=snapshot)) == ["t007"]


def test_a_table_that_appears_while_another_creates_it_keeps_its_rows(tmp_path, monkeypatch):
    address, write = str(tmp_path / "t.lance"), tables.write_fragments
    rows = pa.table([["acknowledged"], [1]], schema=SCHEMA)

    def write_slowly(*args, **kwargs):
        fragments = write(*args, **kwargs)
        monkeypatch.undo()
        Table.create(address, "t", "key", rows.slice(0, 0)).insert(rows)
        return fragments

    monkeypatch.setattr(tables, "write_fragments", write_slowly)
    late = Table.create(address, "t", "key", pa.table([["other"], [2]], schema=SCHEMA))
    assert late.read().to_pylist() == [{"key": "acknowledged", "value": 1}]
    assert late.version == 2


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_many_keys_are_found_whatever_lies_between(tmp_path, share):
    """Rows deleted, written again and compacted on the way, and more keys than one filter takes."""
    count = 20_000
    ids = [f"k{number:05d}" for number in range(count)]
    table = Table.create(str(tmp_path / "t.lance"), "t", "key", pa.table([ids, range(count)], schema=SCHEMA))
    since = table.version
    table.upsert(pa.table([ids[:6000:3], [-1] * 2000], schema=SCHEMA))
    table.delete("value = 7 OR value = 11")
    rng = np.random.default_rng(0)
    wanted = [*rng.choice(ids, int(share * count), replace=False).tolist(), "unknown", ids[7]]

    numbers = {int(key[1:]) for key in wanted if key != "unknown"} - {7, 11}
    found = table.read(keys=wanted)
    again = {number for number in numbers if number < 6000 and number % 3 == 0}
    expected = {(f"k{number:05d}", -1 if number in again else number) for number in numbers}
    assert set(zip(found["key"].to_pylist(), found["value"].to_pylist(), strict=True)) == expected
    assert found.num_rows == len(expected)

    newer = table.read(columns=["value", "key", ROW_VERSION], keys=wanted, since=since)
    assert newer.schema.names == ["value", "key", ROW_VERSION]
    assert set(newer["key"].to_pylist()) == {f"k{number:05d}" for number in again}
    assert table.read(columns=["key"], keys=["no"] * 300 + ["nor"]).num_rows == 0
