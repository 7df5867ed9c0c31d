"""The methods and the sections of an evaluation: the one place to add another."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.errors import EvaluationError
from jobs.evaluation.acarec import Acarec
from jobs.evaluation.baselines.artist_mean import ArtistMean
from jobs.evaluation.baselines.artist_mean_content import ArtistMeanContent
from jobs.evaluation.baselines.artist_mean_shrunken import ShrunkenArtistMean
from jobs.evaluation.baselines.content_contrastive import ContentContrastive
from jobs.evaluation.baselines.content_perceptron import ContentPerceptron
from jobs.evaluation.baselines.content_ridge import ContentRidge
from jobs.evaluation.baselines.popularity import Popularity
from jobs.evaluation.confidence import Confidence
from jobs.evaluation.context import Section
from jobs.evaluation.deletion import Deletion
from jobs.evaluation.methods import Method
from jobs.evaluation.ours import Anacrusis
from jobs.evaluation.popularity_estimate import PopularityEstimate
from jobs.evaluation.promises import Promises
from jobs.evaluation.warming import WarmingUp

METHODS: tuple[Method, ...] = (
    Popularity(),
    ContentRidge(),
    ContentPerceptron(),
    ContentContrastive(),
    ArtistMean(),
    ShrunkenArtistMean(),
    ArtistMeanContent(),
    Acarec(),
    Anacrusis(),
)

SECTIONS: tuple[Section, ...] = (Promises(), Confidence(), PopularityEstimate(), WarmingUp(), Deletion())


def methods_named(names: Sequence[str] | None) -> tuple[Method, ...]:
    """Return the methods of some names, in the registry's order; all of them where `names` is None.

    Raises
    ------
    EvaluationError
        When a name is not known, or there is none.
    """
    known = [method.name for method in METHODS]
    if names is None:
        return METHODS
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"There is no method {unknown[0]!r}" if unknown else "No method is named"
        raise EvaluationError(f"{what}; choose from {', '.join(known)}.", field="methods")
    return tuple(method for method in METHODS if method.name in names)
