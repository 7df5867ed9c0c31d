"""The artist mean: a new track stands where its artist's warm tracks stand on average."""

from __future__ import annotations

from dataclasses import dataclass

from artist_transfer import ColdTracks, WarmTracks
from jobs.evaluation.baselines.catalogue_means import READINGS, CatalogueMeans, Reading, segment_means
from jobs.evaluation.benchmark_folder import Benchmark, FloatArray, IntArray
from jobs.evaluation.methods import Chosen, ValJudge


@dataclass(frozen=True)
class ArtistMean:
    """Plain mean over the catalogue; a track without one gets the zero vector, which no user's score tells apart.

    Whose catalogue counts (`catalogue_means.Reading`) is chosen on ``cold_val``.
    """

    name: str = "artist_mean"
    by_chance: bool = False

    def fit(self, benchmark: Benchmark, seed: int) -> FittedArtistMean:
        """See `jobs.evaluation.methods.Method`."""
        judge = ValJudge(benchmark)
        fitted = [FittedArtistMean(benchmark.warm, reading) for reading in READINGS]
        return max(fitted, key=lambda one: judge.ndcg(one.project(judge.tracks)))


class FittedArtistMean:
    """The warm tracks by artist.

    Parameters
    ----------
    warm : artist_transfer.WarmTracks
    reading : str
        Whose catalogue counts.
    """

    def __init__(self, warm: WarmTracks, reading: Reading) -> None:
        self.chosen: Chosen = {"reading": reading}
        self._collaborative = warm.collaborative
        self._means = CatalogueMeans(warm, reading)

    def project(self, tracks: ColdTracks) -> FloatArray:
        """See `jobs.evaluation.methods.Projector`."""
        return self.means(tracks)[0]

    def means(self, tracks: ColdTracks) -> tuple[FloatArray, IntArray]:
        """Means, shape (m, dim), zero without a catalogue, and catalogue sizes, shape (m,)."""
        selected = self._means.select(tracks)
        return segment_means(selected.indptr, self._collaborative[selected.rows])
