"""Whether a server should be sent calls, and whether it should be ended."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpc_service.core import CoreServer
    from grpc_service.work import Work

ALIVE_WITHIN_S = 4.0  # an event loop that takes longer for a turn is stuck; whoever probes waits a second more


class Readiness:
    """Answers for one server, from any thread but the event loop's.

    Parameters
    ----------
    work : Work
    core : CoreServer
    loop : asyncio.AbstractEventLoop
        Of the coroutines.

    Attributes
    ----------
    whole : bool
        Whether the server as a whole, all its workers, takes calls.
    """

    def __init__(self, work: Work, core: CoreServer, loop: asyncio.AbstractEventLoop) -> None:
        self.whole = False
        self._work = work
        self._core = core
        self._loop = loop

    def why_not_ready(self) -> str:
        """Say why calls should go elsewhere; empty where they need not."""
        if self._work.draining.is_set():
            return "draining"
        if not self.whole:
            return "not all workers of this server take calls"
        return "" if self._work.engine.serving()[1] else "no snapshot is published"

    def why_not_alive(self) -> str:
        """Say why the process should be ended; empty where it need not. Blocks for up to `ALIVE_WITHIN_S`."""
        if not self._core.alive:
            return "the thread that takes calls has ended"
        if not self._work.searches.alive:
            return "the thread that searches has ended"
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:
            return "the event loop is closed"
        return "" if turned.wait(ALIVE_WITHIN_S) else f"the event loop has not turned for {ALIVE_WITHIN_S:g} s"
