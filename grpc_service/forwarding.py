"""Calls that change something, handed from a worker that reads to the one that writes: as bytes, unread."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc

from grpc_service.call_context import STATUS_DETAILS_KEY, CallContext
from grpc_service.callers import CALLER_KEY, PEER_KEY
from grpc_service.errors import WriterAwayError
from grpc_service.request_ids import REQUEST_ID_KEY, current_request_id
from grpc_service.traced import with_parent

FORWARDED = frozenset(
    f"/anacrusis.v1.{method}"
    for method in (
        "ReleaseService/IngestTrack",
        "ReleaseService/UploadTrack",
        "ReleaseService/WithdrawTracks",
        "FeedbackService/RecordFeedback",
        "AdminService/RefreshArtists",
    )
)
"""Full names of the methods that only the writing worker answers."""

# What a channel writes itself, or what belongs to one connection.
# The token was looked at, and goes no further; nobody else says who a call is from.
_OWN_KEYS = frozenset({"user-agent", "te", "content-type", "authorization", REQUEST_ID_KEY, CALLER_KEY, PEER_KEY})


class Forwarder:
    """Hands calls on over one channel.

    Parameters
    ----------
    address : str
        Of the writing worker, apart from the port that all share.

    Attributes
    ----------
    methods : frozenset of str
        Full names of those that it answers.
    """

    methods = FORWARDED

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_http_proxy", 0),
                # It is on this machine, and back within seconds.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )

    async def close(self) -> None:
        """Let go of the channel."""
        await self._channel.close()

    def handler(self, method: str, local: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """Give what answers a method by forwarding it.

        Parameters
        ----------
        method : str
            Full name, one of `FORWARDED`.
        local : grpc.RpcMethodHandler
            The one that would answer it here: tells which sides stream.

        Returns
        -------
        grpc.RpcMethodHandler
            Takes and gives bytes.
        """
        if local.request_streaming:
            return grpc.stream_unary_rpc_method_handler(_stream_unary(self._channel.stream_unary(method)))
        if local.response_streaming:
            return grpc.unary_stream_rpc_method_handler(_unary_stream(self._channel.unary_stream(method)))
        return grpc.unary_unary_rpc_method_handler(_unary_unary(self._channel.unary_unary(method)))


def _unary_unary(call: Any) -> Any:
    async def forward(request: bytes, context: CallContext) -> bytes:
        try:
            reply: bytes = await call(request, **_of(context))
            return reply
        except grpc.aio.AioRpcError as error:
            await _relay(error, context)

    return forward


def _stream_unary(call: Any) -> Any:
    async def forward(requests: AsyncIterator[bytes], context: CallContext) -> bytes:
        async def read() -> AsyncIterator[bytes]:
            while (message := await context.read()) is not grpc.aio.EOF:
                yield message

        try:
            reply: bytes = await call(read(), **_of(context))
            return reply
        except grpc.aio.AioRpcError as error:
            await _relay(error, context)

    return forward


def _unary_stream(call: Any) -> Any:
    async def forward(request: bytes, context: CallContext) -> None:
        replies = call(request, **_of(context))
        try:
            async for reply in replies:
                await context.write(reply)
        except grpc.aio.AioRpcError as error:
            await _relay(error, context)
        finally:
            replies.cancel()  # where the caller has left; else without effect

    return forward


def _of(context: CallContext) -> dict[str, Any]:
    """Take over a call's metadata and what is left of its time."""
    given = tuple(
        (key, value)
        for key, value in context.invocation_metadata() or ()
        if key not in _OWN_KEYS and not key.startswith(("grpc-", ":"))
    )
    own = (
        (REQUEST_ID_KEY, current_request_id()),
        (CALLER_KEY, context.caller.forwarded()),
        (PEER_KEY, context.peer()),
    )
    return {"metadata": (*with_parent(given), *own), "timeout": context.time_remaining()}


async def _relay(error: grpc.aio.AioRpcError, context: CallContext) -> NoReturn:
    """End the call as the writing worker ended it, or say that there is none at the moment."""
    trailers = tuple(error.trailing_metadata() or ())
    if error.code() is grpc.StatusCode.UNAVAILABLE and STATUS_DETAILS_KEY not in dict(trailers):
        raise WriterAwayError(
            "The worker that takes changes is being started again: send this again shortly. It is safe to repeat."
        ) from error
    await context.abort(error.code(), error.details() or "", trailers)
    raise AssertionError("abort returned")
