"""Reading a manifest: the list of tracks that a user wants to ingest.

CSV, JSON Lines and Parquet hold the same columns: ``track_id``, ``artist_ids`` and ``audio`` are needed;
``title``, ``release_date``, ``roles``, ``label``, ``markets`` and ``isrc`` are taken where they
are there; further columns are left alone. In CSV a list is joined by ``;``. A wrong row never spoils the
others: it comes back as a `RefusedRow` with its line and a sentence.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jobs.errors import ManifestError, ReleaseError
from jobs.input_file import file_size
from jobs.release import MAX_ID_CHARACTERS, Release, parse_release_date

REQUIRED_COLUMNS = ("track_id", "artist_ids", "audio")
COLUMNS = (*REQUIRED_COLUMNS, "title", "release_date", "roles", "label", "markets", "isrc")
MAX_MANIFEST_BYTES = 1 << 30  # 1 GiB: several million rows; a larger catalogue comes in several manifests
LIST_SEPARATOR = ";"
_EPOCH = dt.date(1970, 1, 1)
_DAY_S = 86_400
_TICKS_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

csv.field_size_limit(1 << 20)  # one cell never needs more than 1 MiB; the default of 128 KiB cuts market lists


@dataclass(frozen=True)
class RefusedRow:
    """A row that was not taken.

    Attributes
    ----------
    row : int
        Its place in the file, the first row after the header being 1.
    track_id : str
        Its id as far as it could be read; may be empty.
    reason : str
        Stable UPPER_SNAKE code.
    message : str
        What is wrong and what to do.
    """

    row: int
    track_id: str
    reason: str
    message: str


@dataclass(frozen=True)
class Manifest:
    """The readable part of a manifest and the rows that were refused.

    Attributes
    ----------
    releases : list of Release
        In the file's order; `Release.audio` is a path, relative ones taken from the manifest's own folder.
    rows : list of int
        For each release, its row number.
    refused : list of RefusedRow
        Rows with wrong fields, and every row of an id that occurs twice after its first.
    left_alone : tuple of str
        Columns that are not the contract's and were not read.
    """

    releases: list[Release]
    rows: list[int]
    refused: list[RefusedRow]
    left_alone: tuple[str, ...] = ()


def read_manifest(path: Path) -> Manifest:
    """Read a manifest of any of the three formats, told apart by the file's ending.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.jsonl`` (or ``.ndjson``), or ``.parquet``.

    Returns
    -------
    Manifest
        Releases and refused rows.

    Raises
    ------
    ManifestError
        When the file is missing, empty, too large, of another format, or lacks a required column.
    """
    size = file_size(path)
    if size is None:
        raise ManifestError(f"There is no manifest at {path}; give the path of a CSV, JSON Lines or Parquet file.")
    if size == 0:
        raise ManifestError(f"The manifest {path} is empty.")
    if size > MAX_MANIFEST_BYTES:
        raise ManifestError(f"The manifest {path} has {size} bytes; at most {MAX_MANIFEST_BYTES} are taken. Split it.")
    releases: list[Release] = []
    rows: list[int] = []
    refused: list[RefusedRow] = []
    first_row_of: dict[str, int] = {}
    others: dict[str, None] = {}  # in order of appearance
    for row, fields in enumerate(_rows(path), start=1):
        if isinstance(fields, Mapping):
            others.update(dict.fromkeys(str(name) for name in fields if name not in COLUMNS))
        given_id = fields.get("track_id") if isinstance(fields, Mapping) else None
        track_id = str(given_id)[:MAX_ID_CHARACTERS] if isinstance(given_id, str | int) else ""
        try:
            if isinstance(fields, Exception):
                raise fields
            release = _release(fields, path.parent)
            if release.track_id in first_row_of:
                raise ReleaseError(
                    f"Track id {release.track_id!r} stands in row {first_row_of[release.track_id]} already; "
                    "each id may occur once.",
                    field="track_id",
                )
        except ReleaseError as error:
            refused.append(RefusedRow(row, track_id, error.reason, str(error)))
            continue
        first_row_of[release.track_id] = row
        releases.append(release)
        rows.append(row)
    if path.suffix.lower() == ".parquet":  # whose other columns are not even read
        import pyarrow.parquet as pq

        others.update(dict.fromkeys(name for name in pq.read_schema(path).names if name not in COLUMNS))
    return Manifest(releases, rows, refused, tuple(others))


def _rows(path: Path) -> Iterator[Mapping[str, Any] | ReleaseError]:
    """Yield each row's fields, or the error that stands for a row that cannot be read."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows, ".parquet": _parquet_rows}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise ManifestError(f"The manifest {path} ends in {suffix!r}; it has to end in .csv, .jsonl or .parquet.")
    try:
        yield from readers[suffix](path)
    except OSError as error:
        raise ManifestError(f"The manifest {path} cannot be read: {error.strerror or _first_line(error)}.") from None


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any] | ReleaseError]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _require_columns(path, reader.fieldnames or ())
            for fields in reader:
                if None in fields:
                    yield ReleaseError("The row has more cells than the header; quote cells that hold commas.")
                else:
                    yield fields
    except UnicodeDecodeError as error:
        raise ManifestError(f"The manifest {path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    except csv.Error as error:
        raise ManifestError(f"The manifest {path} is no well-formed CSV: {error}.") from None


def _json_rows(path: Path) -> Iterator[Mapping[str, Any] | ReleaseError]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError):  # also bytes that are no UTF-8, and numbers of thousands of digits
                yield ReleaseError(f"Line {number + 1} is no JSON object in UTF-8.")
                continue
            if not isinstance(fields, dict):
                yield ReleaseError(f"Line {number + 1} is no JSON object.")
                continue
            missing = [column for column in REQUIRED_COLUMNS if column not in fields]
            if missing:
                yield ReleaseError(f"Line {number + 1} lacks {', '.join(missing)}.", field=missing[0])
                continue
            yield fields


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        _require_columns(path, names)
        # A column of theirs may hold what has no counterpart here (a date after the year 9999); it is never read.
        for batch in file.iter_batches(batch_size=4096, columns=[name for name in COLUMNS if name in names]):
            for number, field in enumerate(batch.schema):
                if pa.types.is_timestamp(field.type):
                    batch = batch.set_column(number, field.name, _days(batch.column(number)))
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # the last two: UTF-8, dates
        raise ManifestError(f"The manifest {path} is no readable Parquet file: {_first_line(error)}") from None


