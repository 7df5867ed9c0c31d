"""A line in the log for each call that was refused or failed; none for those that went well.

It says method, code, reason, time and request id, and in JSON who called. The sentence that the caller got is left out:
it may hold what the caller sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import grpc

from grpc_service.core import CoreCall
from grpc_service.request_ids import REQUEST_ID_KEY

LINES_A_SECOND = 10
"""Of one reason. A flood of refusals must not become one of lines: the next line says how many were left out."""

_OURS = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS}
)
_log = logging.getLogger(__name__)


@dataclass
class _Lines:
    """How much was said of one reason: in which second, how many lines, and what was left out since the last one."""

    second: int = -1
    written: int = 0
    left_out: int = 0


class CallLog:
    """Logs calls that did not go well; they are told on gRPC's thread.

    Parameters
    ----------
    write : callable
        Has a function called soon, elsewhere: whoever reads the log may stall, and gRPC's thread must not.
    clock : callable
        In seconds.
    """

    def __init__(
        self, write: Callable[[Callable[[], object]], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._lines: dict[str, _Lines] = {}  # by reason, of which there are as many as we know

    def call_ended(self, call: CoreCall, method: str) -> None:
        """Log a call.

        Parameters
        ----------
        call : CoreCall
            That neither went well nor was left by its caller.
        method : str
            Its name, or what those of unknown methods are called.
        """
        now = self._clock()
        code, reason, ms = call.code.name, call.reason, 1e3 * (now - call.came_at)
        lines = self._lines.setdefault(reason or code, _Lines())
        if lines.second != int(now):
            lines.second, lines.written = int(now), 0
        lines.written += 1
        if lines.written > LINES_A_SECOND:
            lines.left_out += 1
            return
        line = partial(
            _log.log,
            logging.WARNING if call.code in _OURS else logging.INFO,
            "%s ended with %s%s after %.1f ms%s",
            *(method, code, f" ({reason})" if reason else "", ms),
            f"; {lines.left_out} more like it were left out before" if lines.left_out else "",
            extra={
                "request_id": dict(call.trailers).get(REQUEST_ID_KEY, ""),
                "fields": {
                    **{"method": method, "code": code, "reason": reason, "caller": call.caller.name},
                    **{"ms": ms, "left_out": lines.left_out},
                },
            },
        )
        lines.left_out = 0
        self._write(line)
