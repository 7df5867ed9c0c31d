"""Training a small network on content, stopped where ``cold_val`` is best: what both content networks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from artist_transfer import ColdTracks, WarmTracks
from jobs.evaluation.baselines.content_features import ContentScale
from jobs.evaluation.benchmark_folder import FloatArray
from jobs.evaluation.methods import Chosen, ValJudge

if TYPE_CHECKING:
    import torch

JUDGED_USERS = 2000  # for early stopping; enough to tell epochs apart, a third of the time


@dataclass(frozen=True)
class NetworkOptions:
    """How a content network is trained.

    Attributes
    ----------
    hidden : tuple of int
        Widths of the ReLU layers.
    dropout : float
        After each of them, in [0, 1).
    learning_rate, weight_decay : float
        Of AdamW.
    batch_size : int
    max_epochs, patience : int
        Stop after so many epochs, or so many without a better NDCG@20 on ``cold_val``.
    """

    hidden: tuple[int, ...] = (512, 512)
    dropout: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 1024
    max_epochs: int = 60
    patience: int = 10


class FittedNetwork:
    """A trained content network.

    Parameters
    ----------
    network : torch.nn.Module
        From features to collaborative vectors in the space's own scale.
    scale : ContentScale
    chosen : dict
        See `jobs.evaluation.methods.Projector`.
    """

    def __init__(self, network: torch.nn.Module, scale: ContentScale, chosen: Chosen) -> None:
        self.chosen = chosen
        self._network = network
        self._scale = scale

    def project(self, tracks: ColdTracks) -> FloatArray:
        """See `jobs.evaluation.methods.Projector`."""
        return run(self._network, self._scale.features(tracks.content))


def layers(width: int, out: int, options: NetworkOptions) -> torch.nn.Sequential:
    """Stack ReLU layers from `width` features to `out` numbers."""
    from torch import nn

    stack: list[nn.Module] = []
    for hidden in options.hidden:
        stack += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(options.dropout)]
        width = hidden
    return nn.Sequential(*stack, nn.Linear(width, out))


def run(network: torch.nn.Module, features: FloatArray) -> FloatArray:
    """Run a network on features (m, f) without training it; shape (m, dim), float32."""
    import torch

    network.eval()
    with torch.inference_mode():
        found: FloatArray = network(torch.from_numpy(features)).numpy()
    return found


def train(
    network: torch.nn.Module,
    warm: WarmTracks,
    scale: ContentScale,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    judge: ValJudge,
    options: NetworkOptions,
    seed: int,
) -> Chosen:
    """Train a network in place and leave it at its best epoch.

    Parameters
    ----------
    network : torch.nn.Module
        From features (b, f) to vectors (b, dim) in the space's own scale.
    warm : artist_transfer.WarmTracks
        What is learned from.
    scale : ContentScale
    loss_of : callable
        From features (b, f) and true vectors (b, dim) to a loss.
    judge : ValJudge
        Says when to stop.
    options : NetworkOptions
    seed : int
        Of the order of the tracks.

    Returns
    -------
    dict
        ``epoch`` (the best one) and ``ndcg`` (then, on ``cold_val``).
    """
    import torch

    features = torch.from_numpy(scale.features(warm.content))
    targets = torch.from_numpy(warm.collaborative)
    judged = scale.features(judge.tracks.content)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    rng = np.random.default_rng(seed)
    best_ndcg, best_epoch = judge.ndcg(run(network, judged)), 0
    best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for epoch in range(1, options.max_epochs + 1):
        network.train()
        for rows in _batches(rng, len(features), options.batch_size):
            optimiser.zero_grad()
            loss_of(features[rows], targets[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        ndcg = judge.ndcg(run(network, judged))
        if ndcg > best_ndcg:
            best_ndcg, best_epoch = ndcg, epoch
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        elif epoch - best_epoch >= options.patience:
            break
    network.load_state_dict(best)
    return {"epoch": float(best_epoch), "ndcg": best_ndcg}


def _batches(rng: np.random.Generator, rows: int, size: int) -> Iterator[torch.Tensor]:
    """Shuffle rows and cut them into batches."""
    import torch

    order = torch.from_numpy(rng.permutation(rows))
    for begin in range(0, rows, size):
        yield order[begin : begin + size]
