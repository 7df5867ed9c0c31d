r"""Contrastive alignment of content with the collaborative space.

A content tower's unit vectors :math:`a_i` and the true vectors' directions :math:`b_i` of a batch of n tracks are told
apart in both directions (InfoNCE, van den Oord et al., 2018; symmetric as in Radford et al., 2021):

.. math:: L = -\frac{1}{2n} \sum_i \left( \log \frac{e^{a_i b_i / \tau}}{\sum_j e^{a_i b_j / \tau}}
              + \log \frac{e^{a_i b_i / \tau}}{\sum_j e^{a_j b_i / \tau}} \right)

It says nothing about lengths, which carry how popular a track is: a second head predicts the logarithm of the length by
squared error. The temperature is learned.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jobs.evaluation.baselines.content_features import ContentScale
from jobs.evaluation.baselines.content_network import JUDGED_USERS, FittedNetwork, NetworkOptions, layers, train
from jobs.evaluation.benchmark_folder import Benchmark
from jobs.evaluation.methods import ValJudge


@dataclass(frozen=True)
class ContentContrastive:
    """A content tower trained on the warm tracks whose content is known; the epoch is chosen on ``cold_val``.

    A track of unknown content gets the mean of the warm tracks whose content is not known either.
    """

    name: str = "content_contrastive"
    by_chance: bool = True
    options: NetworkOptions = field(default_factory=lambda: NetworkOptions(learning_rate=3e-4))

    def fit(self, benchmark: Benchmark, seed: int) -> FittedNetwork:
        """See `jobs.evaluation.methods.Method`."""
        import torch

        from jobs.evaluation.baselines.contrastive_tower import ContrastiveTower

        warm = benchmark.warm
        known = warm.content_known
        learned = warm.take(known) if known.any() else warm
        unknown = warm.collaborative[~known] if not known.all() else warm.collaborative
        scale = ContentScale.of(warm.content)
        lengths = np.linalg.norm(learned.collaborative, axis=1)
        first_log_length = float(np.log(lengths[lengths > 0]).mean()) if (lengths > 0).any() else 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tower = ContrastiveTower(
                layers(scale.width, warm.dim + 1, self.options),
                first_log_length,
                torch.from_numpy(unknown.mean(axis=0)),
            )
            chosen = train(tower, learned, scale, tower.loss, ValJudge(benchmark, JUDGED_USERS), self.options, seed)
        return FittedNetwork(tower, scale, chosen | {"temperature": float(tower.log_temperature.detach().exp())})
