"""Turning concurrent queries into few searches.

One thread owns the search (FAISS's GPU resources are not thread-safe, and OpenMP keeps a pool for every thread
that searches). Groups of queries are handed in from any thread; it takes what has gathered, drops what nobody waits
for any more, searches the rest in one call, and settles each group with its results.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from grpc_service.admission import Exertion
from grpc_service.errors import DeadlineExpiredError, DrainingError, QueueFullError
from grpc_service.traced import current_spans
from grpc_service.workers import as_exception

if TYPE_CHECKING:
    from grpc_service.traced import Span
    from jobs import Answer, Query

    Result = Answer | Exception
    Outcome = Sequence[Result] | Exception
    OnSearch = Callable[[Sequence["QueryGroup"], Sequence[Result], float, float], object]

ENOUGH_QUERIES = 128
"""A search of so many takes no longer for each query than a larger one: what else waits goes into the next one, so that
the replies of this one are on their way, and their callers' next calls read, while that is being searched."""

_log = logging.getLogger(__name__)


class QueryGroup(ABC):
    """Queries of one call, which are searched together.

    Parameters
    ----------
    queries : sequence of Query
        At least one.
    deadline : float, optional
        On the clock of `time.monotonic`; a group that is still waiting then is dropped.
    spans : tuple of opentelemetry.trace.Span, optional
        Of the call, where it is traced.
    came_at : float, optional
        When it came, on the same clock; None: now.
    """

    def __init__(
        self,
        queries: Sequence[Query],
        deadline: float | None,
        spans: tuple[Span, ...] = (),
        *,
        came_at: float | None = None,
    ) -> None:
        self.queries = queries
        self.deadline = deadline
        self.spans = spans
        self.came_at = time.monotonic() if came_at is None else came_at

    @property
    @abstractmethod
    def abandoned(self) -> bool:
        """Whether nobody waits for the outcome any more."""

    @abstractmethod
    def settle(self, outcome: Outcome) -> None:
        """Take the outcome: once, on the searching thread or the one that closes the batcher. Must not raise.

        Parameters
        ----------
        outcome : sequence or Exception
            One `Answer` or exception a query, in order; or what befell the group.
        """


class _Awaited(QueryGroup):
    """One that a coroutine waits for."""

    def __init__(self, queries: Sequence[Query], deadline: float | None) -> None:
        super().__init__(queries, deadline, current_spans())
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Sequence[Result]] = self.loop.create_future()

    @property
    def abandoned(self) -> bool:
        return self.future.done()

    def settle(self, outcome: Outcome) -> None:
        _wake(self.loop, [(self, outcome)])


