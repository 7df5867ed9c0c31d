"""Bounding by time how long queries wait: what comes when the wait is too long is refused at once, and cheaply.

Where a server is asked for more than it can answer, the calls wait where no code of ours sees them: gRPC's core hands
one call of a method to Python at a time, and the event loop takes several turns for each. The core counts the calls
that it was sent and those that it has finished, for its introspection service ("channelz"); what lies between has
arrived and waits for its answer, or for Python to take it up.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc  # what the package grpcio-channelz reads, too; grpcio is pinned

FLOOR_CALLS = 16
"""So many may be under way whatever they take: a few callers with large batches are no overload."""

STANDING_S = 0.05
"""For so long the wait has to be above its bound before anything is refused: a burst that is answered by then was none
of too many calls."""

CALM_S = 1.0  # below the bound for so long, the next time counts as the first again

LEAST_SHARE = 0.1
"""Of the calls, this many are let in however many come: callers that ask again at once may not starve themselves."""

_QUIET_COUNT_S, _BUSY_COUNT_S = 0.05, 0.02  # between two counts, which cost 0.1 ms, and more of a busy core
_SMOOTHING = 1 / 32
_OUTLIER = 4.0  # times the smoothed time: one pause of the process says nothing of what a call takes
_creating = threading.Lock()


class CoreCalls:
    """Calls that one server of this process has been sent and has not finished, as gRPC's core counts them."""

    def __init__(self) -> None:
        self._server_id = -1

    def watched_server(self, options: Sequence[tuple[str, Any]], **arguments: Any) -> grpc.aio.Server:
        """Make the server whose calls are counted.

        Parameters
        ----------
        options : sequence of (str, value)
            Channel arguments.
        **arguments
            Of `grpc.aio.server`.
        """
        with _creating:
            server = grpc.aio.server(options=[*options, ("grpc.enable_channelz", 1)], **arguments)
            # The core numbers whatever it introspects, and lists servers a hundred at a time: the last is the new one.
            found = [0]
            while found:
                page = json.loads(cygrpc.channelz_get_servers(self._server_id + 1)).get("server", [])
                found = [int(one["ref"]["serverId"]) for one in page]
                self._server_id = max([self._server_id, *found])
        return server

    def unfinished(self) -> int:
        """Count them."""
        data = json.loads(cygrpc.channelz_get_server(self._server_id))["server"]["data"]
        started, succeeded, failed = (
            int(data.get(name, 0)) for name in ("callsStarted", "callsSucceeded", "callsFailed")
        )
        return started - succeeded - failed


class Admission:
    """Decides which queries are let in; to be used on one event loop.

    The expected wait is the number of calls that are there times the time that one takes: the measured time between
    two that are done with, answered or refused, while others are there; and no less than the time since the last one
    was. Above `max_wait_s`, and standing, so many are refused that it falls: none at `max_wait_s`, all but
    `LEAST_SHARE` at twice as long.

    Parameters
    ----------
    unfinished : callable
        Counts the calls that have arrived and are not finished, also those that nobody has taken up.
    max_wait_s : float
        Above 0.
    clock : callable
        In seconds.

    Attributes
    ----------
    others : int
        Of those, the ones that are no queries; whoever handles them counts them.
    """

    def __init__(
        self, unfinished: Callable[[], int], max_wait_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._unfinished = unfinished
        self._max_wait_s = max_wait_s
        self._clock = clock
        self.others = 0
        self._under_way = 0
        self._waiting = 0  # queries, by the last count
        self._counted_at = -1.0
        self._call_s = 0.0  # smoothed
        self._moved_at = 0.0  # when the last one was done with, or the first one came
        self._busy = False  # whether others were there then
        self._above_since: float | None = None
        self._calm_at = 0.0  # while refusing: when that is over unless the wait is above its bound again
        self._credit = 0.0

    def expected_wait_s(self, now: float) -> float:
        """By the last count."""
        stalled_s = now - self._moved_at if self._under_way else 0.0
        return max(self._waiting * self._call_s, stalled_s)

    def lets_in(self) -> bool:
        """Decide on a query that has just been taken up; one that is let in has to be `begin`-ed."""
        now = self._clock()
        every_s = _BUSY_COUNT_S if self._waiting > FLOOR_CALLS else _QUIET_COUNT_S
        if now - self._counted_at >= every_s:
            self._counted_at = now
            self._waiting = max(self._unfinished() - self.others, 0)
            self._look(now)
        if now >= self._calm_at or self._waiting <= FLOOR_CALLS:
            return True
        share = 2.0 - self.expected_wait_s(now) / self._max_wait_s
        self._credit += min(max(share, LEAST_SHARE), 1.0)
        if self._credit >= 1.0:
            self._credit -= 1.0
            return True
        self._waiting -= 1
        self._done(now)
        return False

    def _look(self, now: float) -> None:
        """See whether too long a wait stands."""
        if self._waiting <= FLOOR_CALLS or self.expected_wait_s(now) <= self._max_wait_s:
            self._above_since = None
            return
        if self._above_since is None:
            self._above_since = now
        if now < self._calm_at or now - self._above_since >= STANDING_S:
            self._calm_at = now + CALM_S

    def begin(self) -> None:
        """Count a query that is being worked on."""
        if not self._under_way:
            self._moved_at, self._busy = self._clock(), False
        self._under_way += 1

    def end(self) -> None:
        """Count one that is answered, or has failed."""
        self._under_way -= 1
        self._waiting = max(self._waiting - 1, 0)
        self._done(self._clock())

    def _done(self, now: float) -> None:
        if self._busy:
            took = now - self._moved_at
            if not self._call_s:
                self._call_s = took
            self._call_s += (min(took, _OUTLIER * self._call_s) - self._call_s) * _SMOOTHING
        self._moved_at, self._busy = now, self._under_way > 0
