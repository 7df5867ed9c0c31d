"""A real server on a free loopback port, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fake_engine import FakeEngine

from grpc_service.options import ServerOptions
from grpc_service.server import Server


class Running:
    """A server that takes calls; `drain` begins to stop it without waiting."""

    def __init__(self, engine: FakeEngine, options: ServerOptions) -> None:
        self.engine = engine
        self.address = ""
        self.failure: BaseException | None = None
        self._options = options
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            self.server = Server(self.engine, self._options)
            try:
                self.address = await self.server.start()
                self._ready.set()
                await self._stop.wait()
            finally:
                await self.server.stop()

        try:
            asyncio.run(main())
        except BaseException as error:
            self.failure = error
        finally:
            self._ready.set()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(20)
        if self.failure:
            raise self.failure

    @property
    def in_progress(self) -> int:
        """Calls of our services that are being handled."""
        return self.server._calls.in_progress

    @property
    def calls_begun(self) -> int:
        """Calls of our services since the start."""
        return self.server._calls.begun

    def drain(self) -> None:
        with suppress(RuntimeError):  # it has stopped already
            self._loop.call_soon_threadsafe(self._stop.set)

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"
        if self.failure:
            raise self.failure


@contextmanager
def running(engine: FakeEngine, **options: object) -> Iterator[Running]:
    """Serve an engine; limits are small so that tests reach them."""
    defaults: dict[str, object] = {"port": 0, "grace_s": 10.0, "poll_interval_s": 60.0}
    server = Running(engine, ServerOptions(**(defaults | options)))  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.drain()
        server.join()
