"""Rows out of one version of a Lance table: by their keys, by a condition, by when they were written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from index.validation import is_id

ROW_VERSION = "_row_last_updated_at_version"
"""Lance's hidden column: the version of the table that wrote the row."""

ROW_ID = "_rowid"
"""Lance's hidden column: a number that stays the row's own, whatever is compacted."""

# Up to here a look-up is a filter over the keys; beyond it, one pass over the key column with a hash table.
_FILTER_KEYS = 256
# Of what the keys' pass has found, the other columns are read by row ids (6 us a row) or, from this share of the table
# on, by a pass (0.6 us a row of 550 bytes). Not by places: of a fragment with deleted rows each one is searched for.
_PASS_SHARE = 0.1


def quoted(text: str) -> str:
    """Quote a string literal for a Lance filter (SQL: a quote inside is doubled, nothing else is special)."""
    return "'" + text.replace("'", "''") + "'"


def rows_where(dataset: Any, names: Sequence[str], where: str | None, since: int | None) -> pa.Table:
    """Read the rows for which an SQL condition holds, and that were written after a version; None: all."""
    if since is None:
        return dataset.to_table(columns=list(names), filter=where)
    if since >= dataset.version:
        return no_rows(dataset, names)
    written = f"{ROW_VERSION} > {int(since)}"
    return dataset.to_table(columns=list(names), filter=written if where is None else f"({where}) AND {written}")


def rows_of_keys(dataset: Any, names: Sequence[str], key: str, keys: Sequence[str], since: int | None) -> pa.Table:
    """Read the rows of some keys that were written after a version; None: whenever.

    Parameters
    ----------
    names : sequence of str
        Columns to read.
    key : str
        The key column.
    keys : sequence of str
        Unknown ones, also those that could not be keys, are left out.
    """
    keys = [one for one in keys if is_id(one)]
    if not keys or (since is not None and since >= dataset.version):
        return no_rows(dataset, names)
    if len(keys) <= _FILTER_KEYS:
        return rows_where(dataset, names, f"{key} IN ({', '.join(map(quoted, keys))})", since)
    found = dataset.to_table(columns=[key, ROW_ID, ROW_VERSION])
    mask = pc.is_in(found[key], value_set=pa.array(keys, pa.string()))
    if since is not None:
        mask = pc.and_(mask, pc.greater(found[ROW_VERSION], since))
    row_ids = found[ROW_ID].filter(mask).to_pylist()
    if len(row_ids) > _PASS_SHARE * len(mask):
        return _passed(dataset, names, mask)
    return dataset.to_table(columns=list(names), filter=f"{ROW_ID} IN ({', '.join(map(str, row_ids)) or 'NULL'})")


def no_rows(dataset: Any, names: Sequence[str]) -> pa.Table:
    """Give a table of these columns without rows."""
    schema = dataset.schema  # made anew at every question
    fields = [pa.field(name, pa.uint64()) if name in (ROW_VERSION, ROW_ID) else schema.field(name) for name in names]
    return pa.schema(fields).empty_table()


def _passed(dataset: Any, names: Sequence[str], mask: pa.ChunkedArray) -> pa.Table:
    """Read the rows of a mask by a pass over the columns; no more than a batch beside them is in memory."""
    kept, start = [], 0
    for batch in dataset.scanner(columns=list(names), scan_in_order=True).to_batches():
        kept.append(batch.filter(mask.slice(start, batch.num_rows).combine_chunks()))
        start += batch.num_rows
    return pa.Table.from_batches(kept)
