"""The way of a query that is answered in packed arrays: from gRPC's thread to the searching thread and back.

It meets no event loop. gRPC's thread lets it in, reads it and hands it to the micro-batcher; the searching thread
answers what has gathered, packs the replies and sends them.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError

from grpc_service import search_messages
from grpc_service.admission import Admission, Exertion
from grpc_service.batcher import QueryGroup
from grpc_service.call_context import STATUS_DETAILS_KEY, fail
from grpc_service.core import CoreCall
from grpc_service.errors import QueueFullError, RequestError, to_status
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as pb
from grpc_service.replies import packed_batch_reply, single_reply
from grpc_service.request_ids import REQUEST_ID_KEY, request_id_of

if TYPE_CHECKING:
    from grpc_service.batcher import Outcome, Result
    from grpc_service.work import Work
    from jobs import Query

_SERVICE = "/anacrusis.v1.NeighborService/"
SINGLE, BATCH = f"{_SERVICE}SearchNeighbors", f"{_SERVICE}BatchSearchNeighbors"

HELD_BACK_S = 0.1
"""A call whose message has not come by then is waiting for its caller, not for us, in seconds."""


class QueryCalls:
    """Answers SearchNeighbors and BatchSearchNeighbors; on gRPC's thread but for the replies.

    Parameters
    ----------
    work : Work
        The engine behind its queues.
    by_coroutine : callable
        Takes over a call whose message was received, and has to wait for the store.
    """

    def __init__(self, work: Work, by_coroutine: Callable[[CoreCall, bytes], object]) -> None:
        self._work = work
        self._by_coroutine = by_coroutine
        self._admission = Admission(work.options.max_query_wait_s)
        self._unread: dict[CoreCall, None] = {}  # let in, and their messages have not come; in that order
        self._behind = Exertion(time.monotonic())
        self.under_way = 0

    def begin(self, call: CoreCall) -> None:
        """Let a call in, or refuse it unread."""
        searches, now = self._work.searches, time.monotonic()
        wait_s = max(searches.oldest_wait_s(), self._unread_wait_s(now))
        exerted_s = max(searches.exerted_s(), self._behind.seconds(now))
        if not self._admission.lets_in(self.under_way, wait_s, exerted_s):
            _refuse(call)
            return
        self._unread[call] = None
        self.under_way += 1
        ended, call.on_finished = call.on_finished, None

        def finished() -> None:
            self.under_way -= 1
            if ended is not None:
                ended()

        call.on_finished = finished
        call.watch()
        call.receive(lambda raw: self._read(call, raw))

    def _unread_wait_s(self, now: float) -> float:
        """Return how long the first has waited whose message has not been taken up; 0 where there is none.

        Where our thread gets too little of the processor, calls that were let in wait here, before any search knows of
        them. Callers who hold their messages back are forgotten after a while, or they would keep others out.
        """
        while (call := next(iter(self._unread), None)) is not None:
            if now - call.came_at < HELD_BACK_S:
                return now - call.came_at
            del self._unread[call]
        return 0.0

    def _note_wait(self, call: CoreCall) -> None:
        """Note whether our thread is behind: then a message that came with its call waits for its turn, too."""
        if call in self._unread:
            del self._unread[call]
            now = time.monotonic()
            if now - call.came_at > self._admission.max_wait_s:
                self._behind.work(now)
            else:
                self._behind.rest(now)

    def _read(self, call: CoreCall, raw: bytes | None) -> None:
        self._note_wait(call)
        try:
            if raw is None:
                raise RequestError("The call ended without a message; send one.")
            allowance = call.caller.allowance
            if allowance is not None:
                allowance.charge(queries=1, size=len(raw))
            request = _message(call.method, raw)
            search_messages.check_sizes(request, self._work.options)
            if request.view == pb.HIT_VIEW_FULL:  # titles and credits are read from the store
                self._by_coroutine(call, raw)
                return
            group: _Group
            if isinstance(request, pb.SearchNeighborsRequest):
                group = _Single(call, request)
            else:
                group = _Batch(call, request, self._work)
            self._work.searches.put(group)
            call.on_cancel = group.leave
        except Exception as error:
            _end(call, error)


def _message(method: str, raw: bytes) -> search_messages.SearchRequest:
    try:
        if method == SINGLE:
            return pb.SearchNeighborsRequest.FromString(raw)
        return pb.BatchSearchNeighborsRequest.FromString(raw)
    except DecodeError:
        raise RequestError("The bytes are no message of this method; send what its proto describes.") from None


class _Group(QueryGroup):
    """Queries whose call is ended by the searching thread."""

    def __init__(self, call: CoreCall, queries: Sequence[Query]) -> None:
        super().__init__(queries, call.deadline, () if call.span is None else (call.span,), came_at=call.came_at)
        self._call = call
        self._unfinished = threading.Lock()  # held by whoever ends the call: its caller may leave at any moment

    @property
    def abandoned(self) -> bool:
        return self._call.cancelled

    def leave(self) -> None:
        """End the call, which counts as long as it is there; the queries are dropped where they wait."""
        if self._unfinished.acquire(blocking=False):
            self._call.finish(code=grpc.StatusCode.CANCELLED)

    def settle(self, outcome: Outcome) -> None:
        if not self._unfinished.acquire(blocking=False):
            return
        try:
            if isinstance(outcome, Exception):
                raise outcome
            request_id = request_id_of(self._call.metadata)
            reply = self._reply(outcome, request_id)
        except Exception as error:
            _end(self._call, error)
        else:
            self._call.finish(reply, trailers=((REQUEST_ID_KEY, request_id),))

    @abstractmethod
    def _reply(self, results: Sequence[Result], request_id: str) -> bytes:
        """Pack the reply."""


class _Single(_Group):
    def __init__(self, call: CoreCall, request: pb.SearchNeighborsRequest) -> None:
        super().__init__(call, (search_messages.query_of(request),))

    def _reply(self, results: Sequence[Result], request_id: str) -> bytes:
        return single_reply(results, pb.HIT_VIEW_PACKED).SerializeToString()


class _Batch(_Group):
    def __init__(self, call: CoreCall, request: pb.BatchSearchNeighborsRequest, work: Work) -> None:
        super().__init__(call, search_messages.queries_of(request, at_most=work.options.max_batch_queries))
        if call.caller.allowance is not None:
            call.caller.allowance.charge(queries=len(self.queries) - 1)  # besides the one that every call is
        self._serving = work.engine.serving

    def _reply(self, results: Sequence[Result], request_id: str) -> bytes:
        return packed_batch_reply(results, self._serving, request_id)


def _end(call: CoreCall, error: Exception) -> None:
    if call.cancelled:  # there is nobody to tell
        call.finish(code=grpc.StatusCode.CANCELLED)
    else:
        fail(call, error, request_id_of(call.metadata))


_FULL = QueueFullError("More queries are waiting than can be answered in time; try again shortly.")
_SOME_ID = "0" * 32
_FULL_STATUS = to_status(_FULL, _SOME_ID).SerializeToString()


def _refuse(call: CoreCall) -> None:
    """End a call that was not read; cheaply, because that is done where everything is scarce."""
    request_id = request_id_of(call.metadata)
    if len(request_id) != len(_SOME_ID):  # its length stands in the message
        fail(call, _FULL, request_id)
        return
    status = _FULL_STATUS.replace(_SOME_ID.encode(), request_id.encode())
    trailers = ((REQUEST_ID_KEY, request_id), (STATUS_DETAILS_KEY, status))
    call.finish(code=grpc.StatusCode.RESOURCE_EXHAUSTED, details=str(_FULL), trailers=trailers, reason=_FULL.reason)
