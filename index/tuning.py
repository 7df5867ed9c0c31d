"""How far an approximate index has to look: measured against exact search, on queries of the home itself.

The queries are vectors of the space's own tracks, which are left out of their own answers, and of its listeners, in
whose direction no track may lie. Each kind of query has to reach the recall by itself, and its mean has to lie above
it by twice the mean's standard error: what is chosen by a sample must hold beyond it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from index.bases import UnusableIndexError
from index.errors import InvalidInputError
from index.types import MAX_K, BoolArray, Float32Array, Int64Array

if TYPE_CHECKING:
    from index.approximate import Approximation
    from index.backends import CpuFlat

DEFAULT_RECALL = 0.99
DEFAULT_K = 100
QUERIES = 200
"""Of each kind, where a build tunes what it has built."""

MAX_QUERIES = 100_000
_STEP = 1.3  # from one effort that is tried to the next
_DEEPER = 4  # times as many neighbours, where it is measured how the effort grows with them
_CLOSE = 1.05  # efforts that differ by less are not told apart
_TIMED_EXACTLY = 20
_TIE = 1e-5  # relative; rounding of one inner product by two ways to sum it


@dataclass(frozen=True)
class Tuning:
    """How an approximate index is searched, and what was measured of that.

    Parameters
    ----------
    recall : float
        Asked for, 0 to 1.
    k : int
        At this many neighbours.
    effort : int
        The smallest that reaches it: how many lists are looked at (nprobe).
    measured : float
        recall@k at this effort, of the kind of query that has the lower one.
    queries : int
        How many it was measured with.
    growth : float
        By what power of the neighbours' number the effort grows up to four times as many, 0 or more; in proportion
        beyond. Above 1 where the further ones lie in many other lists: behind the last track of a genre, for instance.
    unmeasured : int
        Rows that have come or gone since it was measured.
    """

    recall: float
    k: int
    effort: int
    measured: float
    queries: int
    growth: float = 1.0
    unmeasured: int = 0

    def effort_for(self, k: int) -> int:
        """Say what effort the search for so many neighbours needs; never less than the one that was tuned."""
        times = max(1.0, k / self.k)
        near = min(times, _DEEPER)
        return math.ceil(self.effort * math.pow(near, self.growth) * times / near)

    def to_json(self) -> bytes:
        """Write it as a file."""
        return json.dumps(asdict(self) | {"format": _FORMAT, "version": _VERSION}, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Tuning:
        """Read what `to_json` wrote.

        Raises
        ------
        UnusableIndexError
        """
        try:
            found = json.loads(content)
            if (found.pop("format"), found.pop("version")) != (_FORMAT, _VERSION):
                raise ValueError("another format")
            tuning = cls(**found)
            if tuning.effort < 1 or tuning.k < 1 or tuning.unmeasured < 0 or not 0.0 <= tuning.growth < math.inf:
                raise ValueError("no effort")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnusableIndexError(f"its tuning cannot be read ({type(error).__name__})") from error
        return tuning


_FORMAT, _VERSION = "anacrusis-tuning", 1


@dataclass(frozen=True)
class Tried:
    """What one effort gives.

    Parameters
    ----------
    effort : int
    recall : float
        Mean recall@k of the kind of query that has the lower one.
    queries_per_s : float
        Asked one at a time, in one thread of Python.
    reaches : bool
        Whether it holds the recall that was asked for.
    """

    effort: int
    recall: float
    queries_per_s: float
    reaches: bool


@dataclass(frozen=True, eq=False)
class HeldBack:
    """Queries whose own rows do not count as found.

    Parameters
    ----------
    vectors : ndarray of float32, shape (q, dim)
        Of unit length where the metric is cosine.
    own : ndarray of int64, shape (q,)
        The row each was taken from; -1: a listener's.
    """

    vectors: Float32Array
    own: Int64Array

    @classmethod
    def of(cls, exact: CpuFlat, tracks: BoolArray, listeners: Float32Array, count: int) -> HeldBack:
        """Draw queries, the same ones every time.

        Parameters
        ----------
        exact : CpuFlat
        tracks : ndarray of bool, shape (n,)
            Rows to draw from.
        listeners : ndarray of float32, shape (u, dim)
            Listeners to draw from; those without a direction are left out.
        count : int
            Of each kind, at most.
        """
        rng = np.random.default_rng(0)
        rows = np.flatnonzero(tracks)
        rows = np.sort(rng.permutation(rows)[:count]).astype(np.int64)
        people = listeners[rng.permutation(len(listeners))]
        people = people[people.any(axis=1)][:count]
        own = np.concatenate([rows, np.full(len(people), -1, dtype=np.int64)])
        return cls(np.concatenate([exact.vectors(rows), people]), own)

    def every(self, nth: int) -> HeldBack:
        """Take a part of them, of each kind."""
        return HeldBack(self.vectors[::nth], self.own[::nth])


def check_tuning(recall: float, k: int, queries: int) -> None:
    """Refuse what cannot be tuned for.

    Raises
    ------
    InvalidInputError
    """
    if not 0.5 <= recall <= 1.0:
        raise InvalidInputError(f"the recall is {recall}: ask for 0.5 to 1, such as 0.99", field="recall")
    if not 1 <= k <= MAX_K:
        raise InvalidInputError(f"k is {k}: tune for 1 to {MAX_K} neighbours", field="k")
    if not 1 <= queries <= MAX_QUERIES:
        raise InvalidInputError(f"{queries} queries were asked for: use 1 to {MAX_QUERIES}", field="queries")


def tune(
    exact: CpuFlat,
    near: Approximation,
    held_back: HeldBack,
    *,
    recall: float = DEFAULT_RECALL,
    k: int = DEFAULT_K,
    on_tried: Callable[[Tried], None] = lambda tried: None,
) -> tuple[Tuning, list[Tried]]:
    """Find the smallest effort that reaches a recall.

    Where none does that costs less than looking at every row, the effort is one that costs as much: then every row is
    looked at, and the recall is 1.

    Parameters
    ----------
    exact : CpuFlat
    near : Approximation
        Of the same codes.
    held_back : HeldBack
    recall, k
        As in `Tuning`; k is taken no larger than the index.
    on_tried : callable

    Returns
    -------
    (tuning, tried) : Tuning and list of Tried
        What was tried, by effort.
    """
    k = max(1, min(k, exact.count - 1))
    most = _useful_effort(exact, near)
    tried: dict[int, Tried] = {}
    if not len(held_back.own):
        return Tuning(recall, k, most, 1.0, 0), []

    def told(effort: int) -> Tried:
        if effort not in tried:
            tried[effort] = _try(near, held_back, limits, k, effort, recall)
            on_tried(tried[effort])
        return tried[effort]

    limits = _limits(exact, held_back, k)
    effort = _smallest(lambda effort: told(effort).reaches, near.least_effort(k), most)
    by_effort = [tried[one] for one in sorted(tried)]
    if effort == most:
        return Tuning(recall, k, most, 1.0, len(held_back.own)), by_effort
    tuning = Tuning(recall, k, effort, tried[effort].recall, len(held_back.own))
    return replace(tuning, growth=_growth(exact, near, held_back.every(2), tuning, most)), by_effort


def _smallest(reaches: Callable[[int], bool], least: int, most: int) -> int:
    """Find the smallest effort that reaches a recall; `most`, which is not tried, where none below does."""
    low, high = least - 1, least
    while high < most and not reaches(high):
        low, high = high, min(most, max(high + 1, math.ceil(high * _STEP)))
    while high < most and high - low > 1 and high > low * _CLOSE:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return min(high, most)


def _growth(exact: CpuFlat, near: Approximation, held_back: HeldBack, tuning: Tuning, most: int) -> float:
    """Measure by what power of the number of neighbours the effort for a recall grows."""
    k = min(_DEEPER * tuning.k, exact.count - 1)
    if k < 2 * tuning.k:
        return 1.0
    limits = _limits(exact, held_back, k)
    effort = _smallest(
        lambda effort: _try(near, held_back, limits, k, effort, tuning.recall).reaches,
        max(tuning.effort, near.least_effort(k)),
        most,
    )
    return math.log(effort / tuning.effort) / math.log(k / tuning.k)


def still_holds(exact: CpuFlat, near: Approximation, held_back: HeldBack, before: Tuning) -> Tuning | None:
    """Measure the effort of another index; None where it does not reach its recall here."""
    if not before.effort <= near.most_effort or not 0 < before.k < exact.count or not len(held_back.own):
        return None
    limits = _limits(exact, held_back, before.k)
    found = _try(near, held_back, limits, before.k, before.effort, 0.0)
    if found.recall < before.recall:
        return None
    return replace(before, measured=found.recall, queries=len(held_back.own), unmeasured=0)


def _useful_effort(exact: CpuFlat, near: Approximation) -> int:
    """Give the smallest effort that costs as much as looking at every row, or all there is."""
    low, high = 0, near.most_effort
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if near.cost(middle) < exact.cost(exact.count, masked=False) else (low, middle)
    return high


def _limits(exact: CpuFlat, held_back: HeldBack, k: int) -> Float32Array:
    """Give the score, as codes are stored, of each query's k-th neighbour that is not its own row."""
    scores, rows = exact.search(held_back.vectors, k + 1)
    found = _without_own(scores, rows, held_back.own, k)[:, k - 1] * np.float32(exact.scale)
    return np.asarray(found - np.abs(found) * np.float32(_TIE))


