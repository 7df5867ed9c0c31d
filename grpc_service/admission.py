"""Bounding by time how long queries wait: what comes while others wait too long is refused at once, and unread."""

from __future__ import annotations

import time
from collections.abc import Callable

FLOOR_CALLS = 16
"""So many may be under way whatever they take: a few callers with large batches are no overload."""

STANDING_S = 0.05
"""For so long they have to wait, or longer, before anything is refused: a burst that is answered by then was none of too
many calls, and neither is one slow search."""

CALM_S = 0.1  # without a refusal for so long, the next time counts as the first again


class Admission:
    """Decides which queries are let in; to be used on one thread.

    A search takes all that waits, so that the oldest of those has waited for as long as the search in progress has been
    going on. Under overload searches grow from one to the next. Where nothing is let in once the oldest has waited for
    the bound, each brings in what came in that time, and no more; the searching thread is never without work.

    Parameters
    ----------
    max_wait_s : float
        Above 0.
    clock : callable
        In seconds.
    """

    def __init__(self, max_wait_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._above_since: float | None = None
        self._calm_at = 0.0  # while refusing: when that is over unless something is refused again

    def lets_in(self, calls: int, oldest_wait_s: float) -> bool:
        """Decide on a call that has just come.

        Parameters
        ----------
        calls : int
            Others that are under way.
        oldest_wait_s : float
            How long the first of those has waited for its search to begin; 0 where none waits.

        Returns
        -------
        bool
        """
        if calls < FLOOR_CALLS or oldest_wait_s <= self._max_wait_s:
            self._above_since = None
            return True
        now = self._clock()
        if now >= self._calm_at:
            if self._above_since is None:
                self._above_since = now
            if now - self._above_since < STANDING_S:
                return True
        self._calm_at = now + CALM_S
        return False
