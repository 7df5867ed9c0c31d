"""What the servicers of one server share: the engine and the bounded places in front of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from grpc_service.batcher import MicroBatcher
from grpc_service.call_context import CallContext
from grpc_service.errors import DeadlineExpiredError
from grpc_service.gathering import IngestGatherer
from grpc_service.options import ServerOptions
from grpc_service.ports import ServedEngine
from grpc_service.watching import Watch
from grpc_service.workers import BoundedPool, ByteBudget

if TYPE_CHECKING:
    from jobs import IngestOutcome, Release

FEEDBACK_THREADS = 2  # apart from ingests, so that a batch of new releases does not hold the listeners' answer up
FEEDBACK_QUEUE_SIZE = 64  # calls that may wait beyond those
LOOKUP_THREADS = 4  # reads of the store are short and release the GIL; more would only queue on its locks


class Work:
    """An engine behind bounded queues.

    Parameters
    ----------
    engine : ServedEngine
        What does the work.
    options : ServerOptions
        How much may wait.
    watch : Watch, optional
        Sees what is done.

    Attributes
    ----------
    searches : MicroBatcher
        For queries.
    ingests : IngestGatherer
        For tracks that come in.
    lookups : BoundedPool
        For short reads and withdrawals.
    feedback : BoundedPool
        For listeners' feedback.
    refreshes : BoundedPool
        One refresh at a time; a second one is refused.
    uploads : ByteBudget
        For the bytes of unfinished uploads.
    draining : asyncio.Event
        Set once the server is told to stop.
    """

    def __init__(self, engine: ServedEngine, options: ServerOptions, watch: Watch | None = None) -> None:
        self.engine = engine
        self.options = options
        self.watch = watch or Watch()
        engine.watch_stages(self.watch.ingest_stage_ended)
        self.searches = MicroBatcher(
            engine.search,
            queue_size=options.query_queue_size,
            max_batch=options.max_batch_queries,
            max_wait_s=options.max_wait_s,
            on_search=self.watch.search_ended if self.watch.sees_searches else None,
        )
        self.ingests = IngestGatherer(
            self._ingest,
            threads=options.ingest_threads,
            queue_size=options.ingest_queue_size,
        )
        self.lookups = BoundedPool(
            "lookup", threads=LOOKUP_THREADS, queue_size=options.max_concurrent_rpcs, retry_after_s=0.1
        )
        self.feedback = BoundedPool(
            "feedback", threads=FEEDBACK_THREADS, queue_size=FEEDBACK_QUEUE_SIZE, retry_after_s=0.5
        )
        self.refreshes = BoundedPool("refresh", threads=1, queue_size=0, retry_after_s=30.0)
        self.uploads = ByteBudget(options.upload_buffer_bytes)
        self.draining = asyncio.Event()

    def _ingest(self, releases: Sequence[Release]) -> Sequence[IngestOutcome]:
        outcomes = self.engine.ingest(releases)
        self.watch.took_in(outcomes)
        return outcomes

    def close(self) -> None:
        """Fail what waits, let what is in progress finish, and close the engine. Blocks; behind `ingests.refuse`."""
        self.searches.close()
        for pool in (self.ingests, self.lookups, self.feedback, self.refreshes):
            pool.close()
        self.engine.close()


def deadline_of(context: CallContext) -> float | None:
    """Return when a call's answer stops being wanted.

    Parameters
    ----------
    context : CallContext
        The call.

    Returns
    -------
    float or None
        On the clock of `time.monotonic`; None for a call without a deadline.

    Raises
    ------
    DeadlineExpiredError
        When that was before now.
    """
    remaining = context.time_remaining()
    if remaining is None:
        return None
    if remaining <= 0:
        raise DeadlineExpiredError("The deadline passed before the work began; allow more time.")
    return time.monotonic() + remaining
