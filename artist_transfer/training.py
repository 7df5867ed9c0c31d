"""Training the network on warm tracks as if they were cold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from artist_transfer.acarec import NetworkReader, resolve_device
from artist_transfer.artist_mean import artist_means
from artist_transfer.catalogue import Catalogue
from artist_transfer.credits import IntArray
from artist_transfer.epochs import Epochs
from artist_transfer.network import ACARec
from artist_transfer.options import EpochReport, FitOptions
from artist_transfer.ranking import NeighbourJudge, row_cosine
from artist_transfer.scaling import Scaling
from artist_transfer.types import FloatArray, WarmTracks

MAX_HELD_OUT = 1024
"""Held-out tracks at most: beyond, they cost time and sharpen nothing."""

MIN_HELD_OUT = 8
"""Held-out tracks aimed at in a small space."""

MAX_REFERENCE = 50_000
"""Tracks among which a held-out track's neighbours are looked for, at most."""

# Multiplications of one optimiser step's forward pass from which more threads than one pay.
_PARALLEL_WORK = 10**8

# Separates this room's streams of chance that come from the one seed; 1 is that of `artist_transfer.epochs`.
_SPLIT, _REFERENCE = 0, 2


EpochJudge = Callable[[NetworkReader], float]
"""Says how good a network is after an epoch, the higher the better; it projects what it judges with the reader."""


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained network.

    Attributes
    ----------
    reader : NetworkReader
        The network with the weights of its best epoch, and the scaling of the training tracks.
    train_tracks, epochs, best_epoch : int
        How many targets it learned from, how many epochs ran, and whose weights these are.
    best : float
        What the judge said of the best epoch.
    """

    reader: NetworkReader
    train_tracks: int
    epochs: int
    best_epoch: int
    best: float


@dataclass(frozen=True, eq=False)
class Training:
    """A trained network and what its held-out tracks said.

    Attributes
    ----------
    network : ACARec
        With the weights of its best epoch.
    scaling : Scaling
        Of the training tracks.
    sizes : ndarray, shape (held_out,), int64
        Catalogue size of each judged held-out track.
    cosine, ndcg : ndarray, shape (held_out,), float64
        Of the network's vectors.
    mean_cosine, mean_ndcg : ndarray, shape (held_out,), float64
        Of the artist mean's vectors.
    list_length : int
        The k of the NDCG.
    train_tracks, epochs, best_epoch : int
        How many targets it learned from, how many epochs ran, and whose weights these are.
    """

    network: ACARec
    scaling: Scaling
    sizes: IntArray
    cosine: npt.NDArray[np.float64]
    ndcg: npt.NDArray[np.float64]
    mean_cosine: npt.NDArray[np.float64]
    mean_ndcg: npt.NDArray[np.float64]
    list_length: int
    train_tracks: int
    epochs: int
    best_epoch: int


def split_held_out(trainable: IntArray, options: FitOptions) -> IntArray:
    """Choose the tracks that training never sees.

    Parameters
    ----------
    trainable : ndarray, shape (n,), int64
        Rows of the warm tracks that have a catalogue.
    options : FitOptions
        Seed and share. At least 8 tracks are held out where that is no more than a quarter, at most 1,024.

    Returns
    -------
    ndarray, shape (held_out,), int64
        Ascending rows, at least one.
    """
    n = trainable.size
    wanted = max(round(options.validation_share * n), min(MIN_HELD_OUT, n // 4), 1)
    rng = np.random.default_rng([options.seed, _SPLIT])
    return np.sort(rng.choice(trainable, size=min(wanted, MAX_HELD_OUT), replace=False))


def train(
    warm: WarmTracks,
    held_out: IntArray,
    options: FitOptions,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Training | None:
    """Train the network and judge it by tracks that it never saw.

    The held-out tracks are in neither targets nor catalogues; after each epoch of `learn` they are projected from
    their whole catalogues and judged by `NeighbourJudge`.

    Parameters
    ----------
    warm : WarmTracks
        All warm tracks.
    held_out : ndarray, shape (h,), int64
        Rows of `warm`, from `split_held_out`.
    options : FitOptions
        How to train.
    on_epoch : callable, optional
        Called after each epoch.

    Returns
    -------
    Training or None
        None where the split leaves no target to learn from or none to judge by.
    """
    seen = warm.without(held_out)
    catalogue = Catalogue(seen)
    judged = warm.take(held_out)
    judged = judged.take(catalogue.select(judged.as_cold(), options.catalogue_limit).sizes > 0)
    if len(judged) == 0 or _trainable(catalogue).size == 0:
        return None
    selected = catalogue.select(judged.as_cold(), options.catalogue_limit)
    judge = NeighbourJudge(judged.collaborative, _reference(seen, options.seed))

    def project(reader: NetworkReader) -> FloatArray:
        return reader.read(judged.content, selected, seen.content, seen.collaborative, options.batch_size)[0]

    learned = learn(catalogue, options, lambda reader: float(judge.ndcg(project(reader)).mean()), on_epoch)
    vectors, means = project(learned.reader), artist_means(selected, seen.collaborative)
    return Training(
        network=learned.reader.network,
        scaling=learned.reader.scaling,
        sizes=selected.sizes,
        cosine=row_cosine(vectors, judged.collaborative),
        ndcg=judge.ndcg(vectors),
        mean_cosine=row_cosine(means, judged.collaborative),
        mean_ndcg=judge.ndcg(means),
        list_length=judge.k,
        train_tracks=learned.train_tracks,
        epochs=learned.epochs,
        best_epoch=learned.best_epoch,
    )


def learn(
    catalogue: Catalogue,
    options: FitOptions,
    judge: EpochJudge,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Learned:
    """Train the network on the tracks of a catalogue.

    Each track that has a catalogue is a target as if cold: its content and up to `options.catalogue_sample` tracks of
    its catalogue, drawn anew in each epoch, are to give its collaborative vector (mean squared error, Adam). Training
    stops when what `judge` says has not risen for `options.patience` epochs.

    Parameters
    ----------
    catalogue : Catalogue
        Of the tracks to learn from; at least one of them has another to lean on.
    options : FitOptions
        How to train.
    judge : callable
        Called after each epoch.
    on_epoch : callable, optional
        Called after each epoch with what the judge said as its `ndcg`.

    Returns
    -------
    Learned

    Raises
    ------
    TransferInputError
        ``DEVICE_UNAVAILABLE``.
    """
    targets = _trainable(catalogue)
    device = resolve_device(options.device)
    dim, content_dim = catalogue.tracks.dim, catalogue.tracks.content_dim
    batch_size = min(options.batch_size, targets.size)
    work = batch_size * options.catalogue_sample * dim * (content_dim + 8 * dim)
    with threads_for(work):
        return _learn(catalogue, targets, options, device, judge, on_epoch)


def _learn(
    catalogue: Catalogue,
    targets: IntArray,
    options: FitOptions,
    device: torch.device,
    judge: EpochJudge,
    on_epoch: Callable[[EpochReport], None] | None,
) -> Learned:
    """See `learn`; `targets` are rows of the catalogue's tracks, and all have a catalogue."""
    seen = catalogue.tracks
    scaling = Scaling.of(seen.content, seen.collaborative)
    network = _seeded_network(seen, options.seed).to(device)
    reader = NetworkReader(network, scaling)
    epochs = Epochs(catalogue, targets, scaling, network, options)
    best, best_epoch, best_state, epoch = -np.inf, 0, _copy(network), 0
    for epoch in range(1, options.max_epochs + 1):
        loss = epochs.run()
        said = judge(reader)
        better = said > best
        if better:
            best, best_epoch, best_state = said, epoch, _copy(network)
        if on_epoch is not None:
            on_epoch(EpochReport(epoch=epoch, epochs=options.max_epochs, loss=loss, ndcg=said, best=better))
        if epoch - best_epoch >= options.patience:
            break
    network.load_state_dict(best_state)
    return Learned(reader, int(targets.size), epoch, best_epoch, best)


def _trainable(catalogue: Catalogue) -> IntArray:
    """Rows of the catalogue's tracks that have another to lean on."""
    return np.flatnonzero(catalogue.select(catalogue.tracks.as_cold(), 1).sizes > 0).astype(np.int64)


@contextmanager
def threads_for(work: int) -> Iterator[None]:
    """Run small optimiser steps on one thread: several would spend their time waiting for each other.

    On two busy cores a fit of an 8-dimensional space took over ten times as long on two threads as on one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if work < _PARALLEL_WORK else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seeded_network(warm: WarmTracks, seed: int) -> ACARec:
    """Draw the initial weights on the CPU, the same for every device, and leave torch's own chance alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return ACARec(warm.content_dim, warm.dim)


def _copy(network: ACARec) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _reference(seen: WarmTracks, seed: int) -> npt.NDArray[np.float32]:
    """Collaborative vectors of the tracks to be found; a sample of a large space."""
    if len(seen) <= MAX_REFERENCE:
        return seen.collaborative
    rng = np.random.default_rng([seed, _REFERENCE])
    return seen.collaborative[np.sort(rng.choice(len(seen), size=MAX_REFERENCE, replace=False))]
