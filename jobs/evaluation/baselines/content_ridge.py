r"""Content ridge: a linear map from content to the space, in closed form.

.. math:: W = (X^\top X + \lambda n I)^{-1} X^\top Y

X: the standardised content of the n warm tracks and a mark where it is not known; Y: their vectors less the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artist_transfer import ColdTracks
from jobs.evaluation.baselines.content_features import ContentScale
from jobs.evaluation.benchmark_folder import Benchmark, FloatArray
from jobs.evaluation.methods import Chosen, ValJudge

PENALTIES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]


@dataclass(frozen=True)
class ContentRidge:
    """Linear content, its penalty chosen on ``cold_val``; where content is not known, the mean of such warm tracks."""

    name: str = "content_ridge"
    by_chance: bool = False

    def fit(self, benchmark: Benchmark, seed: int) -> FittedContentRidge:
        """See `jobs.evaluation.methods.Method`."""
        judge = ValJudge(benchmark)
        fitted = [FittedContentRidge(benchmark, penalty) for penalty in PENALTIES]
        return max(fitted, key=lambda one: judge.ndcg(one.project(judge.tracks)))


class FittedContentRidge:
    """The map that the warm tracks give at one penalty.

    Parameters
    ----------
    benchmark : Benchmark
    penalty : float
        In units of a feature's variance.
    """

    def __init__(self, benchmark: Benchmark, penalty: float) -> None:
        self.chosen: Chosen = {"penalty": penalty}
        warm = benchmark.warm
        self._scale = ContentScale.of(warm.content)
        features = self._scale.features(warm.content).astype(np.float64)
        self._offset = features.mean(axis=0)
        self._mean = warm.collaborative.mean(axis=0, dtype=np.float64)
        self._weights = ridge(features - self._offset, warm.collaborative - self._mean, penalty)

    def project(self, tracks: ColdTracks) -> FloatArray:
        """See `jobs.evaluation.methods.Projector`."""
        features = self._scale.features(tracks.content) - self._offset
        return np.asarray(features @ self._weights + self._mean, dtype=np.float32)


def ridge(features: NDArray[np.float64], targets: NDArray[np.floating], penalty: float) -> NDArray[np.float64]:
    """Solve the module's equation for features (n, f) and targets (n, d); shape (f, d)."""
    n, width = features.shape
    gram = features.T @ features + penalty * max(n, 1) * np.eye(width)
    return np.linalg.solve(gram, features.T @ targets.astype(np.float64))
