"""What a search has found: columns of many queries' hits, and the hits of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from index.track_ids import PackedIds
from index.types import Float32Array, Int8Array

_UNKNOWN = np.full(3, np.nan, dtype="<f4").tobytes()  # the popularity of a hit of which none is known


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

    @cached_property
    def packed(self) -> PackedColumns:
        """The same as bytes."""
        return PackedColumns(
            self.ids.text,
            np.diff(self.ids.offsets).astype("<u4").tobytes(),
            self.scores.astype("<f4", copy=False).tobytes(),
            self.tiers.tobytes(),
            self.confidence.astype("<f4", copy=False).tobytes(),
            self.popularity.astype("<f4", copy=False).tobytes() if self.popularity is not None else b"",
        )


class PackedColumns(NamedTuple):
    """Columns of n hits as bytes, numbers little-endian.

    Attributes
    ----------
    ids : bytes
        UTF-8, one behind the other.
    id_lengths : bytes
        How many of them each id has, uint32.
    scores, confidence : bytes
        float32.
    tiers : bytes
        int8.
    popularity : bytes
        float32, three a hit; empty where it is known of none.
    """

    ids: bytes
    id_lengths: bytes
    scores: bytes
    tiers: bytes
    confidence: bytes
    popularity: bytes


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

    def packed(self) -> PackedColumns:
        """Give their columns as bytes.

        They are cut out of those of all queries, which are made once: NumPy takes a microsecond to cut one out and
        make bytes of it, and 256 queries have six each.
        """
        told, first, end = self._columns.packed, self._first, self._end
        offsets = self._columns.ids.offsets
        popularity = told.popularity[12 * first : 12 * end]
        return PackedColumns(
            told.ids[offsets[first] : offsets[end]],
            told.id_lengths[4 * first : 4 * end],
            told.scores[4 * first : 4 * end],
            told.tiers[first:end],
            told.confidence[4 * first : 4 * end],
            popularity if popularity and not np.isnan(self.popularity).all() else b"",
        )

    def only(self, kept: Sequence[int]) -> Hits:
        """Take some of them, by their places."""
        at, columns, ids = self._first + np.asarray(kept, dtype=np.int64), self._columns, self.track_ids
        popularity = columns.popularity[at] if columns.popularity is not None else None
        own = [ids[place] for place in kept]
        return Hits.of(own, columns.scores[at], columns.tiers[at], columns.confidence[at], popularity)


def packed_together(several: Sequence[Hits]) -> PackedColumns:
    """Give the hits of several queries as bytes, one query's behind the other's.

    What a search has found for several queries stands like that already, and is neither cut nor joined.
    """
    runs: list[Hits] = []
    columns, first, end = None, 0, 0
    for one in several:
        if one._columns is columns and one._first == end:
            end = one._end
            continue
        if columns is not None:
            runs.append(Hits(columns, first, end))
        columns, first, end = one._columns, one._first, one._end
    if columns is not None:
        runs.append(Hits(columns, first, end))
    parts = [run.packed() for run in runs]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return PackedColumns(*[b""] * 6)
    ids, lengths, scores, tiers, confidence, _ = (b"".join(column) for column in zip(*parts, strict=True))
    unknown = _UNKNOWN if any(part.popularity for part in parts) else b""
    popularity = b"".join(part.popularity or unknown * len(part.tiers) for part in parts)
    return PackedColumns(ids, lengths, scores, tiers, confidence, popularity)
