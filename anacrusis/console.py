"""What a person sees: progress on standard error, results on standard output, JSON where it is asked for."""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table

from anacrusis.settings import SettingsError

if TYPE_CHECKING:
    from jobs.progress import OnProgress, Progress

# What a folder, a disk or the rights to them bring about, where the system does not say which file it is about.
_OF_A_PLACE = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG, errno.ENOSPC, errno.EPERM, errno.EROFS}
)
PLAIN_INTERVAL_S = 5.0  # a log file wants a sign of life, not a line for each track


@contextmanager
def shown_progress() -> Iterator[OnProgress]:
    """Show a job's progress: bars on a terminal, plain lines elsewhere.

    Yields
    ------
    OnProgress
        To hand to a job; safe to call from several threads.
    """
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, detail="")
            bars.update(
                tasks[progress.stage],
                completed=progress.done,
                total=progress.total or None,
                detail=progress.detail,
            )

        yield show


class _PlainLines:
    """A line when a stage starts, when it ends, and every few seconds between."""

    def __init__(self) -> None:
        self._last_at = 0.0
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        finished = progress.total > 0 and progress.done >= progress.total
        if progress.stage == self._stage and not finished and now - self._last_at < PLAIN_INTERVAL_S:
            return
        self._stage, self._last_at = progress.stage, now
        of = f"/{progress.total}" if progress.total else ""
        detail = f"  {progress.detail}" if progress.detail else ""
        print(f"{progress.stage} {progress.done}{of}{detail}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print a remark for a person to standard error, so that standard output stays clean for results."""
    print(text, file=sys.stderr, flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table of results to standard output.

    Parameters
    ----------
    title : str
        Its heading; may be empty.
    columns : sequence of str
        The headings; one that starts with ``#`` is set flush right without the mark.
    rows : sequence of sequences
        The cells; floats are shown with three decimals.
    """
    # A pipe has no width of its own; 80 columns would fold titles that a log has room for.
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False)
    if title:
        console.print(title, style="bold")
    grid = Table()
    for column in columns:
        right = column.startswith("#")
        grid.add_column(column.removeprefix("#"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    console.print(grid)


def report(json_to: Path | None, result: Mapping[str, Any]) -> bool:
    """Write a result as JSON where that is asked for.

    Parameters
    ----------
    json_to : Path or None
        The file; ``-`` is standard output; None writes nothing.
    result : mapping
        What the command found.

    Returns
    -------
    bool
        Whether standard output is taken by JSON, so that no table may be printed there.
    """
    if json_to is None:
        return False
    to_stdout = str(json_to) == "-"
    text = json.dumps(result, indent=2, ensure_ascii=False, default=str, allow_nan=False)
    try:
        text.encode((sys.stdout.encoding if to_stdout else None) or "utf-8")
    except UnicodeEncodeError:  # half a surrogate pair of a refused row, or a terminal of another encoding
        text = json.dumps(result, indent=2, default=str, allow_nan=False)
    if to_stdout:
        print(text, flush=True)  # a waiting parent process reads it from a pipe
        return True
    with blaming(json_to):
        json_to.write_text(text + "\n", encoding="utf-8")
    return False


def writable(path: Path | None) -> Path | None:
    """Refuse a report that could not be written in the end, before any work is done.

    Parameters
    ----------
    path : Path or None
        As for `report`.

    Returns
    -------
    Path or None
        The same.

    Raises
    ------
    SettingsError
        When it is a folder, or the place cannot be written to.
    """
    if path is None or str(path) == "-":
        return path
    with blaming(path):
        there = path.exists()
        if not there or path.is_file() or path.is_dir():  # opening a pipe and closing it would end its reader
            path.open("ab").close()
        if not there:
            path.unlink()
    return path


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn the file system's refusals of a path that the caller named into a sentence about that path.

    Parameters
    ----------
    path : Path
        A file or a folder; what lies in it, and the folders on the way to it, count as well.

    Raises
    ------
    SettingsError
        In place of an OSError or ValueError (a null character) about the path. Other errors pass through.
    """
    if "\x00" in str(path):
        raise SettingsError(f"The path {str(path)!r} holds a null character; name another one.")
    try:
        yield
    except OSError as error:
        if not _is_about(error, path.absolute()):
            raise
        raise SettingsError(f"{path} cannot be used: {error.strerror}; name another place.") from error


def _is_about(error: OSError, path: Path) -> bool:
    if not isinstance(error.filename, str | Path):
        return error.errno in _OF_A_PLACE
    named = Path(error.filename).absolute()
    return named.is_relative_to(path) or path.is_relative_to(named)
