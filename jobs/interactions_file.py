"""Reading who listened to what, for a training: CSV, JSON Lines or Parquet, a row a listen.

``user_id`` and ``track_id`` are needed; where there is no ``user_id``, ``playlist_id`` stands for it. Further columns
(``timestamp``, ``weight``) are left alone. Rows of users or tracks without a vector in the space teach nothing: they
are counted and passed over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.errors import InteractionsError
from jobs.input_file import file_size

if TYPE_CHECKING:
    from artist_transfer import Interactions, WarmTracks
    from index import Store

USER_COLUMNS = ("user_id", "playlist_id")
TRACK_COLUMN = "track_id"


@dataclass(frozen=True)
class InteractionsReport:
    """What a file of interactions came to.

    Attributes
    ----------
    rows : int
        How many there are.
    unknown_users : int
        Rows whose user has no vector in the space.
    not_warm : int
        Rows of other users whose track has no vector in the space, or was never heard.
    entries : int
        Distinct pairs of a user and a track that are learned from.
    listeners, tracks : int
        How many users and tracks these are.
    """

    rows: int
    unknown_users: int
    not_warm: int
    entries: int
    listeners: int
    tracks: int

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        return asdict(self)


def read_interactions(path: Path, store: Store, warm: WarmTracks) -> tuple[Interactions, InteractionsReport]:
    """Read the listens of a file that a fit on some warm tracks can learn from.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.jsonl`` (or ``.ndjson``), or ``.parquet``.
    store : Store
        Where the user vectors of the tracks' space lie.
    warm : WarmTracks
        The tracks of the fit.

    Returns
    -------
    interactions : Interactions
        Of `warm`, and of the users alone who listened to one of them.
    report : InteractionsReport

    Raises
    ------
    InteractionsError
        When the file is missing, unreadable, empty, of another format, or lacks a column; when the space has no user
        vectors, or not a single row names one of them and a warm track.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from artist_transfer import Interactions

    users, tracks = _columns(path)
    if len(users) == 0:
        raise InteractionsError(f"The file of interactions {path} has no rows.")
    user_ids, vectors = store.user_vectors(warm.space_id)
    if not user_ids:
        raise InteractionsError(
            f"Space {warm.space_id!r} has no user vectors, so nobody's listens can be learned from; import it with "
            "`anacrusis space import --users`, or train without interactions."
        )
    user = np.asarray(pc.index_in(users, pa.array(user_ids, pa.string())).fill_null(-1))
    track = np.asarray(pc.index_in(tracks, pa.array(warm.track_ids.tolist(), pa.string())).fill_null(-1))
    used = (user >= 0) & (track >= 0)
    unknown = int((user < 0).sum())
    not_warm = int(((user >= 0) & (track < 0)).sum())
    if not used.any():
        raise InteractionsError(
            f"None of the {len(users)} rows of {path} can be learned from: {unknown} name users without a vector in "
            f"space {warm.space_id!r}, {not_warm} tracks not warm and heard; give the listens of this training."
        )
    listeners, row = np.unique(user[used], return_inverse=True)
    interactions = Interactions(vectors[listeners], np.stack([row, track[used].astype(np.int64)], axis=1))
    return interactions, InteractionsReport(
        rows=len(users),
        unknown_users=unknown,
        not_warm=not_warm,
        entries=len(interactions.entries),
        listeners=listeners.size,
        tracks=np.unique(interactions.entries[:, 1]).size,
    )


def _columns(path: Path) -> tuple[Any, Any]:
    """Ids of users and of tracks, a row a listen: two arrays of strings, null where a cell is empty."""
    import pyarrow as pa

    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".parquet": _read_parquet}
    if not file_size(path):
        what = "is empty" if file_size(path) == 0 else "is not there"
        raise InteractionsError(f"The file of interactions {path} {what}; give a CSV, JSON Lines or Parquet file.")
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise InteractionsError(f"The file of interactions {path} has to end in .csv, .jsonl or .parquet.")
    try:
        columns = readers[suffix](path)
        return _ids(path, columns[0]), _ids(path, columns[1])
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:  # text that is no UTF-8; a column twice
        first_line = (str(error).splitlines() or ["unknown error"])[0]
        raise InteractionsError(f"{path} is no readable {suffix[1:]} file: {first_line}") from None


def _read_parquet(path: Path) -> Sequence[Any]:
    import pyarrow.parquet as pq

    wanted = _wanted(path, pq.read_schema(path).names)
    table = pq.read_table(path, columns=list(wanted))
    return [table.column(name) for name in wanted]


def _read_csv(path: Path) -> Sequence[Any]:
    import pyarrow as pa
    from pyarrow import csv

    with csv.open_csv(path) as file:
        wanted = _wanted(path, file.schema.names)
    table = csv.read_csv(
        path,
        # Ids are texts, whatever they look like: 007 is not 7.
        convert_options=csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())),
        parse_options=csv.ParseOptions(newlines_in_values=True),
    )
    return [table.column(name) for name in wanted]


def _read_jsonl(path: Path) -> Sequence[Any]:
    import pyarrow as pa

    wanted: tuple[str, str] | None = None
    ids: tuple[list[str | None], list[str | None]] = ([], [])
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
                if not isinstance(fields, dict):
                    raise TypeError("not an object")
                wanted = wanted or _wanted(path, list(fields))
                for place, name in zip(ids, wanted, strict=True):
                    place.append(_text(fields.get(name)))
            except (ValueError, TypeError, AttributeError, RecursionError):
                raise InteractionsError(
                    f"{path}, line {number}: an object with 'user_id' and 'track_id' (texts or whole numbers) is "
                    "needed."
                ) from None
    return [pa.chunked_array([pa.array(place, pa.string())]) for place in ids]


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise TypeError("an id is a text or a whole number")
    return None if value is None else str(value)


def _wanted(path: Path, names: Sequence[str]) -> tuple[str, str]:
    user = next((name for name in USER_COLUMNS if name in names), None)
    if user is None or TRACK_COLUMN not in names:
        missing = [name for name, there in (("user_id", user), ("track_id", TRACK_COLUMN in names)) if not there]
        raise InteractionsError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, names)) or 'none'}."
        )
    return user, TRACK_COLUMN


def _ids(path: Path, column: Any) -> Any:
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (texts or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InteractionsError(f"{path}: the ids are of type {kind}; texts or whole numbers are needed.")
    return column.cast(kind).cast(pa.string()).combine_chunks()
