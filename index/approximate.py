"""Approximate search beside exact codes: walked or listed where that is cheaper, looked at row by row where it is not.

What an approximate index finds for k rows holds its recall (`index.tuning`). A mask, be it a filter or what is
withdrawn, is laid over an answer that is longer by as much as the mask is expected to take away: what is left of it
has the recall of the longer answer, wherever the rows that pass may lie. Where too little is left, and where looking at
the rows that pass costs less in the first place, they are searched exactly.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from index.backends import Backend, CpuFlat, by_score_and_row, fetched, masked
from index.bases import BaseIndex
from index.gpu_flat import GpuFlat
from index.gpu_lists import GpuLists
from index.tuning import Tuning
from index.types import Bitmap, Float32Array, Int64Array


class Approximation(Protocol):
    """What finds most of the nearest rows without looking at all of them."""

    def search(self, queries: Float32Array, k: int, effort: int) -> tuple[Float32Array, Int64Array]:
        """Find rows with large inner products.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, dim)
        k : int
        effort : int
            How far to look: the larger, the slower, and the fewer are missed.

        Returns
        -------
        (scores, rows) : ndarray of float32 and of int64, both of shape (q, k)
            Descending, by the codes as they are stored; row -1 where fewer were found.
        """
        ...

    def least_effort(self, k: int) -> int:
        """Say what effort the search for k rows needs to find so many at all."""
        ...

    @property
    def most_effort(self) -> int:
        """The effort beyond which nothing more is looked at."""
        ...

    def cost(self, effort: int) -> float:
        """Say how many rows an exhaustive search looks at in the time of one query of this effort."""
        ...


class Approximate:
    """An approximate index with the exact one that it stands beside; see `Backend`.

    Parameters
    ----------
    exact : CpuFlat
    near : Approximation
        Of the same codes.
    tuning : Tuning
    scale : float
        The power of two that the stored vectors were multiplied by.
    device : str
        Where `near` searches.
    """

    def __init__(
        self, exact: CpuFlat, near: Approximation, tuning: Tuning, scale: float, *, device: str = "cpu"
    ) -> None:
        self.exact = exact
        self.device = device
        self.count, self.dim = exact.count, exact.dim
        self.near, self.tuning = near, tuning
        self._unscale = np.float32(1.0 / scale)

    def search(
        self, queries: Float32Array, k: int, alive: Bitmap | None = None, alive_count: int | None = None
    ) -> tuple[Float32Array, Int64Array]:
        """See `Backend.search`; rows that are found stand in its order, some that should be are missed."""
        available = self.count if alive is None or alive_count is None else alive_count
        k = min(k, available)
        unmasked = available == self.count
        fetch = k if unmasked else fetched(k, max(available, 1), self.count)
        effort = self._effort(fetch)
        cost = self.near.cost(effort)
        if not k or not len(queries) or cost >= self.exact.cost(available, masked=not unmasked):
            return self.exact.search(queries, k, alive, alive_count)
        scores, rows = self.exact.split(lambda some: self.near.search(some, fetch, effort), queries, cost)
        scores, rows, short = masked(scores, rows, k, None if unmasked else alive)
        scores, rows = by_score_and_row(scores * self._unscale, rows)
        if len(short):
            scores[short], rows[short] = self.exact.search(queries[short], k, alive, alive_count)
        return scores, rows

    def _effort(self, fetch: int) -> int:
        return min(max(self.tuning.effort_for(fetch), self.near.least_effort(fetch)), self.near.most_effort)

    def scan(
        self, queries: Float32Array, k: int, rows: Int64Array, weights: Float32Array
    ) -> tuple[Float32Array, Int64Array]:
        """See `Backend.scan`."""
        return self.exact.scan(queries, k, rows, weights)

    def vectors(self, rows: Int64Array) -> Float32Array:
        """See `Backend.vectors`."""
        return self.exact.vectors(rows)

    def close(self) -> None:
        """See `Backend.close`."""
        self.exact.close()


def make_backend(base: BaseIndex, *, device: Literal["cpu", "gpu"], threads: int | None = None) -> Backend:
    """Put a built index onto a device."""
    if base.near is None or base.tuning is None:
        kind = GpuFlat if device == "gpu" else CpuFlat
        return kind(base.index, base.scale, threads=threads)
    near: Approximation = GpuLists(base.near) if device == "gpu" else base.near
    flat = CpuFlat(base.index, base.scale, threads=threads)
    return Approximate(flat, near, base.tuning, base.scale, device=device)
