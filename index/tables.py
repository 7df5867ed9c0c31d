"""One Lance table: always its latest version, writes that merge on its key, errors in one sentence.

Facts about Lance (pylance 14) that this file stands on, each held by a test:

- ``_row_last_updated_at_version`` is the version in which a row was committed, also when concurrent writers were
  rebased, and survives compaction; it needs stable row ids.
- A source with one key twice inserts it twice: the caller hands in unique keys.
- A merge that uses a scalar index over its key notes nowhere which keys it inserted, so that two at one moment insert
  one new key twice (seen between two processes; with a condition it fails). Merges are told not to use it,
  which costs nothing (30 ms at 300,000 rows, 85 at 1,000,000, with it or without). Look-ups use it, and agree with
  those without, also where rows are written after the index.
- Of two ``write_dataset(mode="create")`` at one moment the second may overwrite the first, rows and all (seen: 16 of
  100 races). A commit that reads version 0 and is not tried again creates a table or fails.
- A handle sees the version it was opened at until it is opened anew; `index.versions` knows which one is the latest.
- An append (1 to 2 ms; a merge 9 to 11) is laid over whatever others wrote since the version that it was made from, and
  nobody looks for keys that stand there twice then. A merge sees an append that came in between and begins again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc
from lance.fragment import write_fragments

from index.errors import DamagedHomeError
from index.full_disk import no_room
from index.known_keys import KnownKeys
from index.object_store import PATIENCE, unreachable
from index.table_errors import reading, writing
from index.table_figures import TableFigures, figures_of
from index.table_reads import ROW_ID, ROW_VERSION, no_rows, rows_of_keys, rows_where
from index.types import Int64Array
from index.versions import LatestVersion
from index.write_locks import writing_alone, writing_beside_others

_log = logging.getLogger(__name__)

# Other processes may write the same home: how often, and how long in all, a merge is tried again.
_CONFLICT_RETRIES = 50
_RETRY_TIMEOUT = timedelta(seconds=60)
# Every merge leaves a fragment behind, and every later merge and look-up opens each of them: after 400 one-row merges
# they took 50 and 130 ms, compacted every 50 merges 13 and 2 ms, the compaction itself about 30 ms. Fragments of the
# target size are left alone, so that its cost does not grow with the table.
_COMPACT_EVERY = 48
_FRAGMENT_ROWS = 32_768
_DELETED_SHARE = 0.5
# With a scalar index over 300,000 keys a look-up takes 1.5 to 3 ms rather than 12.
# Smaller tables are as fast without. Rows written later are scanned until the index is brought up to date; that adds a
# part (10 ms), and every so many parts are made one again (140 ms at 300,000 rows).
_INDEX_ROWS = 16_384
_INDEX_PARTS = 16
# So many writes in a row are worth a look at all keys (0.2 s a million), after which those that are new are appended.
_KNOWN_AFTER = 3
# Rows that an index may be behind: a look-up scans them, in less than a millisecond.
_INDEX_BEHIND = 4096


class Table:
    """A Lance table of a home.

    Parameters
    ----------
    address : str
        Where it lies.
    name : str
        What errors call it, such as "tracks" or "served/SPACE".
    key : str
        Its key column.
    indexed : sequence of str
        Further columns that are looked up by, and indexed like the key.

    Raises
    ------
    DamagedHomeError
        It cannot be opened.
    """

    def __init__(self, address: str, name: str, key: str, indexed: Sequence[str] = ()) -> None:
        self.address = address
        self.name = name
        self.key = key
        self._indexed = (key, *indexed)
        self._handle_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._merges = 0
        self._known = KnownKeys()
        self._newest = LatestVersion(address)
        self._upserts = 0
        with reading(self.name, self.address):
            self._handle: Any = _opened(address)
            self._writer: Any = _opened(address)
        self._writer_is_read = False  # it is the handle as well, or was

    @classmethod
    def create(cls, address: str, name: str, key: str, rows: pa.Table) -> Table:
        """Write a new table; one that another process created in the meantime is opened instead."""
        try:
            fragments = write_fragments(rows, address, mode="create", storage_options=PATIENCE)
            lance.LanceDataset.commit(
                address,
                lance.LanceOperation.Overwrite(rows.schema, fragments),
                read_version=0,
                storage_options=PATIENCE,
                max_retries=0,
                enable_v2_manifest_paths=True,
                enable_stable_row_ids=True,
            )
        except OSError as error:
            try:
                table = cls(address, name, key)
            except DamagedHomeError:
                raise (
                    unreachable(address, error)
                    or no_room(f"table {name}", error)
                    or DamagedHomeError(
                        f"table {name} of the home cannot be written: check the disk and the folder's rights"
                    )
                ) from error
            return table
        table = cls(address, name, key)
        table.index_keys()
        return table

    @property
    def version(self) -> int:
        """Latest version."""
        with self._handle_lock, reading(self.name, self.address):
            return self._newest.of(self._handle)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema."""
        return self._handle.schema

    def latest(self) -> Any:
        """Give a handle on the latest version; it stays at it."""
        with self._handle_lock, reading(self.name, self.address):
            if self._newest.of(self._handle) != self._handle.version:
                self._handle = _opened(self.address)
            return self._handle

    def at(self, version: int | None) -> Any:
        """Give a handle on a version; None: the latest."""
        if version is None:
            return self.latest()
        with reading(self.name, self.address):
            return _opened(self.address, version)

    def upsert(self, rows: pa.Table, *, update_if: str | None = None) -> int:
        """Insert rows of new keys and update those of known ones, durably.

        Parameters
        ----------
        rows : pyarrow.Table
            Its keys are unique.
        update_if : str, optional
            SQL condition over ``source.column`` and ``target.column``; a known key's row is left where it fails.

        Returns
        -------
        int
            Version that holds the rows.
        """
        if update_if is not None:
            return self._merge(rows, lambda merge: merge.when_matched_update_all(update_if))[0]
        self._upserts += 1
        return self._append_new(rows) or self._merge(rows, lambda merge: merge.when_matched_update_all())[0]

    def know_keys(self) -> None:
        """Look at all keys, once: from then on `upsert` appends what is new, and `read` looks for no key in vain."""
        with self._write_lock, writing_alone(self.address) as alone, reading(self.name, self.address):
            if alone:  # where nobody ever is, nothing is appended
                self._known.follow(self.latest(), self.key)

    def _append_new(self, rows: pa.Table) -> int | None:
        """Append rows if all their keys are new, and give the version; None where that is not sure: nothing is done."""
        keys = rows[self.key].to_pylist()
        with self._write_lock, writing_alone(self.address) as alone:
            if not keys or not alone or (self._known.version < 0 and self._upserts <= _KNOWN_AFTER):
                return None
            with reading(self.name, self.address):
                writer = self._newest_writer()
                self._known.follow(writer, self.key)
            if self._known.possible(keys, int(writer.version)):
                return None
            with writing(self.name, self.address):
                fragments = write_fragments(rows, writer, mode="append", max_rows_per_file=_FRAGMENT_ROWS)
                appended = lance.LanceDataset.commit(
                    writer, lance.LanceOperation.Append(fragments), read_version=writer.version
                )
            self._merges += 1
            self._newest.wrote(int(appended.version))
            self._writer, self._writer_is_read = appended, True
            with self._handle_lock:
                self._handle = appended  # opening it anew costs 0.3 ms
            if appended.version == writer.version + 1:
                self._known.wrote(keys, int(appended.version))
                return int(appended.version)
        # Somebody who knows nothing of the lock wrote in between.
        self.drop_older(keys)
        return int(appended.version)

    def twins(self) -> list[str]:
        """Give the keys that stand in the table more than once, in order; reads all of them."""
        counted = pc.value_counts(self.read(columns=[self.key])[self.key].combine_chunks())
        return sorted(one["values"] for one in counted.filter(pc.greater(counted.field("counts"), 1)).to_pylist())

    def drop_older(self, keys: Sequence[str]) -> None:
        """Leave the newest row of each of some keys."""
        found = self.read(columns=[self.key, ROW_VERSION, ROW_ID], keys=keys).to_pylist()
        newest: dict[str, int] = {}
        for row in sorted(found, key=lambda row: row[ROW_VERSION]):
            newest[row[self.key]] = row[ROW_ID]
        self.delete_rows([row[ROW_ID] for row in found if newest[row[self.key]] != row[ROW_ID]])

    def _newest_writer(self, *, alone: bool = False) -> Any:
        """Give the handle that writes, at the latest version; alone: one that nobody reads from."""
        # Lance changes what it merges into when it is done, and panics where that is being read at this moment.
        if self._newest.of(self._writer) != self._writer.version or (alone and self._writer_is_read):
            self._writer, self._writer_is_read = _opened(self.address), False
        return self._writer

    def insert(self, rows: pa.Table) -> int:
        """Insert rows of new keys, leave those of known ones as they are, and count the new ones."""
        return self._merge(rows, lambda merge: merge)[1]

    def _merge(self, rows: pa.Table, matched: Callable[[Any], Any]) -> tuple[int, int]:
        with self._write_lock, writing_beside_others(self.address):
            with reading(self.name, self.address):
                writer = self._newest_writer(alone=True)
            with writing(self.name, self.address):
                merge = matched(writer.merge_insert(self.key)).when_not_matched_insert_all().use_index(False)
                counts = merge.conflict_retries(_CONFLICT_RETRIES).retry_timeout(_RETRY_TIMEOUT).execute(rows)
            self._merges += 1
            return int(writer.version), int(counts["num_inserted_rows"])

    def delete_rows(self, row_ids: Sequence[int]) -> None:
        """Delete rows by Lance's hidden `ROW_ID`."""
        if row_ids:
            with self._write_lock, writing(self.name, self.address):
                _opened(self.address).delete(
                    f"{ROW_ID} IN ({', '.join(map(str, row_ids))})",
                    conflict_retries=_CONFLICT_RETRIES,
                    retry_timeout=_RETRY_TIMEOUT,
                )

    def compact_if_due(self) -> None:
        """Merge small fragments and index their keys after a number of writes; old versions keep their own files."""
        if self._merges < _COMPACT_EVERY:
            return
        self.compact()

    def compact(self) -> None:
        """Do what `compact_if_due` does, now."""
        with self._write_lock:
            self._merges = 0
            try:
                _opened(self.address).optimize.compact_files(
                    target_rows_per_fragment=_FRAGMENT_ROWS, materialize_deletions_threshold=_DELETED_SHARE
                )
            except (OSError, ValueError, RuntimeError) as error:
                # Another process wrote the same fragments just now: the next turn does it.
                _log.info("table %s was not compacted: %s", self.name, error)
        self.index_keys()

    def index_keys(self) -> None:
        """Make the index over the keys, or bring it up to date; tables that are small go without."""
        with self._write_lock:
            try:
                dataset = _opened(self.address)
                indices = dataset.describe_indices()
                if indices and dataset.count_rows() - min(index.num_rows_indexed for index in indices) > _INDEX_BEHIND:
                    parts = max(len(index.segments) for index in indices)
                    dataset.optimize.optimize_indices(num_indices_to_merge=parts if parts >= _INDEX_PARTS else 0)
                missing = set(self._indexed) - {name for index in indices for name in index.field_names}
                if missing and dataset.count_rows() >= _INDEX_ROWS:
                    for column in sorted(missing):
                        dataset.create_scalar_index(column, "BTREE")
            except (OSError, ValueError, RuntimeError) as error:
                # Without it everything works, more slowly.
                _log.info("the keys of table %s were not indexed: %s", self.name, error)

    def read(
        self,
        *,
        columns: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        since: int | None = None,
        version: int | None = None,
        where: str | None = None,
        handle: Any = None,
    ) -> pa.Table:
        """Read rows.

        Parameters
        ----------
        columns : sequence of str, optional
            May name `ROW_VERSION`.
        keys : sequence of str, optional
            Only these keys, in whatever order; unknown ones, also those that could not be keys, are left out.
        since : int, optional
            Only rows written after this version of the table.
        version : int, optional
            Read at this version; else at the latest.
        where : str, optional
            Only rows for which this SQL condition holds; not together with `keys`.
        handle : optional
            What `latest` or `at` gave, to read several times at one version.
        """
        dataset = handle if handle is not None else self.at(version)
        names = list(columns) if columns is not None else list(dataset.schema.names)
        with reading(self.name, self.address):
            if keys is not None:
                keys = self._known.possible(keys, int(dataset.version))
                return rows_of_keys(dataset, names, self.key, keys, since)
            return rows_where(dataset, names, where, since)

    def take(self, rows: Int64Array, columns: Sequence[str], *, version: int | None = None) -> pa.Table:
        """Read some rows by their places in the table's order at a version.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            In any order, which is that of the answer.
        """
        dataset = self.at(version)
        with reading(self.name, self.address):
            return dataset.take(rows, columns=list(columns)) if len(rows) else no_rows(dataset, columns)

    def batches(self, columns: Sequence[str], *, version: int | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the columns of all rows at a version, in the table's order."""
        with reading(self.name, self.address):
            yield from self.at(version).scanner(columns=list(columns), scan_in_order=True).to_batches()

    def protect(self, tag: str, version: int) -> None:
        """Keep a version from ever being cleaned up, until the tag is removed."""
        with reading(self.name, self.address):
            _opened(self.address).tags.create(tag, version)

    def tags(self) -> set[str]:
        """Give the tags that protect versions."""
        with reading(self.name, self.address):
            return set(self.latest().tags.list())

    def unprotect(self, tag: str) -> None:
        """Remove a tag, where it is there: the version that it protected is cleaned up with the others."""
        if tag in self.tags():
            with reading(self.name, self.address):
                _opened(self.address).tags.delete(tag)

    def delete(self, where: str) -> int:
        """Delete the rows for which a condition holds, and count them."""
        with self._write_lock, writing(self.name, self.address):
            return int(_opened(self.address).delete(where)["num_deleted_rows"])

    def clean_up(self, older_than: timedelta) -> tuple[int, int]:
        """Delete versions older than a span of time, with the files that only they need; not those with a tag.

        Returns
        -------
        (versions, bytes) : tuple of int
            How many were removed.
        """
        with self._write_lock, writing(self.name, self.address):
            done = _opened(self.address).cleanup_old_versions(older_than=older_than, error_if_tagged_old_versions=False)
        return int(done.old_versions), int(done.bytes_removed)

    def figures(self, versions: int) -> TableFigures:
        """Count what the table's latest version consists of.

        Parameters
        ----------
        versions : int
            How many there are, see `Home.versions`: Lance would read each one's manifest to say it.
        """
        handle = self.latest()
        with reading(self.name, self.address):
            return figures_of(self.name, handle, versions, small_rows=_FRAGMENT_ROWS)


def _opened(address: str, version: int | None = None) -> Any:
    return lance.dataset(address, version=version, storage_options=PATIENCE)
