"""What a search has found: columns of many queries' hits, and the hits of one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from index.track_ids import PackedIds
from index.types import Float32Array, Int8Array


@dataclass(frozen=True, eq=False)
class HitColumns:
    """The hits of some queries, one query's behind the other's.

    Parameters
    ----------
    ids : PackedIds of n ids
    scores : ndarray of float32, shape (n,)
    tiers : ndarray of int8, shape (n,)
    confidence : ndarray of float32, shape (n,)
    popularity : ndarray of float32, shape (n, 3), or None
        None where it is known of none of them.
    """

    ids: PackedIds
    scores: Float32Array
    tiers: Int8Array
    confidence: Float32Array
    popularity: Float32Array | None


class Hits:
    """The answer to one query, best first; ties stand in ascending order of track id.

    Nothing is cut out of the columns, and no string made, before it is asked for: of 256 queries with 100 hits each,
    25,600 strings would take as long as the search.

    Parameters
    ----------
    columns : HitColumns
    first, end : int
        Which of them are this query's.
    """

    __slots__ = ("_columns", "_end", "_first")

    def __init__(self, columns: HitColumns, first: int, end: int) -> None:
        self._columns, self._first, self._end = columns, first, end

    @classmethod
    def of(
        cls,
        track_ids: Sequence[str],
        scores: Float32Array,
        tiers: Int8Array,
        confidence: Float32Array,
        popularity: Float32Array | None = None,
    ) -> Hits:
        """Make the hits of one query of their columns, each of length n; see `HitColumns`."""
        columns = HitColumns(PackedIds.of(track_ids), scores, tiers, confidence, popularity)
        return cls(columns, 0, len(track_ids))

    def __len__(self) -> int:
        return self._end - self._first

    @property
    def ids(self) -> PackedIds:
        """Their ids, packed."""
        ids = self._columns.ids
        return ids if len(self) == len(ids.offsets) - 1 else ids.part(self._first, self._end)

    @property
    def track_ids(self) -> list[str]:
        """Their ids as strings, made at each call; length n."""
        return self.ids.strings()

    @property
    def scores(self) -> Float32Array:
        """Inner products (cosines in a cosine space), descending; shape (n,)."""
        return self._columns.scores[self._first : self._end]

    @property
    def tiers(self) -> Int8Array:
        """Values of `Tier`, shape (n,)."""
        return self._columns.tiers[self._first : self._end]

    @property
    def confidence(self) -> Float32Array:
        """In [0, 1], shape (n,)."""
        return self._columns.confidence[self._first : self._end]

    @property
    def popularity(self) -> Float32Array:
        """The listens, low and high of each hit's `Popularity`, shape (n, 3); NaN where it is not known."""
        if self._columns.popularity is None:
            return np.full((len(self), 3), np.nan, dtype=np.float32)
        return self._columns.popularity[self._first : self._end]

    @property
    def knows_popularity(self) -> bool:
        """Whether the popularity of any of them is known."""
        if self._columns.popularity is None or not len(self):
            return False
        known = self._columns.popularity[self._first : self._end]
        return not math.isnan(known[0, 0]) or not bool(np.isnan(known).all())

    def only(self, kept: Sequence[int]) -> Hits:
        """Take some of them, by their places."""
        at, columns, ids = self._first + np.asarray(kept, dtype=np.int64), self._columns, self.track_ids
        popularity = columns.popularity[at] if columns.popularity is not None else None
        own = [ids[place] for place in kept]
        return Hits.of(own, columns.scores[at], columns.tiers[at], columns.confidence[at], popularity)
