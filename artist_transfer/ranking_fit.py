"""Fitting the ranking transfer: train, then measure on held-out tracks how far it may be trusted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from artist_transfer.acarec import resolve_device
from artist_transfer.artist_mean import artist_means
from artist_transfer.calibration import Calibration, signs
from artist_transfer.catalogue import Catalogue, CatalogueRows
from artist_transfer.credits import IntArray
from artist_transfer.descriptors import Descriptors
from artist_transfer.interactions import Interactions
from artist_transfer.options import EpochReport, FitOptions
from artist_transfer.ranking import ListenerJudge, NeighbourJudge, row_cosine
from artist_transfer.ranking_model import RankingReader
from artist_transfer.ranking_network import RankingNetwork
from artist_transfer.ranking_training import train_ranking
from artist_transfer.types import FloatArray, WarmTracks

COVERAGE = 0.9
"""Share of tracks whose listens are to lie in the interval of the estimate."""

_REPORTED = 10  # steps between two reports
_FEW = 25  # fewer tracks or listeners measure nothing
_NEWCOMERS = 22  # entropy of a generator


@dataclass(frozen=True, eq=False)
class RankingFit:
    """A trained ranking transfer and what held-out tracks say of it.

    Attributes
    ----------
    reader : RankingReader
        The networks, scaled so that scores are right on average.
    calibration : Calibration
    widening : tuple of two float
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
    widening: tuple[float, float]
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
    """Train on the warm tracks but some that are hidden, and judge by these.

    Hidden are the held-out tracks, which say how tracks with a catalogue fare, and half as many again by whole artists,
    which say how newcomers do.

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
    newcomers = whole_artists(warm, held_out, options.seed)
    kept = np.delete(np.arange(len(warm)), np.concatenate([held_out, newcomers]))
    seen = warm.take(kept)
    listened = None if interactions is None else interactions.of_tracks(kept, len(warm))
    networks, descriptors = _train_members(seen, listened, options, on_epoch)
    catalogue, power = Catalogue(seen), options.ranking.length_power
    plain = RankingReader(networks, descriptors, power)

    def place(rows: IntArray, *, empty: bool = False) -> _Hidden:
        tracks = warm.take(rows)
        selected = catalogue.select(tracks.as_cold(), options.catalogue_limit)
        if empty:
            selected = selected.emptied(np.ones(len(tracks), dtype=np.bool_))
        vectors, _, quantiles = plain.read(tracks.as_cold(), selected, catalogue, options.batch_size)
        return _Hidden(rows, tracks, selected, vectors, quantiles)

    known, unknown = place(held_out).with_catalogue(), place(newcomers)
    new, guests = unknown.without_catalogue(), unknown.of_guests()
    if new.rows.size < _FEW:  # a space of few artists has none to spare: known ones are taken for new
        new = place(held_out, empty=True)
    calibrating = (known, new, guests)
    # Least squares: with this factor u . projected is right on average for any u that does not know the track.
    true = known.tracks.collaborative
    scale = float((known.vectors * true).sum() / max(float((known.vectors**2).sum()), 1e-12))
    means = np.zeros_like(known.vectors)
    filled = np.flatnonzero(known.selected.sizes > 0)
    means[filled] = artist_means(known.selected.take(filled), seen.collaborative)
    judge = _judge(known, seen, interactions, len(warm))
    return RankingFit(
        reader=RankingReader(networks, descriptors, power, scale if scale > 0.0 else 1.0),
        calibration=Calibration.fit(
            np.concatenate([part.signs(seen) for part in calibrating]),
            np.concatenate([part.cosine() for part in calibrating]),
        ),
        widening=(known.widening(descriptors), new.widening(descriptors)),
        ndcg=judge.ndcg(known.vectors),
        mean_ndcg=judge.ndcg(means),
        cosine=known.cosine(),
        mean_cosine=row_cosine(means, true),
        list_length=judge.k,
        train_tracks=len(seen),
    )


@dataclass(frozen=True, eq=False)
class _Hidden:
    """Hidden tracks and where the networks put them."""

    rows: IntArray
    tracks: WarmTracks
    selected: CatalogueRows
    vectors: FloatArray
    quantiles: FloatArray

    def with_catalogue(self) -> _Hidden:
        """Keep those with a catalogue; all of them where none has one, because hiding emptied them all."""
        has = self.selected.sizes > 0
        return self._take(np.flatnonzero(has if has.any() else ~has))

    def without_catalogue(self) -> _Hidden:
        return self._take(np.flatnonzero(self.selected.sizes == 0))

    def of_guests(self) -> _Hidden:
        """Keep those whose catalogue is another credited artist's alone."""
        return self._take(np.flatnonzero(self.selected.sizes > 0))

    def _take(self, at: IntArray) -> _Hidden:
        return _Hidden(
            self.rows[at], self.tracks.take(at), self.selected.take(at), self.vectors[at], self.quantiles[at]
        )

    def signs(self, seen: WarmTracks) -> FloatArray:
        return signs(self.vectors, self.selected, seen.collaborative, self.tracks.content_known)

    def cosine(self) -> npt.NDArray[np.float64]:
        return row_cosine(self.vectors, self.tracks.collaborative)

    def widening(self, descriptors: Descriptors) -> float:
        counted = ~np.isnan(self.tracks.popularity)
        return _widening(self.quantiles[counted], descriptors.standard_listens(self.tracks.popularity)[counted])


def whole_artists(warm: WarmTracks, held_out: IntArray, seed: int) -> IntArray:
    """Choose artists of whom nothing is seen, about half as many tracks as are held out.

    Parameters
    ----------
    warm : WarmTracks
    held_out : ndarray, shape (h,), int64
        Rows that are hidden anyway.
    seed : int

    Returns
    -------
    ndarray, shape (r,), int64
        Ascending rows of `warm` that are not held out: all others of the chosen primary artists, none of whom has more
        than a twentieth of the tracks. May be empty.
    """
    artist = warm.credits.primary_artists()
    free = np.setdiff1d(np.flatnonzero(artist >= 0), held_out)
    candidates, counts = np.unique(artist[free], return_counts=True)
    order = np.random.default_rng([seed, _NEWCOMERS]).permutation(candidates.size)
    order = order[counts[order] <= len(warm) // 20]
    chosen = candidates[order[np.cumsum(counts[order]) <= held_out.size // 2]]
    return free[np.isin(artist[free], chosen)]


def _judge(
    known: _Hidden, seen: WarmTracks, interactions: Interactions | None, tracks: int
) -> ListenerJudge | NeighbourJudge:
    """Judge by the listeners of the hidden tracks, or by their neighbours where too few listened."""
    if interactions is not None:
        listened = interactions.of_tracks(known.rows, tracks)
        if np.unique(listened.entries[:, 0]).size >= _FEW:
            return ListenerJudge(listened, known.rows.size)
    return NeighbourJudge(known.tracks.collaborative, seen.collaborative)


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
    stopped = threading.Event()

    def on_step(step: int, loss: float) -> None:
        if stopped.is_set():
            raise InterruptedError("another member failed, or the fit was interrupted")
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
            members = [pool.submit(train_one, member) for member in range(ranking.members)]
            try:
                ended, running = wait(members, return_when=FIRST_EXCEPTION)
                if running:
                    raise next(error for member in ended if (error := member.exception()) is not None)
                trained = [member.result() for member in members]
            except BaseException:
                stopped.set()  # else leaving the pool would wait until every member has finished
                pool.shutdown(wait=False, cancel_futures=True)
                raise
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
