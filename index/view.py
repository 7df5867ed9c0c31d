"""One consistent picture to look vectors up in and to search, whatever is published meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from index.answers import Request, answer
from index.asked import Filters, SearchResult
from index.errors import InvalidQueryError
from index.filters import check_filters
from index.state import SearchState
from index.types import MAX_K, BoolArray, Float32Array, SnapshotRecord
from index.validation import check_damping, check_vectors


class SearchView:
    """What was served at one moment; `Searcher.view` gives it.

    Vectors that are looked up and searched in one view are of one space, which two calls of the searcher could not
    promise. A view keeps its snapshot in memory: take it for one answer and let it go. Tracks that are withdrawn
    later are in none of its answers either.
    """

    def __init__(self, state: SearchState) -> None:
        self._state = state

    @property
    def snapshot(self) -> SnapshotRecord:
        """The snapshot of this view."""
        return self._state.base.snapshot

    @property
    def snapshot_id(self) -> str:
        """Its id."""
        return self._state.base.snapshot.snapshot_id

    @property
    def space_id(self) -> str:
        """The space of every vector in this view."""
        return self._state.base.space.space_id

    @property
    def dim(self) -> int:
        """Length of the space's vectors."""
        return self._state.base.space.dim

    def search(
        self,
        queries: Float32Array,
        k: int,
        *,
        filters: Filters | None = None,
        exclude: Sequence[Collection[str]] | None = None,
        max_per_artist: int | None = None,
        popularity_damping: float = 0.0,
        exact: bool = False,
    ) -> SearchResult:
        """Find the k best tracks for each query.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, dim)
            Vectors of the served space.
        k : int
            1 to `MAX_K`. Fewer hits are normal where fewer tracks pass.
        filters : Filters, optional
            Which tracks may be found, in all queries alike.
        exclude : sequence of collections of track ids, optional
            One a query: tracks to leave out of its answer.
        max_per_artist : int, optional
            At least 1: most tracks of one primary artist in an answer. Tracks without credits are not counted.
        popularity_damping : float
            0 to 1: how far the length of a track's vector, which acts as its popularity, is taken out of its score;
            0: not at all, 1: tracks stand in order of their cosine with the query. See `index.damping`.
        exact : bool
            Whether every row is looked at, also where the index is of an approximate kind.

        Returns
        -------
        SearchResult
            Scores are inner products, damped where asked for; in a cosine space, cosines. Highest first; ties by
            track id.

        Raises
        ------
        NoSnapshotError
        InvalidVectorError
            Wrong dimension, NaN, or zero where the metric is cosine.
        InvalidQueryError
            Reasons K_OUT_OF_RANGE, FILTER_INVALID, QUERY_INVALID; the last also for damping in a cosine space.
        """
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= MAX_K:
            raise InvalidQueryError(f"k is {k!r}: ask for 1 to {MAX_K} neighbours", reason="K_OUT_OF_RANGE", field="k")
        if max_per_artist is not None and max_per_artist < 1:
            raise InvalidQueryError(
                f"max_per_artist is {max_per_artist}: use at least 1, or leave it out", field="max_per_artist"
            )
        if filters is not None:
            check_filters(filters)
        state = self._state
        space = state.base.space
        check_damping(popularity_damping, space)
        array = check_vectors(queries, dim=space.dim, metric=space.metric, field="queries")
        if exclude is not None and len(exclude) != len(array):
            raise InvalidQueryError(
                f"exclude has {len(exclude)} entries for {len(array)} queries: give one for each", field="exclude"
            )
        request = Request(int(k), filters, exclude, max_per_artist, float(popularity_damping), exact)
        hits = answer(state, state.searchable(array), request)
        return SearchResult(hits, space.space_id, state.base.snapshot.snapshot_id)

    def vectors(self, track_ids: Sequence[str]) -> tuple[BoolArray, Float32Array]:
        """Give tracks' vectors as they are searched, to be used as queries.

        They are of unit length in a cosine space, and rounded to float16 where they come from the built index;
        `Store.served_vectors` has the exact ones.

        Returns
        -------
        (found, vectors) : ndarray of bool, shape (n,), and of float32, shape (n, dim)
            Zeros where a track is not served or withdrawn.

        Raises
        ------
        NoSnapshotError
        """
        state = self._state
        found = np.zeros(len(track_ids), dtype=bool)
        vectors = np.zeros((len(track_ids), state.base.space.dim), dtype=np.float32)
        for position, track_id in enumerate(track_ids):
            vector = state.find(track_id)
            if vector is not None:
                found[position], vectors[position] = True, vector
        return found, vectors
