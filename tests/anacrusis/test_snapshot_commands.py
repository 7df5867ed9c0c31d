"""``space diff``, ``space rollback --to`` and ``maintain``: what they say, and that they do it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import CommandLine
from made_catalogue import warm_factors

from anacrusis.settings import RetentionSettings, SettingsError, load_settings
from index import InvalidInputError, Retention, Store, StoreError


@pytest.fixture
def snapshots(anacrusis: CommandLine, home: Path) -> list[str]:
    """Three snapshots of a home, oldest first."""
    for _ in range(2):
        assert anacrusis("--home", home, "refresh", "--all") == 0
        with Store.open(home) as store:  # something to build another snapshot for
            space_id = store.published().space_id
            (row,) = store.served_vectors(space_id, ["ada-0"]).values()
            store.replace_served(space_id, [row], as_of=store.fresh_version(space_id))
    assert anacrusis("--home", home, "refresh") == 0
    return [one["snapshot_id"] for one in anacrusis.json("--home", home, "space", "list")["snapshots"]]


def test_from_diff_to_rollback_to_upkeep(anacrusis: CommandLine, home: Path, snapshots: list[str]) -> None:
    first, *_, last = snapshots
    assert len(snapshots) == 3
    found = anacrusis.json("--home", home, "space", "diff", first)
    assert (found["before"]["snapshot_id"], found["after"]["snapshot_id"]) == (first, last)
    assert (found["added"], found["gone"], found["moves"]["compared"]) == (0, 0, 12)
    assert anacrusis("--home", home, "space", "diff") == 0
    assert all(word in anacrusis.out for word in (snapshots[-2], last, "graduated", "fallen back", "moved"))

    assert anacrusis("--home", home, "space", "rollback", "--to", first) == 0
    listed = anacrusis.json("--home", home, "space", "list")["snapshots"]
    assert [(one["published"], one["steps_back"]) for one in listed] == [(True, 0), (False, None), (False, None)]
    assert anacrusis("--home", home, "space", "rollback", "--to", "nothing") == 2
    assert "SNAPSHOT_NOT_FOUND" in anacrusis.err
    assert anacrusis("--home", home, "space", "rollback", "--to", last) == 0

    would = anacrusis.json("--home", home, "maintain", "--dry-run", "--keep-snapshots", "1", "--keep-days", "0")
    assert (would["dry_run"], would["retired_snapshots"]) == (True, [])  # all were served within the hour
    done = anacrusis.json("--home", home, "maintain")
    assert (done["kept_snapshots"], done["retired_snapshots"], done["alerts"]) == (3, [], [])
    assert {"tracks", "registry/leases"} <= {one["name"] for one in done["tables"]}
    assert anacrusis("--home", home, "maintain", "--dry-run") == 0
    assert all(word in anacrusis.out for word in ("served/", "fragments", "3 are kept"))


def test_a_rollback_outlives_the_next_refresh(anacrusis: CommandLine, home: Path, snapshots: list[str]) -> None:
    _, before, last = snapshots
    assert anacrusis("--home", home, "space", "rollback") == 0
    assert anacrusis("--home", home, "refresh") == 0
    assert before in anacrusis.out
    assert f"went back from the newest snapshot, {last}" in anacrusis.out
    space_id = anacrusis.json("--home", home, "refresh")["space_id"]
    assert anacrusis.json("--home", home, "space", "publish", space_id)["snapshot_id"] == last


def test_a_rollback_leads_away_from_a_space_that_is_damaged(anacrusis: CommandLine, home: Path, tmp_path: Path) -> None:
    before = anacrusis.json("--home", home, "space", "list")["snapshots"][-1]["snapshot_id"]
    factors = warm_factors()
    brought = tmp_path / "als-2.parquet"
    pq.write_table(pa.table({"track_id": factors.ids.tolist(), "vector": factors.vectors.tolist()}), brought)
    assert anacrusis("--home", home, "space", "import", "als-2", brought) == 0
    assert anacrusis("--home", home, "space", "publish", "als-2") == 0
    served = anacrusis.json("--home", home, "space", "list")["snapshots"][-1]["snapshot_id"]
    (table,) = (home / "served").glob("als-2.*")
    for lost in (table, home / "indexes" / served):
        shutil.rmtree(lost)
    assert anacrusis("--home", home, "neighbors", "--track", "ada-0") == 1
    assert "HOME_DAMAGED" in anacrusis.err
    assert "Traceback" not in anacrusis.err
    assert anacrusis("--home", home, "space", "rollback") == 0
    assert before in anacrusis.err
    assert anacrusis("--home", home, "neighbors", "--track", "ada-0") == 0


def test_a_rollback_while_a_publish_compares_stands(
    anacrusis: CommandLine, home: Path, snapshots: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_back(*_: object, **__: object) -> None:
        with Store.open(home) as store:
            store.rollback()

    space_id = anacrusis.json("--home", home, "space", "list")["spaces"][0]["space_id"]
    monkeypatch.setattr("jobs.space_comparison.require_likeness", go_back)
    assert anacrusis("--home", home, "space", "publish", space_id) == 1
    assert "PUBLISHED_MEANWHILE" in anacrusis.err
    assert [one["published"] for one in anacrusis.json("--home", home, "space", "list")["snapshots"]][-2:] == [
        True,
        False,
    ]


def test_who_is_at_work_is_named(anacrusis: CommandLine, home: Path) -> None:
    with Store.open(home) as store, store.lease("refresh") as lease:
        for command in (["maintain"], ["refresh"]):
            assert anacrusis("--home", home, *command) == 1
            assert "HOME_BUSY" in anacrusis.err
            assert lease.holder in anacrusis.err
            assert "Traceback" not in anacrusis.err


def test_the_setting_is_the_default(
    anacrusis: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Retention(RetentionSettings().snapshots, RetentionSettings().days) == Retention()
    config = tmp_path / "anacrusis.toml"
    config.write_text("[retention]\nsnapshots = 3\n")
    monkeypatch.setenv("ANACRUSIS_RETENTION__DAYS", "2.5")
    assert load_settings(config).retention == RetentionSettings(3, 2.5)
    for wrong in ({"snapshots": 0}, {"days": -1.0}, {"days": 40_000.0}):
        (name, value) = next(iter(wrong.items()))
        with pytest.raises(InvalidInputError):
            Retention(**wrong)
        monkeypatch.setenv(f"ANACRUSIS_RETENTION__{name.upper()}", str(value))
        with pytest.raises(SettingsError, match="cannot be kept"):
            load_settings(config)
        monkeypatch.delenv(f"ANACRUSIS_RETENTION__{name.upper()}")


def test_a_refresh_says_that_its_upkeep_failed(
    anacrusis: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("index.upkeep.Upkeep.drop_folded", fail)
        assert anacrusis("--home", home, "refresh") == 0
    assert "upkeep of the home failed" in anacrusis.out
    monkeypatch.setattr("index.upkeep.MAX_VERSIONS", 0)
    monkeypatch.setattr("index.upkeep.DUE_VERSIONS", 0)  # as it is long before there are too many
    assert anacrusis("--home", home, "refresh") == 0
    assert "ALERT: table tracks" in anacrusis.out
