"""The search over a built index behind one protocol, and on the CPU. Every backend passes one contract suite."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from index.codes import codes_of, empty_index
from index.filters import unpacked
from index.threads import PieceSearch, split
from index.types import MAX_K, Bitmap, Float32Array, Int64Array

Search = Callable[[Float32Array, int], tuple[Float32Array, Int64Array]]

# What a row costs that is copied to its like before it is scanned, where one that is scanned in place costs 1: 29 and
# 11 ns (100,000 x 128, one thread). FAISS's own selectors, which scan in place, took 25 to 96 ns a selected row.
_GATHERED_COST = 2.7
# By how many standard deviations the rows that a mask leaves of an answer may be fewer than expected.
_MARGIN = 4.0
# Rows decoded, or gathered, at once: the copies stay within the CPU's caches.
_PIECE = 16_384
# Scores that a weighted scan holds at once: 64 MiB.
_SCAN_SCORES = 1 << 24
# FAISS keeps the best k in a heap: beyond this a partition of all scores is the cheaper way.
_HEAP_K = 4 * MAX_K
_NONE = np.zeros(0, dtype=np.int64)


class Backend(Protocol):
    """Top-k by inner product over rows that never change. Safe to use from many threads.

    Exact, where `index.approximate` does not search: what is said of `search` holds there but for the rows it misses.
    """

    device: str
    count: int
    dim: int

    @property
    def exact(self) -> Backend:
        """The same rows, none of which is missed."""
        ...

    def search(
        self, queries: Float32Array, k: int, alive: Bitmap | None = None, alive_count: int | None = None
    ) -> tuple[Float32Array, Int64Array]:
        """Find the k rows with the largest inner products among those that `alive` selects.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, dim)
        k : int
            At least 1, of any size.
        alive : ndarray of uint8, shape (ceil(count / 8),), optional
            Bitmap, least significant bit first; None: all rows.
        alive_count : int, optional
            How many bits of `alive` are set.

        Returns
        -------
        (scores, rows) : ndarray of float32 and of int64, both of shape (q, min(k, alive_count))
            Descending; of equal scores the lower row first, also where k cuts between equal ones.
        """
        ...

    def scan(
        self, queries: Float32Array, k: int, rows: Int64Array, weights: Float32Array
    ) -> tuple[Float32Array, Int64Array]:
        """Find the k rows with the largest weighted inner products among some, by looking at each of them.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, dim)
        k : int
            At least 1, of any size.
        rows : ndarray of int64, shape (r,)
            Ascending.
        weights : ndarray of float32, shape (count,)
            What each row's inner product is multiplied by; at least 0.

        Returns
        -------
        (scores, rows) : ndarray of float32 and of int64, both of shape (q, min(k, r))
            Ordered as those of `search`.
        """
        ...

    def vectors(self, rows: Int64Array) -> Float32Array:
        """Give the stored vectors of rows, float32 of shape (len(rows), dim)."""
        ...

    def close(self) -> None:
        """Release the device."""
        ...


def best(scores: Float32Array, k: int) -> Int64Array:
    """Positions of the k largest of one query's scores, descending; of equal ones those that stand first.

    Parameters
    ----------
    scores : ndarray of float32, shape (n,)

    Returns
    -------
    ndarray of int64, shape (min(k, n),)
    """
    n = len(scores)
    if k < n:
        limit = np.partition(scores, n - k)[n - k]
        above = np.flatnonzero(scores > limit)
        ties = np.flatnonzero(scores == limit)[: k - len(above)]
        kept = np.sort(np.concatenate([above, ties]))
    else:
        kept = np.arange(n)
    order = np.argsort(-scores[kept], kind="stable")
    return kept[order].astype(np.int64, copy=False)


def untied(
    search: Search, scan: Search, queries: Float32Array, k: int, available: int, *, most: int = _HEAP_K
) -> tuple[Float32Array, Int64Array]:
    """Search so that ties are broken by row, where FAISS keeps whichever of the rows that tie for the last places.

    One row more than asked for shows whether k cuts between equal scores; only such queries are searched for more.

    Parameters
    ----------
    search : callable
        ``(queries, k) -> (scores, rows)``, ties in any order, for k up to `most`.
    scan : callable
        The same with ties broken by row, for any k; slower.
    available : int
        How many rows there are to find.
    """
    fetch = min(k + 1, available)
    if fetch > most:
        return scan(queries, k)
    scores, rows = by_score_and_row(*search(queries, fetch))
    tied = np.flatnonzero(scores[:, k - 1] == scores[:, fetch - 1]) if fetch > k else np.zeros(0, dtype=np.int64)
    scores, rows = scores[:, :k], rows[:, :k]
    if len(tied):
        scores, rows = scores.copy(), rows.copy()
    while len(tied):
        fetch = min(4 * fetch, available)
        if fetch > most:
            scores[tied], rows[tied] = scan(queries[tied], k)
            break
        more_scores, more_rows = by_score_and_row(*search(queries[tied], fetch))
        scores[tied], rows[tied] = more_scores[:, :k], more_rows[:, :k]
        settled = (more_scores[:, k - 1] > more_scores[:, -1]) | (fetch == available)
        tied = tied[~settled]
    return scores, rows


def fetched(k: int, available: int, count: int) -> int:
    """Say how many of `count` rows to find so that k of them pass a mask that lets `available` pass."""
    share = available / count
    likely = math.ceil((k + _MARGIN * math.sqrt(k * (1.0 - share))) / share) + 1
    return min(likely, k + count - available)


def masked(
    scores: Float32Array, rows: Int64Array, k: int, alive: Bitmap | None
) -> tuple[Float32Array, Int64Array, Int64Array]:
    """Drop rows that a mask does not let pass, and places without a row (-1), from answers longer than k.

    Returns
    -------
    (scores, rows, short) : arrays of shape (q, k), and of the numbers of the queries of which fewer than k are left
        What is left is right as far as it reaches.
    """
    if alive is None and (rows[:, -1] >= 0).all():  # places without a row stand last
        return scores[:, :k], rows[:, :k], _NONE
    kept = rows >= 0
    if alive is not None:
        kept &= ((alive[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1).astype(bool)
    if kept.all():
        return scores[:, :k].copy(), rows[:, :k].copy(), _NONE
    short = np.flatnonzero(np.count_nonzero(kept, axis=1) < k)
    first = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, first, axis=1), np.take_along_axis(rows, first, axis=1), short


def by_score_and_row(scores: Float32Array, rows: Int64Array) -> tuple[Float32Array, Int64Array]:
    """Put rows of equal score in order, where scores descend already, as FAISS gives them."""
    equal = scores[:, 1:] == scores[:, :-1]
    if not equal.any():
        return scores, rows
    # Of many queries few have any, and sorting all took a tenth of the search; scores that are equal change no places.
    tied = np.flatnonzero(equal.any(axis=1))
    rows = rows.copy()
    rows[tied] = np.take_along_axis(rows[tied], np.lexsort((rows[tied], -scores[tied]), axis=-1), axis=-1)
    return scores, rows


class CpuFlat:
    """A scalar-quantised float16 flat index of FAISS on the CPU.

    Parameters
    ----------
    index : faiss.IndexScalarQuantizer
        QT_fp16, inner product.
    scale : float
        The power of two that the stored vectors were multiplied by.
    threads : int, optional
        OpenMP threads of one search; None: OpenMP's own choice.
    """

    device = "cpu"

    def __init__(self, index: Any, scale: float = 1.0, *, threads: int | None = None) -> None:
        self._index = index
        self.scale = scale
        self._unscale = np.float32(1.0 / scale)
        self._threads = threads
        self.count = int(index.ntotal)
        self.dim = int(index.d)
        # A view into FAISS's memory, which lives as long as self._index: gathered rows need no second copy.
        self._codes = codes_of(index)

    def search(
        self, queries: Float32Array, k: int, alive: Bitmap | None = None, alive_count: int | None = None
    ) -> tuple[Float32Array, Int64Array]:
        """See `Backend.search`."""
        available = self.count if alive is None or alive_count is None else alive_count
        k = min(k, available)
        if k == 0 or not len(queries):
            shape = (len(queries), k)
            return np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int64)
        if alive is None or available == self.count:
            return untied(self._heap, self._scan_all, queries, k, available)
        fetch = fetched(k, available, self.count)
        if _GATHERED_COST * available < self.count or fetch > _HEAP_K:
            return self._selected(queries, k, alive)
        scores, rows = untied(self._heap, self._scan_all, queries, fetch, self.count)
        scores, rows, short = masked(scores, rows, k, alive)
        if len(short):
            scores[short], rows[short] = self._selected(queries[short], k, alive)
        return scores, rows

    def _selected(self, queries: Float32Array, k: int, alive: Bitmap) -> tuple[Float32Array, Int64Array]:
        selected = np.flatnonzero(unpacked(alive, self.count))

        def scan(some: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
            return self._scan(some, k, selected)

        def gathered(some: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
            return self._gathered(some, k, selected)

        return untied(gathered, scan, queries, k, len(selected))

    @property
    def exact(self) -> CpuFlat:
        """See `Backend.exact`."""
        return self

    def split(self, search: PieceSearch, queries: Float32Array, rows: float) -> tuple[Float32Array, Int64Array]:
        """Call a search of FAISS that looks at so many rows for each query with as many threads as are worth it."""
        return split(search, queries, rows * self.dim, self._threads)

    def cost(self, available: int, *, masked: bool) -> float:
        """Say in what time a query of so many rows is answered: as so many rows that are scanned without a mask."""
        if not masked:
            return float(available)
        return min(_GATHERED_COST * available, float(self.count))

    def _heap(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        scores, rows = self.split(lambda some: self._index.search(some, k), queries, self.count)
        return scores * self._unscale, rows

    def _gathered(self, queries: Float32Array, k: int, rows: Int64Array) -> tuple[Float32Array, Int64Array]:
        parts = []
        for start in range(0, len(rows), _PIECE):
            some = rows[start : start + _PIECE]
            index = empty_index(len(some), self.dim)
            self._codes.take(some, axis=0, out=codes_of(index), mode="clip")
            scores, places = self.split(partial(index.search, k=min(k, len(some))), queries, len(some))
            parts.append((scores, some[places]))
        if len(parts) == 1:
            scores, found = parts[0]
        else:
            scores = np.concatenate([scores for scores, _ in parts], axis=1)
            found = np.concatenate([found for _, found in parts], axis=1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, found = np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)
        return scores * self._unscale, found

    def _scan_all(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        return self._scan(queries, k, np.arange(self.count))

    def _scan(
        self, queries: Float32Array, k: int, rows: Int64Array, weights: Float32Array | None = None
    ) -> tuple[Float32Array, Int64Array]:
        scores = np.empty((len(queries), len(rows)), dtype=np.float32)
        for start in range(0, len(rows), _PIECE):
            piece = self._codes[rows[start : start + _PIECE]].astype(np.float32)
            np.matmul(queries, piece.T, out=scores[:, start : start + len(piece)])
        if weights is not None:
            scores *= weights[rows]
        kept = np.stack([best(row, k) for row in scores])
        return np.take_along_axis(scores, kept, axis=1) * self._unscale, rows[kept]

    def scan(
        self, queries: Float32Array, k: int, rows: Int64Array, weights: Float32Array
    ) -> tuple[Float32Array, Int64Array]:
        """See `Backend.scan`."""
        # Scores of a few queries at a time, so that a large batch over a large index stays within bounded memory.
        some = max(1, _SCAN_SCORES // max(len(rows), 1))
        parts = [self._scan(queries[at : at + some], k, rows, weights) for at in range(0, len(queries), some)]
        return np.concatenate([scores for scores, _ in parts]), np.concatenate([found for _, found in parts])

    def vectors(self, rows: Int64Array) -> Float32Array:
        """See `Backend.vectors`."""
        return self._codes[rows].astype(np.float32) * self._unscale

    def close(self) -> None:
        """See `Backend.close`."""
