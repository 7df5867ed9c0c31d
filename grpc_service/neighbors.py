"""The servicer of NeighborService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import grpc

from grpc_service import search_messages
from grpc_service.errors import DrainingError, RequestError, to_status
from grpc_service.interceptor import current_request_id
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as pb
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2_grpc as pb_grpc
from grpc_service.work import Work, deadline_of, send

if TYPE_CHECKING:
    from jobs import Answer, Query

MAX_REQUEST_ID_CHARACTERS = 128


class NeighborServicer(pb_grpc.NeighborServiceServicer):
    """Answers queries through the micro-batcher; see the proto for each method.

    Parameters
    ----------
    work : Work
        The engine behind its queues.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    async def SearchNeighbors(  # noqa: N802, D102 - the proto names and documents it
        self, request: pb.SearchNeighborsRequest, context: grpc.aio.ServicerContext
    ) -> pb.SearchNeighborsResponse:
        answer = await self._answer(search_messages.query_of(request), deadline_of(context))
        response = pb.SearchNeighborsResponse(space_id=answer.space_id, snapshot_id=answer.snapshot_id)
        (hits,) = answer.hits
        if request.view == pb.HIT_VIEW_FULL:
            search_messages.add_full_hits(response.hits, hits, await self._described(hits.track_ids))
        else:
            search_messages.pack_hits(response.packed, hits)
        return response

    async def BatchSearchNeighbors(  # noqa: N802, D102
        self, request: pb.BatchSearchNeighborsRequest, context: grpc.aio.ServicerContext
    ) -> pb.BatchSearchNeighborsResponse:
        queries = search_messages.queries_of(request, at_most=self._work.options.max_batch_queries)
        answers = await self._work.searches.submit(queries, deadline=deadline_of(context))
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        if len(refused) == len(answers) and len({getattr(error, "reason", "") for error in refused}) == 1:
            shared = getattr(refused[0], "reason", "")
            if shared in {"SPACE_MISMATCH", "NO_SNAPSHOT", "K_OUT_OF_RANGE", "FILTER_INVALID", "QUERY_INVALID"}:
                raise refused[0]  # what all queries share is wrong: so is the call
        response = pb.BatchSearchNeighborsResponse()
        response.space_id, response.snapshot_id = self._work.engine.serving()
        describe: search_messages.Describe = self._work.engine.describe
        if request.view == pb.HIT_VIEW_FULL:
            found = {track_id for answer in answers if not isinstance(answer, Exception) for track_id in _ids(answer)}
            describe = await self._described(sorted(found))  # one read of the store for the whole batch
        for answer in answers:
            if isinstance(answer, Exception):
                response.results.add(error=to_status(answer, current_request_id()))
            else:
                response.space_id, response.snapshot_id = answer.space_id, answer.snapshot_id
                _put(response.results.add(), answer, request.view, describe)
        return response

    async def StreamNeighbors(  # noqa: N802, D102
        self, requests: AsyncIterator[pb.StreamNeighborsRequest], context: grpc.aio.ServicerContext
    ) -> None:
        window = asyncio.Semaphore(self._work.options.stream_window)
        writing = asyncio.Lock()  # gRPC takes one message at a time

        async def reply(message: pb.StreamNeighborsRequest) -> None:
            try:
                response = await self._stream_reply(message, context)
                async with writing:
                    await send(context, response)
            finally:
                window.release()

        unreadable: RequestError | None = None
        draining = asyncio.ensure_future(self._work.draining.wait())
        try:
            async with asyncio.TaskGroup() as replies:
                while True:
                    await window.acquire()
                    reading = asyncio.ensure_future(context.read())
                    try:
                        await asyncio.wait({reading, draining}, return_when=asyncio.FIRST_COMPLETED)
                        if not reading.done():
                            break
                        message = reading.result()
                    except RequestError as error:  # no message; those before it keep their replies
                        unreadable = error
                        break
                    finally:
                        reading.cancel()
                    if message is grpc.aio.EOF:
                        return
                    replies.create_task(reply(message))
        finally:
            draining.cancel()
        if unreadable is not None:
            raise unreadable
        raise DrainingError("The server is being stopped; open the stream on another one, or again shortly.")

    async def _stream_reply(
        self, message: pb.StreamNeighborsRequest, context: grpc.aio.ServicerContext
    ) -> pb.StreamNeighborsResponse:
        response = pb.StreamNeighborsResponse(request_id=message.request_id[:MAX_REQUEST_ID_CHARACTERS])
        try:
            if len(message.request_id) > MAX_REQUEST_ID_CHARACTERS:
                raise RequestError(
                    f"The request_id has {len(message.request_id)} characters; at most "
                    f"{MAX_REQUEST_ID_CHARACTERS} are echoed.",
                    field="request_id",
                )
            answer = await self._answer(search_messages.query_of(message.search), deadline_of(context))
            describe: search_messages.Describe = self._work.engine.describe
            if message.search.view == pb.HIT_VIEW_FULL:
                describe = await self._described(_ids(answer))
        except Exception as error:  # any failure is this query's own; the stream goes on
            response.result.error.CopyFrom(to_status(error, current_request_id()))
            return response
        response.space_id, response.snapshot_id = answer.space_id, answer.snapshot_id
        _put(response.result, answer, message.search.view, describe)
        return response

    async def _answer(self, query: Query, deadline: float | None) -> Answer:
        (answer,) = await self._work.searches.submit([query], deadline=deadline)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _described(self, track_ids: Sequence[str]) -> search_messages.Describe:
        """Read titles and credits off the event loop; returns a look-up of what was read."""
        records = await self._work.lookups.run(self._work.engine.describe, track_ids)
        by_id = dict(zip(track_ids, records, strict=True))
        return lambda ids: [by_id[track_id] for track_id in ids]


def _ids(answer: Answer) -> Sequence[str]:
    return answer.hits[0].track_ids


def _put(result: pb.NeighborResult, answer: Answer, view: pb.HitView, describe: search_messages.Describe) -> None:
    (hits,) = answer.hits
    if view != pb.HIT_VIEW_FULL:
        search_messages.pack_hits(result.packed, hits)
    else:
        result.full.SetInParent()  # also where nothing was found
        search_messages.add_full_hits(result.full.hits, hits, describe)
