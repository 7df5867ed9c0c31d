"""What a worker is told by whoever started it, a line each; and that it is not to outlive it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

WHOLE, BROKEN = "whole", "broken"
"""All workers of the server take calls; one of them does not."""


class Orders:
    """Reads orders on a thread of its own, from now on. At their end, before anybody obeys, this process ends at once.

    Parameters
    ----------
    descriptor : int
        Of the pipe that they come through; closed at the other end when whoever started this process has ended.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Lock()
        self._whole = False
        self._on_health: Callable[[bool], None] = lambda healthy: None
        self._on_end: Callable[[], None] = lambda: os._exit(1)  # nothing was begun that would have to be finished
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def obey(self, on_health: Callable[[bool], None], on_end: Callable[[], None]) -> None:
        """Have functions called with what comes, and with what has come last.

        Parameters
        ----------
        on_health : callable
            With whether all workers take calls.
        on_end : callable
            When there will be no more orders: drain.
        """
        with self._changed:
            self._on_health, self._on_end = on_health, on_end
            on_health(self._whole)

    def _read(self) -> None:
        left = b""
        # By descriptor: a reading thread that holds a buffered file keeps the interpreter from ending.
        while some := os.read(self._descriptor, 4096):
            *lines, left = (left + some).split(b"\n")
            for line in lines:
                with self._changed:
                    self._whole = line.decode() == WHOLE
                    self._on_health(self._whole)
        with self._changed:
            self._on_end()
