"""Around every call: a request id, and one place where exceptions become statuses."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from grpc_service.errors import QueueFullError, RequestError, to_status

if TYPE_CHECKING:
    from grpc_service.admission import Admission
    from grpc_service.forwarding import Forwarder

REQUEST_ID_KEY = "x-request-id"
STATUS_DETAILS_KEY = "grpc-status-details-bin"  # where gRPC carries a google.rpc.Status

QUERIES = frozenset(
    {"/anacrusis.v1.NeighborService/SearchNeighbors", "/anacrusis.v1.NeighborService/BatchSearchNeighbors"}
)
"""Full names of the methods whose calls are let in by how long they would wait."""

_SERVICES = "/anacrusis.v1."
_ADMIN = "/anacrusis.v1.AdminService/"  # never refused for what others ask: it is where one looks why
_ID = re.compile(r"[\x21-\x7e]{1,128}")
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def current_request_id() -> str:
    """Return the id of the call that is being handled, or an empty string outside of one."""
    return _request_id.get()


class StatusInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Gives every call of our services a request id, and every exception its status.

    The id is the caller's ``x-request-id`` where that is 1 to 128 printable characters, else a new one; it goes back
    in the trailing metadata and stands in every error.

    Parameters
    ----------
    at_most : int
        Calls of our services in progress at once; the next one gets QUEUE_FULL. gRPC's own limit would refuse it
        without a word of why.
    admission : Admission
        Decides on `QUERIES`, before they are read.
    forwarder : Forwarder, optional
        Answers the methods that another worker has to answer.

    Attributes
    ----------
    idle : asyncio.Event
        Set while no call of our services is in progress.
    in_progress, begun : int
        Calls of our services that are being handled, and since the start.
    """

    def __init__(self, at_most: int, admission: Admission, forwarder: Forwarder | None = None) -> None:
        self._at_most = at_most
        self._admission = admission
        self._forwarder = forwarder
        self._wrapped: dict[str, grpc.RpcMethodHandler] = {}
        self.idle = asyncio.Event()
        self.idle.set()
        self.in_progress = 0
        self.begun = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Wrap the method's handler; health and reflection are only counted.

        Parameters
        ----------
        continuation : callable
            Finds the handler.
        handler_call_details : grpc.HandlerCallDetails
            Method and metadata of the call.

        Returns
        -------
        grpc.RpcMethodHandler or None
            The wrapped handler; None for a method that does not exist.
        """
        method = handler_call_details.method
        if method in QUERIES and not self._admission.lets_in():
            self.begun += 1
            return _REFUSING
        known = self._wrapped.get(method)  # wrapping costs as much as a short answer: it is done once a method
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if not method.startswith(_SERVICES):
            self._wrapped[method] = counted = self._counted(handler)
            return counted
        if self._forwarder is not None and method in self._forwarder.methods:
            handler = self._forwarder.handler(method, handler)
        self._wrapped[method] = wrapped = self._wrap(handler, method)
        return wrapped

    def _wrap(self, handler: grpc.RpcMethodHandler, method: str) -> grpc.RpcMethodHandler:
        read, write = _reader(handler.request_deserializer), handler.response_serializer
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._guarded(handler.stream_stream, method), read, write)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(self._guarded(handler.stream_unary, method), read, write)
        # A single request is read inside the guard: gRPC would answer bytes that are no message with UNKNOWN.
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._guarded(handler.unary_stream, method, read), None, write)
        return grpc.unary_unary_rpc_method_handler(self._guarded(handler.unary_unary, method, read), None, write)

    def _counted(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """Let a handler of another library be counted among those that are no queries."""
        sides = (handler.request_streaming, handler.response_streaming)
        kind = "_".join("stream" if streams else "unary" for streams in sides)
        behaviour = getattr(handler, kind)

        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            self._admission.others += 1
            try:
                return await behaviour(request, context)
            finally:
                self._admission.others -= 1

        async def replies(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            self._admission.others += 1
            try:
                async for reply in behaviour(request, context):
                    yield reply
            finally:
                self._admission.others -= 1

        return handler._replace(**{kind: replies if inspect.isasyncgenfunction(behaviour) else call})

    def _guarded(
        self, behaviour: Callable[..., Any], method: str, read: Callable[[Any], Any] = lambda request: request
    ) -> Callable[..., Awaitable[Any]]:
        if inspect.isasyncgenfunction(behaviour):
            raise TypeError(f"{behaviour.__qualname__} yields; write replies with context.write instead.")

        admission = self._admission
        is_query, at_most = method in QUERIES, math.inf if method.startswith(_ADMIN) else self._at_most

        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            request_id = _id_of(context)
            _request_id.set(request_id)
            self.begun += 1
            if self.in_progress >= at_most:
                full = f"{self.in_progress} calls are in progress, as many as may be; try again shortly."
                await _abort(context, QueueFullError(full), request_id)
            self.in_progress += 1
            self.idle.clear()
            if is_query:
                admission.begin()
            else:
                admission.others += 1
            try:
                reply = await behaviour(read(request), context)
                context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
                return reply
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                if context.done():  # the caller has left: there is nobody to tell, and writing to nobody is no failure
                    raise asyncio.CancelledError from error
                await _abort(context, error, request_id)
            finally:
                if is_query:
                    admission.end()
                else:
                    admission.others -= 1
                self.in_progress -= 1
                if not self.in_progress:
                    self.idle.set()

        return call


def _id_of(context: grpc.aio.ServicerContext) -> str:
    """Take the caller's request id, or make one."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and _ID.fullmatch(value):
            return value
    return secrets.token_hex(16)


def _reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    if deserialize is None:  # forwarded as it is
        return lambda raw: raw

    def read(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except DecodeError:
            raise RequestError("The bytes are no message of this method; send what its proto describes.") from None

    return read


_FULL = QueueFullError("More queries are waiting than can be answered in time; try again shortly.")
_SOME_ID = secrets.token_hex(16)
_FULL_STATUS = to_status(_FULL, _SOME_ID).SerializeToString()


async def _refuse(requests: Any, context: grpc.aio.ServicerContext) -> None:
    request_id = _id_of(context)
    if len(request_id) == len(_SOME_ID):  # its length stands in the message; making it anew costs a third of a refusal
        status = _FULL_STATUS.replace(_SOME_ID.encode(), request_id.encode())
        trailers = ((REQUEST_ID_KEY, request_id), (STATUS_DETAILS_KEY, status))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(_FULL), trailers)
    await _abort(context, _FULL, request_id)


_REFUSING = grpc.stream_stream_rpc_method_handler(_refuse)
"""Answers whatever call without reading what it brings: of a handler that streams, nobody has to wait for a message."""


async def _abort(context: grpc.aio.ServicerContext, error: Exception, request_id: str) -> NoReturn:
    status = to_status(error, request_id)
    trailers = ((REQUEST_ID_KEY, request_id), (STATUS_DETAILS_KEY, status.SerializeToString()))
    await context.abort(_CODES[status.code], status.message, trailers)
    raise AssertionError("abort returned")
