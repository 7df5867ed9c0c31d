"""Callers that ask again as soon as they are answered. Imports nothing, so that a peer's environment can run it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence


def closed_loop(callers: Sequence[Callable[[int], object]], seconds: float) -> list[float]:
    """Run some callers side by side, a thread each.

    Parameters
    ----------
    callers : sequence of callable
        Each takes the number of its call and returns once it is answered.
    seconds : float
        How long.

    Returns
    -------
    list of float
        Milliseconds of every call.
    """
    took: list[list[float]] = [[] for _ in callers]
    until = time.perf_counter() + seconds

    def run(number: int) -> None:
        call = number
        while (start := time.perf_counter()) < until:
            callers[number](call)
            took[number].append(round(1e3 * (time.perf_counter() - start), 4))
            call += len(callers)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(callers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for own in took for one in own]
