"""Turning releases that wait into few ingests.

An ingest of one release costs about as much as one of fifty: nearly all of it is look-ups and durable writes, which the
releases of one call to the engine share. So what waits while others are being ingested goes in together.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpc_service.errors import DeadlineExpiredError, DrainingError, QueueFullError
from grpc_service.request_ids import current_request_id, set_request_id
from grpc_service.traced import current_spans, set_spans
from grpc_service.workers import as_exception

if TYPE_CHECKING:
    from grpc_service.traced import Span
    from jobs import IngestOutcome, Release

GROUP_RELEASES = 64
GROUP_BYTES = 1 << 20
"""Of encoded audio that one group holds, unless a single release has more: what is decoded by one thread, one after the
other, before the first caller has an answer. About a minute of music; what is longer gains nothing from company."""

GATHER_S = 0.1
"""Behind a group that was not alone the next one waits until as many are there again, at most so long. Callers who have
their answers together send the next releases together, and those that send steadily fill the time: the first would else
be ingested alone, at nearly the price of all. Queries get the processor in between."""

RETRY_AFTER_S = 1.0

# What is wrong with the home is wrong for all releases: nobody waits for it to be found out one by one.
_OF_THE_HOME = frozenset({"HOME_DAMAGED", "HOME_FULL", "HOME_UNREACHABLE", "READ_ONLY", "STORE_CLOSED"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Waiting:
    release: Release
    future: asyncio.Future[IngestOutcome]
    deadline: float | None
    request_id: str
    spans: tuple[Span, ...]

    @property
    def size(self) -> int:
        """Bytes of encoded audio; a file's are read later, and it goes alone."""
        audio = self.release.audio
        return len(audio) if isinstance(audio, bytes) else GROUP_BYTES


