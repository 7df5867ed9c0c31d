"""Epochs of the network's training: catalogues drawn for all targets at once, and an optimiser step for each batch."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from artist_transfer.catalogue import Catalogue
from artist_transfer.credits import IntArray
from artist_transfer.network import ACARec
from artist_transfer.options import FitOptions
from artist_transfer.sampling import sample_catalogues
from artist_transfer.scaling import Scaling

MIN_STEPS = 8
"""Optimiser steps in one epoch at least: small spaces are passed over several times, each time with new samples."""

MIN_SHARE = 256
"""Targets of a batch that a thread of its own pays for, at least."""

# Separates the samples from the other streams of chance that come from the one seed, see `artist_transfer.training`.
_SAMPLES = 1


class Epochs:
    """Passes over the targets, each with catalogue tracks drawn anew.

    On a CPU torch would split every single operation among its threads, which then wait for each other some hundred
    times a step (on two busy cores that made a step ten times as slow as on one thread). Here each thread takes a share
    of the batch from its targets to the gradients, and they meet once a step.

    Parameters
    ----------
    catalogue : Catalogue
        Of the tracks to learn from.
    targets : ndarray, shape (n,), int64
        Rows of its tracks; all have a catalogue.
    scaling : Scaling
        Of these tracks.
    network : ACARec
        Trained in place, on the device where it lies.
    options : FitOptions
        How to train.
    """

    def __init__(
        self, catalogue: Catalogue, targets: IntArray, scaling: Scaling, network: ACARec, options: FitOptions
    ) -> None:
        seen = catalogue.tracks
        self._network = network
        self._device = next(network.parameters()).device
        self._width = options.catalogue_sample
        self._batch_size = min(options.batch_size, targets.size)
        self._passes = -(-MIN_STEPS * self._batch_size // targets.size)
        self._targets = np.tile(targets, self._passes)
        self._catalogues = catalogue.select(seen.as_cold(self._targets), options.catalogue_limit)
        both = np.concatenate([scaling.content(seen.content), seen.collaborative / scaling.space_scale], axis=1)
        # The last row is what padding (-1) reads.
        padded = np.concatenate([both, np.zeros_like(both[:1])]).astype(np.float32)
        self._tracks = torch.from_numpy(padded).to(self._device)
        self._parameters = list(network.parameters())
        self._optimiser = torch.optim.Adam(self._parameters, lr=options.learning_rate, fused=True)
        self._rng = np.random.default_rng([options.seed, _SAMPLES])

    def run(self) -> float:
        """Learn from every target once (more often in a small space); return their mean squared error."""
        rows = sample_catalogues(self._catalogues, self._width, self._rng)
        # Each pass is shuffled for itself, so that a small space's step holds every target once.
        once = self._targets.size // self._passes
        shuffled = self._rng.random((self._passes, once)).argsort(axis=1)
        order = (shuffled + np.arange(self._passes)[:, None] * once).ravel()
        targets = torch.from_numpy(self._targets[order]).to(self._device)
        drawn = torch.from_numpy(rows[order]).to(self._device)
        total = torch.zeros((), device=self._device)
        threads = (
            1 if self._device.type == "cuda" else max(1, min(torch.get_num_threads(), self._batch_size // MIN_SHARE))
        )
        with ThreadPoolExecutor(threads) as pool, _one_thread_an_operation():
            for begin in range(0, order.size, self._batch_size):
                batch = slice(begin, begin + self._batch_size)
                total += self._step(targets[batch].chunk(threads), drawn[batch].chunk(threads), pool)
        return float(total) / order.size

    def _step(self, targets: tuple[Tensor, ...], rows: tuple[Tensor, ...], pool: Executor) -> Tensor:
        """Learn from one batch in shares; return the sum of its targets' errors."""
        size = sum(share.shape[0] for share in targets)
        shares = (
            [self._learn_from(targets[0], rows[0])]
            if len(targets) == 1
            else [*pool.map(self._learn_from, targets, rows)]
        )
        for place, parameter in enumerate(self._parameters):
            gradients = [found[place] for _, found in shares]
            if gradients[0] is not None:
                parameter.grad = torch.stack(gradients).sum(dim=0) / size
        self._optimiser.step()
        return torch.stack([error for error, _ in shares]).sum()

    def _learn_from(self, targets: Tensor, rows: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Sum the errors of `targets` (n,) with their catalogue tracks (n, width), and the gradients of that sum."""
        split = self._network.content_dim
        target, tracks = self._tracks[targets], self._tracks[rows]
        projected, _ = self._network(target[:, :split], self._network.describe(tracks), tracks[..., split:], rows >= 0)
        error = functional.mse_loss(projected, target[:, split:]) * targets.shape[0]
        # A constant added to every score leaves a softmax as it is: that bias has no gradient.
        return error.detach(), torch.autograd.grad(error, self._parameters, allow_unused=True)


@contextmanager
def _one_thread_an_operation() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
