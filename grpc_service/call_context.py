"""Calls that coroutines handle: what a servicer's method gets as its context, and how its outcome ends the call."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

from grpc_service.callers import Caller
from grpc_service.core import CoreCall, Metadata
from grpc_service.errors import RequestError, reason_of, to_status
from grpc_service.request_ids import REQUEST_ID_KEY, request_id_of, set_request_id
from grpc_service.traced import set_spans

MAX_STREAM_MESSAGES = 1_000_000
STATUS_DETAILS_KEY = "grpc-status-details-bin"  # where gRPC carries a google.rpc.Status
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class AbortedCallError(Exception):
    """A handler ended its call with a status of its own.

    Parameters
    ----------
    code : grpc.StatusCode
    details : str
    trailers : sequence of (str, str or bytes)
    """

    def __init__(self, code: grpc.StatusCode, details: str, trailers: Metadata) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailers = trailers


class CallContext:
    """What a coroutine may do with its call: the part of `grpc.aio.ServicerContext` that ours and gRPC's own use.

    Parameters
    ----------
    call : CoreCall
    loop : asyncio.AbstractEventLoop
        Where the coroutine runs.
    handler : grpc.RpcMethodHandler
        Knows how messages are read and written.
    max_messages : int, optional
        So many are read of a stream.
    """

    def __init__(
        self,
        call: CoreCall,
        loop: asyncio.AbstractEventLoop,
        handler: grpc.RpcMethodHandler,
        *,
        max_messages: int = MAX_STREAM_MESSAGES,
    ) -> None:
        self._call = call
        self._loop = loop
        self._at_most = max_messages
        self._messages = 0
        self._streams = handler.request_streaming
        self._read = _reader(handler.request_deserializer)
        self._write = _writer(handler.response_serializer)

    @property
    def caller(self) -> Caller:
        """Who the call is from."""
        return self._call.caller

    def peer(self) -> str:
        """Return the caller's address, as gRPC writes it."""
        return self._call.peer()

    def invocation_metadata(self) -> Metadata:
        """Return what came with the call."""
        return self._call.metadata

    def time_remaining(self) -> float | None:
        """Return how long the answer is still wanted, in seconds, 0 or more; None for ever."""
        return None if self._call.deadline is None else max(self._call.deadline - time.monotonic(), 0.0)

    async def read(self) -> Any:
        """Take the caller's next message.

        Returns
        -------
        Message, bytes or grpc.aio.EOF
            Bytes where the handler takes them; EOF behind the last one.

        Raises
        ------
        RequestError
            For bytes that are no message of the method.
        """
        future: asyncio.Future[bytes | None] = self._loop.create_future()
        self._call.receive(lambda raw: self._settle(future, raw))
        raw = await future
        if raw is None:
            return grpc.aio.EOF
        self._messages += 1
        if self._messages > self._at_most:
            raise RequestError(f"The stream brought more than {self._at_most} messages; go on in another one.")
        await self.charge(size=len(raw))
        return self._read(raw)

    async def charge(self, *, queries: int = 0, size: int = 0) -> None:
        """Count what the call asks towards its caller's share; a stream that is beyond it is read on later.

        Parameters
        ----------
        queries : int, optional
        size : int, optional
            In bytes.
        """
        allowance = self._call.caller.allowance
        if allowance is not None and (owed_s := allowance.charge(queries=queries, size=size)) and self._streams:
            await asyncio.sleep(owed_s)

    async def messages(self) -> AsyncIterator[Any]:
        """Give the caller's messages one by one."""
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def write(self, message: Message | bytes) -> None:
        """Send one message of several, once the one before has left.

        Parameters
        ----------
        message : Message or bytes

        Raises
        ------
        asyncio.CancelledError
            When the caller has left.
        """
        future: asyncio.Future[bool] = self._loop.create_future()
        self._call.send(self._write(message), lambda sent: self._settle(future, sent))
        if not await future:
            raise asyncio.CancelledError

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with a status of the handler's own.

        Parameters
        ----------
        code : grpc.StatusCode
        details : str, optional
        trailing_metadata : sequence of (str, str or bytes), optional

        Raises
        ------
        AbortedCallError
            Always.
        """
        raise AbortedCallError(code, details, trailing_metadata)

    def _settle(self, future: asyncio.Future[Any], value: object) -> None:
        def settle() -> None:
            if not future.done():  # whoever waited was cancelled
                future.set_result(value)

        self._loop.call_soon_threadsafe(settle)


class CoroutineCall:
    """One call in the hands of a coroutine.

    Parameters
    ----------
    call : CoreCall
    loop : asyncio.AbstractEventLoop
    handler : grpc.RpcMethodHandler
        Its method.
    max_messages : int, optional
        So many are read of a stream.
    """

    def __init__(
        self,
        call: CoreCall,
        loop: asyncio.AbstractEventLoop,
        handler: grpc.RpcMethodHandler,
        *,
        max_messages: int = MAX_STREAM_MESSAGES,
    ) -> None:
        self._call = call
        self._loop = loop
        self._handler = handler
        self._max_messages = max_messages
        self._task: asyncio.Task[None] | None = None

    def begin(self, raw: bytes | None = None) -> None:
        """Take the request and start the coroutine. From gRPC's thread.

        Parameters
        ----------
        raw : bytes, optional
            The only message of a method that takes one, where it was received already.
        """
        self._call.on_cancel = lambda: self._loop.call_soon_threadsafe(self._leave)
        if raw is None:  # else it was watched while it was received
            self._call.watch()
        if self._handler.request_streaming or raw is not None:
            self._loop.call_soon_threadsafe(self._start, raw)
        else:
            self._call.receive(self._received)

    def _received(self, raw: bytes | None) -> None:
        if raw is not None and self._call.caller.allowance is not None:
            self._call.caller.allowance.charge(size=len(raw))
        self._loop.call_soon_threadsafe(self._start, raw)

    def _start(self, raw: bytes | None) -> None:
        if self._call.cancelled:
            self._call.finish(code=grpc.StatusCode.CANCELLED)
            return
        self._task = self._loop.create_task(self._run(raw))
        self._task.add_done_callback(self._done)

    def _leave(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step: nothing of it has run
            self._call.finish(code=grpc.StatusCode.CANCELLED)

    async def _run(self, raw: bytes | None) -> None:
        request_id = request_id_of(self._call.metadata)
        set_request_id(request_id)
        if self._call.span is not None:
            set_spans((self._call.span,))
        trailers = ((REQUEST_ID_KEY, request_id),)
        try:
            reply = await self._answer(raw)
        except AbortedCallError as aborted:
            self._call.finish(code=aborted.code, details=aborted.details, trailers=aborted.trailers or trailers)
        except asyncio.CancelledError:  # the caller has left, or the server ends what outlasts its grace
            self._call.finish(code=grpc.StatusCode.CANCELLED, details="The call was cancelled.", trailers=trailers)
        except BaseException as error:  # a call that nobody ends is waited for until its deadline, and by `stop`
            if self._call.cancelled:  # there is nobody to tell
                self._call.finish(code=grpc.StatusCode.CANCELLED)
            else:
                fail(self._call, error, request_id)
            if not isinstance(error, Exception):
                raise
        else:
            self._call.finish(reply, trailers=trailers)

    async def _answer(self, raw: bytes | None) -> bytes | None:
        """Run the handler; gives the reply where it is not one of several, which have left by then."""
        context = CallContext(self._call, self._loop, self._handler, max_messages=self._max_messages)
        if self._handler.request_streaming:
            request: Any = context.messages()
        else:
            # Read here, inside the guard: bytes that are no message are the caller's mistake.
            request = _reader(self._handler.request_deserializer)(_present(raw))
        behaviour: Callable[..., Any] = behaviour_of(self._handler)
        if inspect.isasyncgenfunction(behaviour):
            async for reply in behaviour(request, context):
                await context.write(reply)
            return None
        outcome: Awaitable[Any] = behaviour(request, context)
        reply = await outcome
        return None if self._handler.response_streaming else _writer(self._handler.response_serializer)(reply)


def fail(call: CoreCall, error: BaseException, request_id: str) -> None:
    """End a call with the status of an error.

    Parameters
    ----------
    call : CoreCall
    error : BaseException
        See `grpc_service.errors.to_status`.
    request_id : str
        Stands in the status, in the trailing metadata and in the log.
    """
    status = to_status(error, request_id)
    call.finish(
        code=_CODES[status.code],
        details=status.message,
        reason=reason_of(error),
        trailers=((REQUEST_ID_KEY, request_id), (STATUS_DETAILS_KEY, status.SerializeToString())),
    )


def behaviour_of(handler: grpc.RpcMethodHandler) -> Callable[..., Any]:
    """Return what handles the calls of a method.

    Parameters
    ----------
    handler : grpc.RpcMethodHandler

    Returns
    -------
    callable
        Takes the request, or the messages, and the context.
    """
    sides = (handler.request_streaming, handler.response_streaming)
    kind = "_".join("stream" if streams else "unary" for streams in sides)
    behaviour: Callable[..., Any] = getattr(handler, kind)
    return behaviour


def _present(raw: bytes | None) -> bytes:
    if raw is None:
        raise RequestError("The call ended without a message; send one.")
    return raw


def _reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    if deserialize is None:  # forwarded as it is
        return lambda raw: raw

    def read(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except DecodeError:
            raise RequestError("The bytes are no message of this method; send what its proto describes.") from None

    return read


def _writer(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    return serialize if serialize is not None else bytes
