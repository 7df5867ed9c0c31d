"""What queries are answered with, whichever way they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from grpc_service import search_messages
from grpc_service.errors import to_status
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as pb

if TYPE_CHECKING:
    from index import TrackRecord
    from jobs import Answer

    Result = Answer | Exception

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


def batch_reply(
    results: Sequence[Result],
    view: pb.HitView,
    serving: Callable[[], tuple[str, str]],
    request_id: str,
    describe: search_messages.Describe = nothing_to_describe,
) -> pb.BatchSearchNeighborsResponse:
    """Make the reply to BatchSearchNeighbors.

    Parameters
    ----------
    results : sequence
        One a query, in order.
    view : HitView
    serving : callable
        Gives the space and the snapshot that are served, for a batch of which no query was answered.
    request_id : str
        Stands in the errors of single queries.
    describe : callable, optional
        Looks titles and credits up, for the full view.

    Returns
    -------
    BatchSearchNeighborsResponse

    Raises
    ------
    Exception
        Where all queries were refused for what they share.
    """
    refused = [answer for answer in results if isinstance(answer, Exception)]
    if len(refused) == len(results):
        reasons = {getattr(error, "reason", "") for error in refused}
        if len(reasons) == 1 and reasons <= _SHARED:
            raise refused[0]
    response = pb.BatchSearchNeighborsResponse()
    response.space_id, response.snapshot_id = serving()
    for answer in results:
        if isinstance(answer, Exception):
            response.results.add(error=to_status(answer, request_id))
        else:
            response.space_id, response.snapshot_id = answer.space_id, answer.snapshot_id
            put(response.results.add(), answer, view, describe)
    return response


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