class IngestGatherer:
    """A bounded queue of releases in front of the engine; to be used on one event loop.

    One release alone is begun at once. Short ones that come meanwhile wait for its end, and then for company
    (`GATHER_S`), and are taken together; long ones (`GROUP_BYTES`) each have a thread, as long as there is one.

    Parameters
    ----------
    ingest : callable
        Takes releases in, one outcome a release in order. No two calls at one time hold the same track.
    threads : int
        Calls of it at one time.
    queue_size : int
        Releases that may wait beyond those that are being ingested.
    """

    def __init__(
        self, ingest: Callable[[Sequence[Release]], Sequence[IngestOutcome]], *, threads: int, queue_size: int
    ) -> None:
        self._ingest = ingest
        self._queue_size = queue_size
        self._free = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest")
        self._waiting: deque[_Waiting] = deque()
        self._in_hand: set[str] = set()
        self._gathered = False  # a group of short ones is under way, or is waiting for company
        self._expected = 0  # short ones that it waits for
        self._gathering: asyncio.TimerHandle | None = None  # ends that wait
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def held(self) -> int:
        """Releases that wait or are being ingested."""
        return len(self._waiting) + len(self._in_hand)

    async def run(self, release: Release, *, deadline: float | None = None) -> IngestOutcome:
        """Take a release in.

        When the caller is cancelled, a release that still waits is dropped; one that was begun is ingested.

        Parameters
        ----------
        release : Release
        deadline : float, optional
            On the clock of `time.monotonic`; a release that is still waiting then is dropped.

        Returns
        -------
        IngestOutcome
            Its own. Releases of one track are taken in in the order in which they came.

        Raises
        ------
        QueueFullError
            When as many wait as may.
        DrainingError
            When the server is being stopped.
        DeadlineExpiredError
            When the deadline passed while it waited.
        Exception
            Whatever the engine raised for this release.
        """
        if self._closed:
            raise _draining()
        future: asyncio.Future[IngestOutcome] = asyncio.get_running_loop().create_future()
        one = _Waiting(release, future, deadline, current_request_id(), current_spans())
        self._waiting.append(one)
        self._begin()
        if len(self._waiting) > self._queue_size and one in self._waiting:
            self._waiting.remove(one)
            raise QueueFullError(
                f"{self.held} releases are being ingested or waiting, as many as may; try again shortly.",
                retry_after_s=RETRY_AFTER_S,
            )
        return await one.future

    def refuse(self) -> None:
        """Take nothing new, and fail what waits."""
        self._closed = True
        while self._waiting:
            _settle(self._waiting.popleft(), _draining())

    def close(self) -> None:
        """Wait for what is being ingested; from any thread, behind `refuse`. Blocks."""
        self._pool.shutdown(wait=True)

    def _begin(self) -> None:
        """Begin what there is a thread for."""
        if self._gathering is not None and self._has_company():
            self._gathering.cancel()
            self._end_gathering()
        while self._free and not self._closed and (group := self._take()):
            short = _is_short(group[0])
            self._free -= 1
            self._gathered = self._gathered or short
            self._in_hand.update(one.release.track_id for one in group)
            task = asyncio.ensure_future(self._carry_out(group, short))
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)

    def _take(self) -> list[_Waiting]:
        """Take a group out of what waits; empty where nothing can be begun."""
        group: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        passed_over: set[str] = set()
        size, now = 0, time.monotonic()
        while self._waiting:
            one = self._waiting.popleft()
            track_id = one.release.track_id
            if one.future.done():  # its caller has left
                continue
            if one.deadline is not None and one.deadline <= now:
                _settle(one, _expired())
                continue
            # Of one track, one at a time, and none before those that came earlier.
            free = track_id not in self._in_hand and track_id not in passed_over
            if free and not group and (not self._gathered or not _is_short(one)):
                group.append(one)
                size = one.size
            elif free and group and len(group) < GROUP_RELEASES and size + one.size <= GROUP_BYTES:
                group.append(one)
                size += one.size
            else:
                left.append(one)
            passed_over.add(track_id)
        self._waiting = left
        return group

    async def _carry_out(self, group: Sequence[_Waiting], short: bool) -> None:
        releases = [one.release for one in group]
        results: Sequence[IngestOutcome | Exception]
        try:
            context = contextvars.copy_context()
            results = await asyncio.get_running_loop().run_in_executor(self._pool, context.run, self._results, group)
        except Exception as error:  # the pool was shut down behind a caller's back
            results = [error] * len(group)
        self._free += 1
        self._in_hand.difference_update(release.track_id for release in releases)
        if short:
            self._expected = min(len(group) + len(self._short_ones()), GROUP_RELEASES, self._queue_size)
            if self._expected > 1:
                self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._gather_no_more)
            else:
                self._gathered = False
        for one, result in zip(group, results, strict=True):
            _settle(one, result)
        self._begin()

    def _short_ones(self) -> list[_Waiting]:
        return [one for one in self._waiting if _is_short(one) and not one.future.done()]

    def _has_company(self) -> bool:
        there = self._short_ones()
        return len(there) >= self._expected or sum(one.size for one in there) >= GROUP_BYTES

    def _gather_no_more(self) -> None:
        self._end_gathering()
        self._begin()

    def _end_gathering(self) -> None:
        self._gathering = None
        self._gathered = False

    def _results(self, group: Sequence[_Waiting]) -> list[IngestOutcome | Exception]:
        """Ingest a group, and each of it by itself where that fails: one caller's trouble is no other's."""
        # What is logged meanwhile, and how long it takes, is about all of their calls.
        set_request_id(",".join(one.request_id for one in group))
        set_spans(tuple(span for one in group for span in one.spans))
        releases = [one.release for one in group]
        try:
            outcomes = list(self._ingest(releases))
            if len(outcomes) != len(releases):
                raise RuntimeError(f"The ingest gave {len(outcomes)} outcomes for {len(releases)} releases.")
            return list(outcomes)
        except BaseException as raised:  # of whatever kind: the callers and the queue behind them wait for an outcome
            error = as_exception(raised)
            if len(releases) == 1 or getattr(error, "reason", "") in _OF_THE_HOME:
                return [error] * len(releases)
            _log.warning("a group of %d ingests failed (%s); each is tried by itself", len(releases), error)
            return [result for one in group for result in self._results([one])]


def _is_short(one: _Waiting) -> bool:
    return one.size < GROUP_BYTES


def _settle(one: _Waiting, result: IngestOutcome | Exception) -> None:
    if one.future.done():  # cancelled meanwhile: setting it would raise
        return
    if isinstance(result, Exception):
        one.future.set_exception(result)
    else:
        one.future.set_result(result)


def _draining() -> DrainingError:
    return DrainingError("The server is being stopped; send it to another one, or again shortly.")


def _expired() -> DeadlineExpiredError:
    return DeadlineExpiredError("The deadline passed before the work began; allow more time.")
