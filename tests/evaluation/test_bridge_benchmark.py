"""The benchmark of the bridge, on a small folder: every figure is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_benchmark import write_folder

from artist_transfer import RankingOptions
from benchmarks import bridge

pytest.importorskip("implicit")

TINY = RankingOptions(steps=3, candidates=50, listeners=16, hidden=8, heads=2, members=1)


def test_the_figures_of_a_small_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = bridge.measure(write_folder(tmp_path / "small"), TINY)
    assert [(one["from"]["dim"], one["to"]["dim"]) for one in found["pairs"]] == [(6, 6), (6, 4)]
    for pair in found["pairs"]:
        assert pair["alignment"]["held_out"] > 0
        assert 0.0 < pair["alignment"]["cosine"] <= 1.0
        assert pair["movement"]["q5"] <= pair["movement"]["q50"] <= pair["movement"]["q99.9"]
        for k in bridge.LENGTHS:
            shares = pair[f"overlap@{k}"]
            assert all(0.0 <= shares[name]["mean"] <= 1.0 for name in ("bridged", "re-projected", "no bridge"))
        assert set(pair["listeners"]) >= {"refit", "bridged", "re-projected", "no bridge"}
    first, second = found["pairs"]
    assert "second refit" in first["overlap@10"]
    assert "second refit" not in second["overlap@10"]
    assert len(found["checks"]) == 8
    json.dumps(found, allow_nan=False)
    bridge.show(found)
    assert "NDCG@20" in capsys.readouterr().out
    bridge.plot(found, tmp_path / "bridge.png")
    assert (tmp_path / "bridge.png").read_bytes().startswith(b"\x89PNG")
