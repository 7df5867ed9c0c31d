"""Lists on a GPU."""

from __future__ import annotations

import weakref
from typing import Any

import faiss

from index.devices import gpu_resources, reset_on, shrunk
from index.lists import Lists, looking_at
from index.types import MAX_K, Float32Array, Int64Array

# A GPU reads lists so many times as fast as the CPU scans rows; by its memory's bandwidth it is more.
_TIMES_AS_FAST = 100.0


class GpuLists:
    """The lists of an index on a GPU, float16; see `index.approximate.Approximation`.

    FAISS's GPU indexes find at most 2,048 rows and look at as many lists at most: what is beyond is left to the CPU's.

    Parameters
    ----------
    lists : Lists
    number : int
        Which GPU.
    """

    def __init__(self, lists: Lists, *, number: int = 0) -> None:
        self._lists = lists
        self._owner, self._resources = gpu_resources(number)
        self._index: Any = self._owner.submit(self._upload, number).result()
        # As with a flat index: the memory is given back by its owner, whenever the last search has returned.
        self._release = weakref.finalize(self, reset_on, self._owner, self._index)
        self._release.atexit = False

    def _upload(self, number: int) -> Any:
        options: Any = faiss.GpuClonerOptions()
        options.useFloat16 = True
        return faiss.index_cpu_to_gpu(self._resources, number, self._lists.index, options)

    def search(self, queries: Float32Array, k: int, effort: int) -> tuple[Float32Array, Int64Array]:
        """See `Approximation.search`."""
        if k > MAX_K or effort > MAX_K:
            return self._lists.search(queries, k, effort)
        scores, rows = self._owner.submit(self._search, queries, k, effort).result()
        return scores, rows

    def _search(self, queries: Float32Array, k: int, effort: int) -> tuple[Float32Array, Int64Array]:
        small, shrink = shrunk(queries)
        scores, rows = self._index.search(small, k, params=looking_at(effort))
        return scores / shrink, rows

    def least_effort(self, k: int) -> int:
        """See `Approximation.least_effort`."""
        return self._lists.least_effort(k)

    @property
    def most_effort(self) -> int:
        """See `Approximation.most_effort`."""
        return self._lists.most_effort

    def cost(self, effort: int) -> float:
        """See `Approximation.cost`."""
        return self._lists.cost(effort) / _TIMES_AS_FAST
