"""Built indexes in memory, and which of them a process can use again instead of reading files."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from index.kinds import FLAT_FP16
from index.types import Float32Array, Int8Array

if TYPE_CHECKING:
    from index.lists import Lists
    from index.tuning import Tuning


class UnusableIndexError(Exception):
    """The files on disk do not hold the index that they should; never leaves this room: it is built anew."""


@dataclass(frozen=True, eq=False, kw_only=True)
class IndexedRows:
    """What is known of the n rows of an index beside their vectors, in ascending order of track id.

    Parameters
    ----------
    track_ids : pyarrow.Array of string, length n
    tiers : ndarray of int8, shape (n,)
    confidence : ndarray of float32, shape (n,)
    popularity : ndarray of float32, shape (n, 3)
        Listens, low and high; NaN where not known.
    ids_sha256 : str
        Hash of the ids.
    """

    track_ids: pa.Array
    tiers: Int8Array
    confidence: Float32Array
    popularity: Float32Array
    ids_sha256: str


@dataclass(frozen=True, eq=False, kw_only=True)
class BaseIndex(IndexedRows):
    """A built index in memory.

    Parameters
    ----------
    index : faiss.IndexScalarQuantizer
    scale : float
        Power of two that its vectors were multiplied by.
    near : Lists or None
        What an approximate kind has beside its codes.
    tuning : Tuning or None
        How it is searched, and what was measured of that.
    """

    index: Any
    scale: float
    near: Lists | None = None
    tuning: Tuning | None = None

    @classmethod
    def of(cls, rows: IndexedRows, index: Any, scale: float) -> BaseIndex:
        """Give rows the index that was built, or read, for them."""
        return cls(index=index, scale=scale, **{one.name: getattr(rows, one.name) for one in fields(IndexedRows)})

    @property
    def kind(self) -> str:
        """One of `index.kinds.KINDS` but "auto"."""
        return self.near.kind if self.near is not None else FLAT_FP16


class Bases:
    """The built indexes of one process and home. Safe to use from many threads.

    Keeps at most one alive by itself: the one that was built last, until it is taken.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakValueDictionary[str, BaseIndex] = weakref.WeakValueDictionary()
        self._built: tuple[str, BaseIndex] | None = None

    def built(self, snapshot_id: str, base: BaseIndex) -> None:
        """Keep what was just built for whoever serves it; what was kept before is let go."""
        with self._lock:
            self._known[snapshot_id] = base
            self._built = snapshot_id, base

    def take(self, snapshot_id: str) -> BaseIndex | None:
        """Hand over what `built` keeps; None where that is another snapshot."""
        with self._lock:
            if self._built is None or self._built[0] != snapshot_id:
                return None
            base, self._built = self._built[1], None
            return base

    def read(self, snapshot_id: str, base: BaseIndex) -> None:
        """Remember an index that was read, for as long as somebody uses it."""
        with self._lock:
            self._known[snapshot_id] = base

    def find(self, snapshot_id: str) -> BaseIndex | None:
        """Give an index that somebody uses, or that `built` keeps."""
        with self._lock:
            return self._known.get(snapshot_id)
