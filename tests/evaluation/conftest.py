"""The small benchmark folder, written and read once."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_benchmark import write_folder

from jobs.evaluation.benchmark_folder import Benchmark, read_benchmark


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("benchmark") / "small")


@pytest.fixture(scope="session")
def benchmark(folder: Path) -> Benchmark:
    return read_benchmark(folder)
