"""The servicer of grpc.health.v1: whether the server, and each of its services, takes calls.

gRPC's own answers List with a failure, and tells watchers of a change while it holds a lock: one that does not read
would keep the server from changing its health, and from draining. Nothing here waits for a watcher but its own call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc as pb_grpc

from grpc_service.call_context import CallContext

_MOST_SHOWN = 80  # characters of a name in a sentence


class HealthServicer(pb_grpc.HealthServicer):  # type: ignore[misc]  # the package has no types
    """Tells the health of services; to be used on one event loop."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()  # set, and replaced, at each change
        self._draining = False

    def set(self, services: Iterable[str], *, serving: bool) -> None:
        """Say whether services take calls; without effect once the server drains.

        Parameters
        ----------
        services : iterable of str
            Full names; the empty one stands for the server as a whole.
        serving : bool
        """
        if self._draining:
            return
        status = pb.HealthCheckResponse.SERVING if serving else pb.HealthCheckResponse.NOT_SERVING
        self._statuses |= dict.fromkeys(services, status)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def drain(self) -> None:
        """Say that nothing takes calls, for good."""
        self.set(tuple(self._statuses), serving=False)
        self._draining = True

    async def Check(  # noqa: N802, D102 - the proto names and documents it
        self, request: pb.HealthCheckRequest, context: CallContext
    ) -> pb.HealthCheckResponse:
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"There is no service {request.service[:_MOST_SHOWN]!r}; leave it out."
            )
        return pb.HealthCheckResponse(status=status)

    async def List(  # noqa: N802, D102
        self, request: pb.HealthListRequest, context: CallContext
    ) -> pb.HealthListResponse:
        return pb.HealthListResponse(
            statuses={name: pb.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        )

    async def Watch(  # noqa: N802, D102
        self, request: pb.HealthCheckRequest, context: CallContext
    ) -> None:
        told = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, pb.HealthCheckResponse.SERVICE_UNKNOWN)
            if status != told:
                await context.write(pb.HealthCheckResponse(status=status))
                told = status
            await changed.wait()
