"""The search over one state: base and fresh rows merged, filtered, capped by artist, ordered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from index.asked import Filters
from index.damping import DampedSearch
from index.filters import count_bits, passes
from index.hits import HitColumns, Hits
from index.rows import NO_ARTIST
from index.state import SearchState
from index.track_ids import PackedIds
from index.types import Bitmap, BoolArray, Float32Array, Int64Array

# A capped query whose best k hold too many tracks of one artist is searched again for this many times as much.
_WIDEN = 4
# Up to so many queries BLAS is up to 2.5 times as fast where they stand on the right of 5,000 vectors.
_FEW = 32
# Excluded rows of a query up to which each is compared with all that were found: 1 us each, where a set takes 20.
_COMPARED = 8


@dataclass(frozen=True)
class Request:
    """What all queries of one call share.

    Parameters
    ----------
    k : int
    filters : Filters or None
    exclude : sequence of collections of track ids, one a query, or None
    max_per_artist : int or None
    popularity_damping : float
        0 to 1; 0 in a cosine space.
    exact : bool
        Whether every row is looked at, also where the index is of an approximate kind.
    """

    k: int
    filters: Filters | None = None
    exclude: Sequence[Collection[str]] | None = None
    max_per_artist: int | None = None
    popularity_damping: float = 0.0
    exact: bool = False


def answer(state: SearchState, queries: Float32Array, request: Request) -> list[Hits]:
    """Answer queries from one state.

    Parameters
    ----------
    queries : ndarray of float32, shape (q, dim)
        Of unit length where the metric is cosine.

    Returns
    -------
    list of Hits, length q
    """
    alive, alive_count, fresh_rows = _selected(state, request.filters)
    fresh_scores = _fresh_scores(state, queries, fresh_rows) if len(fresh_rows) else None
    backend = state.base.backend.exact if request.exact else state.base.backend
    search = backend.search
    if request.popularity_damping and state.base.lengths is not None:
        # Its bounds are those of exact inner products.
        damped = DampedSearch(backend.exact, state.base.lengths, request.popularity_damping)
        search = damped.search
        if fresh_scores is not None:
            fresh_scores = fresh_scores * damped.weights_of(state.fresh_vectors[fresh_rows])
    # Rows of both parts are numbered through: base rows first, fresh ones after them.
    fresh_rows = fresh_rows + backend.count
    excluded = _excluded(state, request.exclude)

    def find(some: Int64Array | slice, fetch: int) -> _Found:
        """Find the first of both parts for some of the queries, given by their numbers."""
        asked = queries[some]
        if alive_count:
            found = _Found(*search(asked, fetch, alive, alive_count))
        else:
            found = _Found(np.zeros((len(asked), 0), dtype=np.float32), np.zeros((len(asked), 0), dtype=np.int64))
        if fresh_scores is None:
            return found
        return _with_fresh(state, found, _Fresh(fresh_scores[some], fresh_rows), fetch)

    fetch = request.k + (excluded.shape[1] if excluded is not None else 0)
    if request.max_per_artist is None:
        found = find(slice(None), fetch)
        kept = _kept(found.rows, excluded) if excluded is not None else None
        return _current(state, _hits(state, *_first(found, kept, request.k)))
    capped: dict[int, _Found] = {}
    pending = np.arange(len(queries))
    fetch *= 2
    while len(pending):
        found = find(pending, fetch)
        own = excluded[pending] if excluded is not None else None
        kept = _under_cap(state, found.rows, own, request.max_per_artist)
        done = np.count_nonzero(kept, axis=1) >= request.k
        done |= fetch >= alive_count + len(fresh_rows)  # there is nothing more to find
        for at in np.flatnonzero(done).tolist():
            some = np.flatnonzero(kept[at])[: request.k]
            capped[int(pending[at])] = _Found(found.scores[at, some], found.rows[at, some])
        pending = pending[~done]
        fetch *= _WIDEN
    scores, rows = zip(*(capped[query] for query in range(len(queries))), strict=True)
    together = _Found(np.concatenate(scores), np.concatenate(rows))
    return _current(state, _hits(state, together, np.cumsum([len(one) for one in rows])))


def _current(state: SearchState, hits: list[Hits]) -> list[Hits]:
    """Leave out what was withdrawn after the state was made; the answers are then shorter than they might be."""
    if len(state.withdrawn) == len(state.masked):
        return hits
    current = []
    for one in hits:
        kept = [at for at, track_id in enumerate(one.track_ids) if track_id not in state.withdrawn]
        current.append(one if len(kept) == len(one) else one.only(kept))
    return current


def _excluded(state: SearchState, exclude: Sequence[Collection[str]] | None) -> Int64Array | None:
    """Give the rows that each query leaves out, shape (q, e), -1 where there are fewer; None where there are none."""
    if exclude is None or not any(exclude):
        return None
    rows = [_rows_of(state, ids) if ids else [] for ids in exclude]
    excluded = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
    for own, found in zip(excluded, rows, strict=True):
        own[: len(found)] = found
    return excluded if excluded.shape[1] else None


def _rows_of(state: SearchState, track_ids: Collection[str]) -> list[int]:
    """Give the rows of some tracks in either part, those that may be found and those that may not."""
    rows: list[int] = state.base.track_ids.rows_of(track_ids).tolist()
    count = len(state.fresh_alive)
    for track_id in track_ids:
        row = state.fresh.newest.get(track_id, -1)
        while row >= count:  # written again since: this state shows the row before
            row = next(
                (at for at in reversed(range(count)) if state.fresh.provenance[at].track.track_id == track_id), -1
            )
        if row >= 0:
            rows.append(state.base.backend.count + row)
    return rows


def _kept(rows: Int64Array, excluded: Int64Array) -> BoolArray:
    """Say which rows, shape (q, n), are not among those that their query leaves out, shape (q, e)."""
    if excluded.shape[1] > _COMPARED:
        return np.stack([~np.isin(own, out) for own, out in zip(rows, excluded, strict=True)])
    kept = np.ones(rows.shape, dtype=bool)
    for column in excluded.T:
        kept &= rows != column[:, None]
    return kept


def _fresh_scores(state: SearchState, queries: Float32Array, rows: Int64Array) -> Float32Array:
    """Score fresh rows, shape (q, len(rows))."""
    if 2 * len(rows) < len(state.fresh_vectors):
        return _products(queries, state.fresh_vectors[rows])
    # A copy of most of the vectors would cost more than the scores of a few rows too many.
    scores = _products(queries, state.fresh_vectors)
    return scores if len(rows) == len(state.fresh_vectors) else scores[:, rows]


def _products(queries: Float32Array, vectors: Float32Array) -> Float32Array:
    if len(queries) > _FEW:
        return np.asarray(queries @ vectors.T)
    return np.ascontiguousarray((vectors @ queries.T).T)


def _selected(state: SearchState, filters: Filters | None) -> tuple[Bitmap | None, int, Int64Array]:
    """Rows that may be found: bitmap and count of the base's, numbers of the fresh ones."""
    if filters is None or filters.is_empty:
        alive = state.base_alive if state.base_alive_count < state.base.backend.count else None
        return alive, state.base_alive_count, np.flatnonzero(state.fresh_alive)
    bitmap = state.base.compiled.bitmap(filters)
    if state.base_alive is not None:
        bitmap = bitmap & state.base_alive
    fresh = state.fresh_alive & passes(filters, state.fresh_columns, state.base.artists, state.base.markets)
    return bitmap, count_bits(bitmap), np.flatnonzero(fresh)


