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
from index.codes import Codes, codes_of
from index.kinds import IVF_FP16
from index.types import Float32Array, Int32Array, Int64Array

LISTS_PER_ROOT = 2
"""Centres for n rows: so many times the square root of n."""

# Rows that centres are learned from: so many for each of them.
_ROWS_A_CENTRE = 40
_ROUNDS = 10
_SEED = 1
# What a centre, and a row of a list, cost, where one that is scanned in row order costs 1.
_CENTRE_COST = 2.0
_ROW_COST = 2.0
_PIECE = 65_536
# Of the rows: where more are new since the centres were learned, they are learned again.
_PATCHED_SHARE = 0.2


class Lists:
    """An inverted file beside a flat index; see `index.approximate.Approximation`.

    Parameters
    ----------
    index : faiss.IndexIVFScalarQuantizer
        Of the flat index's codes; its lists are chosen by the inner product with float16 codes of their centres.
    patched_rows : int
        Rows that were put into lists since the centres were learned.
    """

    kind = IVF_FP16

    def __init__(self, index: Any, patched_rows: int = 0) -> None:
        self.index = index
        self.patched_rows = patched_rows
        self._nlist, self._rows = int(index.nlist), int(index.ntotal)

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
        centres = np.asarray(learner.centroids, dtype=np.float16).astype(np.float32)
        return cls(_filled(centres, _nearest(centres, codes), codes))

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
        codes = codes_of(flat)
        centres = self.index.quantizer.reconstruct_n(0, self._nlist)
        assigned = _assigned(self.index)[kept]
        assigned[new] = _nearest(centres, codes[new])
        return Lists(_filled(centres, assigned, codes), patched_rows)

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
        """Write them as a file."""
        faiss.write_index(self.index, str(path))

    @classmethod
    def read(cls, path: Path, flat: Any, patched_rows: int, *, mapped: bool = False) -> Lists:
        """Read what `write` wrote.

        Parameters
        ----------
        flat : faiss.IndexScalarQuantizer
            Whose rows they should be.
        patched_rows : int
        mapped : bool
            Whether they stay in the file, of which all processes of a machine share one copy in memory.

        Raises
        ------
        UnusableIndexError
        """
        try:
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        except RuntimeError as error:
            raise UnusableIndexError("FAISS cannot read its lists") from error
        if not isinstance(index, faiss.IndexIVFScalarQuantizer) or (index.ntotal, index.d) != (flat.ntotal, flat.d):
            raise UnusableIndexError("its lists are those of another index")
        return cls(index, patched_rows)


@lru_cache(maxsize=256)
def looking_at(lists: int) -> Any:
    """Give the parameters of a search of so many lists, which no search changes; making them costs 10 us."""
    wanted: Any = faiss.SearchParametersIVF()
    wanted.nprobe = lists
    return wanted


def _nearest(centres: Float32Array, codes: Codes) -> Int32Array:
    """Give the nearest centre of each row, shape (n,)."""
    index = faiss.IndexFlatL2(centres.shape[1])
    index.add(centres)
    assigned = np.empty(len(codes), dtype=np.int32)
    for start in range(0, len(codes), _PIECE):
        piece = codes[start : start + _PIECE].astype(np.float32)
        assigned[start : start + len(piece)] = index.search(piece, 1)[1][:, 0]
    return assigned


def _assigned(index: Any) -> Int32Array:
    """Give the list of each row, shape (n,)."""
    assigned = np.empty(index.ntotal, dtype=np.int32)
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            assigned[faiss.rev_swig_ptr(index.invlists.get_ids(number), size)] = number
    return assigned


def _filled(centres: Float32Array, assigned: Int32Array, codes: Codes) -> Any:
    """Make FAISS's index of rows whose lists are known."""
    by_product: Any = faiss.IndexScalarQuantizer(
        centres.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    by_product.add(centres)
    index: Any = faiss.IndexIVFScalarQuantizer(
        by_product,
        centres.shape[1],
        len(centres),
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # rows are coded as they are, not as they differ from their centres
    )
    by_product.this.disown()
    index.own_fields = True
    index.is_trained = True
    order = np.argsort(assigned, kind="stable")
    start = 0
    for number, size in enumerate(np.bincount(assigned, minlength=len(centres)).tolist()):
        if size:
            rows = order[start : start + size]
            some = codes[rows].view(np.uint8)  # kept alive: FAISS is given an address
            index.invlists.add_entries(number, size, faiss.swig_ptr(rows), faiss.swig_ptr(some))
        start += size
    index.ntotal = len(assigned)
    return index
