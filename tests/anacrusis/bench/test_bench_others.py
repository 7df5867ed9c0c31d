"""`bench transfer` and `bench gpu`, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine

import index.gpu_flat
from anacrusis.bench import gpu
from anacrusis.bench.plots import plot_gpu
from index import gpu_count
from index.backends import CpuFlat


def test_projections_are_measured_both_ways(anacrusis: CommandLine) -> None:
    result = anacrusis.json("bench", "transfer", "--tracks", 300, "--repeats", 1, "--networks", 1)
    assert [one["method"] for one in result["methods"]] == ["ranking", "artist_mean"]  # type: ignore[attr-defined]
    same = [check for check in result["checks"] if "difference" in check["name"]]  # type: ignore[attr-defined]
    assert [check["holds"] for check in same] == [True, True]


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU, which would be measured")
def test_without_a_gpu_nothing_is_measured_and_that_is_said(anacrusis: CommandLine) -> None:
    result = anacrusis.json("bench", "gpu", "--tracks", 1000)
    assert (result["sizes"], result["checks"]) == ([], [])
    assert "no GPU" in str(result["skipped"])
    assert anacrusis("bench", "gpu") == 0
    assert "nothing was measured" in anacrusis.out


def test_a_gpu_is_measured_at_every_batch_and_beside_the_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the CPU in the part of the GPU: what is left to a machine that has one is the searching."""
    monkeypatch.setattr(index.gpu_flat, "GpuFlat", CpuFlat)
    monkeypatch.setattr(index, "gpu_count", lambda: 1)
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(gpu, "CPU_SCORES", 64_000)
    result = gpu.bench_gpu([1000], repeats=1, bandwidth_tb_per_s=4.0, on_progress=lambda progress: None)
    (size,) = result["sizes"]
    assert size["bound_ms"] == pytest.approx(2 * 1000 * 128 / 4e12 * 1e3)
    assert [one["batch"] for one in size["batches"]] == list(gpu.BATCHES)
    assert [one["cpu_per_s"] is not None for one in size["batches"]] == [True] * 4 + [False] * 3
    assert [check["holds"] for check in result["checks"]] == [True]
    assert plot_gpu(result, tmp_path).is_file()


@pytest.mark.gpu
@pytest.mark.skipif(gpu_count() == 0, reason="FAISS sees no GPU")
def test_a_gpu_finds_what_the_cpu_finds(anacrusis: CommandLine) -> None:
    result = anacrusis.json("bench", "gpu", "--tracks", 20_000, "--repeats", 1)
    assert all(check["holds"] for check in result["checks"])  # type: ignore[attr-defined]