def _without_own(scores: Float32Array, rows: Int64Array, own: Int64Array, k: int) -> Float32Array:
    order = np.argsort(rows == own[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1)


def _try(near: Approximation, held_back: HeldBack, limits: Float32Array, k: int, effort: int, wanted: float) -> Tried:
    began = time.perf_counter()
    answers = [near.search(query[None], k + 1, effort) for query in held_back.vectors]
    took = time.perf_counter() - began
    scores = np.concatenate([scores for scores, _ in answers])
    rows = np.concatenate([rows for _, rows in answers])
    scores = np.where(rows >= 0, scores, np.float32(-np.inf))
    found = np.count_nonzero(_without_own(scores, rows, held_back.own, k) >= limits[:, None], axis=1) / k
    kinds = [found[of_kind] for of_kind in (held_back.own >= 0, held_back.own < 0) if of_kind.any()]
    return Tried(
        effort=effort,
        recall=min(float(one.mean()) for one in kinds),
        queries_per_s=len(answers) / took,
        reaches=all(_holds(one, wanted) for one in kinds),
    )


def _holds(found: npt.NDArray[np.float64], wanted: float) -> bool:
    error = float(found.std()) / math.sqrt(len(found))
    return float(found.mean()) - 2.0 * error >= wanted


def exact_rate(exact: CpuFlat, held_back: HeldBack, k: int) -> float:
    """Measure exact search as efforts are: queries a second, one at a time."""
    some = held_back.vectors[:_TIMED_EXACTLY]
    began = time.perf_counter()
    for query in some:
        exact.search(query[None], k + 1)
    return len(some) / (time.perf_counter() - began)
