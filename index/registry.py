"""Spaces, snapshots and the publish history: three small tables that say what is served.

Appending one row to the publish history IS the publish: a reader sees the row or does not. Its sequence is the table's
key and is only ever inserted, so that of two publishers at one moment both succeed, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

import pyarrow as pa

from index.errors import (
    DamagedHomeError,
    InvalidIdError,
    InvalidVectorError,
    NoRollbackError,
    NoSnapshotError,
    PublishedMeanwhileError,
    SpaceExistsError,
    UnknownSnapshotError,
    UnknownSpaceError,
)
from index.history import rollback_stack
from index.layout import Home
from index.remembered import Remembered
from index.retired import Kind, Marks, Retired
from index.schemas import PUBLISHES, SNAPSHOTS, SPACES
from index.tables import Table
from index.types import Metric, PublishKind, PublishRecord, SnapshotRecord, SpaceRecord, utc_now
from index.validation import check_name, is_text

_TABLES = {
    "spaces": (SPACES, "space_id"),
    "snapshots": (SNAPSHOTS, "snapshot_id"),
    "publishes": (PUBLISHES, "sequence"),
}


class Registry:
    """The registry of one home.

    Parameters
    ----------
    home : Home
        Its tables exist.
    """

    def __init__(self, home: Home) -> None:
        tables = {name: Table(home.registry(name), f"registry/{name}", key) for name, (_, key) in _TABLES.items()}
        self._spaces, self._snapshots, self._publishes = tables.values()
        self._retired = Retired(home)
        self._known_spaces = Remembered(self._spaces)
        self._known_snapshots = Remembered(self._snapshots)
        self._known_publishes = Remembered(self._publishes)

    @staticmethod
    def create(home: Home) -> None:
        """Write the empty tables of a new home."""
        for name, (schema, key) in _TABLES.items():
            if not home.exists(home.registry(name)):
                Table.create(home.registry(name), f"registry/{name}", key, schema.empty_table())

    def refuse_space(self, space_id: str) -> None:
        """Refuse the id of a space that exists.

        Raises
        ------
        SpaceExistsError
        """
        if space_id in self._known_spaces.get(_spaces):
            raise SpaceExistsError(
                f"space {space_id!r} exists already: choose another id, spaces are never overwritten", field="space_id"
            )

    def add_space(self, space: SpaceRecord, creation: str) -> None:
        """Record a space; from here on it exists.

        Parameters
        ----------
        creation : str
            What its tables are called by. Of several that add one space at a moment, one succeeds, and only the
            tables of that one are ever read.

        Raises
        ------
        SpaceExistsError
        """
        row = asdict(space) | {"metric": space.metric.value, "creation": creation}
        if not self._spaces.insert(_rows([row], SPACES)) and self.creation(space.space_id) != creation:
            self.refuse_space(space.space_id)

    def spaces(self, *, retired: bool = False) -> list[SpaceRecord]:
        """List spaces, oldest first; those that are retired only where asked for."""
        gone = {} if retired else self._gone(self._retired.marks())
        found = self._known_spaces.get(_spaces)
        return [space for space, _ in found.values() if ("space", space.space_id) not in gone]

    def creation(self, space_id: str) -> str:
        """Say what a space's tables are called by, also of one that is retired; raises `UnknownSpaceError`."""
        return self._space(space_id)[1]

    def space(self, space_id: str) -> SpaceRecord:
        """Find a space.

        Raises
        ------
        UnknownSpaceError
            It was never imported, or is retired as far as this process knows.
        """
        found = self._space(space_id)[0]
        if self._is_gone("space", space_id):
            raise UnknownSpaceError(
                f"space {space_id!r} is retired, its vectors are deleted: import it under another id",
                field="space_id",
            )
        return found

    def _space(self, space_id: str) -> tuple[SpaceRecord, str]:
        found = self._known_spaces.find(check_name(space_id, "space_id"), _spaces)
        if found is None:
            raise UnknownSpaceError(
                f"space {space_id!r} is unknown: import it, or choose one of the list of spaces", field="space_id"
            )
        return found

    def add_snapshot(self, snapshot: SnapshotRecord) -> None:
        """Record a built snapshot; it is not published by this."""
        check_name(snapshot.snapshot_id, "snapshot_id")
        self._snapshots.insert(_rows([asdict(snapshot)], SNAPSHOTS))

    def snapshots(self, space_id: str | None = None, *, retired: bool = False) -> list[SnapshotRecord]:
        """List snapshots in the order of their making, which is that of their ids; retired ones where asked for."""
        gone = {} if retired else self._gone(self._retired.marks())
        return [
            record
            for record in self._known_snapshots.get(_snapshots).values()
            if space_id in (None, record.space_id) and ("snapshot", record.snapshot_id) not in gone
        ]

    def snapshot(self, snapshot_id: str) -> SnapshotRecord:
        """Find a snapshot.

        Raises
        ------
        UnknownSnapshotError
            It was never built, or is retired as far as this process knows.
        """
        found = self._known_snapshots.find(snapshot_id, _snapshots)
        if found is None or self._is_gone("snapshot", snapshot_id):
            state = "unknown" if found is None else "retired"
            raise UnknownSnapshotError(
                f"snapshot {snapshot_id!r} is {state}: choose one of the list of snapshots", field="snapshot_id"
            )
        return found

    def retire(self, kind: Kind, ids: Iterable[str], now: datetime) -> None:
        """Leave snapshots or spaces out of lists and rollbacks from now on; see `index.retention`."""
        self._retired.mark(kind, ids, now)

    def retired(self) -> Marks:
        """Give what is retired, and since when."""
        return self._gone(self._retired.marks())

    def _gone(self, marks: Marks) -> Marks:
        """Leave out marks that do not count, because a rollback came at the same moment.

        Such are that on the published snapshot; and that on a space of which a snapshot is not retired: the published
        one, or one that was built on it since. A space is retired since its last snapshot is.
        """
        if not marks:
            return marks
        history = self.publishes()
        published = ("snapshot", history[-1].snapshot_id) if history else None
        found = {thing: since for thing, since in marks.items() if thing != published}
        for record in self._known_snapshots.get(_snapshots).values():
            space, snapshot = ("space", record.space_id), ("snapshot", record.snapshot_id)
            if space in found and snapshot in found:
                found[space] = max(found[space], found[snapshot])
            else:
                found.pop(space, None)
        return found

    def _is_gone(self, kind: Kind, one: str) -> bool:
        marks = self._retired.known()
        return (kind, one) in marks and (kind, one) in self._gone(marks)

    def publishes(self) -> list[PublishRecord]:
        """Give the publish history, oldest first."""
        return list(self._known_publishes.get(_publishes))

    def published(self) -> SnapshotRecord | None:
        """Give the snapshot that is served, or None before the first publish."""
        history = self._known_publishes.get(_publishes)
        if not history:
            return None
        try:
            return self.snapshot(history[-1].snapshot_id)
        except UnknownSnapshotError as error:
            raise DamagedHomeError(
                f"snapshot {history[-1].snapshot_id!r} is published but not recorded: publish another snapshot"
            ) from error

    def publish_sequence(self) -> int:
        """Give the sequence of the last publish or rollback; 0 before the first."""
        history = self.publishes()
        return history[-1].sequence if history else 0

    def publish(self, snapshot_id: str, *, after: int | None = None) -> PublishRecord:
        """Switch to a snapshot, for every reader at once; see `Store.publish`.

        Raises
        ------
        UnknownSnapshotError, PublishedMeanwhileError
        """
        self._retired.marks()  # what another process has retired is not served
        self.snapshot(snapshot_id)
        if after is None:
            return self._append(snapshot_id, PublishKind.PUBLISH)
        # The sequence is the key: of two that want the same one, the table takes one, and nobody comes in between.
        record = None if self.publish_sequence() != after else self._insert(after + 1, snapshot_id, PublishKind.PUBLISH)
        if record is None:
            raise PublishedMeanwhileError(
                f"another snapshot was published or rolled back to while {snapshot_id!r} was made, and is served on: "
                "start again if this one is still wanted, what is done stays done"
            )
        return record

    def tables(self) -> list[Table]:
        """List the tables of the registry."""
        marks = self._retired.table()
        return [self._spaces, self._snapshots, self._publishes, *([marks] if marks is not None else [])]

    def rollback_stack(self) -> list[SnapshotRecord]:
        """Give the way back: the published snapshot last, before it what each rollback would return to."""
        known = {snapshot.snapshot_id: snapshot for snapshot in self.snapshots()}
        return [known[snapshot_id] for snapshot_id in rollback_stack(self.publishes(), known)]

    def rollback_target(self) -> SnapshotRecord:
        """Give the snapshot that a rollback would return to; see `index.history.rollback_stack`.

        Raises
        ------
        NoSnapshotError, NoRollbackError
        """
        stack = self.rollback_stack()
        if not stack:
            raise NoSnapshotError("nothing is published yet: build and publish a snapshot first")
        if len(stack) == 1:
            raise NoRollbackError(
                f"no earlier snapshot stands behind {stack[0].snapshot_id!r}: publish a space anew instead"
            )
        return stack[-2]

    def rollback(self, snapshot_id: str | None = None) -> PublishRecord:
        """Switch back to a snapshot; to `rollback_target` where none is named.

        Raises
        ------
        NoSnapshotError, NoRollbackError, UnknownSnapshotError
        """
        if snapshot_id is None:
            target = self.rollback_target()
        else:
            self._retired.marks()  # what another process has retired is not gone back to
            target = self.snapshot(snapshot_id)
        return self._append(target.snapshot_id, PublishKind.ROLLBACK)

    def _append(self, snapshot_id: str, kind: PublishKind) -> PublishRecord:
        while True:
            record = self._insert(self.publish_sequence() + 1, snapshot_id, kind)
            if record is not None:  # else another publisher took this sequence; ours comes after it
                return record

    def _insert(self, sequence: int, snapshot_id: str, kind: PublishKind) -> PublishRecord | None:
        """Append to the history under a sequence; None where another publisher has taken it."""
        record = PublishRecord(sequence, snapshot_id, kind, utc_now())
        inserted = self._publishes.insert(_rows([asdict(record) | {"kind": kind.value}], PUBLISHES))
        return record if inserted else None


