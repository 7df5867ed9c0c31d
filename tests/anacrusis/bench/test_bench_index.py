"""`bench index`: what it finds in a home is right, and who cannot take part says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine

from anacrusis.bench.contenders import Listed, missing
from anacrusis.bench.errors import BenchError
from anacrusis.bench.home_costs import HomeCosts
from anacrusis.bench.index import _checks, _growth
from anacrusis.bench.our_index import OurIndex
from anacrusis.bench.processes import Worker
from anacrusis.bench.vectors import nearest, write_vectors

K = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = write_vectors(tmp_path, 1200, queries=25)
    np.save(tmp_path / "truth.npy", nearest(made.queries, made.tracks, K), allow_pickle=False)
    np.save(tmp_path / "tuning_truth.npy", nearest(made.tuning, made.tracks, K), allow_pickle=False)
    return tmp_path


@pytest.fixture
def home(folder: Path) -> Iterator[HomeCosts]:
    costs = HomeCosts(folder)
    costs.carry_out("build")
    costs.carry_out("open", k=K)
    yield costs
    costs._home.engine.close()


def test_a_home_is_measured_against_the_truth(home: HomeCosts, folder: Path) -> None:
    found = home.carry_out("round", effort=0)
    assert found["recall"] >= 0.99
    assert found["queries_per_s"] > 0
    np.save(folder / "truth.npy", np.full((25, K), -2), allow_pickle=False)
    assert HomeCosts(folder)._truth.shape == (25, K)
    filters = home.carry_out("filters", k=K, shares=[0.5, 0.01], queries=10, repeats=1)
    assert [one["recall"] for one in filters] == pytest.approx([1.0, 1.0], abs=0.01)
    assert filters[0]["tracks"] == pytest.approx(600, abs=100)
    assert filters[1]["tracks"] < K  # fewer pass than are asked for


def test_fresh_rows_are_found_by_the_process_after(home: HomeCosts, folder: Path) -> None:
    written = home.carry_out("write_fresh", rows=30)
    home._home.engine.close()
    again = HomeCosts(folder)
    again.carry_out("open", k=K)
    kept = again.carry_out("find", vector=written["last"], row=written["row"])
    again._home.engine.close()
    assert kept == {"found": True, "fresh_rows": 30}


def test_promises_tell_what_was_measured() -> None:
    rounds = [{"queries_per_s": 100.0}, {"queries_per_s": 90.0}, {"queries_per_s": 110.0}]
    ours = {
        "name": "anacrusis",
        "recall": 1.0,
        "rounds": rounds,
        "queries_per_s": 100.0,
        "reached": True,
        "peer": False,
    }
    peer = {**ours, "name": "peer", "peer": True, "queries_per_s": 50.0, "rounds": [{"queries_per_s": 50.0}] * 3}
    short = {**peer, "name": "short", "queries_per_s": 900.0, "recall": 0.5, "reached": False}
    size = {
        "tracks": 1_000_000,
        "kind": "flat_fp16",
        "contenders": [ours, peer, short],
        "filters": [{"share": 0.5, "recall": 0.9}],
        "memory_ratio": 1.4,
        "start_after_crash": {"found": True, "fresh_rows": 10_000},
    }
    checks = {check["name"].split(": ")[1]: check for check in _checks(size)}
    beside = next(check for name, check in checks.items() if "beside peer" in name)
    assert (beside["measured"], beside["holds"]) == (2.0, True)
    assert [check["holds"] for check in checks.values()] == [True, True, False, False, True]


def test_growth_is_fitted() -> None:
    sizes = [
        {"tracks": count, "contenders": [{"p50_ms": count**0.5, "resident_bytes": 3 * count}]}
        for count in (1000, 10_000, 100_000)
    ]
    assert _growth(sizes) == pytest.approx({"latency_exponent": 0.5, "memory_exponent": 1.0})
    assert _growth(sizes[:1]) == {}


def test_who_is_missing_says_what_to_install() -> None:
    assert "anacrusis[bench]" in missing(Listed("peer", "peer", "no_such_library", OurIndex, ""))
    assert missing(Listed("ours", "anacrusis", "index", OurIndex, "")) == ""


def test_a_process_that_fails_says_how() -> None:
    with Worker("anacrusis.bench.milvus") as worker, pytest.raises(BenchError, match="do_nothing"):
        worker.ask("nothing")


def test_an_unknown_library_is_refused(anacrusis: CommandLine) -> None:
    assert anacrusis("bench", "index", "--library", "no-such-library") == 2
    assert "voyager" in anacrusis.err


@pytest.mark.slow
def test_the_bench_runs_as_a_user_runs_it(anacrusis: CommandLine, tmp_path: Path) -> None:
    command = ("bench", "index", "--tracks", 1000, "--tracks", 2000, "--library", "hnswlib", "--repeats", 1)
    result = anacrusis.json(*command, "--plots", tmp_path / "plots")
    assert [size["tracks"] for size in result["sizes"]] == [1000, 2000]  # type: ignore[attr-defined]
    assert all(check["holds"] for check in result["checks"] if "beside" not in check["name"])  # type: ignore[attr-defined]
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"recall-speed.png", "size-cost.png"}
