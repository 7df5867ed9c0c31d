"""Methods whose every call is written into the audit log."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from grpc_service.audit import CALLER_LEFT, Act, AuditLog, reason_of
from grpc_service.call_context import CallContext, behaviour_of
from grpc_service.callers import PEER_KEY
from grpc_service.request_ids import current_request_id


def audited(
    method: str, handler: grpc.RpcMethodHandler, log: AuditLog, require_writable: Callable[[], object]
) -> grpc.RpcMethodHandler:
    """Give what answers a method as before, and writes it down.

    Parameters
    ----------
    method : str
        Full name, of `grpc_service.roles.AUDITED`.
    handler : grpc.RpcMethodHandler
        Takes one message.
    log : AuditLog
    require_writable : callable
        Raises on a replica, where nothing can be done that would have to be written down.

    Returns
    -------
    grpc.RpcMethodHandler
    """
    behaviour: Any = behaviour_of(handler)
    assert not handler.request_streaming  # what is done has to be known before it begins
    assert inspect.iscoroutinefunction(behaviour)

    async def answer(request: Message, context: CallContext) -> Any:
        require_writable()
        act = Act(
            method.rpartition("/")[2],
            context.caller.name,
            _origin(context),
            MessageToDict(request, preserving_proto_field_name=True),
            current_request_id(),
        )
        beginning = asyncio.ensure_future(asyncio.to_thread(log.begin, act))
        reason = ""
        try:
            await asyncio.shield(beginning)
            return await behaviour(request, context)
        except asyncio.CancelledError:
            reason = CALLER_LEFT
            raise
        except BaseException as error:
            reason = reason_of(error)
            raise
        finally:
            await asyncio.shield(_end(beginning, log, act, reason))  # not to be left out where the caller leaves

    make = grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
    return make(
        answer, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
    )


async def _end(beginning: asyncio.Future[None], log: AuditLog, act: Act, reason: str) -> None:
    await asyncio.wait([beginning])
    if beginning.exception() is None:  # else nothing was done, and the caller is told
        await asyncio.to_thread(log.end, act, reason)


def _origin(context: CallContext) -> str:
    """Give the address that a call came from; where another worker of this server took it, what that one noted."""
    peer = context.peer()
    if peer.startswith("unix:"):
        for key, value in context.invocation_metadata():
            if key == PEER_KEY:
                return str(value)
    return peer
