"""Popularity: every user is shown the same tracks, those whose artists are listened to most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from artist_transfer import ColdTracks
from jobs.evaluation.baselines.catalogue_means import CatalogueMeans, Reading, segment_means
from jobs.evaluation.benchmark_folder import Benchmark, FloatArray
from jobs.evaluation.methods import Chosen, ValJudge

PSEUDO_COUNTS = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]


@dataclass(frozen=True)
class Popularity:
    """Expected number of listeners of a cold track: the mean over its catalogue, shrunk towards that over all tracks.

    A track without a catalogue is expected to have as many as the mean track. Whose catalogue counts and the
    pseudo-count of the shrinkage are chosen on ``cold_val``.
    """

    name: str = "popularity"
    by_chance: bool = False

    def fit(self, benchmark: Benchmark, seed: int) -> FittedPopularity:
        """See `jobs.evaluation.methods.Method`."""
        judge = ValJudge(benchmark)
        readings: list[Reading] = ["primary", "credited"]
        fitted = [FittedPopularity(benchmark, reading, count) for reading in readings for count in PSEUDO_COUNTS]
        return max(fitted, key=lambda one: judge.ndcg(one.scores(judge.tracks)))


class FittedPopularity:
    """Listeners of the warm tracks by artist.

    Parameters
    ----------
    benchmark : Benchmark
    reading : str
        Whose catalogue counts.
    pseudo_count : float
        How many tracks of mean popularity every catalogue is filled up with.
    """

    def __init__(self, benchmark: Benchmark, reading: Reading, pseudo_count: float) -> None:
        self.chosen: Chosen = {"reading": reading, "pseudo_count": pseudo_count}
        self._pseudo_count = pseudo_count
        self._listeners = benchmark.warm.popularity.astype(np.float64)
        self._means = CatalogueMeans(benchmark.warm, reading)

    def scores(self, tracks: ColdTracks) -> FloatArray:
        """Estimate the listeners; see `jobs.evaluation.methods.Scorer`."""
        selected = self._means.select(tracks)
        means, sizes = segment_means(selected.indptr, self._listeners[selected.rows][:, None])
        whole = self._listeners.mean()
        weight = sizes + self._pseudo_count
        known = (sizes * means[:, 0] + self._pseudo_count * whole) / np.maximum(weight, 1e-9)
        return np.asarray(np.where(sizes > 0, known, whole), dtype=np.float32)