def new_space(record: SpaceRecord) -> SpaceRecord:
    """Check what a caller wants to create.

    Raises
    ------
    InvalidIdError, InvalidVectorError
    """
    check_name(record.space_id, "space_id")
    if not is_text(record.source):
        raise InvalidIdError(
            f"source of space {record.space_id!r} is not valid Unicode: send it as UTF-8", field="source"
        )
    if record.dim < 1:
        raise InvalidVectorError(f"space {record.space_id!r} has the dimension {record.dim}: it must be at least 1")
    return record


def _rows(rows: Iterable[dict[str, object]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


def _spaces(table: pa.Table) -> dict[str, tuple[SpaceRecord, str]]:
    rows = sorted(table.to_pylist(), key=lambda row: (row["created_at"], row["space_id"]))
    creations = [row.pop("creation") for row in rows]
    records = [SpaceRecord(**(row | {"metric": Metric(row["metric"])})) for row in rows]
    return {record.space_id: (record, creation) for record, creation in zip(records, creations, strict=True)}


def _snapshots(table: pa.Table) -> dict[str, SnapshotRecord]:
    records = [SnapshotRecord(**row) for row in table.to_pylist()]
    return {record.snapshot_id: record for record in sorted(records, key=lambda r: r.snapshot_id)}


def _publishes(table: pa.Table) -> tuple[PublishRecord, ...]:
    records = [PublishRecord(**(row | {"kind": PublishKind(row["kind"])})) for row in table.to_pylist()]
    return tuple(sorted(records, key=lambda r: r.sequence))
