"""What a fit may be told, and what it tells while it runs."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from artist_transfer.catalogue import CATALOGUE_LIMIT
from artist_transfer.errors import TransferInputError

Method = Literal["auto", "ranking", "acarec", "artist_mean"]
TRAINED = ("ranking", "acarec")
"""The methods that learn a network."""


@dataclass(frozen=True)
class RankingOptions:
    """How the ranking transfer is trained; the defaults were chosen on the validation split of real playlists (ADR 11).

    Attributes
    ----------
    steps : int
        Optimiser steps of each network.
    members : int
        Networks of different seeds whose vectors are averaged.
    candidates : int
        Warm tracks placed in one step, among which listeners choose.
    listeners : int
        Users in one step.
    catalogue_sample : int
        Catalogue tracks drawn for a candidate.
    catalogue_limit : int
        Catalogue tracks to draw from.
    artist_dropout : float
        Share of the artists whose catalogue is taken away in a step, in [0, 1).
    discovery_weight : float
        Weight of the loss over discoveries, at least 0.
    soft_share : float
        Share of the recommender's own scores (softmax over those of the true vectors) in what listeners chose, in
        [0, 1]; without interactions it is all.
    squared_weight : float
        Weight of the squared error to the true vector beside the ranking loss, at least 0.
    content_noise : float
        Standard deviation of the noise on standardised content in training, at least 0.
    length_power : float
        The length of a projected vector is raised to this power, in (0, 1]: among tracks that were not trained on,
        lengths as they were learned are too far apart.
    learning_rate, weight_decay : float
        Of AdamW.
    hidden, heads, dropout
        See `artist_transfer.ranking_network.NetworkShape`.
    soft_temperature : float
        Of the softmax that stands for choices where there are no interactions, in spreads of the scores.
    loss : {"ranking", "squared"}
        "squared": the squared error to the true vector instead, as a comparison.
    frozen : tuple of str
        Parts of the network that stay at their start, as a comparison: "gain", "residual", "query", "role_bias".
    """

    steps: int = 240
    members: int = 4
    candidates: int = 2500
    listeners: int = 1024
    catalogue_sample: int = 16
    catalogue_limit: int = CATALOGUE_LIMIT
    artist_dropout: float = 0.2
    discovery_weight: float = 0.05
    soft_share: float = 0.3
    squared_weight: float = 0.3
    content_noise: float = 0.4
    length_power: float = 0.85
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.5
    hidden: int = 256
    heads: int = 4
    dropout: float = 0.2
    soft_temperature: float = 1.0
    loss: Literal["ranking", "squared"] = "ranking"
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        whole = (
            "steps",
            "members",
            "candidates",
            "listeners",
            "catalogue_sample",
            "catalogue_limit",
            "hidden",
            "heads",
        )
        for name in whole:
            if getattr(self, name) < 1:
                raise _out_of_range(name, getattr(self, name), "at least 1")
        for name in ("artist_dropout", "dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise _out_of_range(name, getattr(self, name), "a share from 0 and below 1")
        if not 0.0 <= self.soft_share <= 1.0:
            raise _out_of_range("soft_share", self.soft_share, "a share from 0 to 1")
        for name in ("discovery_weight", "squared_weight", "content_noise", "weight_decay"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise _out_of_range(name, getattr(self, name), "a number from 0")
        if not 0.0 < self.length_power <= 1.0:
            raise _out_of_range("length_power", self.length_power, "a number above 0 and up to 1")
        for name in ("learning_rate", "soft_temperature"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise _out_of_range(name, getattr(self, name), "a number above 0")
        if self.loss not in ("ranking", "squared"):
            raise _out_of_range("loss", self.loss, "ranking or squared")
        parts = ("gain", "residual", "query", "role_bias")
        if not set(self.frozen) <= set(parts):
            raise _out_of_range("frozen", self.frozen, f"some of {', '.join(parts)}")


@dataclass(frozen=True)
class FitOptions:
    """How to fit.

    Attributes
    ----------
    seed : int
        Fixes everything drawn by chance: the held-out tracks, the initial weights, the samples. On one machine with
        one number of threads the weights come out the same to the last bit.
    max_epochs : int
        Passes over the training tracks at most; this, `patience`, `learning_rate` and `catalogue_sample` are of the
        method "acarec", see `ranking` for the ranking transfer.
    patience : int
        Epochs without a better held-out NDCG after which training stops.
    batch_size : int
        Targets in one optimiser step.
    learning_rate : float
        Of Adam, without weight decay.
    catalogue_sample : int
        Catalogue tracks drawn for a target in training.
    catalogue_limit : int
        Catalogue tracks read for a target at projection.
    validation_share : float
        Share of the trainable tracks that is held out, between 0 and 0.5. Small spaces hold out more, see
        `artist_transfer.training.split_held_out`.
    min_train_tracks : int
        With fewer trainable warm tracks (those whose catalogue is not empty) the artist mean serves. The default, 200,
        leaves 20 to hold out; in smaller spaces cut from a real one, a handful of held-out tracks chose the network by
        luck, and its neighbours were no better than the artist mean's (benchmarks/small_spaces.py).
    method : {"auto", "ranking", "acarec", "artist_mean"}
        "auto": the better of ranking transfer and artist mean on held-out tracks serves, see
        `artist_transfer.fitting.fit`. "acarec" is the network of Tamm et al.
    device : str
        "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
    ranking : RankingOptions
        How the ranking transfer is trained.

    Notes
    -----
    The defaults of patience, batch size, learning rate, epochs, sample and limit are those of Tamm et al.,
    "Leveraging Artist Catalogs for Cold-Start Music Recommendation", UMAP 2026.

    Raises
    ------
    TransferInputError
        ``OPTION_OUT_OF_RANGE``, with the option's name in ``field``.
    """

    seed: int = 0
    max_epochs: int = 500
    patience: int = 15
    batch_size: int = 1024
    learning_rate: float = 5e-4
    catalogue_sample: int = 5
    catalogue_limit: int = CATALOGUE_LIMIT
    validation_share: float = 0.1
    min_train_tracks: int = 200
    method: Method = "auto"
    device: str = "auto"
    ranking: RankingOptions = field(default_factory=RankingOptions)

    def __post_init__(self) -> None:
        for name in (
            "max_epochs",
            "patience",
            "batch_size",
            "catalogue_sample",
            "catalogue_limit",
            "min_train_tracks",
        ):
            if getattr(self, name) < 1:
                raise _out_of_range(name, getattr(self, name), "at least 1")
        if self.seed < 0:
            raise _out_of_range("seed", self.seed, "0 or more")
        if not 0.0 < self.learning_rate < math.inf:
            raise _out_of_range("learning_rate", self.learning_rate, "a number above 0")
        if not 0.0 < self.validation_share <= 0.5:
            raise _out_of_range("validation_share", self.validation_share, "a share above 0 and up to 0.5")
        if self.method not in get_args(Method):
            raise _out_of_range("method", self.method, "auto, ranking, acarec or artist_mean")


def _out_of_range(name: str, value: object, wanted: str) -> TransferInputError:
    return TransferInputError(f"{name} is {value!r}; give {wanted}.", reason="OPTION_OUT_OF_RANGE", field=name)


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch of "acarec", or ten finished steps of "ranking".

    Attributes
    ----------
    epoch : int
        From 1; for "ranking" the steps so far.
    epochs : int
        How many there are at most.
    loss : float
        Of the epoch or step: mean squared error in the space scaled to [-1, 1], or cross-entropy.
    ndcg : float or None
        Of the held-out tracks' neighbour lists, in [0, 1], where each epoch is judged; see
        `artist_transfer.ranking.NeighbourJudge`.
    best : bool
        Whether these weights are the best so far.
    """

    epoch: int
    epochs: int
    loss: float
    ndcg: float | None
    best: bool
