"""The upkeep of a home: retiring what is no longer kept, dropping what is folded, compacting, cleaning up.

For the holder of the home's lease. Every step may be cut off anywhere: what it left, the next run finds by looking.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from index.errors import StoreError
from index.history import served_until
from index.layout import SPACE_FOLDERS
from index.retention import Retention, RetentionPlan, plan_retention
from index.snapshots import snapshot_time
from index.spaces import creation_time
from index.store import Store
from index.table_figures import TableFigures
from index.tables import Table
from index.types import SnapshotRecord, utc_now

_log = logging.getLogger(__name__)

# The committing process compacts a table after 48 merges, so that this many small fragments mean that it does not get
# to it, or that compaction fails; a scan of 340 took 0.40 s rather than 0.15.
MAX_SMALL_FRAGMENTS = 128
# Each commit is a version. A clean-up leaves those of the last hour: 10,000 are three a second, more than one
# committer makes of small groups for long, so that more mean that nobody cleans up. Each keeps its files on the disk.
MAX_VERSIONS = 10_000
# Rows that every read passes over; compaction rewrites a fragment at half.
MAX_DELETED_SHARE = 0.5
# What a refresh tidies behind itself. Less is hardly felt: a look-up opens each fragment in a tenth of a millisecond,
# while tidying ten tables takes a quarter of the time of a small refresh. An old version keeps what was replaced since.
DUE_SMALL_FRAGMENTS = 8
DUE_VERSIONS = 16
DUE_DELETED_SHARE = 0.1
# Longer than anybody builds an index or imports a space, so that an unrecorded one was left by a process that ended.
_CUT_OFF = timedelta(days=1)


@dataclass(frozen=True)
class Tidied:
    """What tidying one table did.

    Attributes
    ----------
    after : TableFigures
    versions_removed, bytes_removed : int
    """

    after: TableFigures
    versions_removed: int
    bytes_removed: int


class Upkeep:
    """Keeps a home small and quick.

    Parameters
    ----------
    store : Store
    retention : Retention
    now : datetime, optional
        The moment for which it is decided what is old; in UTC.
    """

    def __init__(self, store: Store, retention: Retention, now: datetime | None = None) -> None:
        self._store = store
        self._registry = store.registry
        self._retention = retention
        self._now = now or utc_now()

    def plan(self) -> RetentionPlan:
        """Say what is to be retired; reads only."""
        registry = self._registry
        return plan_retention(registry.spaces(), registry.snapshots(), registry.publishes(), self._retention, self._now)

    def retire(self, plan: RetentionPlan) -> None:
        """Mark what a plan retires; from here on it is in no list, and nothing goes back to it."""
        self._store.layout.require_writable()
        # Snapshots first: a space is only ever marked when all of its snapshots are.
        self._registry.retire("snapshot", [one.snapshot_id for one in plan.retired_snapshots], self._now)
        self._registry.retire("space", [one.space_id for one in plan.retired_spaces], self._now)

    def _read_by_nobody(self) -> tuple[list[SnapshotRecord], list[str]]:
        """Snapshots and ids of spaces that were retired, and served last, before the grace."""
        before = self._now - self._retention.grace
        records = self._registry.snapshots(retired=True)
        until = served_until(self._registry.publishes(), self._now)
        lately = [one for one in records if one.snapshot_id in until and until[one.snapshot_id] > before]
        used = {("snapshot", one.snapshot_id) for one in lately} | {("space", one.space_id) for one in lately}
        unread = {thing for thing, since in self._registry.retired().items() if since <= before} - used
        snapshots = [one for one in records if ("snapshot", one.snapshot_id) in unread]
        return snapshots, [one for kind, one in unread if kind == "space"]

    def leftovers(self) -> tuple[list[str], list[str]]:
        """Give ids of snapshots and spaces that nobody reads any more and that have files left; reads only.

        Returns
        -------
        (snapshot_ids, space_ids) : tuple of list of str
            Retired ones; and snapshots whose building, and spaces whose import, was cut off before they were recorded,
            the latter as ``SPACE.CREATION``: the space itself may have been imported since.
        """
        snapshots, spaces = self._left()
        return snapshots, spaces + [f"{space_id}.{creation}" for space_id, creation in self._cut_off_imports()]

    def _left(self) -> tuple[list[str], list[str]]:
        snapshots, spaces = self._read_by_nobody()
        files, registry = self._store.layout.files, self._registry
        tables = {name.removesuffix(".lance") for kind in SPACE_FOLDERS for name in files.names(kind)}
        models = set(files.names("models"))
        lying = set(files.names("indexes")).union(*self._tags().values())
        cut_off = lying - {one.snapshot_id for one in registry.snapshots(retired=True)}
        return (
            [one.snapshot_id for one in snapshots if one.snapshot_id in lying]
            + sorted(one for one in cut_off if self._is_cut_off(one, snapshot_time)),
            sorted(one for one in spaces if f"{one}.{registry.creation(one)}" in tables or one in models),
        )

    def _tags(self) -> dict[str, set[str]]:
        """Tags of the served tables, by space; a retired space's table goes as a whole."""
        tables = self._store.space_tables
        return {space.space_id: tables.served(space.space_id).tags() for space in self._registry.spaces()}

    def _cut_off_imports(self) -> list[tuple[str, str]]:
        lying = self._store.space_tables.unrecorded()
        return [(space_id, creation) for space_id, creation in lying if self._is_cut_off(creation, creation_time)]

    def _is_cut_off(self, name: str, begun: Callable[[str], datetime]) -> bool:
        try:
            return begun(name) < self._now - _CUT_OFF
        except ValueError:
            return False  # whatever it is, it is none of ours

    def discard(self) -> tuple[list[str], list[str]]:
        """Delete the files of `leftovers`, and say of which snapshots and spaces."""
        self._store.layout.require_writable()
        (snapshots, spaces), imports = self._left(), self._cut_off_imports()
        tags, tables, files = self._tags(), self._store.space_tables, self._store.layout.files
        for snapshot_id in snapshots:
            files.remove(f"indexes/{snapshot_id}")
            for space_id in tags:
                if snapshot_id in tags[space_id]:
                    tables.served(space_id).unprotect(snapshot_id)
        for space_id in spaces:
            files.remove(f"models/{space_id}")
            tables.discard(space_id)
        for space_id, creation in imports:
            tables.discard_unrecorded(space_id, creation)
        return snapshots, spaces + [f"{space_id}.{creation}" for space_id, creation in imports]

    def drop_folded(self) -> int:
        """Delete fresh rows that every snapshot contains which anybody may still read, and count them."""
        self._store.layout.require_writable()
        unread = {one.snapshot_id for one in self._read_by_nobody()[0]}
        dropped = 0
        for space in self._registry.spaces():
            readable = [
                one.fresh_version
                for one in self._registry.snapshots(space.space_id, retired=True)
                if one.snapshot_id not in unread
            ]
            if readable:
                dropped += self._store.space_tables.drop_fresh(space.space_id, min(readable))
        return dropped

    def figures(self) -> Iterator[TableFigures]:
        """Count what each table of the home consists of."""
        for table in self._store.tables():
            yield self._figures(table)

    def _figures(self, table: Table) -> TableFigures:
        return table.figures(self._store.layout.versions(table.address))

    def tidy(self, *, all_tables: bool = True) -> Iterator[Tidied]:
        """Compact each table, bring its indexes up to date, and delete its versions that are older than the grace.

        A table that cannot be tidied is logged and left as it is.

        Parameters
        ----------
        all_tables : bool
            False: those with few small fragments and few versions are left to a later turn, and are not given.
        """
        self._store.layout.require_writable()
        for table in self._store.tables():
            if not all_tables and not _is_due(self._figures(table)):
                continue
            try:
                table.compact()
                removed = table.clean_up(self._retention.grace)
            except StoreError:
                # Another process writes it, or its disk is full: the figures say what is left to do.
                _log.exception("table %s could not be tidied", table.name)
                removed = (0, 0)
            yield Tidied(self._figures(table), *removed)


def _is_due(table: TableFigures) -> bool:
    many_deleted = table.deleted_rows > DUE_DELETED_SHARE * (table.rows + table.deleted_rows)
    return table.small_fragments >= DUE_SMALL_FRAGMENTS or table.versions >= DUE_VERSIONS or many_deleted


def alerts(tables: Iterable[TableFigures]) -> list[str]:
    """Say what somebody should look into, a sentence each; nothing where all is well."""
    found = []
    for one in tables:
        if one.small_fragments > MAX_SMALL_FRAGMENTS:
            found.append(
                f"table {one.name} has {one.small_fragments} small fragments where {MAX_SMALL_FRAGMENTS} are normal: "
                "compaction fails or does not run, see the log"
            )
        if one.versions > MAX_VERSIONS:
            found.append(
                f"table {one.name} has {one.versions} versions where {MAX_VERSIONS} are normal: "
                "run `anacrusis maintain`, and refresh or maintain every day"
            )
        if one.deleted_rows > max(MAX_DELETED_SHARE * (one.rows + one.deleted_rows), 32_768):
            found.append(
                f"table {one.name} passes over {one.deleted_rows} deleted rows to read {one.rows}: "
                "run `anacrusis maintain`"
            )
    return found
