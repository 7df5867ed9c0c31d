r"""The shrunken artist mean: a short catalogue tells little, so its mean is pulled towards what is usual around it.

.. math:: v = \frac{n \bar e + k p}{n + k}

n: the catalogue's size; :math:`\bar e`: its mean; k: a pseudo-count; p: the mean of the artists whose means are nearest
by cosine, or the mean over all warm tracks. A track without a catalogue is put at a multiple of the latter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from artist_transfer import ColdTracks, WarmTracks
from jobs.evaluation.baselines.artist_mean import FittedArtistMean
from jobs.evaluation.baselines.catalogue_means import READINGS, Reading
from jobs.evaluation.benchmark_folder import Benchmark, FloatArray, IntArray
from jobs.evaluation.methods import Chosen, ValJudge
from jobs.evaluation.protocol import primary_names

NEIGHBOURS = (0, 5, 20, 80)  # 0: the whole
PSEUDO_COUNTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
WITHOUT = (0.0, 0.5, 1.0, 2.0)
_BLOCK = 1024  # tracks compared with all artists at once


@dataclass(frozen=True)
class Shrinkage:
    """What is chosen on ``cold_val``.

    Attributes
    ----------
    reading : str
        Whose catalogue counts, see `catalogue_means.Reading`.
    pseudo_count : float
        k of the module's equation.
    neighbours : int
        How many artists p is the mean of; 0 for the mean over all warm tracks.
    without : float
        Where a track without a catalogue is put, in multiples of the mean over all warm tracks.
    """

    reading: Reading = "primary"
    pseudo_count: float = 0.5
    neighbours: int = 20
    without: float = 0.0


@dataclass(frozen=True)
class ShrunkenArtistMean:
    """The module's equation, searched one choice after the other on ``cold_val``."""

    name: str = "artist_mean_shrunken"
    by_chance: bool = False

    def fit(self, benchmark: Benchmark, seed: int) -> FittedShrunkenMean:
        """See `jobs.evaluation.methods.Method`."""
        judge = ValJudge(benchmark)
        tables = {reading: FittedArtistMean(benchmark.warm, reading) for reading in READINGS}
        artists = ArtistTable(benchmark.warm)

        def best(tried: Iterable[Shrinkage]) -> Shrinkage:
            ndcg: dict[Shrinkage, float] = {}
            for (reading, neighbours), group in groupby(tried, key=lambda one: (one.reading, one.neighbours)):
                parts = _parts(tables[reading], artists, neighbours, judge.tracks)  # the slow part
                for one in group:
                    ndcg[one] = judge.ndcg(_shrunken(parts, artists.whole, one))
            return max(ndcg, key=lambda one: ndcg[one])

        found = best(Shrinkage(pseudo_count=count, neighbours=k) for k in NEIGHBOURS for count in PSEUDO_COUNTS)
        found = best(replace(found, reading=reading) for reading in READINGS)
        found = best(replace(found, without=share) for share in WITHOUT)
        return FittedShrunkenMean(tables[found.reading], artists, found)


class ArtistTable:
    """The artists' plain means, to find an artist's neighbours in.

    Parameters
    ----------
    warm : artist_transfer.WarmTracks

    Attributes
    ----------
    whole : ndarray, shape (dim,), float32
        Mean over all warm tracks.
    """

    def __init__(self, warm: WarmTracks) -> None:
        names = np.array(primary_names(warm.credits), dtype=np.str_)
        self._names, code = np.unique(names, return_inverse=True)
        sums = np.zeros((self._names.size, warm.dim))
        np.add.at(sums, code.reshape(-1), warm.collaborative)
        self._means = (sums / np.bincount(code.reshape(-1))[:, None]).astype(np.float32)
        self._directions = _unit(self._means)
        self.whole: FloatArray = warm.collaborative.mean(axis=0, dtype=np.float64).astype(np.float32)

    def neighbourhood(self, means: FloatArray, names: list[str], neighbours: int) -> FloatArray:
        """Take the mean of the artists nearest to each mean, the named one left out.

        Parameters
        ----------
        means : ndarray, shape (m, dim), float32
        names : list of m str
            The artist that each mean is of.
        neighbours : int
            How many.

        Returns
        -------
        ndarray, shape (m, dim), float32
            `whole` in every row where `neighbours` is 0 or there is no other artist.
        """
        others = min(neighbours, self._names.size - 1)
        found = np.broadcast_to(self.whole, means.shape).copy()
        if others < 1:
            return found
        own = np.searchsorted(self._names, np.array(names, dtype=np.str_)).clip(max=self._names.size - 1)
        is_own = self._names[own] == np.array(names, dtype=np.str_)
        for begin in range(0, len(means), _BLOCK):
            rows = np.arange(begin, min(begin + _BLOCK, len(means)))
            cosine = _unit(means[rows]) @ self._directions.T
            cosine[is_own[rows], own[rows][is_own[rows]]] = -np.inf
            nearest = np.argpartition(-cosine, others - 1, axis=1)[:, :others]
            found[rows] = self._means[nearest].mean(axis=1)
        return found


class FittedShrunkenMean:
    """The artists' means at one choice.

    Parameters
    ----------
    plain : FittedArtistMean
        Of the same reading.
    artists : ArtistTable
    shrinkage : Shrinkage
    """

    def __init__(self, plain: FittedArtistMean, artists: ArtistTable, shrinkage: Shrinkage) -> None:
        self.chosen: Chosen = {
            "reading": shrinkage.reading,
            "pseudo_count": shrinkage.pseudo_count,
            "neighbours": float(shrinkage.neighbours),
            "without": shrinkage.without,
        }
        self._plain = plain
        self._artists = artists
        self._shrinkage = shrinkage

    def project(self, tracks: ColdTracks) -> FloatArray:
        """See `jobs.evaluation.methods.Projector`."""
        parts = _parts(self._plain, self._artists, self._shrinkage.neighbours, tracks)
        return _shrunken(parts, self._artists.whole, self._shrinkage)

    def catalogue_sizes(self, tracks: ColdTracks) -> IntArray:
        """Count the catalogue tracks of m tracks, shape (m,)."""
        return self._plain.means(tracks)[1]


def _parts(
    plain: FittedArtistMean, artists: ArtistTable, neighbours: int, tracks: ColdTracks
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Find the catalogues' means (m, dim), their sizes (m,), and what they are pulled towards (m, dim)."""
    means, sizes = plain.means(tracks)
    return means, sizes, artists.neighbourhood(means, primary_names(tracks.credits), neighbours)


def _shrunken(parts: tuple[FloatArray, IntArray, FloatArray], whole: FloatArray, chosen: Shrinkage) -> FloatArray:
    means, sizes, prior = parts
    weight = (sizes / np.maximum(sizes + chosen.pseudo_count, 1e-9))[:, None]
    known = weight * means + (1.0 - weight) * prior
    return np.asarray(np.where(sizes[:, None] > 0, known, chosen.without * whole), dtype=np.float32)


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)
