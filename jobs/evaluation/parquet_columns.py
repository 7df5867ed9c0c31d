"""Columns of a benchmark folder's Parquet files, checked for kind and for gaps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artist_transfer import NO_DATE
from jobs.errors import BenchmarkError
from jobs.input_file import file_size
from jobs.release import MAX_ID_CHARACTERS


def read_columns(path: Path, needed: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    """Read some columns of a Parquet file.

    Parameters
    ----------
    path : Path
        The file.
    needed, optional : sequence of str
        Columns; further ones are left alone.

    Returns
    -------
    dict of str to pyarrow.Array
        Those that are there; at least one row.

    Raises
    ------
    BenchmarkError
        When the file is missing, unreadable or empty, or lacks a needed column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file_size(path) is None:
        raise BenchmarkError(f"There is no file {path}; a benchmark folder needs it.")
    try:
        names = pq.read_schema(path).names
        missing = [name for name in needed if name not in names]
        if missing:
            raise BenchmarkError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(names)}.")
        table = pq.read_table(path, columns=[name for name in (*needed, *optional) if name in names])
    except (pa.ArrowException, OSError, ValueError) as error:
        first_line = (str(error).splitlines() or ["unknown error"])[0]
        raise BenchmarkError(f"{path} is no readable Parquet file: {first_line}; write it again.") from None
    if table.num_rows == 0:
        raise BenchmarkError(f"{path} has no rows; a benchmark needs some.")
    return {name: table.column(name).combine_chunks() for name in table.column_names}


def text_column(path: Path, name: str, column: Any) -> NDArray[np.str_]:
    """Take a column of ids or names: texts or whole numbers, none empty.

    Returns
    -------
    ndarray of str, shape (n,)

    Raises
    ------
    BenchmarkError
        When it holds something else.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise BenchmarkError(f"{path}: the column {name} is of type {kind}; texts or whole numbers are needed.")
    texts = [str(one) if one is not None else "" for one in column.to_pylist()]
    for row, text in enumerate(texts):
        if not text or len(text) > MAX_ID_CHARACTERS or not text.isprintable():
            raise BenchmarkError(
                f"{path}, row {row + 1}: the {name} is {text[:40]!r}; 1 to {MAX_ID_CHARACTERS} printable characters "
                "are needed."
            )
    return np.array(texts, dtype=np.str_)


def list_column(path: Path, name: str, column: Any) -> list[list[str]]:
    """Take a column of lists of texts, such as artists or roles.

    Returns
    -------
    list of n lists of str
        An empty list where a row is null.

    Raises
    ------
    BenchmarkError
        When it holds something else.
    """
    import pyarrow as pa

    if not is_list(column.type) or not (
        pa.types.is_string(column.type.value_type)
        or pa.types.is_large_string(column.type.value_type)
        or pa.types.is_integer(column.type.value_type)
    ):
        raise BenchmarkError(f"{path}: the column {name} is of type {column.type}; lists of texts are needed.")
    rows = column.to_pylist()
    for place, row in enumerate(rows):
        if row is not None and None in row:
            raise BenchmarkError(f"{path}, row {place + 1}: {name} holds an empty place; leave it out of the list.")
    return [[str(one) for one in row or ()] for row in rows]


def vector_column(path: Path, name: str, column: Any) -> NDArray[np.float32]:
    """Take a column of equally long lists of numbers with gaps.

    Returns
    -------
    ndarray, shape (n, d), float32
        Finite; rows of NaN where the column is null. Where all are null, d is 1.

    Raises
    ------
    BenchmarkError
        When a list is of another length, or holds what is no finite number.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_null(kind):
        return np.full((len(column), 1), np.nan, dtype=np.float32)
    if not is_list(kind) or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise BenchmarkError(f"{path}: the column {name} is of type {kind}; lists of numbers are needed.")
    known = np.asarray(column.is_valid())
    present = column.filter(column.is_valid())
    lengths = np.unique(np.asarray(present.value_lengths())) if len(present) else np.array([1])
    if lengths.size > 1 or lengths[0] == 0:
        raise BenchmarkError(
            f"{path}: the column {name} has lists of {lengths[0]} and of {lengths[-1]} numbers; all need the same "
            "number, at least one. Write null where nothing is known."
        )
    flat = present.flatten()
    with np.errstate(over="ignore"):
        values = np.asarray(flat.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)).reshape(-1, lengths[0])
    wrong = ~np.isfinite(values).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(known)[int(np.argmax(wrong))])
        raise BenchmarkError(
            f"{path}, row {row + 1}: {name} holds a NaN, an infinity or a gap; write null for the whole list where it "
            "is not known."
        )
    matrix = np.full((len(column), int(lengths[0])), np.nan, dtype=np.float32)
    matrix[known] = values
    return matrix


def decade_column(path: Path, name: str, column: Any) -> NDArray[np.int32]:
    """Take a column of years with gaps as the first day of each.

    Returns
    -------
    ndarray, shape (n,), int32
        Days since 1970-01-01, `artist_transfer.NO_DATE` where the column is null.

    Raises
    ------
    BenchmarkError
        When a value is no year from 1000 to 9999.
    """
    import pyarrow as pa

    known = np.asarray(column.is_valid())
    if not known.any():
        return np.full(len(column), NO_DATE, dtype=np.int32)
    if not pa.types.is_integer(column.type):
        raise BenchmarkError(f"{path}: the column {name} is of type {column.type}; whole years are needed.")
    years = np.asarray(column.fill_null(0).to_numpy())  # 0 fits into every kind of whole number, 1970 does not
    wrong = known & ((years < 1000) | (years > 9999))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BenchmarkError(
            f"{path}, row {row + 1}: {name} is {years[row]}; give the first year of a decade, such as 1990, or null."
        )
    days = (years.astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    return np.where(known, days, NO_DATE).astype(np.int32)


def is_list(kind: Any) -> bool:
    """Whether a pyarrow type is one of the list types."""
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
