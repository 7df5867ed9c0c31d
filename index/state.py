"""What one search sees: a snapshot's index, the rows fresh to it, and what is masked. Never changed, only replaced."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from index.backends import Backend
from index.bases import BaseIndex
from index.codes import unit
from index.damping import Lengths
from index.filters import CompiledFilters, packed
from index.rows import Columns, Growing, GrowingColumns, Vocabulary, find_sorted, rows_among
from index.schemas import popularity_row
from index.types import (
    Bitmap,
    BoolArray,
    Float32Array,
    Int64Array,
    Metric,
    ServedVector,
    SnapshotRecord,
    SpaceRecord,
    Tier,
    TrackRecord,
)


@dataclass(frozen=True, eq=False)
class Base:
    """A snapshot's rows in memory.

    Parameters
    ----------
    track_ids : pyarrow.Array of string
        Ascending, one a row.
    tracks_version : int
        Version of the tracks table that `columns` was joined with.
    lengths : Lengths or None
        Of the backend's vectors; None in a cosine space, where all are of length 1.
    built : BaseIndex, optional
        What the backend searches: the next snapshot's index is patched from it, its columns are taken from this base.
    """

    space: SpaceRecord
    snapshot: SnapshotRecord
    backend: Backend
    track_ids: pa.Array
    columns: Columns
    compiled: CompiledFilters
    artists: Vocabulary
    markets: Vocabulary
    tracks_version: int
    lengths: Lengths | None
    built: BaseIndex | None = None


@dataclass(frozen=True)
class _Provenance:
    """Where a fresh row comes from, to tell what is newer."""

    track: TrackRecord
    tier: Tier
    confidence: float
    popularity: tuple[float, float, float]
    fresh_version: int
    tracks_version: int


class FreshRows:
    """Rows written since the snapshot was built; only ever appended to, by the one that holds the writer's lock.

    A track that is written again gets a new row; its older one stays for the states that still show it.

    Parameters
    ----------
    base : Base
    """

    def __init__(self, base: Base) -> None:
        self.vectors: Growing[np.float32] = Growing(np.float32, (base.space.dim,))
        self.columns = GrowingColumns(base.artists, base.markets)
        self.provenance: list[_Provenance] = []
        self.newest: dict[str, int] = {}
        self.torn = False  # an append was broken off, so that the lists may differ in length: never append again

    def extend(self, rows: Iterable[tuple[Float32Array, _Provenance]]) -> None:
        """Append rows."""
        self.torn = True
        for vector, provenance in rows:
            self.vectors.extend(vector[None])
            self.columns.append(provenance.track, int(provenance.tier), provenance.confidence, provenance.popularity)
            self.provenance.append(provenance)
            self.newest[provenance.track.track_id] = len(self.provenance) - 1
        self.torn = False


@dataclass(frozen=True, eq=False)
class SearchState:
    """A consistent picture: everything that a search reads.

    Parameters
    ----------
    base_alive : Bitmap or None
        Rows of the base that may be found: neither superseded by a fresh row nor withdrawn. None: all.
    base_alive_count : int
    fresh_columns, fresh_vectors : the fresh rows as of this state
        Vectors of shape (f, dim), float32, of unit length where the metric is cosine.
    fresh_alive : ndarray of bool, shape (f,)
    withdrawn : set of str
        Shared by all states of a searcher and grown in place: none of its ids may be in any answer from now on,
        also not in one that a view of an older state gives.
    masked : frozenset of str
        Those of `withdrawn` whose rows this state leaves out of the search itself.
    """

    base: Base
    base_alive: Bitmap | None
    base_alive_count: int
    fresh: FreshRows
    fresh_columns: Columns
    fresh_vectors: Float32Array
    fresh_alive: BoolArray
    withdrawn: set[str] = field(default_factory=set)
    masked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, base: Base, withdrawn: set[str] | None = None) -> SearchState:
        """Begin with a snapshot and nothing fresh."""
        fresh = FreshRows(base)
        none = np.zeros(0, dtype=bool)
        shared = withdrawn if withdrawn is not None else set()
        return cls(base, None, base.backend.count, fresh, fresh.columns.view(), fresh.vectors.view(), none, shared)

    def searchable(self, vectors: Float32Array) -> Float32Array:
        """Bring vectors of shape (n, dim) to what inner products are taken of."""
        return unit(vectors) if self.base.space.metric is Metric.COSINE else vectors

    def find(self, track_id: str) -> Float32Array | None:
        """Give a track's vector as it is searched; None where it is not served or withdrawn."""
        if track_id in self.withdrawn:
            return None
        row = self.fresh.newest.get(track_id)
        if row is not None:
            # Perhaps newer than this state: then a commit is returning just now, and either answer is right.
            fresh: Float32Array = self.fresh.vectors.view()[row]
            return fresh
        row = find_sorted(self.base.track_ids, track_id)
        return self.base.backend.vectors(np.array([row]))[0] if row >= 0 else None

    def _versions(self, track_id: str) -> tuple[int, int] | None:
        """Versions of the fresh and of the tracks table that are shown of a track; None where it is not shown."""
        row = self.fresh.newest.get(track_id)
        if row is not None:
            shown = self.fresh.provenance[row]
            return shown.fresh_version, shown.tracks_version
        if find_sorted(self.base.track_ids, track_id) >= 0:
            return self.base.snapshot.fresh_version, self.base.tracks_version
        return None

    def updated(
        self,
        *,
        vectors: Mapping[str, tuple[ServedVector, int]],
        tracks: Mapping[str, tuple[TrackRecord, int]],
        withdrawn: Collection[str],
        find_tracks: Callable[[list[str]], Mapping[str, tuple[TrackRecord, int]]],
    ) -> SearchState:
        """Give the state after some commits; what is not newer than what is shown is left aside.

        Only the holder of the writer's lock may call this, on the newest state. Where it raises, this state is as it
        was, unless its fresh rows are torn; `withdrawn` holds in either case.

        Parameters
        ----------
        vectors : mapping of track id to (row, version of the fresh table that holds it)
        tracks : mapping of track id to (record, version of the tracks table that holds it)
        withdrawn : collection of track ids
        find_tracks : callable
            Looks up tracks that are needed and not in `tracks`.
        """
        # Before anything that may fail.
        self.withdrawn.update(withdrawn)
        newly_masked = self.withdrawn - self.masked if len(self.withdrawn) != len(self.masked) else set()
        shown = {track_id: self._versions(track_id) for track_id in {*vectors, *tracks}}
        moved: dict[str, tuple[bool, bool]] = {}
        for track_id, versions in shown.items():
            if track_id in self.withdrawn:
                continue
            new_vector = track_id in vectors and (versions is None or vectors[track_id][1] > versions[0])
            new_track = versions is not None and track_id in tracks and tracks[track_id][1] > versions[1]
            if new_vector or new_track:
                moved[track_id] = (new_vector, new_track)
        wanting = [
            track_id
            for track_id, (_, new_track) in moved.items()
            if not new_track and track_id not in tracks and track_id not in self.fresh.newest
        ]
        looked_up = dict(find_tracks(wanting)) if wanting else {}
        # All that reads from elsewhere comes first, the rows shared with older states are appended to at the end.
        rows = [
            self._row(track_id, vectors.get(track_id) if new_vector else None, tracks, looked_up)
            for track_id, (new_vector, _) in moved.items()
        ]
        dead = {*moved, *newly_masked}
        dead_fresh = [self.fresh.newest[track_id] for track_id in dead if track_id in self.fresh.newest]
        dead_base = rows_among(self.base.track_ids, dead)
        if rows:
            self.fresh.extend(rows)
        return self._without(dead_base, dead_fresh, newly_masked)

    def _row(
        self,
        track_id: str,
        new: tuple[ServedVector, int] | None,
        tracks: Mapping[str, tuple[TrackRecord, int]],
        looked_up: Mapping[str, tuple[TrackRecord, int]],
    ) -> tuple[Float32Array, _Provenance]:
        row = self.fresh.newest.get(track_id)
        old = self.fresh.provenance[row] if row is not None else None
        known = [found for found in (tracks.get(track_id), looked_up.get(track_id)) if found is not None]
        if old is not None:
            known.append((old.track, old.tracks_version))
        track, tracks_version = max(known, key=lambda found: found[1], default=(TrackRecord(track_id), 0))
        if new is not None:
            served, version = new
            vector = self.searchable(np.asarray(served.vector, dtype=np.float32)[None])[0]
            tier, confidence, popularity = served.tier, served.confidence, popularity_row(served.popularity)
        elif old is not None and row is not None:
            vector = self.fresh.vectors.view()[row].copy()
            tier, confidence, popularity, version = old.tier, old.confidence, old.popularity, old.fresh_version
        else:
            at = find_sorted(self.base.track_ids, track_id)
            vector = self.base.backend.vectors(np.array([at]))[0]
            tier, confidence = Tier(int(self.base.columns.tiers[at])), float(self.base.columns.confidence[at])
            listens, low, high = self.base.columns.popularity[at].tolist()
            popularity = (listens, low, high)
            version = self.base.snapshot.fresh_version
        return vector, _Provenance(track, tier, confidence, popularity, version, tracks_version)

    def _without(self, dead_base: Int64Array, dead_fresh: Iterable[int], masked: Collection[str]) -> SearchState:
        count = len(self.fresh.provenance)
        fresh_alive = np.ones(count, dtype=bool)
        fresh_alive[: len(self.fresh_alive)] = self.fresh_alive
        fresh_alive[list(dead_fresh)] = False
        bitmap, alive_count = self.base_alive, self.base_alive_count
        if len(dead_base):
            if bitmap is None:
                bitmap = packed(np.ones(self.base.backend.count, dtype=bool))
            bitmap = bitmap.copy()
            alive_count -= _clear(bitmap, np.unique(dead_base))
        return replace(
            self,
            base_alive=bitmap,
            base_alive_count=alive_count,
            fresh_columns=self.fresh.columns.view(),
            fresh_vectors=self.fresh.vectors.view(),
            fresh_alive=fresh_alive,
            masked=self.masked.union(masked) if masked else self.masked,
        )


def _clear(bitmap: Bitmap, rows: Any) -> int:
    """Clear bits in place and count those that were set."""
    bits = (np.uint8(1) << (rows & 7).astype(np.uint8)).astype(np.uint8)
    were_set = int(np.count_nonzero(bitmap[rows >> 3] & bits))
    np.bitwise_and.at(bitmap, rows >> 3, ~bits)
    return were_set
