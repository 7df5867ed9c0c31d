"""Lists over the codes of an index: rows gathered by the nearest of some centres, of which a search looks at a few.

FAISS's scalar-quantised IVF. Its lists hold the codes a second time, in another order, so that each is read from one
end to the other.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index.bases import UnusableIndexError
from index.codes import codes_of
from index.kinds import IVF_FP16
from index.types import Float32Array, Int32Array, Int64Array

LISTS_PER_ROOT = 2
"""Centres for n rows: so many times the square root of n."""

# Rows that centres are learned from: so many for each of them.
_ROWS_A_CENTRE = 40
_ROUNDS = 10
# What a centre, and a row of a list, cost, where one that is scanned in row order costs 1.
_CENTRE_COST = 2.0
_ROW_COST = 1.5
_SEED = 1
_PIECE = 65_536
# Of the rows: where more are new since the centres were learned, they are learned again.
_PATCHED_SHARE = 0.2


class Lists:
    """An inverted file beside a flat index; see `index.approximate.Approximation`.

    Parameters
    ----------
    centres : ndarray of float32, shape (nlist, dim)
    assigned : ndarray of int32, shape (n,)
        The list of each row.
    flat : faiss.IndexScalarQuantizer of n rows
    patched_rows : int
        Rows that were put into lists since the centres were learned.
    """

    kind = IVF_FP16

    def __init__(self, centres: Float32Array, assigned: Int32Array, flat: Any, patched_rows: int = 0) -> None:
        self._centres, self._assigned = centres, assigned
        self._nlist = len(centres)
        self._rows = int(flat.ntotal)
        self.patched_rows = patched_rows
        self.index = _filled(centres, assigned, flat)

    @classmethod
    def build(cls, flat: Any) -> Lists:
        """Learn centres from some rows of a flat index, and put all rows into lists.

        Parameters
        ----------
        flat : faiss.IndexScalarQuantizer
        """
        codes = codes_of(flat)
        nlist = max(1, min(round(LISTS_PER_ROOT * math.sqrt(len(codes))), len(codes) // _ROWS_A_CENTRE))
        rng = np.random.default_rng(_SEED)
        some = np.sort(rng.permutation(len(codes))[: _ROWS_A_CENTRE * nlist])
        learner = faiss.Kmeans(
            flat.d, nlist, niter=_ROUNDS, seed=_SEED, min_points_per_centroid=1, max_points_per_centroid=_ROWS_A_CENTRE
        )
        learner.train(codes[some].astype(np.float32))
        centres = np.asarray(learner.centroids, dtype=np.float32)
        return cls(centres, _nearest(centres, codes), flat)

    def patch(self, flat: Any, kept: Int64Array) -> Lists:
        """Give the lists of another index, of which most rows are rows of this one; learn centres where too few are.

        Parameters
        ----------
        flat : faiss.IndexScalarQuantizer of n rows
        kept : ndarray of int64, shape (n,)
            Row of this index for each row; -1: its vector is new.
        """
        new = np.flatnonzero(kept < 0)
        patched_rows = self.patched_rows + len(new)
        if patched_rows > _PATCHED_SHARE * len(kept):
            return self.build(flat)
        assigned = self._assigned[kept]
        assigned[new] = _nearest(self._centres, codes_of(flat)[new])
        return Lists(self._centres, assigned, flat, patched_rows)

    def search(self, queries: Float32Array, k: int, effort: int) -> tuple[Float32Array, Int64Array]:
        """See `Approximation.search`; the effort is the number of lists that are looked at (nprobe)."""
        scores, rows = self.index.search(queries, k, params=looking_at(effort))
        return scores, rows

    def least_effort(self, k: int) -> int:
        """See `Approximation.least_effort`."""
        return max(1, min(self._nlist, math.ceil(k * self._nlist / max(self._rows, 1))))

    @property
    def most_effort(self) -> int:
        """See `Approximation.most_effort`."""
        return self._nlist

    def cost(self, effort: int) -> float:
        """See `Approximation.cost`."""
        return _CENTRE_COST * self._nlist + _ROW_COST * effort * self._rows / self._nlist

    def write(self, path: Path) -> None:
        """Write what the lists are made of: codes are not."""
        with path.open("wb") as file:
            np.savez(file, centres=self._centres, assigned=self._assigned)

    @classmethod
    def read(cls, path: Path, flat: Any, patched_rows: int) -> Lists:
        """Read what `write` wrote.

        Raises
        ------
        UnusableIndexError
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                centres, assigned = found["centres"], found["assigned"]
        except (OSError, ValueError, KeyError) as error:
            raise UnusableIndexError("its lists cannot be read") from error
        if centres.shape[1:] != (flat.d,) or assigned.shape != (flat.ntotal,):
            raise UnusableIndexError("its lists are those of another index")
        return cls(centres, assigned, flat, patched_rows)


@lru_cache(maxsize=256)
def looking_at(lists: int) -> Any:
    """Give the parameters of a search of so many lists, which no search changes; making them costs 10 us."""
    wanted: Any = faiss.SearchParametersIVF()
    wanted.nprobe = lists
    return wanted


def _nearest(centres: Float32Array, codes: Any) -> Int32Array:
    """Give the nearest centre of each row, shape (n,)."""
    index = _by_distance(centres)
    assigned = np.empty(len(codes), dtype=np.int32)
    for start in range(0, len(codes), _PIECE):
        piece = codes[start : start + _PIECE].astype(np.float32)
        assigned[start : start + len(piece)] = index.search(piece, 1)[1][:, 0]
    return assigned


def _by_distance(centres: Float32Array) -> Any:
    index = faiss.IndexFlatL2(centres.shape[1])
    index.add(centres)
    return index


def _filled(centres: Float32Array, assigned: Int32Array, flat: Any) -> Any:
    """Make FAISS's index; lists are chosen by the inner product with codes of their centres."""
    by_product = faiss.IndexScalarQuantizer(flat.d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    by_product.add(centres)
    index: Any = faiss.IndexIVFScalarQuantizer(
        by_product, flat.d, len(centres), faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    _owned(index, by_product)
    index.is_trained = True
    codes = codes_of(flat)
    order = np.argsort(assigned, kind="stable")
    ends = np.cumsum(np.bincount(assigned, minlength=len(centres)))
    for number, end in enumerate(ends.tolist()):
        rows = order[(ends[number - 1] if number else 0) : end]
        if len(rows):
            some = codes[rows]
            index.invlists.add_entries(
                number, len(rows), faiss.swig_ptr(rows), faiss.swig_ptr(some.view(np.uint8).reshape(len(rows), -1))
            )
    index.ntotal = len(assigned)
    return index


def _owned(index: Any, quantizer: Any) -> None:
    quantizer.this.disown()
    index.own_fields = True
