"""The project's own transfer in the evaluation, as `artist_transfer.fit` gives it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from artist_transfer import Catalogue, CatalogueRows, ColdTracks, FitOptions, Interactions, fit
from jobs.evaluation.benchmark_folder import Benchmark, FloatArray
from jobs.evaluation.methods import Chosen

if TYPE_CHECKING:
    from artist_transfer import Projection, TransferModel
    from artist_transfer.catalogue import Catalogue as CatalogueType


@dataclass(frozen=True)
class Anacrusis:
    """The ranking transfer with its defaults, which were chosen on ``cold_val`` once and for all.

    Nothing is chosen for a folder: the fit sees the warm tracks and their listeners alone.
    """

    name: str = "anacrusis"
    by_chance: bool = True
    options: FitOptions = field(default_factory=lambda: FitOptions(method="ranking"))

    def fit(self, benchmark: Benchmark, seed: int) -> FittedAnacrusis:
        """See `jobs.evaluation.methods.Method`."""
        interactions = Interactions(benchmark.users, benchmark.warm_entries)
        model = fit(benchmark.warm, replace(self.options, seed=seed), interactions=interactions)
        return FittedAnacrusis(model, Catalogue(benchmark.warm))


class FittedAnacrusis:
    """A fitted transfer and the catalogue it reads.

    Parameters
    ----------
    model : artist_transfer.TransferModel
    catalogue : artist_transfer.Catalogue
        All warm tracks.
    """

    chosen: Chosen

    def __init__(self, model: TransferModel, catalogue: CatalogueType) -> None:
        self.model = model
        self.catalogue = catalogue
        self.chosen = {}

    def project(self, tracks: ColdTracks) -> FloatArray:
        """See `jobs.evaluation.methods.Projector`."""
        return self.projection(tracks).vectors

    def select(self, tracks: ColdTracks) -> CatalogueRows:
        """Select what each track leans on."""
        return self.catalogue.select(tracks)

    def projection(self, tracks: ColdTracks) -> Projection:
        """Everything that the model says of some tracks."""
        return self.model.project(tracks, self.catalogue)
