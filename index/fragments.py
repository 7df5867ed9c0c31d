"""Content vectors that many processes write as fragments, and the one commit that takes them in.

A fragment is a file of the content table that no version of the table names yet: nobody reads it before
`append_fragments` commits it. One that never is committed is a file that nothing refers to; Lance's clean-up deletes it
after a week.

Facts about Lance (pylance 14) that this file stands on, each held by a test:

- An append knows no keys. It neither fails nor waits where another process merges the same key at the same time, and
  nor does the merge: the table then has the key twice.
- Fragments written with ``mode="append"`` take the table's schema and file version; rows get their stable ids and their
  version with the commit.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lance.file import LanceFileReader
from lance.fragment import FragmentMetadata, write_fragments

from index.object_store import PATIENCE
from index.schemas import content_table
from index.table_errors import writing
from index.table_reads import ROW_ID, ROW_VERSION
from index.tables import Table
from index.types import Float32Array
from index.validation import check_id, check_vectors

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ContentTarget:
    """Where a process writes its fragments; it travels to other machines.

    Attributes
    ----------
    address : str
        Of the content table.
    encoder_id : str
        Whose vectors it holds.
    dim : int
        Their length.
    """

    address: str
    encoder_id: str
    dim: int

    def write(self, track_ids: Sequence[str], content: Float32Array) -> str:
        """Write one fragment.

        Parameters
        ----------
        track_ids : sequence of str
            Unique; at least one.
        content : ndarray of float32, shape (len(track_ids), dim)

        Returns
        -------
        str
            What `append_fragments` needs to know of it, as JSON.

        Raises
        ------
        InvalidIdError, InvalidVectorError
        DamagedHomeError
            It cannot be written.
        """
        for track_id in track_ids:
            check_id(track_id)
        content = np.ascontiguousarray(content, dtype=np.float32)
        check_vectors(content, dim=self.dim, names=track_ids, field="content")
        return _write(self.address, content_table(self.encoder_id, track_ids, content))

    def holds(self, part: HeardPart) -> bool:
        """Whether the fragment of a part is still there, with its tracks."""
        try:
            found = _read(self.address, part.fragment, ["track_id"])
        except (OSError, ValueError, RuntimeError) as error:
            _log.info("fragment %s cannot be read: %s", fragment_file(part.fragment), error)
            return False
        return tuple(found["track_id"].to_pylist()) == part.track_ids


@dataclass(frozen=True)
class HeardPart:
    """Tracks whose content vectors lie in one fragment.

    Attributes
    ----------
    fragment : str
        What `ContentTarget.write` returned.
    track_ids, audio_sha256, audio_uris : tuple of str
        Of each row: the track, and the audio that was heard: its hash, and where it came from.
    """

    fragment: str
    track_ids: tuple[str, ...]
    audio_sha256: tuple[str, ...]
    audio_uris: tuple[str, ...]


def append_fragments(table: Table, wanted_of: Mapping[HeardPart, Collection[str]]) -> tuple[int, int]:
    """Take fragments into the content table in one commit.

    Parameters
    ----------
    table : Table
        The content table.
    wanted_of : mapping of HeardPart to collection of str
        Parts whose fragments are there, as Lance does not look, and the tracks of each that are wanted. Those that the
        table has already are left out, and so are those that stood in an earlier part.

    Returns
    -------
    before, version : int
        Version of the table that was looked at for keys that it has already, and the version of the commit.

    Raises
    ------
    DamagedHomeError
        The table cannot be read or written.
    """
    handle = table.latest()
    keys = table.read(columns=[table.key], handle=handle)[table.key]
    offered = pa.array([one for some in wanted_of.values() for one in some], pa.string())
    there = set(keys.filter(pc.is_in(keys, value_set=offered)).to_pylist())
    fragments: list[str] = []
    with writing(table.name, table.address):
        for part, some in wanted_of.items():
            wanted = [one in some and one not in there for one in part.track_ids]
            taken = {one for one, keep in zip(part.track_ids, wanted, strict=True) if keep}
            there |= taken
            if all(wanted):
                fragments.append(part.fragment)
            elif taken:
                rows = _read(table.address, part.fragment, handle.schema.names).filter(pa.array(wanted))
                fragments.append(_write(table.address, rows.cast(handle.schema)))
        if not fragments:
            return int(handle.version), int(handle.version)
        operation = lance.LanceOperation.Append([FragmentMetadata.from_json(one) for one in fragments])
        committed = lance.LanceDataset.commit(
            table.address, operation, read_version=handle.version, storage_options=PATIENCE
        )
    return int(handle.version), int(committed.version)


def replace_vectors(table: Table, part: HeardPart, track_ids: Collection[str]) -> int:
    """Give tracks that the table has already the vectors of a part, and count those that had others.

    Raises
    ------
    DamagedHomeError
    """
    kept = [one for one in part.track_ids if one in track_ids]
    if not kept:
        return 0
    handle = table.latest()
    with writing(table.name, table.address):
        rows = _read(table.address, part.fragment, handle.schema.names)
    rows = rows.filter(pa.array([one in track_ids for one in part.track_ids])).cast(handle.schema)
    stored = {row[table.key]: row for row in table.read(keys=kept, handle=handle).to_pylist()}
    rows = rows.filter(pa.array([stored.get(row[table.key]) != row for row in rows.to_pylist()], pa.bool_()))
    if rows.num_rows:
        table.upsert(rows)
    return int(rows.num_rows)


def drop_twins(table: Table, since: int, version: int) -> int:
    """Leave one row of every key that another process merged in while its fragment was taken in: the other's.

    Parameters
    ----------
    table : Table
    since : int
        Only rows written after this version are looked at.
    version : int
        That of the commit which took the fragments in.

    Returns
    -------
    int
        How many rows were deleted.

    Raises
    ------
    DamagedHomeError
    """
    found = table.read(columns=[table.key, ROW_VERSION, ROW_ID], since=since)
    counts = pc.value_counts(found[table.key])
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    rows_of: dict[str, list[tuple[bool, int, int]]] = {}
    for row in found.filter(pc.is_in(found[table.key], value_set=twice)).to_pylist():
        others = row[ROW_VERSION] != version
        rows_of.setdefault(row[table.key], []).append((others, row[ROW_VERSION], row[ROW_ID]))
    twins = [row_id for rows in rows_of.values() for *_, row_id in sorted(rows)[:-1]]
    table.delete_rows(twins)
    return len(twins)


def _write(address: str, rows: pa.Table) -> str:
    with writing(address, address):
        (fragment,) = write_fragments(
            rows, address, mode="append", max_rows_per_file=rows.num_rows, storage_options=PATIENCE
        )
    return json.dumps(fragment.to_json())


def _read(address: str, fragment: str, columns: Sequence[str]) -> Any:
    path = f"{address}/data/{fragment_file(fragment)}"
    return LanceFileReader(path, storage_options=PATIENCE, columns=list(columns)).read_all().to_table()


def fragment_file(fragment: str) -> str:
    """Name a fragment's file; no two have the same."""
    (file,) = json.loads(fragment)["files"]
    return str(file["path"])
