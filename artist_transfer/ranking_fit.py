"""Fitting the ranking transfer: train, then measure on held-out tracks how far it may be trusted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from artist_transfer.acarec import resolve_device
from artist_transfer.artist_mean import artist_means
from artist_transfer.calibration import Calibration, signs
from artist_transfer.catalogue import Catalogue
from artist_transfer.credits import IntArray
from artist_transfer.descriptors import Descriptors
from artist_transfer.interactions import Interactions
from artist_transfer.options import EpochReport, FitOptions
from artist_transfer.ranking import ListenerJudge, NeighbourJudge, row_cosine
from artist_transfer.ranking_model import RankingReader
from artist_transfer.ranking_network import RankingNetwork
from artist_transfer.ranking_training import train_ranking
from artist_transfer.types import WarmTracks

COVERAGE = 0.9
"""Share of tracks whose listens are to lie in the interval of the estimate."""

_REPORTED = 10  # steps between two reports


@dataclass(frozen=True, eq=False)
class RankingFit:
    """A trained ranking transfer and what held-out tracks say of it.

    Attributes
    ----------
    reader : RankingReader
        The networks, scaled so that scores are right on average.
    calibration : Calibration
    widening : float
        See `artist_transfer.ranking_model.RankingModel`.
    ndcg, mean_ndcg : ndarray, shape (judged,), float64
        Of the networks' vectors and of the artist mean's, by listener where there are interactions, by held-out track
        otherwise.
    cosine, mean_cosine : ndarray, shape (held_out,), float64
        With the true vectors.
    list_length : int
        The k of NDCG@k.
    train_tracks : int
    """

    reader: RankingReader
    calibration: Calibration
    widening: float
    ndcg: npt.NDArray[np.float64]
    mean_ndcg: npt.NDArray[np.float64]
    cosine: npt.NDArray[np.float64]
    mean_cosine: npt.NDArray[np.float64]
    list_length: int
    train_tracks: int


def fit_ranking(
    warm: WarmTracks,
    interactions: Interactions | None,
    held_out: IntArray,
    options: FitOptions,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> RankingFit:
    """Train on the warm tracks but the held-out ones, and judge by these.

    Parameters
    ----------
    warm : WarmTracks
    interactions : Interactions, optional
        Of these tracks.
    held_out : ndarray, shape (h,), int64
        Rows of `warm` that have a catalogue; they are in no catalogue, no batch and no loss. At least one, and at least
        two tracks are left.
    options : FitOptions
    on_epoch : callable, optional
        Told after every tenth step.
    """
    kept = np.delete(np.arange(len(warm)), held_out)
    seen, judged = warm.take(kept), warm.take(held_out)
    listened = None if interactions is None else interactions.of_tracks(kept, len(warm))
    networks, descriptors = _train_members(seen, listened, options, on_epoch)
    catalogue = Catalogue(seen)
    targets = judged.as_cold()
    selected = catalogue.select(targets, options.catalogue_limit)
    nothing = selected.emptied(np.ones(len(judged), dtype=np.bool_))
    power = options.ranking.length_power
    plain = RankingReader(networks, descriptors, power)
    vectors, _, quantiles = plain.read(targets, selected, catalogue, options.batch_size)
    alone, _, quantiles_alone = plain.read(targets, nothing, catalogue, options.batch_size)

    # Least squares: with this factor u . projected is right on average for any u that does not know the track.
    scale = float((vectors * judged.collaborative).sum() / max(float((vectors**2).sum()), 1e-12))
    scale = scale if scale > 0.0 else 1.0
    known = judged.content_known
    cosine, cosine_alone = row_cosine(vectors, judged.collaborative), row_cosine(alone, judged.collaborative)
    calibration = Calibration.fit(
        np.concatenate(
            [
                signs(vectors, selected, seen.collaborative, known),
                signs(alone, nothing, seen.collaborative, known),
            ]
        ),
        np.concatenate([cosine, cosine_alone]),
    )
    listens = descriptors.standard_listens(judged.popularity)
    counted = ~np.isnan(judged.popularity)
    widening = _widening(np.concatenate([quantiles[counted], quantiles_alone[counted]]), np.tile(listens[counted], 2))
    has = np.flatnonzero(selected.sizes > 0)
    means = np.zeros_like(vectors)
    means[has] = artist_means(selected.take(has), seen.collaborative)
    judge = (
        NeighbourJudge(judged.collaborative, seen.collaborative)
        if interactions is None
        else ListenerJudge(interactions.of_tracks(held_out, len(warm)), len(judged))
    )
    return RankingFit(
        reader=RankingReader(networks, descriptors, power, scale),
        calibration=calibration,
        widening=widening,
        ndcg=judge.ndcg(vectors),
        mean_ndcg=judge.ndcg(means),
        cosine=cosine,
        mean_cosine=row_cosine(means, judged.collaborative),
        list_length=judge.k,
        train_tracks=len(seen),
    )


def _train_members(
    seen: WarmTracks,
    listened: Interactions | None,
    options: FitOptions,
    on_epoch: Callable[[EpochReport], None] | None,
) -> tuple[list[RankingNetwork], Descriptors]:
    """Train the members side by side, each on a thread of its own.

    A step consists of many operations of a millisecond, and threads that split each of them wait for each other; on
    two busy cores that took three times as long. Each member draws from generators of its own, so that it comes out the
    same whatever runs beside it. A GPU is shared by one after the other.
    """
    ranking, device = options.ranking, resolve_device(options.device)
    total, lock, done = ranking.members * ranking.steps, threading.Lock(), [0]

    def on_step(step: int, loss: float) -> None:
        if on_epoch is None:
            return
        with lock:  # one report at a time, in order
            done[0] += 1
            if done[0] % _REPORTED == 0 or done[0] == total:
                on_epoch(EpochReport(epoch=done[0], epochs=total, loss=loss, ndcg=None, best=True))

    def train_one(member: int) -> tuple[RankingNetwork, Descriptors]:
        torch.set_num_threads(1)
        return train_ranking(seen, listened, ranking, options.seed * 1000 + member, device, on_step)

    workers = 1 if device.type == "cuda" else min(ranking.members, torch.get_num_threads())
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers) as pool:
            trained = list(pool.map(train_one, range(ranking.members)))
    finally:
        torch.set_num_threads(threads)
    return [network for network, _ in trained], trained[0][1]


def _widening(quantiles: npt.NDArray[np.float32], listens: npt.NDArray[np.float32]) -> float:
    """Conformalised quantile regression (Romano et al. 2019): what share of misses to forgive on both sides."""
    if listens.size == 0:
        return float("nan")
    ordered = np.sort(quantiles, axis=1)
    missed = np.maximum(ordered[:, 0] - listens, listens - ordered[:, 2])
    return float(np.quantile(missed, min(1.0, COVERAGE * (1.0 + 1.0 / listens.size)), method="higher"))
