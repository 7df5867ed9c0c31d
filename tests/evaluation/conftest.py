"""The small benchmark folder, written and read once; and methods fitted on it in a hurry, for the sections."""

from __future__ import annotations

from pathlib import Path

import pytest
from hasty_methods import HASTY_ACAREC, HASTY_ANACRUSIS
from small_benchmark import write_folder

from jobs.evaluation.benchmark_folder import Benchmark, read_benchmark
from jobs.evaluation.context import Context
from jobs.evaluation.registry import methods_named
from jobs.evaluation.run import fit_and_judge

SIMPLE = ["popularity", "content_ridge", "artist_mean"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("benchmark") / "small")


@pytest.fixture(scope="session")
def benchmark(folder: Path) -> Benchmark:
    return read_benchmark(folder)


@pytest.fixture(scope="session")
def fitted(benchmark: Benchmark) -> Context:
    """Simple methods, a hasty ACARec, and `anacrusis` of few steps with two seeds."""
    methods = [*methods_named(SIMPLE), HASTY_ACAREC, HASTY_ANACRUSIS]
    return fit_and_judge(benchmark, benchmark.splits["cold_test"], methods, [0, 1])


@pytest.fixture(scope="session")
def simple(benchmark: Benchmark) -> Context:
    """Without anything that learns a network."""
    return fit_and_judge(benchmark, benchmark.splits["cold_test"], methods_named(SIMPLE), [0])
