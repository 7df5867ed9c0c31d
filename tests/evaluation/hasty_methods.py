"""The methods that learn a network, in a few steps: where it matters what they do, and not how well."""

from __future__ import annotations

from artist_transfer import FitOptions, RankingOptions
from jobs.evaluation.acarec import Acarec
from jobs.evaluation.baselines.content_contrastive import ContentContrastive
from jobs.evaluation.baselines.content_network import NetworkOptions
from jobs.evaluation.baselines.content_perceptron import ContentPerceptron
from jobs.evaluation.methods import Method
from jobs.evaluation.ours import Anacrusis

HASTY_ACAREC = Acarec(options=FitOptions(max_epochs=3))
HASTY_ANACRUSIS = Anacrusis(options=FitOptions(method="ranking", ranking=RankingOptions(steps=20, members=1)))
_SHORT = NetworkOptions(max_epochs=3)
_HASTY: tuple[Method, ...] = (
    HASTY_ACAREC,
    HASTY_ANACRUSIS,
    ContentPerceptron(options=_SHORT),
    ContentContrastive(options=_SHORT),
)


def hasty(method: Method) -> Method:
    """The same method in a few steps; itself where it learns no network."""
    return {one.name: one for one in _HASTY}.get(method.name, method)
