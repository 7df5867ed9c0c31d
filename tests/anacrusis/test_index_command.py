"""``index tune``, ``--index-kind`` and ``neighbors --exact``."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine

from index.lists import Lists


def kinds(anacrusis: CommandLine, home: Path) -> list[str]:
    return [one["index_kind"] for one in anacrusis.json("--home", home, "space", "list")["snapshots"]]


def test_a_kind_is_built_where_it_is_asked_for_and_tuned(
    anacrusis: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert anacrusis("--home", home, "refresh") == 0
    assert set(kinds(anacrusis, home)) == {"flat_fp16"}
    assert anacrusis("--home", home, "index", "tune") == 0
    assert "the kind flat_fp16, which is exact: nothing to tune" in anacrusis.out

    assert anacrusis("--home", home, "refresh", "--index-kind", "ivf_fp16") == 0
    assert kinds(anacrusis, home)[-1] == "ivf_fp16"
    built = len(kinds(anacrusis, home))
    assert anacrusis("--home", home, "refresh") == 0  # nothing has changed: auto leaves it as it is
    assert len(kinds(anacrusis, home)) == built
    assert anacrusis("--home", home, "index", "tune", "--k", "3") == 0
    assert "every query is answered exactly" in anacrusis.out

    monkeypatch.setattr(Lists, "cost", lambda near, effort: 0.01 * effort)  # so few rows are all looked at otherwise
    monkeypatch.setattr(Lists, "most_effort", 5)
    found = anacrusis.json("--home", home, "index", "tune", "--recall", "0.9", "--k", "3", "--queries", "7")
    assert (found["index_kind"], found["tuning"]["recall"], found["tuning"]["k"]) == ("ivf_fp16", 0.9, 3)
    assert found["tuning"]["measured"] == 1.0
    assert [one["effort"] for one in found["tried"]] == [1]
    assert found["exact_queries_per_s"] > 0
    assert anacrusis("--home", home, "space", "list") == 0
    assert "recall@3" in anacrusis.out
    assert anacrusis("--home", home, "index", "tune", "--k", "3") == 0
    assert all(word in anacrusis.out for word in ("nprobe", "recall@3", "queries/s", "chosen", "exact"))

    monkeypatch.setenv("ANACRUSIS_INDEX_KIND", "flat_fp16")
    assert anacrusis("--home", home, "refresh") == 0
    assert kinds(anacrusis, home)[-1] == "flat_fp16"


def test_exact_neighbours_are_those_of_the_flat_kind(anacrusis: CommandLine, home: Path) -> None:
    found = anacrusis.json("--home", home, "neighbors", "--track", "ada-0")["neighbors"]
    assert found
    assert anacrusis.json("--home", home, "neighbors", "--track", "ada-0", "--exact")["neighbors"] == found


def test_what_is_no_kind_and_no_recall_is_refused(
    anacrusis: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert anacrusis("--home", home, "refresh", "--index-kind", "hnsw") == 2
    assert "use one of auto, flat_fp16, ivf_fp16" in anacrusis.err
    assert anacrusis("--home", home, "index", "tune", "--recall", "1.5") == 2
    assert anacrusis("--home", tmp_path / "nothing", "index", "tune") != 0
    monkeypatch.setenv("ANACRUSIS_INDEX_KIND", "tree")
    assert anacrusis("--home", home, "refresh") == 2
    assert "index_kind" in anacrusis.err
