"""Reading a file of listeners' events, and recording it: CSV, JSON Lines or Parquet, a row an event.

``user_id``, ``track_id`` and ``action`` (``play`` or ``skip``) are needed; ``position`` (in the session, from 1),
``timestamp`` (ISO 8601 or a timestamp column; UTC where it names no zone) and ``event_id`` are taken where they are
there; further columns are left alone. A wrong row never spoils the others.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index import FeedbackAction, FeedbackEvent
from jobs.errors import FeedbackError, FeedbackFileError
from jobs.feedback import FeedbackState, WarmedTrack
from jobs.input_file import file_size
from jobs.progress import OnProgress, Progress, silent
from jobs.release import MAX_ID_CHARACTERS

if TYPE_CHECKING:
    from jobs.engine import Engine

REQUIRED_COLUMNS = ("user_id", "track_id", "action")
COLUMNS = (*REQUIRED_COLUMNS, "position", "timestamp", "event_id")
BATCH_EVENTS = 4096  # recorded together: one write and one projection of the tracks they are about

_ACTIONS = {action.name.lower(): action for action in FeedbackAction}

Row = Mapping[str, Any] | FeedbackError


@dataclass(frozen=True)
class RefusedEvent:
    """A row that was not recorded.

    Attributes
    ----------
    row : int
        Its place in the file, the first row after a header being 1.
    track_id, user_id : str
        As far as they could be read; may be empty.
    reason : str
        Stable UPPER_SNAKE code.
    message : str
        What is wrong and what to do.
    """

    row: int
    track_id: str
    user_id: str
    reason: str
    message: str


@dataclass(frozen=True)
class FeedbackFileReport:
    """What became of a file of events.

    Attributes
    ----------
    rows : int
        How many there are.
    states : dict of FeedbackState to int
        Events in each state; refused ones are those of `refused`.
    refused : list of RefusedEvent
    tracks : dict of str to WarmedTrack
        How far each track has warmed up in the end.
    space_id, snapshot_id : str
        Where they were moved; empty where nothing was recorded.
    wall_s : float
        Seconds it took.
    """

    rows: int
    states: dict[FeedbackState, int]
    refused: list[RefusedEvent]
    tracks: dict[str, WarmedTrack]
    space_id: str
    snapshot_id: str
    wall_s: float


def record_feedback_file(engine: Engine, path: Path, *, on_progress: OnProgress = silent) -> FeedbackFileReport:
    """Record the events of a file; it may be recorded again at any time.

    Parameters
    ----------
    engine : Engine
    path : Path
        ``.csv``, ``.jsonl`` (or ``.ndjson``), or ``.parquet``.
    on_progress : callable

    Returns
    -------
    FeedbackFileReport

    Raises
    ------
    FeedbackFileError
        When the file is missing, empty, of another format, or lacks a required column; nothing was recorded then,
        unless what cannot be read comes after the first `BATCH_EVENTS` rows.
    index.NoSnapshotError
        While nothing is published.
    """
    started = time.monotonic()
    states: Counter[FeedbackState] = Counter()
    refused: list[RefusedEvent] = []
    tracks: dict[str, WarmedTrack] = {}
    space_id = snapshot_id = ""
    rows = 0
    batch: list[tuple[int, FeedbackEvent]] = []

    def record() -> None:
        nonlocal space_id, snapshot_id
        report = engine.record_feedback([event for _, event in batch])
        space_id, snapshot_id = report.space_id, report.snapshot_id
        tracks.update((track.standing.track_id, track) for track in report.tracks)
        for (row, event), outcome in zip(batch, report.outcomes, strict=True):
            states[outcome.state] += 1
            if outcome.error is not None:
                reason = outcome.error.reason
                refused.append(RefusedEvent(row, event.track_id, event.user_id, reason, str(outcome.error)))
        batch.clear()
        on_progress(Progress("feedback", rows, 0))

    for rows, fields in enumerate(_rows(path), start=1):
        try:
            batch.append((rows, _event(fields)))
        except FeedbackError as error:
            states[FeedbackState.REFUSED] += 1
            refused.append(
                RefusedEvent(rows, _shown(fields, "track_id"), _shown(fields, "user_id"), error.reason, str(error))
            )
        if len(batch) == BATCH_EVENTS:
            record()
    if rows == 0:
        raise FeedbackFileError(f"The file of events {path} has no rows.")
    if batch:
        record()
    refused.sort(key=lambda one: one.row)
    return FeedbackFileReport(
        rows, dict(states), refused, tracks, space_id, snapshot_id, wall_s=time.monotonic() - started
    )


def _rows(path: Path) -> Iterator[Row]:
    """Yield each row's fields, or the error that stands for a row that cannot be read."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows, ".parquet": _parquet_rows}
    if not file_size(path):
        what = "is empty" if file_size(path) == 0 else "is not there"
        raise FeedbackFileError(f"The file of events {path} {what}; give a CSV, JSON Lines or Parquet file.")
    if path.suffix.lower() not in readers:
        raise FeedbackFileError(f"The file of events {path} has to end in .csv, .jsonl or .parquet.")
    try:
        yield from readers[path.suffix.lower()](path)
    except OSError as error:
        raise FeedbackFileError(f"The file of events {path} cannot be read: {error.strerror or error}.") from None


