"""The server: started, supervised, drained.

`serve` runs inside an event loop, `run_server` is the blocking form with signal handling for a command line.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2_grpc import (
    add_ServerReflectionServicer_to_server as add_reflection_service,
)

from grpc_service.access import Access
from grpc_service.admin import AdminServicer
from grpc_service.connections import allow_most_files, channel_arguments
from grpc_service.core import CoreServer
from grpc_service.embeddings import EmbeddingServicer
from grpc_service.exposure import Protection, require_protection
from grpc_service.feedback import FeedbackServicer
from grpc_service.forwarding import Forwarder
from grpc_service.health import HealthServicer
from grpc_service.neighbors import NeighborServicer
from grpc_service.options import ServerOptions
from grpc_service.pb.anacrusis.v1 import (
    admin_service_pb2,
    embedding_service_pb2,
    feedback_service_pb2,
    neighbor_service_pb2,
    release_service_pb2,
)
from grpc_service.pb.anacrusis.v1.admin_service_pb2_grpc import (
    add_AdminServiceServicer_to_server as add_admin_service,
)
from grpc_service.pb.anacrusis.v1.embedding_service_pb2_grpc import (
    add_EmbeddingServiceServicer_to_server as add_embedding_service,
)
from grpc_service.pb.anacrusis.v1.feedback_service_pb2_grpc import (
    add_FeedbackServiceServicer_to_server as add_feedback_service,
)
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import (
    add_NeighborServiceServicer_to_server as add_neighbor_service,
)
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import (
    add_ReleaseServiceServicer_to_server as add_release_service,
)
from grpc_service.ports import ServedEngine
from grpc_service.readiness import Readiness
from grpc_service.releases import ReleaseServicer
from grpc_service.rounds import COUNT_INTERVAL_S, RELOAD_INTERVAL_S, again_and_again
from grpc_service.router import Router
from grpc_service.tls import ServerCertificate
from grpc_service.watch_options import WatchOptions
from grpc_service.watching import Watch
from grpc_service.work import Work
from grpc_service.worker_orders import Orders

if TYPE_CHECKING:
    from grpc_service.metrics_server import MetricsServer

SERVICES: tuple[str, ...] = tuple(
    f"{module.DESCRIPTOR.package}.{name}"
    for module in (
        admin_service_pb2,
        embedding_service_pb2,
        feedback_service_pb2,
        neighbor_service_pb2,
        release_service_pb2,
    )
    for name in module.DESCRIPTOR.services_by_name
)
"""Full names of our services, as health and reflection know them."""


OnReady = Callable[[str], None]
_log = logging.getLogger(__name__)


class AddressError(OSError):
    """The server cannot listen where it was told to."""

    reason = "ADDRESS_UNAVAILABLE"
    field = "port"


@dataclass(frozen=True)
class Worker:
    """What a process has to know that shares its port with others.

    Its health is NOT_SERVING until it is told that all of them are there.

    Attributes
    ----------
    orders : Orders
        Of whoever started it: whether all workers take calls. Their end is the order to drain.
    listens_at : str
        Of the worker that writes: the address where the others' calls reach it.
    forwards_to : str
        Of a worker that reads: that address. Empty where none writes: then what would change anything is refused.
    """

    orders: Orders
    listens_at: str = ""
    forwards_to: str = ""


class Server:
    """One gRPC server in front of one engine.

    Parameters
    ----------
    engine : ServedEngine
        Closed with the server.
    options : ServerOptions
        Where to listen and how much to take.
    worker : Worker, optional
        Where several processes share the port.
    protection : Protection, optional
        What stands between the server and those who call it; none by default, which the loopback alone goes without.
    watch : WatchOptions, optional
        Where metrics are told and traces go; by default nowhere.

    Attributes
    ----------
    metrics_address : str
        ``host:port`` of the metrics; empty where they are told nowhere, and before the start.

    Raises
    ------
    InvalidServerOptionError
        When it would be open to other machines; see `grpc_service.exposure.require_protection`. When traces are asked
        for, and what makes them is not installed.
    PrivateFileError, AuditError
        When the certificate or the tokens cannot be read, or the audit log cannot be written.
    """

    def __init__(
        self,
        engine: ServedEngine,
        options: ServerOptions,
        worker: Worker | None = None,
        protection: Protection | None = None,
        watch: WatchOptions | None = None,
    ) -> None:
        self.metrics_address = ""
        self._options = options
        self._worker = worker
        protection = protection or Protection()
        self._warning = require_protection(options, protection)
        if protection.audit is not None:
            protection.audit.check()
        self._certificate = ServerCertificate(protection.tls) if protection.tls.on else None
        trusts_socket = worker is not None and bool(worker.listens_at)
        self._access = (
            Access(protection.access, protection.limits, trusts_socket=trusts_socket) if protection.access.on else None
        )
        self._watch_options = watch or WatchOptions()
        loop = asyncio.get_running_loop()
        self._watch = Watch(self._watch_options, loop.call_soon_threadsafe)
        self._metrics: MetricsServer | None = None
        self._work = Work(engine, options, self._watch)
        self._health = HealthServicer()
        self._forwarder = Forwarder(worker.forwards_to) if worker is not None and worker.forwards_to else None
        self._following: list[asyncio.Task[None]] = []
        # Registered with what generated code calls a server.
        self._router = router = Router(self._work, loop, self._forwarder, access=self._access, audit=protection.audit)
        work = self._work
        add_neighbor_service(NeighborServicer(work), router)  # type: ignore[no-untyped-call]
        add_release_service(ReleaseServicer(work), router)  # type: ignore[no-untyped-call]
        add_embedding_service(EmbeddingServicer(work), router)  # type: ignore[no-untyped-call]
        add_feedback_service(FeedbackServicer(work), router)  # type: ignore[no-untyped-call]
        add_admin_service(AdminServicer(work), router)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, router)
        shown = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        add_reflection_service(reflection.aio.ReflectionServicer(shown), router)
        self._grpc = CoreServer(channel_arguments(options, shared_port=worker is not None), router.take, router.ended)
        self._readiness = Readiness(self._work, self._grpc, loop)

    async def start(self) -> str:
        """Listen, say so to health, and begin to follow what other processes do.

        Returns
        -------
        str
            ``host:port`` with the port that was bound.

        Raises
        ------
        AddressError
            When the address cannot be had, or that of the metrics.
        """
        self._tell_metrics()  # first: the core cannot let go of a port unless it was started
        wanted = f"{_bracketed(self._options.host)}:{self._options.port}"
        if self._warning:
            _log.warning("%s", self._warning)
        port = self._grpc.add_port(wanted, self._certificate.credentials() if self._certificate is not None else None)
        if not port or (self._worker is not None and not self._listens_for_others(self._worker.listens_at)):
            raise AddressError(
                f"The server cannot listen on {wanted}: another process may hold the port, or the host has no such "
                "address; choose another port, or 0 for a free one."
            )
        self._grpc.start()
        self.say_healthy(self._worker is None)
        self._following = [
            asyncio.create_task(self._sync(), name="sync"),
            asyncio.create_task(self._count(), name="upkeep"),
        ]
        if self._access is not None:
            self._following.append(asyncio.create_task(_reload(self._access), name="tokens"))
        return f"{_bracketed(self._options.host)}:{port}"

    def _listens_for_others(self, address: str) -> bool:
        return not address or bool(self._grpc.add_port(address))

    def _tell_metrics(self) -> None:
        if self._watch.figures is None:
            return
        # Loaded only where somebody asks.
        from grpc_service.metrics import registry_of
        from grpc_service.metrics_server import MetricsServer

        options, readiness, router = self._watch_options.metrics, self._readiness, self._router
        registry = registry_of(
            self._watch.figures, self._work, lambda: router.in_progress, lambda: not readiness.why_not_ready()
        )
        try:
            self._metrics = MetricsServer(
                options, registry, why_not_alive=readiness.why_not_alive, why_not_ready=readiness.why_not_ready
            )
        except OSError as error:
            raise AddressError(
                f"The metrics cannot be told at {options.host}, port {options.port}: another process may hold the "
                "port, or there is no such address; choose another metrics.port, or 0 for a free one."
            ) from error
        self.metrics_address = self._metrics.address
        _log.info("metrics at http://%s/metrics", self.metrics_address)

    def say_healthy(self, healthy: bool) -> None:
        """Tell health whether the server as a whole, all its workers, takes calls; without effect once it drains."""
        self._readiness.whole = healthy
        self._health.set(("", *SERVICES), serving=healthy)

    async def stop(self) -> None:
        """Drain: health says NOT_SERVING, calls in progress get the grace to finish, then everything is closed."""
        self._health.drain()
        self._work.draining.set()
        for task in self._following:
            task.cancel()
        self._grpc.refuse()
        await asyncio.to_thread(self._router.idle.wait, self._options.grace_s)
        # Our calls have finished or the grace is over. What is left watches health or browses reflection, for as long
        # as it likes, or is stuck.
        self._grpc.cancel()
        if self._forwarder is not None:
            await self._forwarder.close()
        self._work.ingests.refuse()
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)  # before the engine, which it asks
        await asyncio.to_thread(self._work.close)
        await asyncio.to_thread(self._grpc.close)
        if self._watch.tracing is not None:
            await asyncio.to_thread(self._watch.tracing.close)

    def _sync(self) -> Coroutine[object, object, None]:
        """Adopt what other processes published or ingested."""
        return again_and_again(
            lambda: self._work.lookups.run(self._work.engine.sync),
            self._options.poll_interval_s,
            "following the home folder failed",
            told=lambda failed: self._watch.synced(failed=failed),
        )

    def _count(self) -> Coroutine[object, object, None]:
        """Count the alert figures now and then, so that no GetStatus has to wait for it."""
        return again_and_again(
            lambda: self._work.lookups.run(self._work.engine.count_upkeep),
            COUNT_INTERVAL_S,
            "the tables of the home could not be counted",
            at_once=True,
        )


def _reload(access: Access) -> Coroutine[object, object, None]:
    """Read the tokens again when they change."""
    return again_and_again(lambda: asyncio.to_thread(access.reload), RELOAD_INTERVAL_S, "looking for new tokens failed")


async def serve(
    engine: ServedEngine,
    options: ServerOptions,
    *,
    on_ready: OnReady = lambda address: None,
    stop: asyncio.Event | None = None,
    worker: Worker | None = None,
    protection: Protection | None = None,
    watch: WatchOptions | None = None,
) -> None:
    """Serve until told to stop, then drain.

    Parameters
    ----------
    engine : ServedEngine
        Closed at the end, even when the server could not start.
    options : ServerOptions
        Where to listen and how much to take.
    on_ready : callable, optional
        Called with ``host:port`` once calls are taken.
    stop : asyncio.Event, optional
        Set it to drain; without one, cancel the task.
    worker : Worker, optional
        Where several processes share the port.
    protection : Protection, optional
        See `Server`.
    watch : WatchOptions, optional
        See `Server`.

    Raises
    ------
    AddressError
        When the address cannot be had.
    InvalidServerOptionError, PrivateFileError
        See `Server`.
    """
    try:
        server, stop = Server(engine, options, worker, protection, watch), stop or asyncio.Event()
    except BaseException:
        engine.close()
        raise
    try:
        address = await server.start()
        if worker is not None:
            _obey(worker.orders, server, stop, asyncio.get_running_loop())
        on_ready(address)
        await stop.wait()
    finally:
        await server.stop()


def _obey(orders: Orders, server: Server, stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    def on_loop(act: Callable[[], object]) -> None:
        try:
            loop.call_soon_threadsafe(act)
        except RuntimeError:  # the loop is closed
            _log.debug("an order came after the server had stopped")

    orders.obey(
        lambda healthy: on_loop(lambda: server.say_healthy(healthy)),
        lambda: on_loop(stop.set),
    )


def run_server(
    engine: ServedEngine,
    options: ServerOptions,
    *,
    on_ready: OnReady = lambda address: None,
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
    worker: Worker | None = None,
    protection: Protection | None = None,
    watch: WatchOptions | None = None,
) -> None:
    """Serve from the main thread until a signal comes, then drain. A second signal ends the process at once.

    Parameters
    ----------
    engine : ServedEngine
        Closed at the end.
    options : ServerOptions
        Where to listen and how much to take.
    on_ready : callable, optional
        Called with ``host:port`` once calls are taken.
    signals : sequence of signal.Signals, optional
        What means "stop".
    worker : Worker, optional
        Where several processes share the port.
    protection : Protection, optional
        See `Server`.
    watch : WatchOptions, optional
        See `Server`.

    Raises
    ------
    AddressError
        When the address cannot be had.
    InvalidServerOptionError, PrivateFileError
        See `Server`.
    """
    allow_most_files()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            stop.set()
            for number in signals:
                loop.remove_signal_handler(number)  # the next one acts as it does by default

        def ready(address: str) -> None:
            # What is there now stays: the libraries' objects alone are so many that looking for garbage among them
            # would stop every call in progress for a tenth of a second, now and then.
            gc.collect()
            gc.freeze()
            on_ready(address)

        for number in signals:
            loop.add_signal_handler(number, on_signal)
        await serve(engine, options, on_ready=ready, stop=stop, worker=worker, protection=protection, watch=watch)

    asyncio.run(main())


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith(("[", "unix:")) else host
