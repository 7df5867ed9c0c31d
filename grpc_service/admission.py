"""Bounding by time how long queries wait: what comes when the wait is too long is refused at once, and unread."""

from __future__ import annotations

import time
from collections.abc import Callable

FLOOR_CALLS = 16
"""So many may be under way whatever they take: a few callers with large batches are no overload."""

STANDING_S = 0.05
"""For so long the wait has to be above its bound before anything is refused: a burst that is answered by then was none
of too many calls."""

CALM_S = 1.0  # below the bound for so long, the next time counts as the first again


class Admission:
    """Decides which queries are let in; to be used on one thread.

    Where the expected wait is above its bound, and stands there, calls are refused until it is below. What waits goes
    on being answered meanwhile, so that callers who ask again at once are let in as places come free.

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
        self._calm_at = 0.0  # while refusing: when that is over unless the wait is above its bound again

    def lets_in(self, calls: int, expected_wait_s: float) -> bool:
        """Decide on a call that has just come.

        Parameters
        ----------
        calls : int
            Others that are under way.
        expected_wait_s : float
            How long its queries would wait for the others' answers.

        Returns
        -------
        bool
        """
        if calls < FLOOR_CALLS or expected_wait_s <= self._max_wait_s:
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
