"""Popularity taken out of a ranking, as far as a caller wants it out.

In a space of inner products the length of a track's vector acts as its predicted popularity: of two tracks in one
direction the longer one stands first for everybody. The damped score of a vector x for a query q is

    score(x) = q.x ((1 - d) + d mu / |x|)

with the mean length mu of the snapshot's vectors and the damping d in [0, 1]: at 0 the inner product, at 1 the cosine
times mu |q|, in between the one blended with the other. It is the rescaling by gamma = (|x| + alpha mu) / (|x| (1 +
alpha)) of arXiv 2510.11402 with d = alpha / (1 + alpha).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from index.backends import Backend
from index.codes import codes_of
from index.filters import unpacked
from index.types import Bitmap, Float32Array, Int64Array

# Rows fetched by inner product beyond the k asked for. For k = 20 and d = 1 over 20,178 tracks of 128 dimensions,
# fetching 100 left 3,291 other rows possible, 400 left 14, 1,600 none (medians over users).
_EXTRA = 1024
# What rounding may add to an inner product: a GPU rounds queries to float16, sums are taken in float32.
_ROUNDING = 1.01
# Vectors this much shorter than the mean count as zero: their weight would leave float32's range.
_NEGLIGIBLE = 1e-30
_PIECE = 4096  # rows whose vectors are float32, and lengths float64, at a time


def lengths_of(vectors: Float32Array) -> npt.NDArray[np.float64]:
    """Measure the Euclidean length of each row of an array of shape (n, dim)."""
    wide = vectors.astype(np.float64)  # squares of large or small float32 values leave their range
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", wide, wide)))


@dataclass(frozen=True, eq=False)
class Lengths:
    """How long the vectors of a built index are.

    Parameters
    ----------
    rows : ndarray of float32, shape (n,)
    relative : ndarray of float32, shape (n,)
        ``mu / |x|``; 0 for a vector that is zero, whose score is 0 anyway.
    mean : float
        mu, above 0; 1 where no vector has a length.
    """

    rows: Float32Array
    relative: Float32Array
    mean: float

    @classmethod
    def of(cls, index: Any, scale: float) -> Lengths:
        """Measure the vectors of an index as they are searched.

        Parameters
        ----------
        index : faiss.IndexScalarQuantizer
        scale : float
            What its vectors were multiplied by; the squares of float16 values are well within float32.
        """
        count = index.ntotal
        pieces = [slice(start, min(start + _PIECE, count)) for start in range(0, count, _PIECE)]
        codes, rows, total = codes_of(index), np.empty(count, dtype=np.float32), 0.0
        for some in pieces:
            vectors = codes[some].astype(np.float32)  # a tenth of the time of FAISS's reconstruct_n
            np.einsum("ij,ij->i", vectors, vectors, out=rows[some])  # squares until the mean is known
            total += float(_roots(rows[some], scale).sum())
        mean = total / count if total else 1.0
        relative = np.empty(count, dtype=np.float32)
        for some in pieces:
            lengths = _roots(rows[some], scale)
            rows[some], relative[some] = lengths, _relative(lengths, mean)
        return cls(rows, relative, mean)

    def relative_of(self, vectors: Float32Array) -> Float32Array:
        """Give ``mu / |x|`` of vectors outside of the index, by the mu of the index."""
        return _relative(lengths_of(vectors), self.mean)


def _roots(squares: Float32Array, scale: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt(squares.astype(np.float64)) / scale)


def _relative(lengths: npt.NDArray[np.float64], mean: float) -> Float32Array:
    has = lengths > mean * _NEGLIGIBLE
    return np.divide(mean, lengths, out=np.zeros_like(lengths), where=has).astype(np.float32)


class DampedSearch:
    """Damped scores over an index that finds by inner product; exact as far as the index is.

    The rows with the best inner products are fetched, damped and ordered. Whatever was not fetched has at most the
    score of the last row fetched, and at most the product of the two lengths: where that, damped by the row's own
    weight, does not reach the k-th damped score, the row cannot be in the answer. The others are looked at one by one,
    be they none or all.

    Parameters
    ----------
    backend : Backend
    lengths : Lengths
        Of its rows.
    damping : float
        d, above 0 and at most 1.
    """

    def __init__(self, backend: Backend, lengths: Lengths, damping: float) -> None:
        self._backend = backend
        self._lengths = lengths
        self._damping = damping
        self._weights = self._damped(lengths.relative)

    def weights_of(self, vectors: Float32Array) -> Float32Array:
        """Say what the scores of vectors outside of the index are multiplied by, shape (n,)."""
        return self._damped(self._lengths.relative_of(vectors))

    def _damped(self, relative: Float32Array) -> Float32Array:
        return np.float32(1.0 - self._damping) + np.float32(self._damping) * relative

    def search(
        self, queries: Float32Array, k: int, alive: Bitmap | None = None, alive_count: int | None = None
    ) -> tuple[Float32Array, Int64Array]:
        """See `Backend.search`; scores are damped ones."""
        available = self._backend.count if alive is None or alive_count is None else alive_count
        k, fetch = min(k, available), min(k + _EXTRA, available)
        plain, rows = self._backend.search(queries, fetch, alive, alive_count)
        if k == 0 or not len(queries):
            return plain[:, :k], rows[:, :k]
        damped = plain * self._weights[rows]
        order = np.lexsort((rows, -damped), axis=-1)[:, :k]
        scores, found = np.take_along_axis(damped, order, axis=1), np.take_along_axis(rows, order, axis=1)
        if fetch == available:
            return scores, found
        selected = None if alive is None else unpacked(alive, self._backend.count)
        possible = np.zeros(self._backend.count, dtype=bool)
        open_queries = []
        for query, reach in enumerate(lengths_of(queries)):
            mask = self._possible(float(plain[query, -1]), float(reach), scores[query, -1])
            mask[rows[query]] = False
            if selected is not None:
                mask &= selected
            if mask.any():
                open_queries.append(query)
                possible |= mask
        if open_queries:
            # All together: a row that is possible for one query costs the others little more.
            late = self._backend.scan(queries[open_queries], k, np.flatnonzero(possible), self._weights)
            for place, query in enumerate(open_queries):
                scores[query], found[query] = _best_of_both(scores[query], found[query], late[0][place], late[1][place])
        return scores, found

    def _possible(self, last: float, reach: float, kth: np.float32) -> npt.NDArray[np.bool_]:
        """Rows whose inner product may be `last` at most and whose damped score may all the same reach `kth`."""
        bound = np.minimum(np.float32(last), self._lengths.rows * np.float32(reach * _ROUNDING))
        return np.asarray(bound * self._weights >= kth)


def _best_of_both(
    scores: Float32Array, rows: Int64Array, late_scores: Float32Array, late_rows: Int64Array
) -> tuple[Float32Array, Int64Array]:
    """Merge two answers that may share rows, as long as the first."""
    _, first = np.unique(np.concatenate([rows, late_rows]), return_index=True)
    both_scores = np.concatenate([scores, late_scores])[first]
    both_rows = np.concatenate([rows, late_rows])[first]
    order = np.lexsort((both_rows, -both_scores))[: len(rows)]
    return both_scores[order], both_rows[order]
