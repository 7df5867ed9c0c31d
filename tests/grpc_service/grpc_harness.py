"""A real server on a free loopback port, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from fake_engine import FakeEngine

from grpc_service.exposure import Protection
from grpc_service.options import ServerOptions
from grpc_service.server import Server
from grpc_service.watch_options import WatchOptions


class Running:
    """A server that takes calls; `drain` begins to stop it without waiting."""

    def __init__(
        self,
        engine: FakeEngine,
        options: ServerOptions,
        protection: Protection | None = None,
        watch: WatchOptions | None = None,
    ) -> None:
        self.engine = engine
        self._protection = protection
        self.address = ""
        self.failure: BaseException | None = None
        self._options = options
        self._watch = watch
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            self.server = Server(self.engine, self._options, protection=self._protection, watch=self._watch)
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
        return self.server._router.in_progress

    @property
    def calls_begun(self) -> int:
        """Calls of our services since the start."""
        return self.server._router.begun

    def on_loop(self, act: Callable[[], object]) -> None:
        """Have something done by the server's event loop."""
        self._loop.call_soon_threadsafe(act)

    def drain(self) -> None:
        with suppress(RuntimeError):  # it has stopped already
            self._loop.call_soon_threadsafe(self._stop.set)

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"
        if self.failure:
            raise self.failure


@contextmanager
def running(
    engine: FakeEngine, *, protection: Protection | None = None, watch: WatchOptions | None = None, **options: object
) -> Iterator[Running]:
    """Serve an engine; limits are small so that tests reach them."""
    defaults: dict[str, object] = {"port": 0, "grace_s": 10.0, "poll_interval_s": 60.0}
    server = Running(engine, ServerOptions(**(defaults | options)), protection, watch)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.drain()
        server.join()


class Held:
    """Holds one method of an engine up until `release`."""

    def __init__(self, engine: FakeEngine, method: str) -> None:
        self.entered = threading.Semaphore(0)
        self._open = threading.Event()
        self._method = method
        engine.before = self._before

    def _before(self, method: str) -> None:
        if method == self._method and not self._open.is_set():
            self.entered.release()
            assert self._open.wait(30)

    def wait(self) -> None:
        assert self.entered.acquire(timeout=20)

    def release(self) -> None:
        self._open.set()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that other threads make true."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition never came true")


Hold = Callable[[str], Held]
