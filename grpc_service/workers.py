"""Bounded places for slow work off the event loop, and for the bytes of unfinished uploads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from grpc_service.errors import DrainingError, QueueFullError

P = ParamSpec("P")
T = TypeVar("T")


class BoundedPool:
    """A thread pool that refuses what it cannot begin soon.

    Parameters
    ----------
    name : str
        Names the threads, and the work in the sentence of the refusal.
    threads : int
        Pieces of work done at once.
    queue_size : int
        Pieces that may wait beyond those.
    retry_after_s : float
        What a refused caller is told to wait.
    """

    def __init__(self, name: str, *, threads: int, queue_size: int, retry_after_s: float) -> None:
        self._name = name
        self._limit = threads + queue_size
        self._retry_after_s = retry_after_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._held = 0
        self._closed = False

    @property
    def held(self) -> int:
        """Pieces of work in progress or waiting."""
        return self._held

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do a piece of work on a thread.

        When the caller is cancelled, work that still waits is dropped; work in progress goes on to its end.

        Parameters
        ----------
        work : callable
            Called with the remaining arguments.

        Returns
        -------
        object
            What it returned.

        Raises
        ------
        QueueFullError
            When as much waits as may.
        DrainingError
            When the pool is closed.
        Exception
            Whatever the work raised.
        """
        with self._lock:
            if self._closed:
                raise DrainingError("The server is being stopped; send it to another one, or again shortly.")
            if self._held >= self._limit:
                raise QueueFullError(
                    f"{self._held} pieces of {self._name} work are in progress or waiting, as many as may; "
                    "try again shortly.",
                    retry_after_s=self._retry_after_s,
                )
            self._held += 1
            context = contextvars.copy_context()
            future = self._pool.submit(lambda: context.run(_without_panics, lambda: work(*args, **kwargs)))
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what waits and wait for what is in progress."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _release(self, future: Future[T]) -> None:
        with self._lock:
            self._held -= 1


def as_exception(raised: BaseException) -> Exception:
    """Give what work on a thread raised as something that whoever waits for it catches, if that was a library's panic.

    Parameters
    ----------
    raised : BaseException

    Returns
    -------
    Exception
        Itself where it is one.
    """
    if isinstance(raised, Exception):
        return raised
    error = RuntimeError(f"The work ended by {type(raised).__name__}: {raised}")
    error.__cause__ = raised
    return error


def _without_panics(work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception:
        raise
    except BaseException as raised:
        raise as_exception(raised) from raised


class ByteBudget:
    """Bytes that all unfinished uploads may hold together.

    Parameters
    ----------
    limit : int
        In bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self, count: int) -> None:
        """Reserve bytes.

        Parameters
        ----------
        count : int
            How many.

        Raises
        ------
        QueueFullError
            When not so many are left.
        """
        if self.taken + count > self._limit:
            raise QueueFullError(
                "Unfinished uploads hold as many bytes as they may; send this one again shortly.",
                retry_after_s=1.0,
            )
        self.taken += count

    def give_back(self, count: int) -> None:
        """Return bytes that were reserved."""
        self.taken -= count