class _Found(NamedTuple):
    """What was found for q queries, shape (q, n), best first; or all of it in one row."""

    scores: Float32Array
    rows: Int64Array


class _Fresh(NamedTuple):
    """The fresh rows that may be found, ascending, shape (f,), and what each query scores them, shape (q, f)."""

    scores: Float32Array
    rows: Int64Array


def _with_fresh(state: SearchState, found: _Found, fresh: _Fresh, fetch: int) -> _Found:
    """Put fresh rows in their places among rows of the base, of which each query has the first `fetch`, or all.

    Of many fresh rows few are near enough for any query: no more is sorted than those with the rows they come among.
    """
    near = _near(found.scores, fresh.scores, fetch)
    touched = np.flatnonzero(near.any(axis=1))
    if not len(touched):
        return found
    query, column = np.nonzero(near[touched])
    counts = np.bincount(query)
    place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (len(touched), int(counts.max()))
    late = _Found(np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1, dtype=np.int64))
    late.scores[query, place] = fresh.scores[touched[query], column]
    late.rows[query, place] = fresh.rows[column]
    scores = np.concatenate([found.scores[touched], late.scores], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, axis=1)
    rows = np.take_along_axis(np.concatenate([found.rows[touched], late.rows], axis=1), order, axis=1)
    # Base rows ascend with their ids, so only ties that fresh rows take part in need their ids compared.
    tied = (scores[:, 1:] == scores[:, :-1]) & (rows[:, 1:] >= state.base.backend.count)
    for at in np.flatnonzero(tied.any(axis=1)).tolist():
        _order_by_id(state, scores[at], rows[at], np.flatnonzero(tied[at]).tolist())
    # Beyond the first `fetch` the base may have rows that belong in between.
    width = min(fetch, found.rows.shape[1] + len(fresh.rows))
    if len(touched) == len(found.rows):
        return _Found(scores[:, :width], rows[:, :width])
    merged = _Found(found.scores.copy(), found.rows.copy())
    merged.scores[touched], merged.rows[touched] = scores[:, :width], rows[:, :width]
    return merged


