"""What the benches search: made, a recommender's own, or drawn from those; and what counts as found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anacrusis.bench.errors import BenchError
from anacrusis.bench.vectors import nearest, recall, write_vectors


def test_made_vectors_are_the_same_each_time_and_lie_in_clusters(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = write_vectors(tmp_path / "first", 3000, queries=20)
    second = write_vectors(tmp_path / "second", 3000, queries=20)
    assert first.tracks.shape == (3000, 128)
    assert np.array_equal(first.tracks, second.tracks)
    assert np.array_equal(first.queries, second.queries)
    assert not np.isin(first.queries[:, 0], first.tracks[:, 0]).any()
    assert not np.array_equal(first.queries, first.tuning)
    unit = first.tracks / np.linalg.norm(first.tracks, axis=1, keepdims=True)
    by_artist = [unit[row] @ unit[row + 300] for row in range(300)]
    assert np.mean(by_artist) > 3 * np.abs(unit[:300] @ unit[301:601].T).mean()
    assert "made vectors" in first.source


def test_a_recommenders_own_vectors_are_searched_where_there_are_enough(tmp_path: Path) -> None:
    factors = np.random.default_rng(1).standard_normal((500, 8), np.float32)
    found = write_vectors(tmp_path, 400, queries=10, factors=factors)
    own = {row.tobytes() for row in factors}
    assert {row.tobytes() for row in found.tracks} <= own
    asked = {row.tobytes() for row in (*found.queries, *found.tuning)}
    assert asked <= own
    assert len(asked) == 20
    assert not asked & {row.tobytes() for row in found.tracks}


def test_more_are_drawn_near_them(tmp_path: Path) -> None:
    factors = np.random.default_rng(1).standard_normal((500, 8), np.float32)
    found = write_vectors(tmp_path, 2000, queries=10, factors=factors)
    kept, drawn = found.tracks[:480], found.tracks[480:]
    usual = np.median([np.sort(np.linalg.norm(kept - row, axis=1))[1] for row in kept])
    away = np.array([np.linalg.norm(kept - row, axis=1).min() for row in drawn])
    assert (away > 0).all()
    assert np.median(away) < usual
    assert "drawn with noise" in found.source
    with pytest.raises(BenchError, match="at least 1000"):
        write_vectors(tmp_path, 2000, queries=250, factors=factors)


def test_the_truth_is_exact_and_recall_counts_it() -> None:
    rng = np.random.default_rng(2)
    tracks, queries = rng.standard_normal((700, 8), np.float32), rng.standard_normal((5, 8), np.float32)
    truth = nearest(queries, tracks, 10)
    assert np.array_equal(truth, np.argsort(-(queries @ tracks.T), axis=1)[:, :10])
    assert recall(truth, truth) == 1.0
    half = np.where(np.arange(10) < 5, truth, -1)
    assert recall(half, truth) == 0.5
