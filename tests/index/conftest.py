from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from index import Metric, Searcher, SpaceRecord, Store, build_snapshot

DIM = 8


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def vectors() -> np.ndarray:
    """Collaborative vectors of t00 .. t29: shape (30, 8), whole numbers, no row zero."""
    return np.random.default_rng(7).integers(1, 9, size=(30, DIM)).astype(np.float32)


@pytest.fixture
def space(store: Store, vectors: np.ndarray) -> SpaceRecord:
    """A space of 30 tracks, not yet published."""
    ids = [f"t{i:02d}" for i in range(len(vectors))]
    return store.create_space(SpaceRecord("als", DIM, Metric.INNER_PRODUCT), ids, vectors, ["u1"], vectors[:1])


@pytest.fixture
def searcher(store: Store, space: SpaceRecord) -> Iterator[Searcher]:
    """A searcher on the published space."""
    store.publish(build_snapshot(store, space.space_id).snapshot_id)
    with Searcher.open(store, device="cpu", threads=2) as opened:
        yield opened
