"""How a Lance table lies on its disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TableFigures:
    """How a table lies on its disk.

    Attributes
    ----------
    name : str
        Such as ``tracks`` or ``served/SPACE``.
    rows, deleted_rows : int
        Rows that are read, and deleted ones that a read still passes over.
    bytes : int
        Of the data files of the latest version.
    fragments, small_fragments : int
        Parts that every read and merge opens; those that compaction would put together with others.
    versions : int
        That can be read, the latest and tagged ones among them; each keeps its files.
    """

    name: str
    rows: int
    deleted_rows: int
    bytes: int
    fragments: int
    small_fragments: int
    versions: int


def figures_of(name: str, handle: Any, versions: int, *, small_rows: int) -> TableFigures:
    """Count what a version of a table consists of.

    Parameters
    ----------
    name : str
    handle : lance.LanceDataset
    versions : int
        How many there are.
    small_rows : int
        A fragment with fewer rows is small.
    """
    fragments = [fragment.metadata for fragment in handle.get_fragments()]
    return TableFigures(
        name=name,
        rows=sum(one.num_rows for one in fragments),
        deleted_rows=sum(one.num_deletions for one in fragments),
        bytes=sum(file.file_size_bytes or 0 for one in fragments for file in one.files),
        fragments=len(fragments),
        small_fragments=sum(one.physical_rows < small_rows for one in fragments),
        versions=versions,
    )
