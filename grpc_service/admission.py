"""Bounding by time how long queries wait: what comes while others wait too long is refused at once, and unread."""

from __future__ import annotations

from dataclasses import dataclass

FLOOR_CALLS = 16
"""So many may be under way whatever they take: a few callers with large batches are no overload."""

STANDING_S = 0.05
"""For so long the search has to have been at work before anything is refused: a burst that is answered by then was none
of too many calls, and neither is one slow search."""

REST = 10.0
"""A pause makes up for so many times as long of work. Were every pause the end of the overload, the shortest would let
in all that comes in `STANDING_S`, again and again."""

MOST_S = 2 * STANDING_S
"""More work than this is not counted, so that a pause of a hundredth of a second is the end of any overload."""


class Exertion:
    """For how long a thread has been at work, less what it has rested since. Any thread may ask.

    Times are on one clock, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._then = (0.0, now, False)  # exerted, when, and whether it has worked since

    def work(self, now: float) -> None:
        """Note that it begins to work."""
        self._then = (self.seconds(now), now, True)

    def rest(self, now: float) -> None:
        """Note that it has nothing to do."""
        self._then = (self.seconds(now), now, False)

    def seconds(self, now: float) -> float:
        """Return it, from 0 to `MOST_S`."""
        exerted, since, works = self._then
        return min(exerted + now - since, MOST_S) if works else max(exerted - REST * (now - since), 0.0)


@dataclass(frozen=True)
class Admission:
    """Decides which queries are let in.

    A search takes all that waits, so that the oldest of those has waited for as long as the search in progress has been
    going on, and under overload searches grow from one to the next. Where nothing is let in once the oldest has waited
    for the bound, each brings in what came in that time, and no more; and the searching thread is hardly ever without
    work, by which overload is known.

    Parameters
    ----------
    max_wait_s : float
        Above 0.
    """

    max_wait_s: float

    def lets_in(self, calls: int, oldest_wait_s: float, exerted_s: float) -> bool:
        """Decide on a call that has just come.

        Parameters
        ----------
        calls : int
            Others that are under way.
        oldest_wait_s : float
            How long the first of those has waited for its search to begin; 0 where none waits.
        exerted_s : float
            Of the searching thread, see `Exertion`.

        Returns
        -------
        bool
        """
        return calls < FLOOR_CALLS or oldest_wait_s <= self.max_wait_s or exerted_s < STANDING_S
