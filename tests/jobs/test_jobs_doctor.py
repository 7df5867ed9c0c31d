"""The doctor finds what was broken, and repairs what it can without losing anything."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from lance.fragment import write_fragments
from made_catalogue import SPACE_ID, release

from index import DamagedHomeError, LeaseHeldError, Store
from index.layout import Home
from index.lease import Leases
from index.schemas import LEASES
from index.tables import Table
from jobs import Engine, Query
from jobs.doctor import DoctorReport, examine


def problems(found: DoctorReport) -> list[tuple[str, str, bool]]:
    return [(one.check, one.subject, one.repairable) for one in found.problems]


def answers(home: Path) -> set[str]:
    with Engine.open(home) as engine:
        return set(engine.ask(Query(track_id="ada-0", k=100, include_self=True)).hits[0].track_ids)


def snapshot_of(home: Path) -> str:
    with Store.open(home, create=False, read_only=True) as store:
        published = store.published()
        assert published is not None
        return published.snapshot_id


def data_file(home: Path, table: str) -> Path:
    (found,) = sorted((home / table / "data").glob("*.lance"), key=lambda path: path.stat().st_size)[-1:]
    return found


def test_a_home_in_order_has_no_problem(home: Path) -> None:
    found = examine(home)
    assert problems(found) == []
    assert (found.tables >= 8, found.snapshots, found.as_dict()["healthy"]) == (True, 1, True)


def test_a_place_that_is_no_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedHomeError) as caught:
        examine(tmp_path / "nothing")
    assert caught.value.reason == "HOME_NOT_FOUND"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "no manifest"])
def test_an_index_is_built_anew(home: Path, damage: str) -> None:
    before, name = answers(home), snapshot_of(home)
    folder = home / "indexes" / name
    if damage == "missing":
        shutil.rmtree(folder)
    elif damage == "no manifest":
        (folder / "base.json").unlink()
    else:
        whole = (folder / "base.faiss").read_bytes()
        (folder / "base.faiss").write_bytes(whole[:-9] if damage == "cut" else whole[:-9] + b"\xff" * 9)
    assert problems(examine(home)) == [("index", name, True)]
    assert not examine(home, repair=True).problems
    assert problems(examine(home)) == []
    assert answers(home) == before


@pytest.mark.parametrize(
    "table",
    ["tracks.lance", "withdrawn.lance", "registry/publishes.lance", f"served/{SPACE_ID}.*.lance", "content/*.lance"],
)
@pytest.mark.parametrize("part", ["fragment", "manifest", "all"])
def test_a_table_that_cannot_be_read_is_named_and_left_alone(home: Path, table: str, part: str) -> None:
    with Engine.open(home) as engine:
        engine.withdraw(["nobody"])
    (folder,) = home.glob(table)
    if part == "all":
        shutil.rmtree(folder)
    elif part == "fragment":
        data_file(home, str(folder.relative_to(home))).unlink()
    else:
        newest = max((folder / "_versions").glob("*.manifest"), key=lambda path: path.stat().st_mtime_ns)
        newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    found = examine(home, repair=True)
    if part == "all" and table.startswith("content"):
        return  # nothing says that there was one
    assert found.problems
    assert not found.repairable
    name = table.removesuffix(".lance").removesuffix(".*")
    assert any(one.subject.startswith(name.removesuffix("*")) for one in found.problems)


def test_a_key_that_stands_there_twice_keeps_its_newest_row(home: Path) -> None:
    with Engine.open(home) as engine:
        engine.ingest([release("twin", title="Old")])
    address = Home(home).tracks
    dataset = lance.dataset(address)
    rows = Table(address, "tracks", "track_id").read(keys=["twin"])
    rows = rows.set_column(rows.schema.get_field_index("title"), rows.schema.field("title"), pa.array(["New"]))
    fragments = write_fragments(rows, dataset, mode="append")
    lance.LanceDataset.commit(dataset, lance.LanceOperation.Append(fragments), read_version=dataset.version)
    assert problems(examine(home)) == [("keys", "tracks", True)]
    assert not examine(home, repair=True).problems
    with Store.open(home) as store:
        assert [one.title for one in store.tracks(["twin"])] == ["New"]


def put_lease(home: Path, holder: str, acquired_at: datetime) -> None:
    row = {
        "name": "refresh",
        "holder": holder,
        "token": "t",
        "acquired_at": acquired_at,
        "expires_at": acquired_at + timedelta(seconds=75),
    }
    Leases(Home(home))._made().upsert(pa.Table.from_pylist([row], schema=LEASES))


@pytest.mark.parametrize("why", ["dead", "from tomorrow"])
def test_a_lease_that_nobody_is_behind_is_set_free(home: Path, why: str) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    now = datetime.now(UTC)
    if why == "dead":
        put_lease(home, f"{socket.gethostname()}:{ended.pid}", now)
    else:
        put_lease(home, "elsewhere:1", now + timedelta(days=1))
    assert problems(examine(home)) == [("lease", "refresh", True)]
    with Engine.open(home) as engine:
        with pytest.raises(LeaseHeldError):
            engine.refresh()
        assert not examine(home, repair=True).problems
        engine.refresh()


def test_whoever_is_at_work_is_not_disturbed(home: Path) -> None:
    (home / "indexes" / snapshot_of(home) / "base.faiss").unlink()
    put_lease(home, "elsewhere:1", datetime.now(UTC))
    assert [one.check for one in examine(home).findings] == ["lease", "index"]
    with pytest.raises(LeaseHeldError):
        examine(home, repair=True)


def test_what_killed_processes_left_goes_after_a_day(home: Path) -> None:
    folder = home / "indexes" / snapshot_of(home)
    old, young = folder / ".base.faiss.0123abcd.tmp", home / ".home.json.0123abcd.tmp"
    somebodys = home / ".tokens.json"
    for path in (old, young, somebodys):
        path.write_bytes(b"half")
    scratch = home / "models" / SPACE_ID / ".20260101-k3x_9abz"  # as `artist_transfer.save_model` names it
    scratch.mkdir(parents=True)
    two_days_ago = time.time() - 2 * 86_400
    for path in (old, somebodys, scratch):
        os.utime(path, (two_days_ago, two_days_ago))
    (found,) = examine(home, repair=True).findings
    assert (found.level, found.repaired) == ("leftover", True)
    assert (old.exists(), scratch.exists()) == (False, False)
    assert (young.exists(), somebodys.exists()) == (True, True)


def test_a_transfer_that_cannot_be_read_is_named(home: Path) -> None:
    (home / "models" / SPACE_ID).mkdir(parents=True)
    (home / "models" / SPACE_ID / "newest").write_text("gone\n")
    found = examine(home)
    assert problems(found) == [("model", SPACE_ID, False)]
    assert f"anacrusis train --space {SPACE_ID}" in found.problems[0].sentence


def test_a_disk_that_is_nearly_full_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 40, 1 << 40, 1 << 20))
    assert [one[0] for one in problems(examine(home))] == ["space"]
    assert np.isfinite(examine(home).seconds)