def _days(timestamps: Any) -> Any:
    """Return an Arrow array of timestamps as dates (UTC); Arrow's own casts wrap around, and round towards 1970."""
    import pyarrow as pa

    per_day = _DAY_S * _TICKS_A_SECOND[timestamps.type.unit]
    ticks = timestamps.cast(pa.int64()).to_pylist()
    days = [None if tick is None else _EPOCH + dt.timedelta(days=tick // per_day) for tick in ticks]
    return pa.array(days, pa.date32())


def _require_columns(path: Path, columns: Any) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    if missing:
        raise ManifestError(
            f"The manifest {path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, columns)) or 'none'}."
        )
    twice = [column for column in COLUMNS if list(columns).count(column) > 1]
    if twice:
        raise ManifestError(f"The manifest {path} has the column {twice[0]} twice; leave one of them out.")


def _release(fields: Mapping[str, Any], folder: Path) -> Release:
    audio = _text(fields, "audio")
    if not audio:
        raise ReleaseError("The row names no audio file.", field="audio")
    return Release(
        track_id=_text(fields, "track_id"),
        title=_text(fields, "title"),
        artist_ids=_list(fields, "artist_ids"),
        roles=_list(fields, "roles"),
        release_date=parse_release_date(_text(fields, "release_date")),
        label=_text(fields, "label") or None,
        markets=_list(fields, "markets"),
        isrc=_text(fields, "isrc").replace("-", "").upper() or None,
        audio=_local_path(audio, folder),
        audio_uri=audio,
    )


def _text(fields: Mapping[str, Any], column: str) -> str:
    value = fields.get(column)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float | dt.date):
        raise ReleaseError(f"The {column} is a {type(value).__name__}; it has to be text.", field=column)
    return str(value).strip()


def _list(fields: Mapping[str, Any], column: str) -> tuple[str, ...]:
    value = fields.get(column)
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(LIST_SEPARATOR) if part.strip())
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(part.strip() for part in value)
    raise ReleaseError(f"The {column} is neither a list of texts nor text joined by {LIST_SEPARATOR!r}.", field=column)


def _local_path(audio: str, folder: Path) -> Path:
    if audio.startswith("file:///"):
        audio = unquote(audio.removeprefix("file://"))
    elif "://" in audio:
        raise ReleaseError(
            f"Audio {audio[:80]!r} is not on this machine; only paths and file:/// URIs are read.",
            field="audio",
        )
    if "\x00" in audio:
        raise ReleaseError("The audio path holds a null character.", field="audio")
    return folder / audio


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["unknown error"])[0]
