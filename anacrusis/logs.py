"""The log: lines for people, or JSON objects for machines; either names the call that a line is about."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from grpc_service.request_ids import current_request_id


def begin_logging(level: str, form: Literal["text", "json"]) -> None:
    """Log to standard error from now on, unless the process logs already.

    Parameters
    ----------
    level : str
        Least severe message that is logged.
    form : {"text", "json"}
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which instruction sets it has not got


class TextLines(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the base's
        """Add the request id, where the line is about a call."""
        request_id = _request_id(record)
        return super().formatMessage(record) + (f" [request {request_id}]" if request_id else "")


class JsonLines(logging.Formatter):
    """One JSON object a line.

    Its keys are ``time`` (UTC, ISO 8601), ``level``, ``logger`` and ``message``; where there are any ``request_id``
    (joined by commas, where a line is about several calls), ``exception`` (a traceback), and the fields of the message.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := _request_id(record):
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _request_id(record: logging.LogRecord) -> str:
    """Give the id that was logged, else that of the call whose work is being done here."""
    return getattr(record, "request_id", "") or current_request_id()
