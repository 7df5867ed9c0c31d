r"""Artist mean and content: how a track sounds apart from its artist says where it stands apart from the artist's mean.

.. math:: v = \bar e + W^\top (c - \bar c)

:math:`\bar e, \bar c`: mean vector and mean content of the catalogue. W is a ridge, learned on the warm tracks as if
each were not in its own catalogue. Where content is not known the mean stands alone, and where there is no catalogue
the content ridge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artist_transfer import ColdTracks, WarmTracks
from jobs.evaluation.baselines.artist_mean_shrunken import FittedShrunkenMean, ShrunkenArtistMean
from jobs.evaluation.baselines.catalogue_means import CatalogueMeans, segment_means
from jobs.evaluation.baselines.content_features import ContentScale
from jobs.evaluation.baselines.content_ridge import ContentRidge, FittedContentRidge, ridge
from jobs.evaluation.benchmark_folder import Benchmark, FloatArray
from jobs.evaluation.methods import Chosen, ValJudge

PENALTIES = (0.0001, 0.01, 0.1, 1.0, 10.0)


@dataclass(frozen=True)
class ArtistMeanContent:
    """The module's equation over the shrunken mean, its penalty chosen on ``cold_val``."""

    name: str = "artist_mean_content"
    by_chance: bool = False

    def fit(self, benchmark: Benchmark, seed: int) -> FittedMeanContent:
        """See `jobs.evaluation.methods.Method`."""
        judge = ValJudge(benchmark)
        mean = ShrunkenArtistMean().fit(benchmark, seed)
        alone = ContentRidge().fit(benchmark, seed)
        residuals = CatalogueResiduals(benchmark.warm)
        fitted = [FittedMeanContent(mean, alone, residuals, penalty) for penalty in PENALTIES]
        return max(fitted, key=lambda one: judge.ndcg(one.project(judge.tracks)))


class CatalogueResiduals:
    """Content less that of the catalogue, and the warm tracks' vectors less theirs.

    Parameters
    ----------
    warm : artist_transfer.WarmTracks
    """

    def __init__(self, warm: WarmTracks) -> None:
        self._scale = ContentScale.of(warm.content)
        self._content, self._known = self._scale.standardised(warm.content)
        self._means = CatalogueMeans(warm, "credited")
        features, usable = self.content(warm.as_cold())
        selected = self._means.select(warm.as_cold())
        # Block by block: an artist of n tracks has n catalogues of n - 1 tracks.
        vectors = np.zeros_like(warm.collaborative)
        for begin in range(0, len(warm), 2048):
            end = min(begin + 2048, len(warm))
            part = selected.indptr[begin : end + 1]
            rows = selected.rows[part[0] : part[-1]]
            vectors[begin:end] = segment_means(part - part[0], warm.collaborative[rows])[0]
        self.learned: FloatArray = features[usable]
        self.targets: FloatArray = (warm.collaborative - vectors)[usable]

    def content(self, tracks: ColdTracks) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Residual content, shape (m, content_dim), and where it is known of both the track and its catalogue."""
        own, known = self._scale.standardised(tracks.content)
        selected = self._means.select(tracks)
        means, counts = segment_means(selected.indptr, self._content[selected.rows], known=self._known[selected.rows])
        return own - means, known & (counts > 0)


class FittedMeanContent:
    """A mean, and what content adds to it at one penalty.

    Parameters
    ----------
    mean : FittedShrunkenMean
    alone : FittedContentRidge
        For tracks without a catalogue.
    residuals : CatalogueResiduals
    penalty : float
        In units of a feature's variance.
    """

    def __init__(
        self, mean: FittedShrunkenMean, alone: FittedContentRidge, residuals: CatalogueResiduals, penalty: float
    ) -> None:
        self.chosen: Chosen = mean.chosen | {"penalty": penalty, "ridge_penalty": alone.chosen["penalty"]}
        self._mean = mean
        self._alone = alone
        self._residuals = residuals
        self._weights = ridge(residuals.learned.astype(np.float64), residuals.targets, penalty)

    def project(self, tracks: ColdTracks) -> FloatArray:
        """See `jobs.evaluation.methods.Projector`."""
        residual, usable = self._residuals.content(tracks)
        placed = self._mean.project(tracks) + np.where(usable[:, None], residual @ self._weights, 0.0)
        without = self._mean.catalogue_sizes(tracks) == 0
        return np.asarray(np.where(without[:, None], self._alone.project(tracks), placed), dtype=np.float32)
