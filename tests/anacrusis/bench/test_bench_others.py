"""`bench transfer` and `bench gpu`, as a user runs them."""

from __future__ import annotations

import pytest
from command_line import CommandLine

from index import gpu_count


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


@pytest.mark.gpu
@pytest.mark.skipif(gpu_count() == 0, reason="FAISS sees no GPU")
def test_a_gpu_finds_what_the_cpu_finds(anacrusis: CommandLine) -> None:
    result = anacrusis.json("bench", "gpu", "--tracks", 20_000, "--repeats", 1)
    assert all(check["holds"] for check in result["checks"])  # type: ignore[attr-defined]
