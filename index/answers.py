"""The search over one state: base and fresh rows merged, filtered, capped by artist, ordered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

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
    fetch = request.k + (excluded.shape[1] if excluded is not None else 0)
    if alive_count and not len(fresh_rows) and request.max_per_artist is None:
        # What most queries are: the search's answer is theirs.
        scores, rows = search(queries, fetch, alive, alive_count)
        return _current(state, _base_hits(state, rows, scores, excluded, request.k))
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
        cut = not everything and rows.shape[1] >= fetch
        unsatisfied = []
        for position, query in enumerate(pending.tolist()):
            found = _Found(rows[position], scores[position])
            if fresh_scores is not None:
                own = fresh_scores[query]
                near = np.flatnonzero(own >= found.scores[fetch - 1]) if cut else _near(own, fetch)
                if len(near):
                    found = _merged(state, found, _Found(fresh_rows[near], own[near]))
            # Beyond the first `fetch` the two parts may miss rows that belong in between.
            found = found if everything else found.first(fetch)
            if excluded is not None:
                found = found.only(_kept(found.rows[None], excluded[[query]])[0])
            if request.max_per_artist is not None:
                found = _capped(state, found, request.max_per_artist)
            if len(found.rows) < request.k and not everything:
                unsatisfied.append(query)
            else:
                answers[query] = found.first(request.k)
        pending = np.array(unsatisfied, dtype=np.int64)
        fetch *= _WIDEN
    return _current(state, _hits(state, [answers[query] for query in range(len(queries))]))


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


def _near(scores: Float32Array, count: int) -> Int64Array:
    """Positions, ascending, of the largest scores and of all that tie with the last: ids break ties, later."""
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

    def first(self, count: int) -> _Found:
        return self if count >= len(self.rows) else _Found(self.rows[:count], self.scores[:count])

    def only(self, kept: BoolArray) -> _Found:
        return _Found(self.rows[kept], self.scores[kept])


def _merged(state: SearchState, base: _Found, fresh: _Found) -> _Found:
    """Order candidates of both parts by score descending, then by track id; the fresh ones' rows ascend."""
    rows, scores = np.concatenate([base.rows, fresh.rows]), np.concatenate([base.scores, fresh.scores])
    order = np.argsort(-scores, kind="stable")
    rows, scores = rows[order], scores[order]
    # Base rows ascend with their ids, so only ties that fresh rows take part in need their ids compared.
    tied = np.flatnonzero((scores[1:] == scores[:-1]) & (rows[1:] >= state.base.backend.count))
    done = 0
    for start in tied.tolist():
        if start < done:
            continue
        low, high = np.searchsorted(-scores, -scores[start], "left"), np.searchsorted(-scores, -scores[start], "right")
        run = rows[low:high]
        ids = _ids(state, run).strings()
        rows[low:high] = run[sorted(range(len(run)), key=ids.__getitem__)]
        done = int(high)
    return _Found(rows, scores)


def _capped(state: SearchState, found: _Found, most: int) -> _Found:
    """Keep at most so many tracks of one primary artist; tracks without credits are not counted."""
    count = state.base.backend.count
    fresh = found.rows >= count
    artists = np.empty(len(found.rows), dtype=np.int32)
    artists[~fresh] = state.base.columns.primary_artist[found.rows[~fresh]]
    artists[fresh] = state.fresh_columns.primary_artist[found.rows[fresh] - count]
    taken: dict[int, int] = {}
    kept = np.ones(len(artists), dtype=bool)
    for at, artist in enumerate(artists.tolist()):
        if artist != NO_ARTIST:
            taken[artist] = taken.get(artist, 0) + 1
            kept[at] = taken[artist] <= most
    return found.only(kept)


def _ids(state: SearchState, rows: Int64Array) -> PackedIds:
    return state.base.track_ids.at(rows, lambda row: state.fresh.provenance[row].track.track_id)


def _base_hits(
    state: SearchState, rows: Int64Array, scores: Float32Array, excluded: Int64Array | None, k: int
) -> list[Hits]:
    """Look up what is told of rows of the base, shape (q, n): what `_hits` does where there is nothing else."""
    if excluded is None:
        ends = np.arange(rows.shape[1], rows.size + 1, rows.shape[1])
        rows, scores = rows.ravel(), scores.ravel()
    else:
        kept = _kept(rows, excluded)
        kept &= np.cumsum(kept, axis=1) <= k
        ends = np.cumsum(np.count_nonzero(kept, axis=1))
        rows, scores = rows[kept], scores[kept]
    columns = state.base.columns
    popularity = columns.popularity[rows] if columns.knows_popularity else None
    ids = state.base.track_ids.at(rows)
    return _parted(HitColumns(ids, scores, columns.tiers[rows], columns.confidence[rows], popularity), ends)


def _hits(state: SearchState, found: Sequence[_Found]) -> list[Hits]:
    """Look up what is told of the rows, those of all queries at once: one by one it takes several times as long."""
    if not found:
        return []
    count, columns, late_columns = state.base.backend.count, state.base.columns, state.fresh_columns
    rows, scores = np.concatenate([one.rows for one in found]), np.concatenate([one.scores for one in found])
    fresh = rows >= count
    base, late = rows[~fresh], rows[fresh] - count
    tiers = np.empty(len(rows), dtype=np.int8)
    confidence = np.empty(len(rows), dtype=np.float32)
    popularity = np.empty((len(rows), 3), dtype=np.float32)
    tiers[~fresh], tiers[fresh] = columns.tiers[base], late_columns.tiers[late]
    confidence[~fresh], confidence[fresh] = columns.confidence[base], late_columns.confidence[late]
    popularity[~fresh], popularity[fresh] = columns.popularity[base], late_columns.popularity[late]
    ends = np.cumsum([len(one.rows) for one in found])
    return _parted(HitColumns(_ids(state, rows), scores, tiers, confidence, popularity), ends)


def _parted(columns: HitColumns, ends: Int64Array) -> list[Hits]:
    """Give each query its own."""
    until = ends.tolist()
    return [Hits(columns, first, end) for first, end in zip([0, *until], until, strict=False)]
