"""The network of the contrastive alignment: a direction, and apart from it a length. Imports torch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

FIRST_TEMPERATURE = 0.1
LENGTH_WEIGHT = 0.1  # of the length's squared error beside the contrastive loss


class ContrastiveTower(nn.Module):
    """From features (b, f) to vectors (b, dim); the loss is that of `content_contrastive`.

    Parameters
    ----------
    layers : torch.nn.Module
        From features to dim + 1 numbers: a direction and the logarithm of a length.
    first_log_length : float
        Where the lengths start.
    unknown : torch.Tensor, shape (dim,), float32
        Where a track is put whose last feature says that its content is not known.
    """

    def __init__(self, layers: nn.Module, first_log_length: float, unknown: torch.Tensor) -> None:
        super().__init__()
        self.layers = layers
        self.log_temperature = nn.Parameter(torch.tensor(FIRST_TEMPERATURE).log())
        self._first_log_length = first_log_length
        self._unknown = unknown

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Place tracks, features (b, f), in the space's own scale; shape (b, dim)."""
        direction, log_length = self._parts(features)
        return torch.where(features[:, -1:] > 0, self._unknown, direction * log_length.exp()[:, None])

    def loss(self, features: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Tell the tracks of a batch apart; features (b, f), true vectors (b, dim)."""
        direction, log_length = self._parts(features)
        logits = direction @ normalize(vectors, dim=1).T / self.log_temperature.exp()
        own = torch.arange(len(features))
        alignment = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2.0
        return alignment + LENGTH_WEIGHT * mse_loss(log_length, vectors.norm(dim=1).clamp_min(1e-6).log())

    def _parts(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.layers(features)
        return normalize(out[:, :-1], dim=1), out[:, -1] + self._first_log_length
