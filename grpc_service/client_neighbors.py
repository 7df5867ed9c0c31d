"""The part of the client that asks for neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict, Unpack

import grpc
import numpy as np
from numpy.typing import ArrayLike

from grpc_service.client_calls import ServiceCalls
from grpc_service.client_errors import ClientError, error_of_call, error_of_status
from grpc_service.client_hits import Neighbors, neighbors_from_full, neighbors_from_packed, neighbors_from_results
from grpc_service.client_types import Filters, id_list
from grpc_service.packing import pack_vectors
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as neighbor_pb


class SearchOptions(TypedDict, total=False):
    """What every question takes besides its subject and k.

    Attributes
    ----------
    filters : Filters
        Which tracks may be in the answer; default: all.
    max_per_artist : int
        At most so many hits of one artist, 1 or more; default: no cap.
    include_self : bool
        Whether a track may be among its own neighbours; default: False.
    popularity_damping : float
        How far popularity is taken out of the scores, 0 (not at all) to 1 (by direction alone); default: 0. A cosine
        space takes nothing but 0.
    exact : bool
        Whether every track is looked at, also where the index is of an approximate kind; default: False.
    space_id : str
        The space the caller thinks in: another one than the published one is refused; default: not checked.
    titles : bool
        Whether titles and artists come along, which costs; default: False.
    timeout_s : float
        Instead of the client's.
    """

    filters: Filters
    max_per_artist: int
    include_self: bool
    popularity_damping: float
    exact: bool
    space_id: str
    titles: bool
    timeout_s: float


class NeighborQueries(ServiceCalls):
    """The questions; `grpc_service.client.Client` is made of this."""

    def neighbors_of_track(self, track_id: str, k: int = 10, **options: Unpack[SearchOptions]) -> Neighbors:
        """Find the neighbours of a track.

        Parameters
        ----------
        track_id : str
            A served track.
        k : int, optional
            How many, 1 to 2048.
        **options
            See `SearchOptions`.

        Returns
        -------
        Neighbors
            Best first.
        """
        return self._search({"track_id": track_id}, k, options)

    def neighbors_of_vector(self, vector: ArrayLike, k: int = 10, **options: Unpack[SearchOptions]) -> Neighbors:
        """Find the neighbours of a vector of shape (dim,); see `neighbors_of_track`."""
        return self._search({"vector": pack_vectors(np.asarray(vector, np.float32))}, k, options)

    def neighbors_of_user(self, user: str | ArrayLike, k: int = 10, **options: Unpack[SearchOptions]) -> Neighbors:
        """Find what suits a listener, given by id or by vector of shape (dim,); see `neighbors_of_track`."""
        if isinstance(user, str):
            return self._search({"user_id": user}, k, options)
        return self._search({"user_vector": pack_vectors(np.asarray(user, np.float32))}, k, options)

    def neighbors_of_tracks(
        self, track_ids: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[Neighbors | ClientError]:
        """Find the neighbours of many tracks in one call; a track without an answer has its error in its place.

        Parameters
        ----------
        track_ids : sequence of str
            1 to 1024, unless the server is configured otherwise.
        k : int, optional
            How many of each.
        **options
            See `SearchOptions`.

        Returns
        -------
        list of Neighbors or ClientError
            In the same order.
        """
        return self._search_batch({"track_ids": neighbor_pb.IdList(ids=id_list(track_ids, "track_ids"))}, k, options)

    def neighbors_of_vectors(
        self, vectors: ArrayLike, k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[Neighbors | ClientError]:
        """Find the neighbours of vectors of shape (n, dim); otherwise as `neighbors_of_tracks`."""
        return self._search_batch({"vectors": pack_vectors(np.asarray(vectors, np.float32))}, k, options)

    def neighbors_of_users(
        self, user_ids: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[Neighbors | ClientError]:
        """Find what suits many listeners; otherwise as `neighbors_of_tracks`."""
        return self._search_batch({"user_ids": neighbor_pb.IdList(ids=id_list(user_ids, "user_ids"))}, k, options)

    def stream_neighbors(
        self, queries: Iterable[tuple[str, str | ArrayLike]], k: int = 10, **options: Unpack[SearchOptions]
    ) -> Iterator[tuple[str, Neighbors | ClientError]]:
        """Ask over one stream, without waiting for one answer before the next question.

        Parameters
        ----------
        queries : iterable of (str, str or array)
            Pairs of a request id and a track id or a vector of shape (dim,); read as the stream has room.
        k : int, optional
            How many of each.
        **options
            See `SearchOptions`; ``timeout_s`` is for the whole stream.

        Yields
        ------
        (str, Neighbors or ClientError)
            Request id and answer, in the order of the answers.
        """
        fields = _search_fields(k, options)
        timeout_s = options.get("timeout_s") or self._policy.timeout_s

        def messages() -> Iterator[neighbor_pb.StreamNeighborsRequest]:
            for request_id, subject in queries:
                named: dict[str, Any] = (
                    {"track_id": subject}
                    if isinstance(subject, str)
                    else {"vector": pack_vectors(np.asarray(subject, np.float32))}
                )
                search = neighbor_pb.SearchNeighborsRequest(**named, **fields)
                yield neighbor_pb.StreamNeighborsRequest(request_id=request_id, search=search)

        try:
            for reply in self._neighbors.StreamNeighbors(messages(), timeout=timeout_s, metadata=self._policy.metadata):
                yield reply.request_id, outcome_from(reply.space_id, reply.snapshot_id, reply.result)
        except grpc.RpcError as error:
            raise error_of_call(error) from None

    def _search(self, subject: dict[str, Any], k: int, options: SearchOptions) -> Neighbors:
        request = neighbor_pb.SearchNeighborsRequest(**subject, **_search_fields(k, options))
        reply = self._policy.unary(self._neighbors.SearchNeighbors, request, options.get("timeout_s"))
        if request.view == neighbor_pb.HIT_VIEW_FULL:
            return neighbors_from_full(reply.space_id, reply.snapshot_id, reply.hits)
        return neighbors_from_packed(reply.space_id, reply.snapshot_id, reply.packed)

    def _search_batch(self, subjects: dict[str, Any], k: int, options: SearchOptions) -> list[Neighbors | ClientError]:
        request = neighbor_pb.BatchSearchNeighborsRequest(**subjects, **_search_fields(k, options))
        reply = self._policy.unary(self._neighbors.BatchSearchNeighbors, request, options.get("timeout_s"))
        if request.view == neighbor_pb.HIT_VIEW_FULL:
            return [outcome_from(reply.space_id, reply.snapshot_id, result) for result in reply.results]
        found: list[Neighbors | ClientError] = list(neighbors_from_results(reply))
        for failed in reply.packed.failed:
            found[failed.place] = error_of_status(failed.error)
        return found


def _search_fields(k: int, options: SearchOptions) -> dict[str, Any]:
    unknown = options.keys() - SearchOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"There is no option {sorted(unknown)[0]!r}; see SearchOptions.")
    fields: dict[str, Any] = {
        "k": k,
        "space_id": options.get("space_id", ""),
        "include_self": options.get("include_self", False),
        "popularity_damping": options.get("popularity_damping", 0.0),
        "exact": options.get("exact", False),
        "view": neighbor_pb.HIT_VIEW_FULL if options.get("titles") else neighbor_pb.HIT_VIEW_PACKED,
        "max_per_artist": options.get("max_per_artist"),
    }
    if filters := options.get("filters"):
        fields["filters"] = filters.message()
    return fields


def outcome_from(space_id: str, snapshot_id: str, result: neighbor_pb.NeighborResult) -> Neighbors | ClientError:
    """Read one result of a batch or stream."""
    kind = result.WhichOneof("outcome")
    if kind == "packed":
        return neighbors_from_packed(space_id, snapshot_id, result.packed)
    if kind == "full":
        return neighbors_from_full(space_id, snapshot_id, result.full.hits)
    return error_of_status(result.error)