class MicroBatcher:
    """A bounded queue of queries in front of one searching thread.

    Parameters
    ----------
    search : callable
        Answers a list of queries, one result a query in order; called from one thread only.
    queue_size : int
        Queries that may wait.
    max_batch : int
        Queries that one search takes. A group is never split; one that is larger is searched alone.
    max_wait_s : float
        How long the first query waits for others to join; 0 takes what is there.
    on_search : callable, optional
        Called on the searching thread behind each search: with the groups that it answered, one result or exception a
        query in order, and when it was begun and had them, on the clock of `time.monotonic`.
    """

    def __init__(
        self,
        search: Callable[[Sequence[Query]], Sequence[Result]],
        *,
        queue_size: int,
        max_batch: int,
        max_wait_s: float = 0.0,
        on_search: OnSearch | None = None,
    ) -> None:
        self._search = search
        self._on_search = on_search
        self._queue_size = queue_size
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        # Its waiting happens in C: a condition variable costs a wake-up more, and ten microseconds of Python a call.
        self._groups: queue.SimpleQueue[QueryGroup | None] = queue.SimpleQueue()
        self._next: QueryGroup | None = None  # did not fit into the batch before
        self._counting = threading.Lock()
        self._waiting_queries = 0
        self._came: deque[float] = deque()  # when each group came that waits
        self._exertion = Exertion(time.monotonic())
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="search", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs that searches."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Queries that wait for their search."""
        return self._waiting_queries

    async def submit(self, queries: Sequence[Query], *, deadline: float | None = None) -> Sequence[Result]:
        """Have queries answered together, in one state of the index.

        Parameters
        ----------
        queries : sequence of Query
            At least one.
        deadline : float, optional
            On the clock of `time.monotonic`; a group that is still waiting then is dropped.

        Returns
        -------
        sequence
            One `Answer` or exception a query, in order.

        Raises
        ------
        QueueFullError
            When the queries would make more wait than may.
        DrainingError
            When the batcher is closed, before or while they wait.
        DeadlineExpiredError
            When the deadline passed while they waited.
        Exception
            Whatever the search itself raised.
        """
        group = _Awaited(queries, deadline)
        self.put(group)
        return await group.future

    def put(self, group: QueryGroup) -> None:
        """Have a group answered; it will be settled. From any thread.

        Parameters
        ----------
        group : QueryGroup

        Raises
        ------
        QueueFullError, DrainingError
            As `submit`; then it will not be settled.
        """
        count = len(group.queries)
        with self._counting:
            if self._closed:
                raise _draining()
            if self._waiting_queries + count > self._queue_size:
                raise QueueFullError(
                    f"{self._waiting_queries} queries are waiting and {self._queue_size} may; try again shortly.",
                    retry_after_s=0.05,
                )
            self._waiting_queries += count
            self._came.append(group.came_at)
            self._groups.put(group)

    def oldest_wait_s(self) -> float:
        """Return how long the first of those that wait for their search has waited; 0 where nobody does."""
        with self._counting:
            return time.monotonic() - self._came[0] if self._came else 0.0

    def exerted_s(self) -> float:
        """Return for how long the searching thread has been at work, less its rest; see `Exertion`."""
        return self._exertion.seconds(time.monotonic())

    def close(self, timeout_s: float = 10.0) -> None:
        """Refuse new queries, fail those that wait, and let the search in progress finish.

        Parameters
        ----------
        timeout_s : float, optional
            How long to wait for that search.
        """
        with self._counting:
            self._closed = True
        self._refuse(self._left())  # so does the thread with what it has just taken
        self._groups.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            try:
                groups = self._gather()
                if groups is None:
                    return
                self._answer(groups)
            except BaseException:  # the thread must outlive anything, or every later query would wait for ever
                _log.exception("the searching thread met an unexpected error and goes on")

    def _gather(self) -> list[QueryGroup] | None:
        """Wait for work and take a batch of it; None when closed."""
        groups: list[QueryGroup] = []
        taken = 0
        group, self._next = self._next or self._first(), None
        until = time.monotonic() + self._max_wait_s
        while group is not None:
            if groups and (taken >= ENOUGH_QUERIES or taken + len(group.queries) > self._max_batch):
                self._next = group
                break
            groups.append(group)
            taken += len(group.queries)
            left_s = until - time.monotonic()
            try:
                group = self._groups.get(left_s > 0 and taken < self._max_batch, max(left_s, 0.0))
            except queue.Empty:
                break
        with self._counting:
            self._waiting_queries -= taken
            for _ in groups:
                self._came.popleft()
            closed = self._closed
        if closed:
            self._refuse([*groups, *self._left()])
            return None
        return groups

    def _first(self) -> QueryGroup | None:
        """Take what comes next, and note when there was nothing."""
        try:
            return self._groups.get_nowait()
        except queue.Empty:
            self._exertion.rest(time.monotonic())
        group = self._groups.get()
        self._exertion.work(time.monotonic())
        return group

    def _left(self) -> list[QueryGroup]:
        """Take all that waits."""
        left = [] if self._next is None else [self._next]
        while True:
            try:
                group = self._groups.get_nowait()
            except queue.Empty:
                return left
            if group is not None:
                left.append(group)

    def _refuse(self, groups: Sequence[QueryGroup]) -> None:
        _deliver([(group, _draining()) for group in groups])

    def _answer(self, groups: Sequence[QueryGroup]) -> None:
        now = time.monotonic()
        outcomes: list[tuple[QueryGroup, Outcome]] = []
        wanted: list[QueryGroup] = []
        for group in groups:
            if group.abandoned:  # its caller has left
                outcomes.append((group, _abandoned()))
            elif group.deadline is not None and group.deadline <= now:
                outcomes.append((group, _expired()))
            else:
                wanted.append(group)
        if wanted:
            # Those of one group stay together as they came: what they share is known then.
            (queries, *more) = (group.queries for group in wanted)
            if more:
                queries = [query for group in wanted for query in group.queries]
            results: Sequence[Result]
            try:
                results = self._search(queries)
                if len(results) != len(queries):
                    raise RuntimeError(f"The search gave {len(results)} results for {len(queries)} queries.")
            except BaseException as raised:  # this batch alone fails; the next one may go well
                error = as_exception(raised)
                outcomes += [(group, error) for group in wanted]
                results = [error] * len(queries)
            else:
                start = 0
                for group in wanted:
                    outcomes.append((group, results[start : start + len(group.queries)]))
                    start += len(group.queries)
            searched = time.monotonic()
        _deliver(outcomes)
        if wanted and self._on_search is not None:
            self._on_search(wanted, results, now, searched)


def _draining() -> DrainingError:
    return DrainingError("The server is being stopped; ask another one, or this one again shortly.")


def _expired() -> DeadlineExpiredError:
    return DeadlineExpiredError("The deadline passed before the search began; allow more time, or ask less often.")


def _abandoned() -> DeadlineExpiredError:
    return DeadlineExpiredError("The caller left before the search began.")


def _deliver(outcomes: Sequence[tuple[QueryGroup, Outcome]]) -> None:
    """Settle groups; those that coroutines wait for with one wake-up a loop, not one a query."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Awaited, Outcome]]] = {}
    for group, outcome in outcomes:
        if isinstance(group, _Awaited):
            by_loop.setdefault(group.loop, []).append((group, outcome))
        else:
            try:
                group.settle(outcome)
            except Exception:  # a reply that cannot be given is no reason to keep back those behind it
                _log.exception("a query's outcome could not be handed over; its caller will wait for its deadline")
    for loop, its_outcomes in by_loop.items():
        _wake(loop, its_outcomes)


def _wake(loop: asyncio.AbstractEventLoop, outcomes: Sequence[tuple[_Awaited, Outcome]]) -> None:
    def settle() -> None:
        for group, outcome in outcomes:
            if group.future.done():  # cancelled between the search and now: setting it would raise
                continue
            if isinstance(outcome, Exception):
                group.future.set_exception(outcome)
            else:
                group.future.set_result(outcome)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed: nobody waits for these any more
        _log.debug("%d answers came after their event loop had closed", len(outcomes))