def _near(scores: Float32Array, fresh: Float32Array, fetch: int) -> BoolArray:
    """Say which fresh rows, shape (q, f), may be among the first, and all that tie with the last: ids break ties."""
    if scores.shape[1] >= fetch:
        return fresh >= scores[:, -1:]
    count = fresh.shape[1]
    if count <= fetch:
        return np.ones(fresh.shape, dtype=bool)
    return fresh >= np.partition(fresh, count - fetch, axis=1)[:, count - fetch, None]


def _order_by_id(state: SearchState, scores: Float32Array, rows: Int64Array, tied: list[int]) -> None:
    """Put one query's rows of equal score, of which some start at `tied`, in ascending order of their ids, in place."""
    done = 0
    for start in tied:
        if start < done:
            continue
        low, high = np.searchsorted(-scores, -scores[start], "left"), np.searchsorted(-scores, -scores[start], "right")
        run = rows[low:high]
        ids = _ids(state, run).strings()
        rows[low:high] = run[sorted(range(len(run)), key=ids.__getitem__)]
        done = int(high)


def _under_cap(state: SearchState, rows: Int64Array, excluded: Int64Array | None, most: int) -> BoolArray:
    """Say which rows, shape (q, n), to keep: those not excluded, and at most so many of one primary artist.

    Tracks without credits are not counted.
    """
    kept = _kept(rows, excluded) if excluded is not None else np.ones(rows.shape, dtype=bool)
    count = state.base.backend.count
    artists = np.empty(rows.shape, dtype=np.int32)
    fresh = rows >= count
    artists[~fresh] = state.base.columns.primary_artist[rows[~fresh]]
    artists[fresh] = state.fresh_columns.primary_artist[rows[fresh] - count]
    for own_artists, own_kept in zip(artists, kept, strict=True):
        taken: dict[int, int] = {}
        for at, artist in enumerate(own_artists.tolist()):
            if artist != NO_ARTIST and own_kept[at]:
                taken[artist] = taken.get(artist, 0) + 1
                own_kept[at] = taken[artist] <= most
    return kept


def _first(found: _Found, kept: BoolArray | None, k: int) -> tuple[_Found, Int64Array]:
    """Take the first k that are kept of each query: one query's behind the other's, and where each ends."""
    if kept is None:
        scores, rows = found.scores[:, :k], found.rows[:, :k]
        width = rows.shape[1]
        return _Found(scores.ravel(), rows.ravel()), np.arange(1, len(rows) + 1) * width
    kept = kept & (np.cumsum(kept, axis=1) <= k)
    return _Found(found.scores[kept], found.rows[kept]), np.cumsum(np.count_nonzero(kept, axis=1))


def _ids(state: SearchState, rows: Int64Array) -> PackedIds:
    return state.base.track_ids.at(rows, lambda row: state.fresh.provenance[row].track.track_id)


def _hits(state: SearchState, found: _Found, ends: Int64Array) -> list[Hits]:
    """Look up what is told of rows, those of all queries at once, and give each query its own."""
    scores, rows = found
    count, columns, late_columns = state.base.backend.count, state.base.columns, state.fresh_columns
    fresh = rows >= count
    if not fresh.any():
        tiers, confidence = columns.tiers[rows], columns.confidence[rows]
        popularity = columns.popularity[rows] if columns.knows_popularity else None
        ids = state.base.track_ids.at(rows)
    else:
        base, late = rows[~fresh], rows[fresh] - count
        tiers = np.empty(len(rows), dtype=np.int8)
        confidence = np.empty(len(rows), dtype=np.float32)
        popularity = np.empty((len(rows), 3), dtype=np.float32)
        tiers[~fresh], tiers[fresh] = columns.tiers[base], late_columns.tiers[late]
        confidence[~fresh], confidence[fresh] = columns.confidence[base], late_columns.confidence[late]
        popularity[~fresh], popularity[fresh] = columns.popularity[base], late_columns.popularity[late]
        ids = _ids(state, rows)
    until = ends.tolist()
    told = HitColumns(ids, scores, tiers, confidence, popularity)
    return [Hits(told, first, end) for first, end in zip([0, *until], until, strict=False)]
