"""The search over a built index, on CPU or GPU, behind one protocol. Every backend passes one contract suite."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

import faiss
import numpy as np

from index.codes import codes_of
from index.errors import DeviceUnavailableError, InvalidQueryError
from index.filters import unpacked
from index.types import MAX_K, Bitmap, Float32Array, Int64Array

Search = Callable[[Float32Array, int], tuple[Float32Array, Int64Array]]

# FAISS wraps these constructors in Python when it is imported, which its type stubs do not know.
_selectors: Any = faiss
# A scan of gathered rows costs per selected row, FAISS with a selector per row of the index; they meet at about this
# share (100,000 x 128 on two cores: 1 % takes 0.3 ms gathered and 1.4 to 4.7 ms by selector, 10 % takes 4 and 3).
_GATHER_SHARE = 0.05
_GATHER_ROWS = 2048
# Rows gathered at once, so that the float32 copy of a piece stays within the CPU's caches.
_PIECE = 16_384
# Scores that a weighted scan holds at once: 64 MiB.
_SCAN_SCORES = 1 << 24
# FAISS keeps the best k in a heap: beyond this a partition of all scores is the cheaper way.
_HEAP_K = 4 * MAX_K


class Backend(Protocol):
    """Exact top-k by inner product over rows that never change. Safe to use from many threads."""

    device: str
    count: int
    dim: int

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
    scores, rows = _by_score_and_row(*search(queries, fetch))
    tied = np.flatnonzero(scores[:, k - 1] == scores[:, fetch - 1]) if fetch > k else np.zeros(0, dtype=np.int64)
    scores, rows = scores[:, :k].copy(), rows[:, :k].copy()
    while len(tied):
        fetch = min(4 * fetch, available)
        if fetch > most:
            scores[tied], rows[tied] = scan(queries[tied], k)
            break
        more_scores, more_rows = _by_score_and_row(*search(queries[tied], fetch))
        scores[tied], rows[tied] = more_scores[:, :k], more_rows[:, :k]
        settled = (more_scores[:, k - 1] > more_scores[:, -1]) | (fetch == available)
        tied = tied[~settled]
    return scores, rows


def _by_score_and_row(scores: Float32Array, rows: Int64Array) -> tuple[Float32Array, Int64Array]:
    order = np.lexsort((rows, -scores), axis=-1)
    return np.take_along_axis(scores, order, axis=-1), np.take_along_axis(rows, order, axis=-1)


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
        if k > _HEAP_K or (alive is not None and available <= max(_GATHER_ROWS, self.count * _GATHER_SHARE)):
            return self._scan_alive(alive)(queries, k)
        return untied(
            lambda some, fetch: self._heap(some, fetch, alive), self._scan_alive(alive), queries, k, available
        )

    def _heap(self, queries: Float32Array, k: int, alive: Bitmap | None) -> tuple[Float32Array, Int64Array]:
        if self._threads is not None:
            # OpenMP keeps this number per calling thread, so it is set where the search runs.
            faiss.omp_set_num_threads(self._threads)
        if alive is None:
            scores, rows = self._index.search(queries, k)
        else:
            selector = _selectors.IDSelectorBitmap(alive)
            scores, rows = self._index.search(queries, k, params=_selectors.SearchParameters(sel=selector))
        return scores * self._unscale, rows

    def _scan_alive(self, alive: Bitmap | None) -> Search:
        def scan(queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
            rows = np.arange(self.count) if alive is None else np.flatnonzero(unpacked(alive, self.count))
            return self._scan(queries, k, rows.astype(np.int64, copy=False))

        return scan

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
        self._owner, self._resources = _gpu(number)
        self._index: Any = self._owner.submit(self._upload, index, number).result()
        # An old snapshot's index goes when the last search on it has returned, in whatever thread that is; the GPU's
        # memory is given back by its owner all the same.
        self._release = weakref.finalize(self, _reset, self._owner, self._index)
        self._release.atexit = False

    def _upload(self, index: Any, number: int) -> Any:
        config = faiss.GpuIndexFlatConfig()
        config.device = number
        config.useFloat16 = True
        gpu = faiss.GpuIndexFlat(self._resources, self.dim, faiss.METRIC_INNER_PRODUCT, config)
        for start in range(0, self.count, _PIECE * 16):
            rows = np.arange(start, min(start + _PIECE * 16, self.count))
            gpu.add(self._cpu._codes[rows].astype(np.float32))
        return gpu

    def search(
        self, queries: Float32Array, k: int, alive: Bitmap | None = None, alive_count: int | None = None
    ) -> tuple[Float32Array, Int64Array]:
        """See `Backend.search`."""
        if alive is None or alive_count is None or alive_count == self.count:
            alive, alive_count = None, self.count
        k = min(k, alive_count)
        # Enough that k survive the mask: surely where few rows are masked, else by the share that survives.
        surely = k + self.count - alive_count
        likely = 2 * k * self.count // max(alive_count, 1) + 16
        fetch = min(surely, likely)
        if k == 0 or not len(queries) or fetch > MAX_K:
            return self._cpu.search(queries, k, alive, alive_count)

        def scan(some: Float32Array, count: int) -> tuple[Float32Array, Int64Array]:
            return self._cpu.search(some, count, alive, alive_count)

        if alive is None:
            return untied(self._on_device, scan, queries, k, self.count, most=MAX_K)
        # The mask drops rows from an answer that is longer than needed; what remains is right as far as it reaches.
        scores, rows = untied(self._on_device, _none, queries, fetch, self.count, most=MAX_K)
        kept = (rows >= 0) & ((alive[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1).astype(bool)
        order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
        short = np.flatnonzero(kept.sum(axis=1) < k)
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
        # The GPU rounds queries to float16 as well: brought to at most 1 by a power of two, none overflows.
        largest = np.maximum(np.abs(queries).max(axis=1, keepdims=True), np.float32(1e-30))
        shrink = np.exp2(-np.ceil(np.log2(largest))).astype(np.float32)
        scores, rows = self._index.search(queries * shrink, k)
        return scores / shrink * self._unscale, rows

    def vectors(self, rows: Int64Array) -> Float32Array:
        """See `Backend.vectors`."""
        return self._cpu.vectors(rows)

    def close(self) -> None:
        """See `Backend.close`."""
        self._release()


def _reset(owner: ThreadPoolExecutor, index: Any) -> None:
    owner.submit(index.reset).result()


def _none(queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
    """Find nothing, for the caller to fall back."""
    return np.zeros((len(queries), k), dtype=np.float32), np.full((len(queries), k), -1, dtype=np.int64)


_gpus: dict[int, tuple[ThreadPoolExecutor, Any]] = {}
_gpus_lock = threading.Lock()


def _gpu(number: int) -> tuple[ThreadPoolExecutor, Any]:
    # One a GPU and process, also while two snapshots overlap: the resources are not thread-safe, so that one thread
    # makes every call that uses them; and they take 0.1 s to make and 1.5 GiB of scratch memory each.
    with _gpus_lock:
        if number not in _gpus:
            owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"index-gpu-{number}")
            _gpus[number] = owner, owner.submit(faiss.StandardGpuResources).result()
        return _gpus[number]


def gpu_count() -> int:
    """Count the GPUs that FAISS sees."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


def choose_device(device: str) -> Literal["cpu", "gpu"]:
    """Turn "auto" into what is there.

    Raises
    ------
    DeviceUnavailableError
        A GPU was asked for and none is there.
    InvalidQueryError
        It is no device.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise InvalidQueryError(f"device {device!r} is unknown: use auto, cpu or gpu", field="device")
    if device == "gpu" and gpu_count() == 0:
        raise DeviceUnavailableError(
            "device gpu was asked for but FAISS sees none: check the driver, or use device auto or cpu", field="device"
        )
    return "gpu" if device == "gpu" or (device == "auto" and gpu_count() > 0) else "cpu"


def make_backend(index: Any, scale: float, *, device: Literal["cpu", "gpu"], threads: int | None = None) -> Backend:
    """Put a built index onto a device."""
    if device == "gpu":
        return GpuFlat(index, scale, threads=threads)
    return CpuFlat(index, scale, threads=threads)
