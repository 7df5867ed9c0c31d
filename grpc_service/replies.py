"""What queries are answered with, whichever way they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from grpc_service import search_messages, wire
from grpc_service.errors import to_status
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as pb

if TYPE_CHECKING:
    from index import Hits, TrackRecord
    from jobs import Answer

    Result = Answer | Exception

Serving = Callable[[], tuple[str, str]]

# What all queries of a batch share: where it is wrong, so is the call.
_SHARED = frozenset({"SPACE_MISMATCH", "NO_SNAPSHOT", "K_OUT_OF_RANGE", "FILTER_INVALID", "QUERY_INVALID"})


def nothing_to_describe(track_ids: Sequence[str]) -> list[TrackRecord | None]:
    """Look up titles and credits for a packed reply, which holds none."""
    return [None] * len(track_ids)


def single_reply(
    results: Sequence[Result], view: pb.HitView, describe: search_messages.Describe = nothing_to_describe
) -> pb.SearchNeighborsResponse:
    """Make the reply to SearchNeighbors.

    Parameters
    ----------
    results : sequence
        One.
    view : HitView
    describe : callable, optional
        Looks titles and credits up, for the full view.

    Returns
    -------
    SearchNeighborsResponse

    Raises
    ------
    Exception
        Where that is the result.
    """
    (answer,) = results
    if isinstance(answer, Exception):
        raise answer
    response = pb.SearchNeighborsResponse(space_id=answer.space_id, snapshot_id=answer.snapshot_id)
    (hits,) = answer.hits
    if view == pb.HIT_VIEW_FULL:
        search_messages.add_full_hits(response.hits, hits, describe)
    else:
        search_messages.pack_hits(response.packed, hits)
    return response


def full_batch_reply(
    results: Sequence[Result],
    serving: Serving,
    request_id: str,
    describe: search_messages.Describe,
) -> pb.BatchSearchNeighborsResponse:
    """Make the reply to BatchSearchNeighbors in the full view.

    Parameters
    ----------
    results : sequence
        One a query, in order.
    serving : callable
        Gives the space and the snapshot that are served, for a batch of which no query was answered.
    request_id : str
        Stands in the errors of single queries.
    describe : callable
        Looks titles and credits up.

    Returns
    -------
    BatchSearchNeighborsResponse

    Raises
    ------
    Exception
        Where all queries were refused for what they share.
    """
    response = _head(results, serving)
    for answer in results:
        if isinstance(answer, Exception):
            response.results.add(error=to_status(answer, request_id))
        else:
            put(response.results.add(), answer, pb.HIT_VIEW_FULL, describe)
    return response


def packed_batch_reply(results: Sequence[Result], serving: Serving, request_id: str) -> bytes:
    """Write the reply to BatchSearchNeighbors in the packed view; see `full_batch_reply`.

    The hits of all queries stand in the same arrays: with a message for each query, the reply to 256 took as long as
    half their search.
    """
    head = _head(results, serving)
    found: list[Hits] = []
    counts = np.zeros(len(results), dtype="<u4")
    for place, answer in enumerate(results):
        if isinstance(answer, Exception):
            head.packed.failed.add(place=place, error=to_status(answer, request_id))
        else:
            found += answer.hits
            counts[place] = len(answer.hits[0])
    hits = wire.bytes_fields(pb.PackedHits, search_messages.packed_fields(found))
    packed = [*wire.field(pb.PackedResults, "hits", hits), *wire.field(pb.PackedResults, "counts", [counts.tobytes()])]
    return b"".join([head.SerializeToString(), *wire.field(pb.BatchSearchNeighborsResponse, "packed", packed)])


def _head(results: Sequence[Result], serving: Serving) -> pb.BatchSearchNeighborsResponse:
    """Begin a reply with where its answers come from: all that there are come from one snapshot."""
    answered = next((answer for answer in results if not isinstance(answer, Exception)), None)
    if answered is not None:
        return pb.BatchSearchNeighborsResponse(space_id=answered.space_id, snapshot_id=answered.snapshot_id)
    errors = [error for error in results if isinstance(error, Exception)]
    reasons = {getattr(error, "reason", "") for error in errors}
    if len(reasons) == 1 and reasons <= _SHARED:
        raise errors[0]
    space_id, snapshot_id = serving()
    return pb.BatchSearchNeighborsResponse(space_id=space_id, snapshot_id=snapshot_id)


def put(result: pb.NeighborResult, answer: Answer, view: pb.HitView, describe: search_messages.Describe) -> None:
    """Write the hits of one query of several.

    Parameters
    ----------
    result : NeighborResult
        Empty, and a part of the reply already.
    answer : Answer
    view : HitView
    describe : callable
        Looks titles and credits up, for the full view.
    """
    (hits,) = answer.hits
    if view != pb.HIT_VIEW_FULL:
        search_messages.pack_hits(result.packed, hits)
    else:
        result.full.SetInParent()  # also where nothing was found
        search_messages.add_full_hits(result.full.hits, hits, describe)
