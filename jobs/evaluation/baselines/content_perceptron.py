"""Content perceptron: a network from content to the vector, by squared error (van den Oord et al., NeurIPS 2013)."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.evaluation.baselines.content_features import ContentScale
from jobs.evaluation.baselines.content_network import JUDGED_USERS, FittedNetwork, NetworkOptions, layers, train
from jobs.evaluation.benchmark_folder import Benchmark
from jobs.evaluation.methods import ValJudge


@dataclass(frozen=True)
class ContentPerceptron:
    """ReLU layers trained on all warm tracks; the epoch is chosen on ``cold_val``."""

    name: str = "content_perceptron"
    by_chance: bool = True
    options: NetworkOptions = field(default_factory=NetworkOptions)

    def fit(self, benchmark: Benchmark, seed: int) -> FittedNetwork:
        """See `jobs.evaluation.methods.Method`."""
        import torch
        from torch.nn.functional import mse_loss

        warm = benchmark.warm
        scale = ContentScale.of(warm.content)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = layers(scale.width, warm.dim, self.options)
            output = network[-1]
            assert isinstance(output, torch.nn.Linear)
            output.bias.data = torch.from_numpy(warm.collaborative.mean(axis=0))  # the rest learns what differs from it
            judge = ValJudge(benchmark, JUDGED_USERS)
            chosen = train(
                network, warm, scale, lambda rows, true: mse_loss(network(rows), true), judge, self.options, seed
            )
        return FittedNetwork(network, scale, chosen)
