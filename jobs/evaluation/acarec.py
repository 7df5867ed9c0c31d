"""ACARec as its paper has it: the rival that the project's own transfer is measured against.

Tamm et al., "Leveraging Artist Catalogs for Cold-Start Music Recommendation", UMAP 2026, arXiv 2604.07090. Every warm
track whose artist has another is a target; Adam 5e-4, batches of 1,024, five catalogue tracks in training and up to 250
at inference, at most 500 epochs, stopped by the ranking of the ``cold_val`` tracks with a patience of 15.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from artist_transfer import Catalogue, CatalogueRows, ColdTracks, FitOptions
from jobs.errors import EvaluationError
from jobs.evaluation.baselines.catalogue_means import primary_only, undated
from jobs.evaluation.benchmark_folder import Benchmark, FloatArray
from jobs.evaluation.methods import Chosen, ValJudge

if TYPE_CHECKING:
    from artist_transfer.acarec import NetworkReader


@dataclass(frozen=True)
class Acarec:
    """The paper's network and training, its epoch chosen on ``cold_val``.

    One artist a track, as in the paper: the primary one. Content that is not known is the mean, and a track without a
    catalogue, for which the paper has nothing, gets the zero vector, which no user's score tells apart.
    """

    name: str = "acarec"
    by_chance: bool = True
    options: FitOptions = field(default_factory=FitOptions)

    def fit(self, benchmark: Benchmark, seed: int) -> FittedAcarec:
        """See `jobs.evaluation.methods.Method`."""
        from artist_transfer.training import learn

        options = replace(self.options, seed=seed)
        warm = undated(benchmark.warm)
        catalogue = Catalogue(replace(warm, credits=primary_only(warm.credits)))
        if not catalogue.select(catalogue.tracks.as_cold(), 1).rows.size:
            raise EvaluationError(
                f"{benchmark.name} has no artist with two warm tracks, so acarec has nothing to learn from; leave it "
                "out of the methods.",
                field="methods",
            )
        judge = ValJudge(benchmark)
        selected = catalogue.select(_primary(judge.tracks), options.catalogue_limit)

        def ndcg(reader: NetworkReader) -> float:
            return judge.ndcg(_projected(CatalogueReader(reader), judge.tracks, selected, catalogue, options))

        learned = learn(catalogue, options, ndcg)
        chosen: Chosen = {"epoch": float(learned.best_epoch), "ndcg": learned.best}
        return FittedAcarec(CatalogueReader(learned.reader), catalogue, options, chosen)


class CatalogueReader:
    """The trained network, which reads catalogues and nothing else.

    Parameters
    ----------
    reader : artist_transfer.acarec.NetworkReader
    """

    def __init__(self, reader: NetworkReader) -> None:
        self._reader = reader

    def read_catalogues(
        self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `artist_transfer.model.FittedModel.read_catalogues`."""
        warm = catalogue.tracks
        return self._reader.read(targets.content, selected, warm.content, warm.collaborative, batch_size)


class FittedAcarec:
    """A trained network and the catalogues of the primary artists.

    Parameters
    ----------
    model : CatalogueReader
    catalogue : artist_transfer.Catalogue
        Of the warm tracks, by primary artist alone.
    options : artist_transfer.FitOptions
    chosen : dict
        See `jobs.evaluation.methods.Projector`.
    """

    def __init__(self, model: CatalogueReader, catalogue: Catalogue, options: FitOptions, chosen: Chosen) -> None:
        self.model = model
        self.chosen = chosen
        self.catalogue = catalogue
        self._options = options

    def project(self, tracks: ColdTracks) -> FloatArray:
        """See `jobs.evaluation.methods.Projector`."""
        return _projected(self.model, tracks, self.select(tracks), self.catalogue, self._options)

    def select(self, tracks: ColdTracks) -> CatalogueRows:
        """Select the primary artist's tracks, whatever their dates."""
        return self.catalogue.select(_primary(tracks), self._options.catalogue_limit)


def _primary(tracks: ColdTracks) -> ColdTracks:
    return replace(undated(tracks), credits=primary_only(tracks.credits))


def _projected(
    model: CatalogueReader, tracks: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, options: FitOptions
) -> FloatArray:
    """Project tracks from their catalogues; zeros where there is none."""
    vectors = np.zeros((len(tracks), catalogue.tracks.dim), dtype=np.float32)
    has = np.flatnonzero(selected.sizes)
    if has.size:
        vectors[has] = model.read_catalogues(tracks.take(has), selected.take(has), catalogue, options.batch_size)[0]
    return vectors
