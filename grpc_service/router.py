"""Which way each call goes, how many may be in progress, and what nobody answers."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import grpc

from grpc_service.audited import audited
from grpc_service.call_context import CoroutineCall, fail
from grpc_service.core import CoreCall
from grpc_service.errors import QueueFullError, TransportError
from grpc_service.query_calls import BATCH, SINGLE, QueryCalls
from grpc_service.request_ids import request_id_of
from grpc_service.roles import AUDITED, NEEDED

if TYPE_CHECKING:
    from grpc_service.access import Access
    from grpc_service.audit import AuditLog
    from grpc_service.forwarding import Forwarder
    from grpc_service.work import Work

_SERVICES = "/anacrusis.v1."
_PROBE = "/grpc.health.v1.Health/Check"  # never refused: whoever may not ask whether a server lives takes it for dead
_ADMIN = "/anacrusis.v1.AdminService/"  # never refused for what others ask: it is where one looks why


class Router:
    """Takes every call of a server; on gRPC's thread.

    Single queries and batches go the short way, `QueryCalls`; all else is handled by coroutines.

    Parameters
    ----------
    work : Work
        The engine behind its queues.
    loop : asyncio.AbstractEventLoop
        Where coroutines run.
    forwarder : Forwarder, optional
        Answers the methods that another worker has to answer.
    access : Access, optional
        Decides who is let in; None: everybody.
    audit : AuditLog, optional
        Where the calls of administrators' methods are written down that are answered here.

    Raises
    ------
    LookupError
        When a method is registered that has no role.

    Attributes
    ----------
    idle : threading.Event
        Set while no call of our services is in progress.
    in_progress, begun : int
        Calls of our services that are being handled, and since the start.
    """

    def __init__(
        self,
        work: Work,
        loop: asyncio.AbstractEventLoop,
        forwarder: Forwarder | None = None,
        *,
        access: Access | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self._work = work
        self._watch = work.watch
        self._loop = loop
        self._forwarder = forwarder
        self._access = access
        self._audit = audit
        self._at_most = work.options.max_concurrent_rpcs
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._queries = QueryCalls(work, self._by_coroutine)
        self._others = 0  # calls of health and reflection but for probes, which have no end of their own
        self._probes: dict[CoreCall, None] = {}  # the oldest first
        self.idle = threading.Event()
        self.idle.set()
        self.in_progress = 0
        self.begun = 0

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        """Take the methods of a service; called by generated code.

        Parameters
        ----------
        service : str
            Its full name.
        handlers : mapping of str to grpc.RpcMethodHandler
            Coroutines by the methods' names.
        """
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            if method not in NEEDED:
                raise LookupError(f"The method {method} has no role: say in grpc_service/roles.py who may use it.")
            if self._forwarder is not None and method in self._forwarder.methods:
                handler = self._forwarder.handler(method, handler)
            elif self._audit is not None and method in AUDITED:
                handler = audited(method, handler, self._audit, self._work.engine.require_writable)
            self._handlers[method] = handler
            if self._watch.figures is not None:
                self._watch.figures.know(method)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: generated code gives every method a second time."""

    def take(self, call: CoreCall) -> None:
        """Send a call its way.

        Parameters
        ----------
        call : CoreCall
            That has just come.
        """
        if call.method not in self._handlers:
            call.finish(code=grpc.StatusCode.UNIMPLEMENTED, details="Method not found!")
            return
        if self._access is not None:
            try:
                self._access.let_in(call)
            except TransportError as error:
                fail(call, error, request_id_of(call.metadata))
                return
        if self._watch.tracing is not None:  # who was let in may ask for a trace, no stranger
            self._watch.tracing.call_came(call)
        if call.method.startswith(_SERVICES):
            self._take_ours(call)
        elif call.method == _PROBE:
            self._take_probe(call)
        elif self._others >= self._at_most:
            fail(call, _full(self._others), request_id_of(call.metadata))
        else:
            self._others += 1
            call.on_finished = self._other_ended
            self._by_coroutine(call)

    def ended(self, call: CoreCall) -> None:
        """Note that a call is over.

        Parameters
        ----------
        call : CoreCall
            That `take` was given before.
        """
        if call.caller.allowance is not None:
            call.caller.allowance.end(call)
        handed_on = self._forwarder is not None and call.method in self._forwarder.methods and not call.reason
        if not handed_on:  # else the worker that answered it has counted it
            self._watch.call_ended(call, known=call.method in self._handlers)
        if self._watch.tracing is not None:
            self._watch.tracing.call_ended(call)

    def _take_ours(self, call: CoreCall) -> None:
        self.begun += 1
        if self.in_progress >= (math.inf if call.method.startswith(_ADMIN) else self._at_most):
            fail(call, _full(self.in_progress), request_id_of(call.metadata))
            return
        if not self.in_progress:
            self.idle.clear()
        self.in_progress += 1
        call.on_finished = self._ended
        if call.method in (SINGLE, BATCH):
            self._queries.begin(call)
        else:
            self._by_coroutine(call)

    def _take_probe(self, call: CoreCall) -> None:
        """Take one that asks for our health: it needs no token, so that anybody can begin many and send nothing."""
        if len(self._probes) >= self._at_most:
            oldest = next(iter(self._probes))
            del self._probes[oldest]
            oldest.cut_off(grpc.StatusCode.RESOURCE_EXHAUSTED, "Other probes came, and this one sent no message.")
        self._probes[call] = None
        call.on_finished = lambda: self._probes.pop(call, None)
        self._by_coroutine(call)

    def _by_coroutine(self, call: CoreCall, raw: bytes | None = None) -> None:
        most = self._work.options.max_stream_messages
        CoroutineCall(call, self._loop, self._handlers[call.method], max_messages=most).begin(raw)

    def _ended(self) -> None:
        self.in_progress -= 1
        if not self.in_progress:
            self.idle.set()

    def _other_ended(self) -> None:
        self._others -= 1


def _full(count: int) -> QueueFullError:
    return QueueFullError(f"{count} calls are in progress, as many as may be; try again shortly.")
