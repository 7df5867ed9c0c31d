"""The tables of a space: served vectors, fresh rows, user vectors; and how fresh rows are folded into served ones.

A served row says in ``fresh_version`` up to which version of the fresh table it has taken its track into account.
A row may only be replaced by one that has seen as much or more, so that neither a fold nor a refresh, in whatever
order and from whatever process, puts a staler vector over a newer one.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.errors import InvalidIdError, InvalidVectorError, SpaceExistsError
from index.layout import SPACE_FOLDERS, Home
from index.registry import Registry, new_space
from index.schemas import (
    MOVED,
    POPULARITY,
    ServedRows,
    collaborative_table,
    column_vectors,
    served_schema,
    served_table,
    users_table,
)
from index.table_reads import ROW_VERSION
from index.tables import Table
from index.types import Float32Array, ServedVector, SnapshotRecord, SpaceRecord, Tier, utc_now
from index.validation import (
    check_id,
    check_listens,
    check_served,
    check_served_columns,
    check_unique,
    check_vectors,
)

_CREATION_TIME = "%Y%m%dT%H%M%S"
_NOT_STALER = "source.fresh_version >= target.fresh_version"


class SpaceTables:
    """The vectors of all spaces of a home.

    Parameters
    ----------
    home : Home
    registry : Registry
    """

    def __init__(self, home: Home, registry: Registry) -> None:
        self._home = home
        self._registry = registry
        self._opened: dict[str, Table] = {}
        self._lock = threading.Lock()

    def _table(self, address: str, name: str, key: str) -> Table:
        with self._lock:
            if address not in self._opened:
                self._opened[address] = Table(address, name, key)
            return self._opened[address]

    def opened(self) -> list[Table]:
        """List the tables in use."""
        with self._lock:
            return list(self._opened.values())

    def all(self, space_id: str) -> list[Table]:
        """Open the tables of a space that there are."""
        address, name = self._moved(space_id)
        moved = [self._table(address, name, "track_id")] if self._home.exists(address) else []
        return [self.served(space_id), self.fresh(space_id), self.users(space_id), *moved]

    def served(self, space_id: str) -> Table:
        """Give the served table of a space."""
        return self._table(
            self._home.served(space_id, self._registry.creation(space_id)), f"served/{space_id}", "track_id"
        )

    def fresh(self, space_id: str) -> Table:
        """Give the fresh table of a space."""
        return self._table(
            self._home.fresh(space_id, self._registry.creation(space_id)), f"fresh/{space_id}", "track_id"
        )

    def users(self, space_id: str) -> Table:
        """Give the user table of a space."""
        return self._table(
            self._home.users(space_id, self._registry.creation(space_id)), f"users/{space_id}", "user_id"
        )

    def create(
        self,
        space: SpaceRecord,
        track_ids: Sequence[str],
        vectors: Float32Array,
        user_ids: Sequence[str] | None,
        user_vectors: Float32Array | None,
        listens: Float32Array | None,
    ) -> SpaceRecord:
        """Write a new space; see `Store.create_space`."""
        new_space(space)
        if (user_ids is None) != (user_vectors is None):
            raise InvalidVectorError("user_ids and user_vectors go together: give both or neither", field="user_ids")
        users = list(user_ids) if user_ids is not None else []
        user_array = user_vectors if user_vectors is not None else np.zeros((0, space.dim), dtype=np.float32)
        tracks = [str(track_id) for track_id in track_ids]
        users = [str(user_id) for user_id in users]
        track_array = _checked(tracks, vectors, "track_ids", "vectors", space)
        counted = check_listens(listens, tracks) if listens is not None else None
        # A user without plays may well have the zero vector: it is stored, and refused only as a query.
        user_array = _checked(users, user_array, "user_ids", "user_vectors", space, zero_allowed=True)
        done = SpaceRecord(
            space.space_id, space.dim, space.metric, space.created_at, len(tracks), len(users), space.source
        )
        self._registry.refuse_space(space.space_id)
        # Tables of this call alone: another process may create the space at this moment, or was cut short doing so. The
        # time tells the upkeep how long they have been lying there.
        creation = f"{utc_now():{_CREATION_TIME}}-{secrets.token_hex(8)}"
        home, space_id = self._home, space.space_id
        written = {
            home.served(space_id, creation): ("served", collaborative_table(space_id, tracks, track_array, counted)),
            home.fresh(space_id, creation): ("fresh", served_schema(space.dim).empty_table()),
            home.users(space_id, creation): ("users", users_table(users, user_array)),
        }
        try:
            for address, (kind, rows) in written.items():
                Table.create(address, f"{kind}/{space_id}", rows.schema.names[0], rows)
        except BaseException:
            self._discard(written)
            raise
        try:
            self._registry.add_space(done, creation)
        except SpaceExistsError:
            self._discard(written)
            raise
        # Where anything else went wrong the row may stand all the same: the upkeep looks a day later, and knows.
        return done

    def _discard(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            with self._lock:
                self._opened.pop(address, None)
            self._home.discard(address)

    def replace_served(self, space_id: str, rows: Sequence[ServedVector], as_of: int) -> int:
        """Merge re-projected rows; see `Store.replace_served`."""
        space = self._registry.space(space_id)
        check_served(rows, dim=space.dim, metric=space.metric)
        check_unique([row.track_id for row in rows], "track_id")
        served = self.served(space_id)
        if not rows:
            return served.version
        return served.upsert(served_table(space_id, rows, space.dim, as_of), update_if=_NOT_STALER)

    def stage(self, space_id: str, rows: pa.Table, as_of: int) -> int:
        """Merge rows that are columns already; see `Store.stage_served`."""
        staged = self._completed(space_id, rows, as_of)
        served = self.served(space_id)
        return served.upsert(staged, update_if=_NOT_STALER) if staged.num_rows else served.version

    def add_fresh(self, space_id: str, rows: pa.Table) -> int:
        """Add fresh rows of tracks that have none; see `Store.add_fresh`."""
        added = self._completed(space_id, rows, 0)
        return self.fresh(space_id).insert(added) if added.num_rows else 0

    def _completed(self, space_id: str, rows: pa.Table, fresh_version: int) -> pa.Table:
        space = self._registry.space(space_id)
        check_served_columns(rows, dim=space.dim, metric=space.metric)
        given = {
            **{name: rows[name] for name in rows.schema.names},
            "space_id": pa.repeat(pa.scalar(space_id), rows.num_rows),
            "fresh_version": pa.repeat(pa.scalar(fresh_version, pa.int64()), rows.num_rows),
        }
        schema = served_schema(space.dim)
        return pa.Table.from_arrays([given[name] for name in schema.names], names=schema.names).cast(schema)

    def note_moved(self, space_id: str, rows: pa.Table) -> None:
        """Keep how far tracks have moved; see `Store.note_moved`."""
        address, name = self._moved(space_id)
        if self._home.exists(address):
            self._table(address, name, "track_id").upsert(rows.cast(MOVED))
        else:
            Table.create(address, name, "track_id", rows.cast(MOVED))

    def moved(self, space_id: str) -> pa.Table:
        """Give how far tracks have moved; see `Store.moved`."""
        address, name = self._moved(space_id)
        if not self._home.exists(address):
            return MOVED.empty_table()
        return self._table(address, name, "track_id").read()

    def _moved(self, space_id: str) -> tuple[str, str]:
        return self._home.moved(space_id, self._registry.creation(space_id)), f"moved/{space_id}"

    def fold(self, space_id: str) -> tuple[int, int]:
        """Bring the fresh rows that no snapshot contains yet into the served table.

        Fresh rows stay where they are: a rollback to an older snapshot needs them. `drop_fresh` deletes those that
        every snapshot which may still be read contains.

        Returns
        -------
        (served_version, fresh_version) : tuple of int
            The served table at the first contains the fresh table at the second.
        """
        fresh, served = self.fresh(space_id), self.served(space_id)
        handle = fresh.latest()
        folded = self._folded(space_id)
        names = [name for name in handle.schema.names if name != "fresh_version"]
        rows = fresh.read(columns=[*names, ROW_VERSION], since=folded, handle=handle)
        if rows.num_rows:
            self._fold(served, rows, handle.schema)
        # Snapshots are looked up at this version for as long as they are kept.
        served.index_keys()
        return served.version, int(handle.version)

    def drop_fresh(self, space_id: str, up_to: int) -> int:
        """Delete the fresh rows that were written up to a version, and count them.

        Parameters
        ----------
        up_to : int
            At most the least ``fresh_version`` among the snapshots that anybody may still read.
        """
        return self.fresh(space_id).delete(f"{ROW_VERSION} <= {int(up_to)}") if up_to > 0 else 0

    def discard(self, space_id: str) -> None:
        """Delete the tables of a space, as far as possible; doing it again does the rest."""
        creation = self._registry.creation(space_id)
        self._discard(self._home.of_space(space_id, creation))

    def unrecorded(self) -> list[tuple[str, str]]:
        """List what tables of spaces are called by (id, creation) that the registry does not know.

        Somebody is importing them at this moment, or was cut off doing so: `creation_time` says since when.
        """
        names = {name.removesuffix(".lance") for kind in SPACE_FOLDERS for name in self._home.files.names(kind)}
        spaces = [space.space_id for space in self._registry.spaces(retired=True)]
        lying = names - {f"{space_id}.{self._registry.creation(space_id)}" for space_id in spaces}
        return sorted(
            (space_id, creation) for space_id, _, creation in (name.rpartition(".") for name in lying) if space_id
        )

    def discard_unrecorded(self, space_id: str, creation: str) -> None:
        """Delete tables that `unrecorded` gave, as far as possible."""
        self._discard(self._home.of_space(space_id, creation))

    def _folded(self, space_id: str) -> int:
        """Give the version of the fresh table up to which its rows stand in a snapshot."""
        # Also in one that is retired: the served table has kept the rows.
        built = self._registry.snapshots(space_id, retired=True)
        return max((record.fresh_version for record in built), default=0)

    def newest(self, space_id: str, columns: Sequence[str]) -> tuple[pa.Table, int]:
        """Give each track's newest row; see `Store.newest_rows`."""
        fresh = self.fresh(space_id)
        handle = fresh.latest()
        written = fresh.read(columns=[*columns, ROW_VERSION], since=self._folded(space_id), handle=handle)
        rows = self.served(space_id).read(columns=[*columns, "fresh_version"])
        if written.num_rows:
            # As `_fold` has it: a fresh row stands where it is newer than what its served row has seen.
            at = pc.index_in(written["track_id"], value_set=rows["track_id"].combine_chunks())
            seen = rows["fresh_version"].take(at)
            newer = pc.greater(written[ROW_VERSION].cast(pa.int64()), seen)
            written = written.filter(pc.fill_null(newer, True)).select(list(columns))
            replaced = pc.is_in(rows["track_id"], value_set=written["track_id"].combine_chunks())
            rows = pa.concat_tables([rows.select(list(columns)).filter(pc.invert(replaced)), written])
        return rows.select(list(columns)), int(handle.version)

    def collaborative(self, space_id: str, track_ids: Sequence[str] | None) -> ServedRows:
        """Give what the training brought; see `Store.collaborative_rows`."""
        served = self.served(space_id)
        columns = ["track_id", "tier", "vector", *POPULARITY]
        if track_ids is None:
            return ServedRows(served.read(columns=columns, where=f"tier = {int(Tier.COLLABORATIVE)}"))
        rows = served.read(columns=columns, keys=track_ids)
        return ServedRows(rows.filter(pc.equal(rows["tier"], int(Tier.COLLABORATIVE))))

    def changed_since(self, snapshot: SnapshotRecord) -> bool:
        """Tell whether rows were staged or written since a snapshot was built; see `Store.changed_since`."""
        # By the rows' own versions: compaction and indexing make versions of a table, too, and change nothing.
        return any(
            table.read(columns=[table.key], since=version).num_rows
            for table, version in (
                (self.served(snapshot.space_id), snapshot.served_version),
                (self.fresh(snapshot.space_id), snapshot.fresh_version),
            )
        )

    def news_since(self, snapshot: SnapshotRecord) -> bool:
        """Tell whether rows are of something that a snapshot does not know; see `Store.news_since`."""
        served = self.served(snapshot.space_id)
        if served.read(columns=["track_id"], since=snapshot.served_version).num_rows:
            return True
        columns = ["track_id", "basis"]
        rows = self.fresh(snapshot.space_id).read(columns=columns, since=snapshot.fresh_version)
        known = served.read(columns=columns, keys=rows["track_id"].to_pylist(), version=snapshot.served_version)
        at = pc.index_in(rows["track_id"], value_set=known["track_id"].combine_chunks())
        same = pc.equal(rows["basis"], known["basis"].take(at))
        return bool(pc.any(pc.invert(pc.fill_null(same, False))).as_py())

    def _fold(self, served: Table, rows: pa.Table, schema: pa.Schema) -> None:
        versions = rows[ROW_VERSION].cast(pa.int64())
        rows = rows.drop_columns([ROW_VERSION]).append_column(schema.field("fresh_version"), versions)
        served.upsert(rows.cast(schema), update_if="source.fresh_version > target.fresh_version")

    def lookup(
        self, space_id: str, track_ids: Sequence[str], snapshot: SnapshotRecord | None
    ) -> dict[str, ServedVector]:
        """Find vectors as they were stored; see `Store.served_vectors`."""
        if snapshot is None:
            built = self._registry.snapshots(space_id)
            snapshot = built[-1] if built else None
        elif snapshot.space_id != space_id:
            raise InvalidIdError(
                f"snapshot {snapshot.snapshot_id!r} belongs to space {snapshot.space_id!r}: ask for that one",
                field="snapshot",
            )
        version, covered = (
            (snapshot.served_version, snapshot.fresh_version) if snapshot else (None, self._folded(space_id))
        )
        newer = ServedRows(self.fresh(space_id).read(keys=track_ids, since=covered))
        found = {row.track_id: row for row in newer.records()}
        missing = [track_id for track_id in track_ids if track_id not in found]
        older = ServedRows(self.served(space_id).read(keys=missing, version=version))
        return found | {row.track_id: row for row in older.records()}

    def stale(self, snapshot: SnapshotRecord, tracks: pa.Table) -> list[str]:
        """Find tracks without a vector of their present basis; see `Store.stale_ids`.

        Parameters
        ----------
        tracks : pyarrow.Table
            Columns track_id and basis of the tracks to look at.
        """
        columns = ["track_id", "tier", "basis"]
        fresh = self.fresh(snapshot.space_id).read(columns=columns, since=snapshot.fresh_version)
        served = self.served(snapshot.space_id).read(columns=columns, version=snapshot.served_version)
        # Joins by position, a null where there is none: a million rows stay columns.
        rows = [
            table.take(pc.index_in(tracks["track_id"], value_set=table["track_id"].combine_chunks()))
            for table in (fresh, served)
        ]
        tiers, bases = (pc.coalesce(*(found[name] for found in rows)) for name in ("tier", "basis"))
        outdated = pc.and_(pc.not_equal(tiers, int(Tier.COLLABORATIVE)), pc.not_equal(bases, tracks["basis"]))
        return list(tracks["track_id"].filter(pc.fill_null(outdated, True)).to_pylist())

    def shown(self, snapshot: SnapshotRecord, columns: Sequence[str], track_ids: Sequence[str] | None) -> pa.Table:
        """Give rows of what a snapshot shows; see `Store.shown_rows`."""
        fresh = self.fresh(snapshot.space_id).read(columns=columns, keys=track_ids, since=snapshot.fresh_version)
        served = self.served(snapshot.space_id).read(columns=columns, keys=track_ids, version=snapshot.served_version)
        superseded = pc.is_in(served["track_id"], value_set=fresh["track_id"].combine_chunks())
        return pa.concat_tables([fresh, served.filter(pc.invert(superseded))])

    def user_vectors(self, space_id: str, user_ids: Sequence[str] | None) -> tuple[list[str], Float32Array]:
        """Find user vectors; see `Store.user_vectors`."""
        rows = self.users(space_id).read(keys=user_ids)
        return list(rows["user_id"].to_pylist()), column_vectors(rows["vector"])


def creation_time(creation: str) -> datetime:
    """Read from its creation when tables of a space were made; raises ValueError where it is not one of ours."""
    return datetime.strptime(creation.partition("-")[0], _CREATION_TIME).replace(tzinfo=UTC)


def _checked(
    ids: Sequence[str],
    vectors: Float32Array,
    ids_field: str,
    vectors_field: str,
    space: SpaceRecord,
    *,
    zero_allowed: bool = False,
) -> Float32Array:
    for value in ids:
        check_id(value, ids_field)
    check_unique(ids, ids_field)
    metric = None if zero_allowed else space.metric
    names = ids if len(ids) == len(vectors) else None
    array = check_vectors(vectors, dim=space.dim, metric=metric, names=names, field=vectors_field)
    if len(array) != len(ids):
        raise InvalidIdError(
            f"{len(ids)} {ids_field} came with {len(array)} {vectors_field}: give as many of the one as of the other",
            field=ids_field,
        )
    return array
