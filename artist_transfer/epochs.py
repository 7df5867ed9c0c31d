"""Epochs of the network's training: catalogues drawn for all targets at once, and an optimiser step for each batch."""

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

# Separates the samples from the other streams of chance that come from the one seed, see `artist_transfer.training`.
_SAMPLES = 1


class Epochs:
    """Passes over the targets, each with catalogue tracks drawn anew.

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
        self._optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate, fused=True)
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
        for begin in range(0, order.size, self._batch_size):
            target = targets[begin : begin + self._batch_size]
            total += self._step(target, drawn[begin : begin + self._batch_size]) * target.shape[0]
        return float(total) / order.size

    def _step(self, targets: Tensor, rows: Tensor) -> Tensor:
        """Learn from one batch, `targets` (batch,) and their catalogue tracks (batch, width); return its loss."""
        split = self._network.content_dim
        mask = rows >= 0
        target, tracks = self._tracks[targets], self._tracks[rows]
        projected, _ = self._network(target[:, :split], self._network.describe(tracks), tracks[..., split:], mask)
        loss = functional.mse_loss(projected, target[:, split:])
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return loss.detach()
