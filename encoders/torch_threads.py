"""Pieces of a network's work side by side, a core each."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Done = TypeVar("Done")


class TorchThreads:
    """As many threads as PyTorch has on the CPU, each of which computes on one core.

    By itself PyTorch splits every operation among its threads. Those of a few windows of music are so short that the
    threads wait for each other half of the time; whole batches side by side wait for nobody. Thread safe.
    """

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._count = 0

    def map(self, work: Callable[[Piece], Done], pieces: Iterable[Piece]) -> Iterator[Done]:
        """Do every piece of work.

        Parameters
        ----------
        work : callable
            Called on any of the threads.
        pieces : iterable
            Read as they are needed: of each thread two are held.

        Yields
        ------
        object
            What `work` returned, in the order of `pieces`.
        """
        count = torch.get_num_threads()
        if count == 1:
            yield from map(work, pieces)
            return
        pool = self._threads(count)
        waiting: deque[Future[Done]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(work, piece))
                if len(waiting) > 2 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # whoever asked has left, or one has failed
                future.cancel()

    def _threads(self, count: int) -> ThreadPoolExecutor:
        with self._making:
            if self._pool is None or self._count != count:
                # The number is each thread's own, but what new threads begin with is the process's: it is put back.
                there = threading.Barrier(count + 1)

                def begin() -> None:
                    torch.set_num_threads(1)
                    there.wait()

                if self._pool is not None:
                    self._pool.shutdown(wait=False)
                self._pool, self._count = ThreadPoolExecutor(count, thread_name_prefix="encode"), count
                for _ in range(count):
                    self._pool.submit(begin)
                there.wait()
                torch.set_num_threads(count)
            return self._pool
