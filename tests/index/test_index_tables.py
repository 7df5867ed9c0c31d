"""One table under an index over its keys: what it gives is what it gives without one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from index import SpaceRecord, build_snapshot, tables, write_locks
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
if sys.argv.pop() == "known":
    tables._KNOWN_AFTER = 0
tables._COMPACT_EVERY, tables._INDEX_ROWS, tables._INDEX_PARTS = 3, 100, 3
address, name = sys.argv[1:]
table = tables.Table(address, "test", "key")
print("ready", flush=True); sys.stdin.readline()
for turn in range(15):
    keys = [f"{name}-{turn}", "shared", f"k{turn:04d}"]
    table.upsert(pa.table([keys, [turn] * 3], schema=table.schema))
    keys += [f"both-{turn}"]  # new to both, at about one moment
    table.upsert(pa.table([keys[3:], [turn]], schema=table.schema))
    table.compact_if_due()
    assert table.read(keys=keys).num_rows == 4
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


@pytest.mark.parametrize(("seed", "known_after"), [(0, 1000), (1, 3)])
def test_an_indexed_table_is_read_and_written_as_any_other(tmp_path, monkeypatch, seed, known_after):
    monkeypatch.setattr(tables, "_KNOWN_AFTER", known_after)
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


@pytest.mark.parametrize("keys", ["merged", "known"])
def test_processes_write_an_indexed_table_without_loss(tmp_path, keys):
    table = Table.create(str(tmp_path / "t.lance"), "test", "key", rows({f"k{n:04d}": -1 for n in range(200)}))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, table.address, name, keys],
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
    expected |= {f"both-{turn}": turn for turn in range(15)}
    assert values(table.read()) == expected
    for key, value in expected.items():
        assert values(table.read(keys=[key])) == {key: value}


@pytest.mark.parametrize("write", [Table.upsert, Table.insert])
def test_a_merge_sees_a_new_key_that_was_merged_since_it_began(tmp_path, monkeypatch, write):
    """With an index over the keys, too: Lance tells merges of one new key apart only where they do without it."""
    address = str(tmp_path / "t.lance")
    first = Table.create(address, "test", "key", rows({f"k{n:04d}": -1 for n in range(200)}))
    late = Table(address, "test", "key")
    assert indices(late) == 1
    before = lance.dataset(address)
    first.upsert(rows({"new": 1}))
    monkeypatch.setattr(late, "_newest_writer", lambda **_: before)
    write(late, rows({"new": 2}))
    assert values(first.read(keys=["new"])) == {"new": 2 if write is Table.upsert else 1}


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


def test_new_keys_are_appended_and_known_ones_are_merged(tmp_path):
    """Two writers, each of whom finds what the other has written."""
    first = Table.create(str(tmp_path / "t.lance"), "t", "key", rows({f"k{n}": 0 for n in range(10)}))
    second = Table(first.address, "t", "key")
    for table in (first, second):
        table.know_keys()
    expected = {f"k{n}": 0 for n in range(10)}
    for turn, table in enumerate([first, second, second, first, first, second]):
        for batch in ({f"a{turn}": turn, f"b{turn}": turn}, {"k3": turn, f"a{turn - 1}": -1, f"c{turn}": turn}):
            version = table.upsert(rows(batch))
            expected |= batch
            found = second.read(columns=["key", "value", ROW_VERSION], keys=list(batch))
            assert values(found) == batch
            assert found[ROW_VERSION].to_pylist() == [version] * len(batch)
            assert values(first.read()) == expected
        if turn == 2:
            first.compact()
            first.delete("key = 'b0'")
            del expected["b0"]
            second.upsert(rows({"b0": 9}))
            expected["b0"] = 9
    operations = [
        one["operation"] if isinstance(one, dict) else type(one.operation).__name__
        for one in lance.dataset(first.address).get_transactions(30)
        if one is not None
    ]
    assert operations.count("Append") == 6  # what is new costs no merge


def test_of_two_who_append_a_key_without_a_lock_the_later_stands(tmp_path, monkeypatch):
    table = Table.create(str(tmp_path / "t.lance"), "t", "key", rows({"k0": 0}))
    other = Table(table.address, "t", "key")
    table.know_keys()
    write = tables.write_fragments

    def write_late(*args, **kwargs):
        fragments = write(*args, **kwargs)
        monkeypatch.undo()
        lance.dataset(table.address).insert(rows({"new": 1, "theirs": 1}))
        return fragments

    monkeypatch.setattr(tables, "write_fragments", write_late)
    table.upsert(rows({"new": 2, "ours": 2}))
    expected = {"k0": 0, "new": 2, "theirs": 1, "ours": 2}
    assert values(other.read()) == expected
    table.upsert(rows({"theirs": 3}))
    assert values(other.read()) == expected | {"theirs": 3}


def test_who_stands_still_while_writing_alone_keeps_others_waiting_for_a_moment_only(tmp_path, monkeypatch):
    monkeypatch.setattr(write_locks, "_PATIENCE_S", 0.01)
    table = Table.create(str(tmp_path / "t.lance"), "t", "key", rows({"k0": 0}))
    table.know_keys()
    with write_locks.writing_alone(table.address) as alone, write_locks.writing_alone(table.address) as second:
        assert (alone, second) == (True, False)
        table.upsert(rows({"k0": 1, "new": 1}))
        table.upsert(rows({"newer": 2}))
    assert values(table.read()) == {"k0": 1, "new": 1, "newer": 2}


def test_the_latest_version_is_known_without_a_list_whoever_wrote_it(tmp_path):
    """At each step what Lance lists is what is said, before and behind what another one writes and deletes."""
    table = Table.create(str(tmp_path / "t.lance"), "t", "key", rows({"k0": 0}))
    other = Table(table.address, "t", "key")
    table.know_keys()
    for turn in range(12):
        writer = (table, other)[turn % 3 == 0]
        writer.upsert(rows({f"k{turn % 5}" if turn % 2 else f"new{turn}": turn}))
        if turn % 4 == 3:
            other.compact()
            other.clean_up(timedelta(0))
        listed = lance.dataset(table.address).version
        assert table.version == other.version == listed
        assert table.latest().version == listed


def test_a_version_that_was_made_in_the_same_tick_of_the_clock_is_seen(tmp_path):
    table = Table.create(str(tmp_path / "t.lance"), "t", "key", rows({"k0": 0}))
    folder = Path(table.address) / "_versions"
    assert table.version == 1
    tick = folder.stat().st_mtime_ns
    lance.dataset(table.address).insert(rows({"k1": 1}))
    os.utime(folder, ns=(tick, tick))
    assert table.version == 2
    assert values(table.read(keys=["k1"])) == {"k1": 1}
