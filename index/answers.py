"""The search over one state: base and fresh rows merged, filtered, capped by artist, ordered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from index.asked import Filters, Hits
from index.damping import DampedSearch
from index.filters import count_bits, passes
from index.rows import NO_ARTIST
from index.state import SearchState
from index.types import Bitmap, Float32Array, Int64Array

# A capped query whose best k hold too many tracks of one artist is searched again for this many times as much.
_WIDEN = 4


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
    fresh_scores = _fresh_scores(state, queries, fresh_rows)
    backend = state.base.backend.exact if request.exact else state.base.backend
    search = backend.search
    if request.popularity_damping and state.base.lengths is not None:
        # Its bounds are those of exact inner products.
        damped = DampedSearch(backend.exact, state.base.lengths, request.popularity_damping)
        search = damped.search
        fresh_scores = fresh_scores * damped.weights_of(state.fresh_vectors[fresh_rows])
    # Rows of both parts are numbered through: base rows first, fresh ones after them.
    fresh_rows = fresh_rows + backend.count
    excluded = [set(ids) for ids in request.exclude] if request.exclude and any(request.exclude) else None
    if alive_count and not len(fresh_rows) and excluded is None and request.max_per_artist is None:
        # What most queries are: the search's answer is theirs.
        scores, rows = search(queries, request.k, alive, alive_count)
        all_found = [_Found(*one) for one in zip(rows, scores, strict=True)]
        return [_current(state, hits) for hits in _hits(state, all_found)]
    fetch = request.k + max(map(len, excluded), default=0) if excluded is not None else request.k
    if request.max_per_artist is not None:
        fetch *= 2
    answers: dict[int, _Found] = {}
    pending = np.arange(len(queries))
    while len(pending):
        everything = fetch >= alive_count and fetch >= len(fresh_rows)
        if alive_count:
            scores, rows = search(queries[pending], fetch, alive, alive_count)
        else:
            scores = np.zeros((len(pending), 0), dtype=np.float32)
            rows = np.zeros((len(pending), 0), dtype=np.int64)
        unsatisfied = []
        for position, query in enumerate(pending.tolist()):
            found = _Found(rows[position], scores[position])
            if len(fresh_rows):
                limit = None if everything or len(found.rows) < fetch else found.scores[fetch - 1]
                found = _with_fresh(state, found, fresh_scores[query], fresh_rows, fetch, limit)
            # Beyond the first `fetch` the two parts may miss rows that belong in between.
            found = found if everything else found.first(fetch)
            if excluded is not None and excluded[query]:
                found = _without(state, found, excluded[query])
            if request.max_per_artist is not None:
                found = _capped(state, found, request.max_per_artist)
            if len(found.rows) < request.k and not everything:
                unsatisfied.append(query)
            else:
                answers[query] = found.first(request.k)
        pending = np.array(unsatisfied, dtype=np.int64)
        fetch *= _WIDEN
    return [_current(state, hits) for hits in _hits(state, [answers[query] for query in range(len(queries))])]


def _current(state: SearchState, hits: Hits) -> Hits:
    """Leave out what was withdrawn after the state was made; the answer is then shorter than it might be."""
    if len(state.withdrawn) == len(state.masked):
        return hits
    kept = [at for at, track_id in enumerate(hits.track_ids) if track_id not in state.withdrawn]
    if len(kept) == len(hits):
        return hits
    ids = [hits.track_ids[at] for at in kept]
    return Hits(ids, hits.scores[kept], hits.tiers[kept], hits.confidence[kept], hits.popularity[kept])


def _fresh_scores(state: SearchState, queries: Float32Array, rows: Int64Array) -> Float32Array:
    """Score fresh rows, shape (q, len(rows))."""
    if 2 * len(rows) < len(state.fresh_vectors):
        return np.asarray(queries @ state.fresh_vectors[rows].T)
    # A copy of most of the vectors would cost more than the scores of a few rows too many.
    scores = np.asarray(queries @ state.fresh_vectors.T)
    return scores if len(rows) == len(state.fresh_vectors) else scores[:, rows]


def _with_fresh(
    state: SearchState,
    found: _Found,
    fresh_scores: Float32Array,
    fresh_rows: Int64Array,
    fetch: int,
    limit: np.float32 | None,
) -> _Found:
    """Merge the `fetch` best fresh rows, those of them that reach a limit; ids break ties, later."""
    near = _near(fresh_scores, fetch) if limit is None else np.flatnonzero(fresh_scores >= limit)
    if not len(near):
        return found
    rows, scores = np.concatenate([found.rows, fresh_rows[near]]), np.concatenate([found.scores, fresh_scores[near]])
    return _merged(state, rows, scores)


def _near(scores: Float32Array, count: int) -> Int64Array:
    """Positions, in any order, of the largest scores and of all that tie with the last: ids break ties, later."""
    if count >= len(scores):
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])


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


@dataclass(frozen=True, eq=False)
class _Found:
    """Candidates of one query, best first."""

    rows: Int64Array
    scores: Float32Array
    ids: list[str] | None = None  # where they were looked up already

    def first(self, count: int) -> _Found:
        return self if count >= len(self.rows) else self.only(range(count))

    def only(self, kept: Sequence[int]) -> _Found:
        """Take some; a range is a beginning, and taken without a copy."""
        ids = [self.ids[at] for at in kept] if self.ids is not None else None
        at = slice(len(kept)) if isinstance(kept, range) else list(kept)
        return _Found(self.rows[at], self.scores[at], ids)


def _merged(state: SearchState, rows: Int64Array, scores: Float32Array) -> _Found:
    """Order by score descending, then by track id ascending."""
    order = np.lexsort((rows, -scores))
    rows, scores = rows[order], scores[order]
    # Base rows ascend with their ids, so only ties that fresh rows take part in need their ids compared.
    count = state.base.backend.count
    tied = np.flatnonzero((scores[1:] == scores[:-1]) & (rows[1:] >= count))
    if len(tied):
        done = 0
        for start in tied:
            if start < done:
                continue
            low, high = (
                np.searchsorted(-scores, -scores[start], "left"),
                np.searchsorted(-scores, -scores[start], "right"),
            )
            run = rows[low:high]
            ids = _ids(state, run)
            rows[low:high] = run[sorted(range(len(run)), key=ids.__getitem__)]
            done = int(high)
    return _Found(rows, scores)


def _without(state: SearchState, found: _Found, skip: Collection[str]) -> _Found:
    ids = _ids(state, found.rows)
    kept = [at for at, track_id in enumerate(ids) if track_id not in skip]
    known = _Found(found.rows, found.scores, ids)
    return known if len(kept) == len(ids) else known.only(kept)


def _capped(state: SearchState, found: _Found, most: int) -> _Found:
    """Keep at most so many tracks of one primary artist; tracks without credits are not counted."""
    count = state.base.backend.count
    fresh = found.rows >= count
    artists = np.empty(len(found.rows), dtype=np.int32)
    artists[~fresh] = state.base.columns.primary_artist[found.rows[~fresh]]
    artists[fresh] = state.fresh_columns.primary_artist[found.rows[fresh] - count]
    taken: dict[int, int] = {}
    kept = []
    for at, artist in enumerate(artists.tolist()):
        if artist != NO_ARTIST:
            taken[artist] = taken.get(artist, 0) + 1
            if taken[artist] > most:
                continue
        kept.append(at)
    return found.only(kept)


def _ids(state: SearchState, rows: Int64Array) -> list[str]:
    count = state.base.backend.count
    fresh = np.flatnonzero(rows >= count)
    if not len(fresh):
        return _base_ids(state, rows)
    ids = np.empty(len(rows), dtype=object)
    base = np.flatnonzero(rows < count)
    ids[base] = _base_ids(state, rows[base])
    ids[fresh] = [state.fresh.provenance[row].track.track_id for row in (rows[fresh] - count).tolist()]
    return list(ids.tolist())


def _base_ids(state: SearchState, rows: Int64Array) -> list[str]:
    return list(state.base.track_ids.take(pa.array(rows)).to_pylist())


def _hits(state: SearchState, found: Sequence[_Found]) -> list[Hits]:
    """Look up what is told of the rows, those of all queries at once: one by one it takes several times as long."""
    if not found:
        return []
    count, columns = state.base.backend.count, state.base.columns
    rows = np.concatenate([one.rows for one in found])
    if all(one.ids is None for one in found):
        ids = _ids(state, rows)
    else:
        ids = [track_id for one in found for track_id in (one.ids if one.ids is not None else _ids(state, one.rows))]
    fresh = rows >= count
    if not fresh.any():
        tiers, confidence, popularity = columns.tiers[rows], columns.confidence[rows], columns.popularity[rows]
    else:
        base, late = rows[~fresh], rows[fresh] - count
        tiers = np.empty(len(rows), dtype=np.int8)
        confidence = np.empty(len(rows), dtype=np.float32)
        popularity = np.empty((len(rows), 3), dtype=np.float32)
        tiers[~fresh], tiers[fresh] = columns.tiers[base], state.fresh_columns.tiers[late]
        confidence[~fresh], confidence[fresh] = columns.confidence[base], state.fresh_columns.confidence[late]
        popularity[~fresh], popularity[fresh] = columns.popularity[base], state.fresh_columns.popularity[late]
    hits, start = [], 0
    for one in found:
        at = slice(start, start + len(one.rows))
        hits.append(Hits(ids[at], one.scores, tiers[at], confidence[at], popularity[at]))
        start += len(one.rows)
    return hits
