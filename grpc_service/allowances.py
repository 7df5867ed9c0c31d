"""How much one caller may ask: calls, queries and bytes a second, and calls at once; of a bounded number of callers."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from grpc_service.access_options import LimitOptions

if TYPE_CHECKING:
    from grpc_service.core import CoreCall

MAX_CALLERS = 4096
"""So many are remembered, those seen last: about a megabyte. Who comes back behind so many others begins anew."""

TOO_MANY_AT_ONCE_S = 0.1  # the time to wait that is told to who has as many calls in progress as it may

Clock = Callable[[], float]


class Allowance:
    """What one caller may still ask.

    Calls begin and end on gRPC's thread, which takes no lock for them; `charge` is of any thread.

    Each kind is one number: the moment up to which what was asked has used the time up. It lies in the past while
    something is left, no further than the burst; in the future while something is owed.

    A call is let in before its message is read, so that what the message holds is charged behind it, and may be owed:
    then the next call waits. Nothing is refused for being large by itself; `ServerOptions` bounds messages.

    Parameters
    ----------
    options : LimitOptions
    clock : callable
        In seconds.

    Attributes
    ----------
    under_way : set of CoreCall
        The calls that have begun and not ended.
    """

    __slots__ = (
        "_at_most", "_burst", "_bytes", "_bytes_each", "_calls", "_calls_burst", "_calls_each", "_clock", "_lock",
        "_queries", "_queries_each", "under_way",
    )  # fmt: skip

    def __init__(self, options: LimitOptions, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls = self._queries = self._bytes = -math.inf
        self._calls_each = _each_s(options.calls_per_s)
        self._queries_each = _each_s(options.queries_per_s)
        self._bytes_each = _each_s(options.bytes_per_s)
        self._burst = options.burst_s
        # At least one: a rate below one a second lets one through all the same, now and then.
        self._calls_burst = max(options.burst_s, self._calls_each)
        self._at_most = options.calls_at_once or math.inf
        self.under_way: set[CoreCall] = set()

    def begin(self, call: CoreCall) -> float:
        """Begin a call.

        Parameters
        ----------
        call : CoreCall

        Returns
        -------
        float
            0 where it may begin, which is then counted until `end`; else when another try makes sense, in seconds.
        """
        now = self._clock()
        calls = max(self._calls, now - self._calls_burst) + self._calls_each
        wait_s = max(calls, self._queries, self._bytes) - now
        if wait_s > 0.0:
            return wait_s
        if len(self.under_way) >= self._at_most:
            return TOO_MANY_AT_ONCE_S
        self._calls = calls
        self.under_way.add(call)
        return 0.0

    def end(self, call: CoreCall) -> None:
        """End a call that was begun."""
        self.under_way.discard(call)

    def charge(self, *, queries: int = 0, size: int = 0) -> float:
        """Count what a message held.

        Parameters
        ----------
        queries : int
        size : int
            In bytes.

        Returns
        -------
        float
            For how long something is owed now, in seconds; 0 where nothing is. A stream reads on behind that.
        """
        with self._lock:
            now = self._clock()
            full = now - self._burst
            self._queries = max(self._queries, full) + queries * self._queries_each
            self._bytes = max(self._bytes, full) + size * self._bytes_each
            return max(self._queries - now, self._bytes - now, 0.0)


def _each_s(per_s: float) -> float:
    """Return how much time one of a kind uses up; none, where any number may come."""
    return 1.0 / per_s if per_s else 0.0


class Allowances:
    """The allowances of those who came last. Of any thread.

    Parameters
    ----------
    options : LimitOptions
        The same for each.
    at_most : int
        So many are kept.
    clock : callable
        In seconds.
    """

    def __init__(self, options: LimitOptions, at_most: int = MAX_CALLERS, clock: Clock = time.monotonic) -> None:
        self._options = options
        self._at_most = at_most
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Allowance] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, name: str) -> Allowance:
        """Return a caller's own, which is full where it is new."""
        with self._lock:
            found = self._known.get(name)
            if found is None:
                found = self._known[name] = Allowance(self._options, self._clock)
                if len(self._known) > self._at_most:
                    self._known.popitem(last=False)
            else:
                self._known.move_to_end(name)
            return found
