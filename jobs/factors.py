"""Reading the vectors that a recommender was trained to, and how often each track was listened to: one row an id.

Three layouts are taken: Parquet with an id column and a ``vector`` column (lists of floats, fixed-size or
not); a ``.npy`` matrix beside a text file of ids of the same name (``items.npy`` + ``items.ids``, an id a line);
JSON Lines of ``{"track_id": ..., "vector": [...]}``. Nothing is pickled: an object array is refused.

Item files may count listens as well: in a column (JSON Lines: a key) ``popularity``, empty or null where a count is
not known; beside ``items.npy`` in ``items.popularity.npy``, with NaN for that.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.errors import FactorsError
from jobs.input_file import file_size
from jobs.release import MAX_ID_CHARACTERS

POPULARITY = "popularity"
MAX_COUNT = 1e15  # of listens: more than there ever were
MAX_DIM = 4096  # far above any collaborative space in use; a matrix turned on its side is caught by it


@dataclass(frozen=True)
class Factors:
    """Vectors of one training, checked.

    Attributes
    ----------
    ids : ndarray of str, shape (n,)
        Distinct, each of 1 to 256 printable characters.
    vectors : ndarray of float32, shape (n, dim)
        Finite.
    popularity : ndarray of float32, shape (n,), or None
        Listens, at least 0, NaN where not known; None where the file counts none.
    """

    ids: NDArray[np.str_]
    vectors: NDArray[np.float32]
    popularity: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class _Read:
    """What a file holds, not yet checked: NaN in `popularity` is an unknown count."""

    ids: list[str]
    vectors: NDArray[np.floating]
    popularity: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class _Columns:
    """What to read: `popularity` is None where no count is wanted, `needed` says whether it has to be there."""

    ids: str
    popularity: str | None
    needed: bool


def read_factors(path: Path, *, id_column: str, popularity_column: str | None = None) -> Factors:
    """Read and check a factor file.

    Parameters
    ----------
    path : Path
        ``.parquet``, ``.npy`` or ``.jsonl``.
    id_column : str
        ``track_id`` or ``user_id``.
    popularity_column : str, optional
        The column that counts listens, which then has to be there; default: ``popularity`` where an item file has it.

    Returns
    -------
    Factors
        In the file's order.

    Raises
    ------
    FactorsError
        When the file is missing, unreadable, without rows, of uneven length, or holds a NaN, an infinity, an id
        twice, what is no id, or a count that is none; the sentence names the first such row.
    """
    if file_size(path) is None:
        raise FactorsError(f"There is no factor file at {path}; give a .parquet, .npy or .jsonl file.")
    readers = {".parquet": _read_parquet, ".npy": _read_npy, ".jsonl": _read_jsonl}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise FactorsError(f"The factor file {path} has to end in one of {', '.join(readers)}.")
    default = POPULARITY if id_column == "track_id" else None
    columns = _Columns(id_column, popularity_column or default, needed=popularity_column is not None)
    try:
        found = readers[suffix](path, columns)
    except OSError as error:
        raise FactorsError(f"The factor file {path} cannot be read: {error.strerror or error}.") from None
    return check_factors(found.ids, found.vectors, popularity=found.popularity, name=str(path))


def check_factors(
    ids: list[str],
    vectors: NDArray[np.floating],
    *,
    popularity: NDArray[np.floating] | None = None,
    name: str,
) -> Factors:
    """Check ids and vectors that were read or computed.

    Parameters
    ----------
    ids : list of str
        One for each row.
    vectors : ndarray of float, shape (n, dim)
        The rows.
    popularity : ndarray of float, shape (n,), optional
        Listens; NaN where not known.
    name : str
        What to call them in an error's sentence.

    Returns
    -------
    Factors
        The same rows as float32.

    Raises
    ------
    FactorsError
        As `read_factors`.
    """
    if vectors.ndim != 2:
        raise FactorsError(f"{name}: the vectors form an array of {vectors.ndim} dimensions; a matrix is needed.")
    n_rows, dim = vectors.shape
    if n_rows == 0 or dim == 0:
        raise FactorsError(f"{name}: there are no vectors in it.")
    if dim > MAX_DIM:
        raise FactorsError(f"{name}: the vectors have {dim} dimensions; at most {MAX_DIM} are taken.")
    if len(ids) != n_rows:
        raise FactorsError(f"{name}: there are {len(ids)} ids for {n_rows} vectors; give one id for each vector.")
    seen: dict[str, int] = {}
    for row, one_id in enumerate(ids):
        # Before the array of all ids is made, which gives every id as much room as the longest one.
        if not one_id or len(one_id) > MAX_ID_CHARACTERS or not one_id.isprintable():
            what = f"{one_id[:40]!r} for an id" if one_id else "an empty id"
            raise FactorsError(
                f"{name}: row {row + 1} has {what}; ids are 1 to {MAX_ID_CHARACTERS} printable characters."
            )
        if one_id in seen:
            raise FactorsError(f"{name}: id {one_id!r} stands in rows {seen[one_id] + 1} and {row + 1}.")
        seen[one_id] = row
    with np.errstate(over="ignore"):  # what leaves float32's range becomes inf and is named below
        as_float32 = np.ascontiguousarray(vectors, dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(as_float32).all(axis=1))
    if wrong.size:
        raise FactorsError(
            f"{name}: {wrong.size} of {n_rows} vectors hold a NaN or an infinity, the first for id "
            f"{ids[wrong[0]]!r}; export the factors again."
        )
    return Factors(np.array(ids, dtype=np.str_), as_float32, _checked_popularity(ids, popularity, name))


def _checked_popularity(
    ids: list[str], popularity: NDArray[np.floating] | None, name: str
) -> NDArray[np.float32] | None:
    if popularity is None:
        return None
    if popularity.shape != (len(ids),):
        raise FactorsError(
            f"{name}: the popularity has the shape {popularity.shape} for {len(ids)} vectors; give one count for each."
        )
    with np.errstate(over="ignore"):
        counts = popularity.astype(np.float32)
    wrong = np.flatnonzero((counts > MAX_COUNT) | (counts < 0))
    if wrong.size:
        raise FactorsError(
            f"{name}: the popularity of id {ids[wrong[0]]!r} is {popularity[wrong[0]]}; "
            f"give a count from 0 to {MAX_COUNT:g}, or nothing where it is not known."
        )
    return counts


def _read_parquet(path: Path, columns: _Columns) -> _Read:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = [columns.ids, "vector", *([columns.popularity] if columns.popularity is not None else [])]
    try:
        names = pq.read_schema(path).names
        missing = [column for column in (wanted if columns.needed else wanted[:2]) if column not in names]
        if missing:
            raise FactorsError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(names)}.")
        table = pq.read_table(path, columns=[column for column in wanted if column in names])
        ids, column = _id_column(path, table.column(columns.ids)), table.column("vector").combine_chunks()
        id_texts = [str(one) for one in ids.to_pylist()]
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: bytes that are no UTF-8
        first_line = (str(error).splitlines() or ["unknown error"])[0]
        raise FactorsError(f"{path} is no readable Parquet file: {first_line}") from None
    if not len(ids):
        return _Read([], np.empty((0, 0)))
    if ids.null_count or column.null_count:
        raise FactorsError(f"{path} has {ids.null_count} empty ids and {column.null_count} empty vectors.")
    if not (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ):
        raise FactorsError(f"{path}: the column vector is of type {column.type}; lists of floats are needed.")
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if lengths.size > 1:
        raise FactorsError(f"{path}: vectors of {lengths[0]} and of {lengths[-1]} dimensions stand side by side.")
    kind = column.type.value_type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise FactorsError(f"{path}: the vectors hold {kind}, which are not numbers.")
    values = column.flatten().cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    counts = [_counts(path, name, table.column(name)) for name in wanted[2:] if name in names]
    return _Read(id_texts, values.reshape(len(ids), -1), counts[0] if counts else None)


def _counts(path: Path, name: str, column: Any) -> NDArray[np.floating]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise FactorsError(f"{path}: the column {name} holds {kind}; numbers are needed, and null for unknown ones.")
    counts = column.cast(pa.float64(), safe=False)
    not_numbers = pc.sum(pc.is_nan(counts)).as_py() or 0
    if not_numbers:
        raise FactorsError(f"{path}: the column {name} holds {not_numbers} NaN; leave unknown counts empty (null).")
    return np.asarray(counts.to_numpy())


def _id_column(path: Path, column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise FactorsError(f"{path}: the ids are of type {kind}; texts or whole numbers are needed.")
    return column


def _read_npy(path: Path, columns: _Columns) -> _Read:
    counts_path = path.with_suffix(".popularity.npy")
    if columns.needed:
        raise FactorsError(f"{path} has no columns to name; put the counts into {counts_path}, one a row.")
    ids_path = path.with_suffix(".ids")
    if file_size(ids_path) is None:
        raise FactorsError(f"{path} needs its ids, one {columns.ids} a line, in {ids_path}.")
    try:
        matrix = np.lib.format.open_memmap(path, mode="r")  # numpy.load would take archives and pickles as well
        ids = ids_path.read_text(encoding="utf-8").splitlines()
        counted = bool(columns.popularity) and file_size(counts_path) is not None
        counts = np.lib.format.open_memmap(counts_path, mode="r") if counted else None
    except (ValueError, TypeError, EOFError, OSError, OverflowError, RecursionError, MemoryError) as error:
        # What a damaged header asks for goes through all of these; text that is no UTF-8 is a ValueError.
        raise FactorsError(f"{path}, its ids or its popularity cannot be read: {error}") from None
    except (SyntaxError, TokenError) as error:  # a header is Python's text, which NumPy reads twice
        raise FactorsError(f"{path} or its popularity has a damaged header: {error}") from None
    for file, array in ((path, matrix), (counts_path, counts)):
        if array is not None and array.dtype.kind not in "fiu":
            raise FactorsError(f"{file} holds {array.dtype}; numbers are needed.")
    return _Read(ids, matrix, counts)


def _read_jsonl(path: Path, columns: _Columns) -> _Read:
    ids: list[str] = []
    rows: list[NDArray[np.float64]] = []
    counts: list[float] = []
    counted = False
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
                one_id, vector = _id(fields[columns.ids]), as_vector(fields["vector"])
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
                raise FactorsError(
                    f"{path}, line {number}: an object with {columns.ids!r} (a text or a whole number) and 'vector' "
                    "(a list of numbers) is needed."
                ) from None
            if rows and len(vector) != len(rows[0]):
                raise FactorsError(
                    f"{path}, line {number}: the vector has {len(vector)} dimensions, the first one {len(rows[0])}."
                )
            ids.append(one_id)
            rows.append(vector)
            counted |= columns.popularity in fields
            counts.append(_count(fields.get(columns.popularity), f"{path}, line {number}"))
    if columns.needed and not counted:
        raise FactorsError(f"{path} has {columns.popularity!r} in no line; name the key that counts listens.")
    return _Read(ids, np.stack(rows) if rows else np.empty((0, 0)), np.array(counts) if counted else None)


def as_vector(value: Any) -> NDArray[np.float64]:
    """Take a list as JSON has it for a vector.

    Parameters
    ----------
    value : object
        What was read.

    Returns
    -------
    ndarray of float64, shape (dim,)
        Perhaps not finite.

    Raises
    ------
    TypeError
        When it is no list, or one of its members is no number; a truth value is none.
    OverflowError
        For a whole number beyond every float.
    """
    if not isinstance(value, list) or not set(map(type, value)) <= {int, float}:
        raise TypeError("a list of numbers is needed")
    return np.array(value, dtype=np.float64)


def _count(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    # A truth value is no number; a whole number beyond every float is no count.
    if type(value) not in (int, float) or not 0 <= value <= MAX_COUNT:
        raise FactorsError(
            f"{where}: the popularity is {str(value)[:40]!r}; a number from 0 to {MAX_COUNT:g}, or null, is needed."
        )
    return float(value)


def _id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("an id is a text or a whole number")
    return str(value)
