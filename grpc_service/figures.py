"""What a server counts of itself, as plain numbers: all that the way of a call pays for its metrics.

Each figure is written by one thread, or under a lock, and may be read from any; `grpc_service.metrics` names and shows
them. What is told when it is asked for, such as the length of a queue, is not counted here.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import grpc

from grpc_service.errors import reason_of

if TYPE_CHECKING:
    from grpc_service.batcher import Result
    from grpc_service.core import CoreCall
    from jobs import IngestOutcome

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Upper bounds of what durations are counted by: from a single search to a long upload."""

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
UNKNOWN = "unknown"  # the method of calls that nobody answers: what strangers make up must not become figures
_OK = grpc.StatusCode.OK


class Histogram:
    """Counts values by upper bounds.

    Parameters
    ----------
    bounds : sequence of float
        Rising.

    Attributes
    ----------
    counts : list of int
        Values up to each bound and above the one before it; at the end those above all bounds.
    total : float
        Their sum.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class MethodFigures:
    """Calls of one method that have ended: how many went well, how many did not by code, and how long each took."""

    __slots__ = ("failed", "ok", "seconds")

    def __init__(self) -> None:
        self.ok = 0
        self.failed: Counter[str] = Counter()
        self.seconds = Histogram(SECONDS)


class Figures:
    """All that one server counts.

    Attributes
    ----------
    methods : dict of str to MethodFigures
        By full name. On gRPC's thread, and so are `reasons`: why calls were refused or failed.
    query_stage_s : dict of str to Histogram
        ``wait``: of each call, until its search began. ``search`` and ``pack``: of each search, until there were
        results, and until the replies were on their way. On the searching thread, and so are `search_queries`, how many
        one search took, and `refused_queries`, by reason, also those within a batch that went well.
    ingest_stage_s : dict of str to Histogram
        Of each stretch of work, as `jobs.ingest.StageClock` names them. Under the lock, and so are `group_releases`,
        how many went in together; `states`, what became of them; `refused_releases`, by reason; `tiers`, where those
        were placed that were new or changed; `confidence`, of those that were projected.
    syncs : Counter of str
        Looks for what other processes did to the home, ``done`` and ``failed``. On the event loop, and so is
        `last_sync_at`: when one was done, in seconds since 1970, 0 before the first.
    """

    def __init__(self) -> None:
        self.methods = {UNKNOWN: MethodFigures()}
        self.reasons: Counter[str] = Counter()
        self.query_stage_s = {stage: Histogram(SECONDS) for stage in ("wait", "search", "pack")}
        self.search_queries = Histogram(SIZES)
        self.refused_queries: Counter[str] = Counter()
        self._counting = threading.Lock()
        self.ingest_stage_s: dict[str, Histogram] = {}
        self.group_releases = Histogram(SIZES)
        self.states: Counter[str] = Counter()
        self.refused_releases: Counter[str] = Counter()
        self.tiers: Counter[str] = Counter()
        self.confidence = Histogram(CONFIDENCES)
        self.syncs: Counter[str] = Counter({"done": 0, "failed": 0})
        self.last_sync_at = 0.0

    def know(self, method: str) -> None:
        """Count calls of a method apart; before the first one."""
        self.methods[method] = MethodFigures()

    def call_ended(self, call: CoreCall) -> None:
        """Count a call whose status has left."""
        method = self.methods.get(call.method) or self.methods[UNKNOWN]
        if call.code is _OK:
            method.ok += 1
        else:
            method.failed[call.code.name] += 1
            if call.reason:
                self.reasons[call.reason] += 1
        method.seconds.add(time.monotonic() - call.came_at)

    def search_ended(
        self, came_at: Iterable[float], results: Sequence[Result], began: float, searched: float, sent: float
    ) -> None:
        """Count a search.

        Parameters
        ----------
        came_at : iterable of float
            When each call's queries came, on the clock of `time.monotonic`.
        results : sequence
            One `Answer` or exception a query.
        began, searched, sent : float
            When it was begun, had its results, and had handed them over, on the same clock.
        """
        wait, search, pack = self.query_stage_s.values()
        for moment in came_at:
            wait.add(began - moment)
        search.add(searched - began)
        pack.add(sent - searched)
        self.search_queries.add(len(results))
        for result in results:
            if isinstance(result, Exception):
                self.refused_queries[reason_of(result)] += 1

    def stage_ended(self, stage: str, seconds: float) -> None:
        """Count a stretch of work of an ingest."""
        with self._counting:
            self.ingest_stage_s.setdefault(stage, Histogram(SECONDS)).add(seconds)

    def took_in(self, outcomes: Sequence[IngestOutcome]) -> None:
        """Count what became of releases that went in together."""
        with self._counting:
            self.group_releases.add(len(outcomes))
            for outcome in outcomes:
                state = outcome.state.value
                self.states[state] += 1
                if outcome.error is not None:
                    self.refused_releases[reason_of(outcome.error)] += 1
                if outcome.tier is not None and state in ("created", "updated"):
                    self.tiers[outcome.tier.name.lower()] += 1
                    if outcome.confidence is not None and outcome.tier.name != "COLLABORATIVE":
                        self.confidence.add(outcome.confidence)

    def synced(self, *, failed: bool) -> None:
        """Count a look for what other processes did."""
        self.syncs["failed" if failed else "done"] += 1
        if not failed:
            self.last_sync_at = time.time()
