"""Asking for neighbours: of a track, of a vector, of a user, many at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from index import (
    Filters,
    Hits,
    InvalidQueryError,
    InvalidVectorError,
    NoSnapshotError,
    Searcher,
    SearchView,
    SpaceMismatchError,
    Store,
    StoreError,
    UnknownTrackError,
    WithdrawnTrackError,
)
from jobs.errors import JobError, UnknownUserError


@dataclass(frozen=True, eq=False)
class Query:
    """One question; exactly one of `track_id`, `vector` and `user_id` is given.

    Attributes
    ----------
    track_id : str or None
        A served track, whose own vector is the query.
    vector : ndarray of float32, shape (dim,), or None
        A vector of the space: an item's or a user's.
    user_id : str or None
        A user whose vector was imported with the space.
    k : int
        How many hits, 1 to `index.MAX_K`; fewer come back where fewer pass.
    space_id : str
        The space the caller means; empty for the published one.
    filters : Filters or None
        Which tracks may be in the answer.
    max_per_artist : int or None
        Most hits of one primary artist.
    include_self : bool
        Whether a track may be in the answer to itself.
    popularity_damping : float
        How far popularity is taken out of the scores, 0 (not at all) to 1 (by direction alone); see `index.damping`.
    exact : bool
        Whether every track is looked at, also where the index is of an approximate kind.
    """

    track_id: str | None = None
    vector: NDArray[np.float32] | None = None
    user_id: str | None = None
    k: int = 10
    space_id: str = ""
    filters: Filters | None = None
    max_per_artist: int | None = None
    include_self: bool = False
    popularity_damping: float = 0.0
    exact: bool = False


class VectorQueries(Sequence[Query]):
    """Queries by vectors that share everything else: nothing is made for each of them.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
    shared : Query
        What they share; without a subject.
    """

    def __init__(self, vectors: NDArray[np.float32], shared: Query) -> None:
        self.vectors, self.shared = vectors, shared

    def __len__(self) -> int:
        return len(self.vectors)

    @overload
    def __getitem__(self, place: int) -> Query: ...

    @overload
    def __getitem__(self, place: slice) -> VectorQueries: ...

    def __getitem__(self, place: int | slice) -> Query | VectorQueries:
        if isinstance(place, slice):
            return VectorQueries(self.vectors[place], self.shared)
        return replace(self.shared, vector=self.vectors[place])


@dataclass(frozen=True, eq=False)
class Answer:
    """Hits and the one space and snapshot they all come from.

    Attributes
    ----------
    space_id, snapshot_id : str
        Where the vectors and scores belong.
    hits : list of Hits
        One for each query.
    """

    space_id: str
    snapshot_id: str
    hits: list[Hits]


class Neighbors:
    """Answers queries from a store and a searcher.

    Parameters
    ----------
    store : Store
        For user vectors.
    searcher : Searcher
        For everything else.
    """

    def __init__(self, store: Store, searcher: Searcher) -> None:
        self._store = store
        self._searcher = searcher

    def answer(self, queries: Sequence[Query]) -> list[Answer | StoreError | JobError]:
        """Answer many queries, those alike in one search.

        Parameters
        ----------
        queries : sequence of Query
            Of any mix.

        Returns
        -------
        list
            In the same order, an `Answer` with one `Hits`, or the error that this query alone has met.
        """
        # One view for all: vectors are looked up and searched in the same snapshot, whatever is published meanwhile.
        try:
            view = self._searcher.view()
        except NoSnapshotError as error:
            return [error] * len(queries)
        if isinstance(queries, VectorQueries):
            return self._answer_vectors(view, queries)
        return self._answer_mix(view, queries)

    def _answer_vectors(self, view: SearchView, queries: VectorQueries) -> list[Answer | StoreError | JobError]:
        """Answer what needs no looking up and no sorting; where something is wrong, one by one."""
        shared = queries.shared
        try:
            _check_space(view, shared)
            result = view.search(
                queries.vectors,
                shared.k,
                filters=shared.filters,
                max_per_artist=shared.max_per_artist,
                popularity_damping=shared.popularity_damping,
                exact=shared.exact,
            )
        except StoreError:
            return self._answer_mix(view, queries)
        return [Answer(result.space_id, result.snapshot_id, [hits]) for hits in result.hits]

    def _answer_mix(self, view: SearchView, queries: Sequence[Query]) -> list[Answer | StoreError | JobError]:
        answers: dict[int, Answer | StoreError | JobError] = {}
        alike: dict[tuple[int, Filters | None, int | None, float, bool], list[int]] = defaultdict(list)
        vectors: dict[int, NDArray[np.float32]] = {}
        known = self._look_up(view, queries)
        for number, query in enumerate(queries):
            try:
                vectors[number] = _query_vector(view, query, known)
                shared = (query.k, query.filters, query.max_per_artist, query.popularity_damping, query.exact)
                alike[shared].append(number)
            except (StoreError, JobError) as error:
                answers[number] = error
        for numbers in alike.values():
            answers |= self._search_alike(view, queries, vectors, numbers)
        return [answers[number] for number in range(len(queries))]

    def _search_alike(
        self,
        view: SearchView,
        queries: Sequence[Query],
        vectors: dict[int, NDArray[np.float32]],
        numbers: list[int],
    ) -> dict[int, Answer | StoreError | JobError]:
        """Search for queries that differ in nothing but their vectors; a wrong vector spoils no other."""
        first = queries[numbers[0]]
        own = [_own_id(queries[number]) for number in numbers]
        try:
            result = view.search(
                np.stack([vectors[number] for number in numbers]),
                first.k,
                filters=first.filters,
                exclude=own if any(own) else None,
                max_per_artist=first.max_per_artist,
                popularity_damping=first.popularity_damping,
                exact=first.exact,
            )
        except StoreError as error:
            if len(numbers) == 1:
                return {numbers[0]: error}
            alone = [self._search_alike(view, queries, vectors, [number]) for number in numbers]
            return {number: answer for one in alone for number, answer in one.items()}
        return {
            number: Answer(result.space_id, result.snapshot_id, [hits])
            for number, hits in zip(numbers, result.hits, strict=True)
        }

    def _look_up(self, view: SearchView, queries: Sequence[Query]) -> _Known:
        """Find the vectors of all tracks and users that a batch names, in one read each."""
        track_ids = list({query.track_id for query in queries if query.track_id is not None})
        found, rows = view.vectors(track_ids)
        tracks = {track_id: rows[row] for row, track_id in enumerate(track_ids) if found[row]}
        missing = [track_id for track_id in track_ids if track_id not in tracks]
        user_ids = list({query.user_id for query in queries if query.user_id is not None})
        users = dict(zip(*self._store.user_vectors(view.space_id, user_ids), strict=True)) if user_ids else {}
        return _Known(tracks, users, why_unplaced(self._store, missing, view.space_id))


@dataclass(frozen=True, eq=False)
class _Known:
    """Vectors of tracks and of users, and why there is none of the other tracks."""

    tracks: dict[str, NDArray[np.float32]]
    users: dict[str, NDArray[np.float32]]
    unplaced: dict[str, StoreError]


def _query_vector(view: SearchView, query: Query, known: _Known) -> NDArray[np.float32]:
    """Give a query its vector; what it looks like inside is for the search to check."""
    if (query.track_id is not None) + (query.vector is not None) + (query.user_id is not None) != 1:
        raise InvalidQueryError(
            "A query needs exactly one of track_id, vector and user_id.", reason="QUERY_INVALID", field="query"
        )
    _check_space(view, query)
    if query.track_id is not None:
        if query.track_id not in known.tracks:
            raise known.unplaced[query.track_id]
        return known.tracks[query.track_id]
    if query.user_id is not None:
        if query.user_id not in known.users:
            raise UnknownUserError(
                f"Space {view.space_id!r} has no vector for user {query.user_id!r}; "
                "import the space with its user factors, or send the user's vector.",
                field="user_id",
            )
        return known.users[query.user_id]
    vector = np.asarray(query.vector, dtype=np.float32)
    if vector.shape != (view.dim,):
        raise InvalidVectorError(
            f"The vector has shape {vector.shape}; space {view.space_id!r} has {view.dim} dimensions.", field="vector"
        )
    return vector


def _check_space(view: SearchView, query: Query) -> None:
    if query.space_id and query.space_id != view.space_id:
        raise SpaceMismatchError(query.space_id, view.space_id)


def why_unplaced(store: Store, track_ids: Sequence[str], space_id: str) -> dict[str, StoreError]:
    """Say why tracks have no vector in a space: withdrawn, stored but not projected, or unknown.

    Parameters
    ----------
    store : Store
    track_ids : sequence of str
    space_id : str

    Returns
    -------
    dict of str to StoreError
        One for each id.
    """
    if not track_ids:
        return {}
    withdrawn = store.withdrawn()
    stored = {record.track_id for record in store.tracks(track_ids)}

    def reason(track_id: str) -> StoreError:
        if track_id in withdrawn:
            return WithdrawnTrackError(f"Track {track_id!r} was withdrawn and is in no answer.", field="track_id")
        if track_id in stored:
            return UnknownTrackError(
                f"Track {track_id!r} is stored but has no vector in space {space_id!r} yet; refresh the space.",
                field="track_id",
            )
        return UnknownTrackError(f"Track {track_id!r} is unknown; ingest it first.", field="track_id")

    return {track_id: reason(track_id) for track_id in track_ids}


def _own_id(query: Query) -> list[str]:
    return [query.track_id] if query.track_id is not None and not query.include_self else []
