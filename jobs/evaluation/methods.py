"""What a method is to the evaluation: something that is fitted on warm tracks and then places cold ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from artist_transfer import ColdTracks
from jobs.evaluation.benchmark_folder import VALIDATION, Benchmark, FloatArray
from jobs.evaluation.protocol import make_slice, per_user

Chosen = dict[str, float | str]


@runtime_checkable
class Projector(Protocol):
    """A fitted method that places a track in the space.

    Attributes
    ----------
    chosen : dict of str to float or str
        What was chosen on ``cold_val``, for the report.
    """

    chosen: Chosen

    def project(self, tracks: ColdTracks) -> FloatArray:
        """Project m tracks; shape (m, dim), float32, finite."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """A fitted method that gives every user the same ranking.

    Attributes
    ----------
    chosen : dict of str to float or str
        As `Projector.chosen`.
    """

    chosen: Chosen

    def scores(self, tracks: ColdTracks) -> FloatArray:
        """Score m tracks, the higher the better; shape (m,), float32, finite."""
        ...


Fitted = Projector | Scorer


class Method(Protocol):
    """A way to place cold tracks.

    Attributes
    ----------
    name : str
        As in reports and on the command line.
    by_chance : bool
        Whether a seed changes anything; a method that depends on no chance is fitted once, whatever the seeds.
    """

    @property
    def name(self) -> str: ...  # noqa: D102  # above

    @property
    def by_chance(self) -> bool: ...  # noqa: D102  # above

    def fit(self, benchmark: Benchmark, seed: int) -> Fitted:
        """Fit on the warm tracks and choose on ``cold_val``; other splits are never looked at."""
        ...


def placed(fitted: Fitted, tracks: ColdTracks) -> FloatArray:
    """Project tracks, shape (m, dim), or score them, shape (m,), as the method has it; contiguous float32.

    Raises
    ------
    ValueError
        When what came back has another number of rows, or is not finite.
    """
    found = fitted.project(tracks) if isinstance(fitted, Projector) else fitted.scores(tracks)
    found = np.ascontiguousarray(found, dtype=np.float32)
    if len(found) != len(tracks) or not np.isfinite(found).all():
        raise ValueError(f"{type(fitted).__name__} gave {found.shape} for {len(tracks)} tracks, or what is not finite")
    return found


class ValJudge:
    """Judges projections of the ``cold_val`` tracks: for penalties, early stopping and other choices.

    Parameters
    ----------
    benchmark : Benchmark
        Its ``cold_val`` split and its users are kept.
    max_users : int, optional
        Judge by so many users, spread evenly over all; all of them where None.

    Attributes
    ----------
    tracks : artist_transfer.ColdTracks
        The tracks that a projection is for.
    """

    def __init__(self, benchmark: Benchmark, max_users: int | None = None) -> None:
        split = benchmark.splits[VALIDATION]
        entries = split.entries
        if max_users is not None:
            users = np.unique(entries[:, 0])
            kept = users[np.linspace(0, users.size - 1, min(max_users, users.size)).astype(np.int64)]
            entries = entries[np.isin(entries[:, 0], kept)]
        self.tracks = split.tracks
        self._users = benchmark.users
        self._overall = make_slice("overall", np.ones(len(split.tracks), dtype=np.bool_), entries)

    def judge(self, projected: FloatArray) -> tuple[float, float]:
        """Judge projected vectors (m, dim), or scores (m,), of `tracks`.

        Returns
        -------
        ndcg, recall : float
            NDCG@20 and Recall@20, overall.
        """
        found = per_user(projected, self._users, [self._overall])["overall"]
        return float(found.ndcg.mean()), float(found.recall.mean())

    def ndcg(self, projected: FloatArray) -> float:
        """Return NDCG@20 alone; see `judge`."""
        return self.judge(projected)[0]

    def best(self, candidates: list[float], project: Callable[[float], FloatArray]) -> tuple[float, float]:
        """Choose the candidate whose projection has the highest NDCG@20; the first of equals.

        Returns
        -------
        candidate, ndcg : float
        """
        found = [(self.ndcg(project(one)), -place) for place, one in enumerate(candidates)]
        ndcg, place = max(found)
        return candidates[-place], ndcg
