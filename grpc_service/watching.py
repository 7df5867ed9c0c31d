"""What happens in a server, told to whoever watches: counted, logged and traced, each where it is asked for.

The way of a call knows nothing but the functions here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import grpc

from grpc_service.call_log import CallLog
from grpc_service.figures import UNKNOWN, Figures
from grpc_service.traced import current_spans, tracing_of
from grpc_service.watch_options import WatchOptions

if TYPE_CHECKING:
    from grpc_service.batcher import QueryGroup, Result
    from grpc_service.core import CoreCall
    from jobs import IngestOutcome

_OK, _CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED


class Watch:
    """Sees what one server does.

    Parameters
    ----------
    options : WatchOptions, optional
    on_loop : callable, optional
        Has a function called by the server's event loop; by default it is called at once.

    Attributes
    ----------
    figures : Figures or None
        None where no metrics are told: then nothing is counted.
    tracing : Tracing or None

    Raises
    ------
    InvalidServerOptionError
        When traces are asked for, and what makes them is not installed.
    """

    def __init__(
        self, options: WatchOptions | None = None, on_loop: Callable[[Callable[[], object]], object] = lambda act: act()
    ) -> None:
        options = options or WatchOptions()
        self.figures = Figures() if options.metrics.port is not None else None
        self.tracing = tracing_of(options.tracing)
        self._log = CallLog(on_loop)

    @property
    def sees_searches(self) -> bool:
        """Whether searches are counted or traced: one that nobody sees need not be told."""
        return self.figures is not None or self.tracing is not None

    def call_ended(self, call: CoreCall, *, known: bool) -> None:
        """Note that a call's status has left; on gRPC's thread.

        Parameters
        ----------
        call : CoreCall
        known : bool
            Whether its method is one of the server's.
        """
        if self.figures is not None:
            self.figures.call_ended(call)
        if call.code is not _OK and call.code is not _CANCELLED:
            self._log.call_ended(call, call.method if known else UNKNOWN)

    def search_ended(
        self, groups: Sequence[QueryGroup], results: Sequence[Result], began: float, searched: float
    ) -> None:
        """Note that a search's replies are on their way; see `grpc_service.batcher.MicroBatcher`."""
        sent = time.monotonic()
        if self.figures is not None:
            self.figures.search_ended((group.came_at for group in groups), results, began, searched, sent)
        if self.tracing is not None:
            for group in groups:
                if group.spans:
                    self.tracing.stage_ended(group.spans, "wait", group.came_at, began)
                    self.tracing.stage_ended(group.spans, "search", began, searched)
                    self.tracing.stage_ended(group.spans, "pack", searched, sent)

    def ingest_stage_ended(self, stage: str, seconds: float) -> None:
        """Note a stretch of work of an ingest, on the thread that did it."""
        if self.figures is not None:
            self.figures.stage_ended(stage, seconds)
        if self.tracing is not None and (spans := current_spans()):
            now = time.monotonic()
            self.tracing.stage_ended(spans, stage, now - seconds, now)

    def took_in(self, outcomes: Sequence[IngestOutcome]) -> None:
        """Note what became of releases that went in together."""
        if self.figures is not None:
            self.figures.took_in(outcomes)

    def synced(self, *, failed: bool) -> None:
        """Note a look for what other processes did to the home."""
        if self.figures is not None:
            self.figures.synced(failed=failed)
