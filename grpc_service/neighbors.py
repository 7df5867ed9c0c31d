"""The servicer of NeighborService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import grpc

from grpc_service import search_messages
from grpc_service.call_context import CallContext
from grpc_service.errors import DrainingError, RequestError, to_status
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as pb
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2_grpc as pb_grpc
from grpc_service.replies import full_batch_reply, nothing_to_describe, put, single_reply
from grpc_service.request_ids import current_request_id
from grpc_service.work import Work, deadline_of

if TYPE_CHECKING:
    from jobs import Answer

MAX_REQUEST_ID_CHARACTERS = 128


class NeighborServicer(pb_grpc.NeighborServiceServicer):
    """Answers streams, and queries that ask for titles, through the micro-batcher; see the proto for each method.

    Queries that are answered in packed arrays come by `grpc_service.query_calls`.

    Parameters
    ----------
    work : Work
        The engine behind its queues.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    async def SearchNeighbors(  # noqa: N802, D102 - the proto names and documents it
        self, request: pb.SearchNeighborsRequest, context: CallContext
    ) -> pb.SearchNeighborsResponse:
        query = search_messages.query_of(request)
        answers = await self._work.searches.submit([query], deadline=deadline_of(context))
        return single_reply(answers, request.view, await self._describing(answers, request.view))

    async def BatchSearchNeighbors(  # noqa: N802, D102
        self, request: pb.BatchSearchNeighborsRequest, context: CallContext
    ) -> pb.BatchSearchNeighborsResponse:
        queries = search_messages.queries_of(request, at_most=self._work.options.max_batch_queries)
        await context.charge(queries=len(queries) - 1)  # besides the one that every call is
        answers = await self._work.searches.submit(queries, deadline=deadline_of(context))
        describe = await self._describing(answers, request.view)  # one read of the store for the whole batch
        return full_batch_reply(answers, self._work.engine.serving, current_request_id(), describe)

    async def StreamNeighbors(  # noqa: N802, D102
        self, requests: AsyncIterator[pb.StreamNeighborsRequest], context: CallContext
    ) -> None:
        window = asyncio.Semaphore(self._work.options.stream_window)
        writing = asyncio.Lock()  # gRPC takes one message at a time

        async def reply(message: pb.StreamNeighborsRequest) -> None:
            try:
                response = await self._stream_reply(message, context)
                async with writing:
                    await context.write(response)
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
                    await context.charge(queries=1)
                    replies.create_task(reply(message))
        finally:
            draining.cancel()
        if unreadable is not None:
            raise unreadable
        raise DrainingError("The server is being stopped; open the stream on another one, or again shortly.")

    async def _stream_reply(
        self, message: pb.StreamNeighborsRequest, context: CallContext
    ) -> pb.StreamNeighborsResponse:
        response = pb.StreamNeighborsResponse(request_id=message.request_id[:MAX_REQUEST_ID_CHARACTERS])
        try:
            if len(message.request_id) > MAX_REQUEST_ID_CHARACTERS:
                raise RequestError(
                    f"The request_id has {len(message.request_id)} characters; at most "
                    f"{MAX_REQUEST_ID_CHARACTERS} are echoed.",
                    field="request_id",
                )
            search_messages.check_sizes(message.search, self._work.options)
            query = search_messages.query_of(message.search)
            answers = await self._work.searches.submit([query], deadline=deadline_of(context))
            (answer,) = answers
            if isinstance(answer, Exception):
                raise answer
            describe = await self._describing(answers, message.search.view)
        except Exception as error:  # any failure is this query's own; the stream goes on
            response.result.error.CopyFrom(to_status(error, current_request_id()))
            return response
        response.space_id, response.snapshot_id = answer.space_id, answer.snapshot_id
        put(response.result, answer, message.search.view, describe)
        return response

    async def _describing(self, answers: Sequence[Answer | Exception], view: pb.HitView) -> search_messages.Describe:
        """Read titles and credits off the event loop, where they are asked for; gives a look-up of what was read."""
        if view != pb.HIT_VIEW_FULL:
            return nothing_to_describe
        found = {
            track_id
            for answer in answers
            if not isinstance(answer, Exception)
            for hits in answer.hits
            for track_id in hits.track_ids
        }
        track_ids = sorted(found)
        records = await self._work.lookups.run(self._work.engine.describe, track_ids)
        by_id = dict(zip(track_ids, records, strict=True))
        return lambda ids: [by_id[track_id] for track_id in ids]
