"""How sure a mean over users is: percentile bootstrap, and paired differences over the same users.

Tracks of one artist are placed from one catalogue and go right or wrong together, so a mean over tracks is as sure as
the number of artists makes it: there artists are drawn, each with all its tracks (the cluster bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEVEL = 0.95
_BLOCK = 250  # resamples drawn at once: 250 x 100,000 users are 200 MB

FloatColumns = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; all NaN where there was no user."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """Return the three numbers as JSON has them; None where they are not known."""
        numbers = {"mean": self.mean, "low": self.low, "high": self.high}
        return {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}


def resampled_means(
    values: FloatColumns, owner: IntArray | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> FloatColumns:
    """Draw users with replacement and take the means anew (Efron's bootstrap).

    A draw of n users is n multinomial counts, so the means of all resamples are one matrix product.

    Parameters
    ----------
    values : ndarray, shape (n, c), float64
        A row a user, a column a method: columns of one call share their draws, so their differences are paired.
    owner : ndarray, shape (n,), int64, optional
        Whose each row is: owners are drawn, each with all its rows. Every row is its own where None.
    resamples : int
        How many draws.
    seed : int
        Of the draws.

    Returns
    -------
    ndarray, shape (resamples, c), float64
        NaN where n is 0.
    """
    n = len(values)
    if n == 0:
        return np.full((resamples, values.shape[1]), np.nan)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    totals = values
    sizes: IntArray = np.ones(n, dtype=np.int64)
    if owner is not None:
        found, sizes = _sizes(owner)
        n = sizes.size
        totals = np.zeros((n, values.shape[1]))
        np.add.at(totals, found, values)
    for begin in range(0, resamples, _BLOCK):
        draws = rng.integers(0, n, size=(min(_BLOCK, resamples - begin), n), dtype=np.int32)
        counts = np.stack([np.bincount(draw, minlength=n) for draw in draws])
        means[begin : begin + len(counts)] = counts @ totals / (counts @ sizes)[:, None]
    return means


def resampled_rows(owner: IntArray, rng: np.random.Generator) -> IntArray:
    """Draw as many owners as there are, with replacement, for a figure that is no mean.

    Parameters
    ----------
    owner : ndarray, shape (n,), int64
        Whose each row is; n is at least 1.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64
        All rows of each drawn owner, so n of them on average.
    """
    found, sizes = _sizes(owner)
    order = np.argsort(found, kind="stable")
    begins = np.cumsum(sizes) - sizes
    drawn = rng.integers(0, sizes.size, sizes.size)
    lengths = sizes[drawn]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.asarray(order[np.repeat(begins[drawn], lengths) + within], dtype=np.int64)


def _sizes(owner: IntArray) -> tuple[IntArray, IntArray]:
    """Give each row the number of its owner, from 0, and each owner the number of its rows."""
    _, found, sizes = np.unique(owner, return_inverse=True, return_counts=True)
    return found.reshape(-1), sizes


def interval(mean: float, resampled: FloatColumns) -> Interval:
    """Take the 95 % percentile interval of resampled figures, shape (resamples,), around the figure itself."""
    usable = resampled[np.isfinite(resampled)]
    if usable.size == 0:
        return Interval(mean, np.nan, np.nan)
    low, high = np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, min(float(low), mean), max(float(high), mean))  # rounding must not put it outside


def mean_intervals(values: FloatColumns, resampled: FloatColumns) -> list[Interval]:
    """Give each column's mean over users with its interval; `resampled` is that of `resampled_means`."""
    means = values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
    return [interval(float(mean), resampled[:, column]) for column, mean in enumerate(means)]


def differences(
    values: FloatColumns, resampled: FloatColumns, column: int, reference: int
) -> tuple[Interval, Interval]:
    """Compare two columns over the same users.

    Parameters
    ----------
    values, resampled : ndarray
        As in `mean_intervals`.
    column, reference : int
        The compared column and the one it is compared with.

    Returns
    -------
    absolute, relative : Interval
        Of ``column - reference`` and of ``column / reference - 1``; the latter is NaN where the reference is 0.
    """
    means = values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
    ours, theirs = resampled[:, column], resampled[:, reference]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = interval(float(means[column] / means[reference] - 1.0), ours / theirs - 1.0)
    return interval(float(means[column] - means[reference]), ours - theirs), relative
