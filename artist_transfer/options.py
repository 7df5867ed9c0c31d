"""What a fit may be told, and what it tells while it runs."""

from dataclasses import dataclass
from typing import Literal

from artist_transfer.catalogue import CATALOGUE_LIMIT
from artist_transfer.errors import TransferInputError

Method = Literal["auto", "acarec", "artist_mean"]


@dataclass(frozen=True)
class FitOptions:
    """How to fit.

    Attributes
    ----------
    seed : int
        Fixes everything drawn by chance: the held-out tracks, the initial weights, the samples. On one machine with
        one number of threads the weights come out the same to the last bit.
    max_epochs : int
        Passes over the training tracks at most.
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
    method : {"auto", "acarec", "artist_mean"}
        "auto": the better of the two on held-out tracks serves, see `artist_transfer.fitting.fit`.
    device : str
        "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

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
        if not self.learning_rate > 0.0:
            raise _out_of_range("learning_rate", self.learning_rate, "a number above 0")
        if not 0.0 < self.validation_share <= 0.5:
            raise _out_of_range("validation_share", self.validation_share, "a share above 0 and up to 0.5")
        if self.method not in ("auto", "acarec", "artist_mean"):
            raise _out_of_range("method", self.method, "auto, acarec or artist_mean")


def _out_of_range(name: str, value: object, wanted: str) -> TransferInputError:
    return TransferInputError(f"{name} is {value!r}; give {wanted}.", reason="OPTION_OUT_OF_RANGE", field=name)


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch.

    Attributes
    ----------
    epoch : int
        From 1.
    loss : float
        Mean squared error of the epoch's training targets, in the space scaled to [-1, 1].
    ndcg : float
        Of the held-out tracks' neighbour lists, in [0, 1]; see `artist_transfer.ranking.neighbour_ndcg`.
    best : bool
        Whether this epoch's weights are the best so far.
    """

    epoch: int
    loss: float
    ndcg: float
    best: bool
