"""The search over every row on a GPU, with the CPU's copy beside it."""

from __future__ import annotations

import weakref
from typing import Any

import faiss
import numpy as np

from index.backends import CpuFlat, fetched, masked, untied
from index.codes import codes_of
from index.devices import gpu_resources, reset_on, shrunk
from index.types import MAX_K, Bitmap, Float32Array, Int64Array

# Rows decoded and uploaded at once.
_PIECE = 262_144


class GpuFlat:
    """A float16 flat index of FAISS on a GPU, with the CPU's beside it for what the GPU cannot do.

    FAISS's classic GPU indexes ignore selectors and stop at k = 2,048. So masked rows are over-fetched and dropped
    where few enough are masked, and everything else is searched on the CPU's copy.

    Parameters
    ----------
    index, scale, threads
        As for `CpuFlat`.
    number : int
        Which GPU.
    """

    device = "gpu"

    def __init__(self, index: Any, scale: float = 1.0, *, threads: int | None = None, number: int = 0) -> None:
        self._cpu = CpuFlat(index, scale, threads=threads)
        self.count, self.dim = self._cpu.count, self._cpu.dim
        self._unscale = np.float32(1.0 / scale)
        self._owner, self._resources = gpu_resources(number)
        self._index: Any = self._owner.submit(self._upload, index, number).result()
        # An old snapshot's index goes when the last search on it has returned, in whatever thread that is; the GPU's
        # memory is given back by its owner all the same.
        self._release = weakref.finalize(self, reset_on, self._owner, self._index)
        self._release.atexit = False

    @property
    def exact(self) -> GpuFlat:
        """See `Backend.exact`."""
        return self

    def _upload(self, index: Any, number: int) -> Any:
        config = faiss.GpuIndexFlatConfig()
        config.device = number
        config.useFloat16 = True
        gpu = faiss.GpuIndexFlat(self._resources, self.dim, faiss.METRIC_INNER_PRODUCT, config)
        codes = codes_of(index)
        for start in range(0, self.count, _PIECE):
            rows = np.arange(start, min(start + _PIECE, self.count))
            gpu.add(codes[rows].astype(np.float32))
        return gpu

    def search(
        self, queries: Float32Array, k: int, alive: Bitmap | None = None, alive_count: int | None = None
    ) -> tuple[Float32Array, Int64Array]:
        """See `Backend.search`."""
        if alive is None or alive_count is None or alive_count == self.count:
            alive, alive_count = None, self.count
        k = min(k, alive_count)
        fetch = fetched(k, max(alive_count, 1), max(self.count, 1))
        if k == 0 or not len(queries) or fetch > MAX_K:
            return self._cpu.search(queries, k, alive, alive_count)

        def scan(some: Float32Array, count: int) -> tuple[Float32Array, Int64Array]:
            return self._cpu.search(some, count, alive, alive_count)

        if alive is None:
            return untied(self._on_device, scan, queries, k, self.count, most=MAX_K)
        # The mask drops rows from an answer that is longer than needed; what remains is right as far as it reaches.
        scores, rows = untied(self._on_device, _none, queries, fetch, self.count, most=MAX_K)
        scores, rows, short = masked(scores, rows, k, alive)
        if len(short):
            scores[short], rows[short] = scan(queries[short], k)
        return scores, rows

    def scan(
        self, queries: Float32Array, k: int, rows: Int64Array, weights: Float32Array
    ) -> tuple[Float32Array, Int64Array]:
        """See `Backend.scan`."""
        return self._cpu.scan(queries, k, rows, weights)

    def _on_device(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        scores, rows = self._owner.submit(self._search, queries, k).result()
        return scores, rows

    def _search(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        small, shrink = shrunk(queries)
        scores, rows = self._index.search(small, k)
        return scores / shrink * self._unscale, rows

    def vectors(self, rows: Int64Array) -> Float32Array:
        """See `Backend.vectors`."""
        return self._cpu.vectors(rows)

    def close(self) -> None:
        """See `Backend.close`."""
        self._release()


def _none(queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
    """Find nothing, for the caller to fall back."""
    return np.zeros((len(queries), k), dtype=np.float32), np.full((len(queries), k), -1, dtype=np.int64)
