"""Bounding by time how long queries wait: what comes while others wait too long is refused at once, and unread."""

from __future__ import annotations

from dataclasses import dataclass

FLOOR_CALLS = 16
"""So many may be under way whatever they take: a few callers with large batches are no overload."""

STANDING_S = 0.05
"""For so long the search has to have been without a pause before anything is refused: a burst that is answered by then
was none of too many calls, and neither is one slow search."""


@dataclass(frozen=True)
class Admission:
    """Decides which queries are let in.

    A search takes all that waits, so that the oldest of those has waited for as long as the search in progress has been
    going on, and under overload searches grow from one to the next. Where nothing is let in once the oldest has waited
    for the bound, each brings in what came in that time, and no more; and the searching thread is never without work,
    by which overload is known.

    Parameters
    ----------
    max_wait_s : float
        Above 0.
    """

    max_wait_s: float

    def lets_in(self, calls: int, oldest_wait_s: float, busy_s: float) -> bool:
        """Decide on a call that has just come.

        Parameters
        ----------
        calls : int
            Others that are under way.
        oldest_wait_s : float
            How long the first of those has waited for its search to begin; 0 where none waits.
        busy_s : float
            For how long the search has been without a pause.

        Returns
        -------
        bool
        """
        return calls < FLOOR_CALLS or oldest_wait_s <= self.max_wait_s or busy_s < STANDING_S