def _csv_rows(path: Path) -> Iterator[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _require_columns(path, reader.fieldnames or ())
            for fields in reader:
                if None in fields:
                    yield FeedbackError("The row has more cells than the header; quote cells that hold commas.")
                else:
                    yield fields
    except UnicodeDecodeError as error:
        raise FeedbackFileError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    except csv.Error as error:
        raise FeedbackFileError(f"{path} is no well-formed CSV: {error}.") from None


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError):  # also bytes that are no UTF-8, and numbers of thousands of digits
                fields = None
            yield fields if isinstance(fields, dict) else FeedbackError(f"Line {number} is no JSON object in UTF-8.")


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        _require_columns(path, names)
        for batch in file.iter_batches(batch_size=BATCH_EVENTS, columns=[name for name in COLUMNS if name in names]):
            for number, field in enumerate(batch.schema):
                if pa.types.is_timestamp(field.type):  # nanoseconds have no counterpart in Python's datetime
                    kind = pa.timestamp("us", tz=field.type.tz)
                    batch = batch.set_column(number, field.name, batch.column(number).cast(kind, safe=False))
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # the last two: UTF-8, dates
        first_line = (str(error).splitlines() or ["unknown error"])[0]
        raise FeedbackFileError(f"{path} is no readable Parquet file: {first_line}") from None


def _require_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    if missing:
        raise FeedbackFileError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, columns)) or 'none'}."
        )


def _event(fields: Row) -> FeedbackEvent:
    """Read a row; the ids are for the store to check."""
    if isinstance(fields, FeedbackError):
        raise fields
    action = _ACTIONS.get(_text(fields, "action").lower())
    if action is None:
        raise FeedbackError(
            f"The action {_text(fields, 'action')[:40]!r} is none; write {' or '.join(_ACTIONS)}.", field="action"
        )
    return FeedbackEvent(
        track_id=_text(fields, "track_id"),
        user_id=_text(fields, "user_id"),
        action=action,
        session_position=_position(fields.get("position")),
        at=_time(fields.get("timestamp")),
        event_id=_text(fields, "event_id"),
    )


def _shown(fields: Row, column: str) -> str:
    """Give a cell of a row that may be anything, as far as it can be shown."""
    return "" if isinstance(fields, FeedbackError) else str(fields.get(column) or "")[:MAX_ID_CHARACTERS]


def _text(fields: Mapping[str, Any], column: str) -> str:
    value = fields.get(column)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise FeedbackError(f"The {column} is a {type(value).__name__}; it has to be text.", field=column)
    return str(value).strip()


def _position(value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = int(float(value))  # spreadsheets write 3 as 3.0
        if isinstance(value, bool) or number != float(value) or number < 1:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise FeedbackError(
            f"The position {str(value)[:40]!r} is no place in a session; write a whole number from 1, or nothing.",
            field="position",
        ) from None
    return number


def _time(value: Any) -> dt.datetime | None:
    if value is None or value == "":
        return None
    try:
        at = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise FeedbackError(
            f"The timestamp {str(value)[:40]!r} is no time; write it as 2024-05-01T12:30:00Z.", field="timestamp"
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
