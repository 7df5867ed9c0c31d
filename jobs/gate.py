"""Many may pass at once, or one alone: ingesting against publishing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """A readers-writer lock in which the writer goes first.

    Ingests pass together (so that the store can group their commits); a publish passes alone, so that no track is
    projected into the old space and acknowledged in the new one. The standard library has no such lock.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._passing = 0
        self._closed = False  # somebody passes alone, or waits to

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Pass beside others; wait while somebody passes alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._passing += 1
        try:
            yield
        finally:
            with self._changed:
                self._passing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let those who are passing finish, keep new ones waiting, and pass alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._closed = True
            self._changed.wait_for(lambda: self._passing == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
