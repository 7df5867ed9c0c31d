"""Spaces, their rows, snapshots and what is published: the half of `index.store.Store` that belongs to trainings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import pyarrow as pa

from index.bases import Bases
from index.layout import Home
from index.lease import DEFAULT_TTL_S, Lease, Leases
from index.registry import Registry
from index.schemas import ServedRows
from index.spaces import SpaceTables
from index.table_reads import ROW_VERSION
from index.types import Float32Array, PublishRecord, ServedVector, SnapshotRecord, SpaceRecord


class SpaceStore:
    """What a home holds of each training of the recommender; a part of `index.store.Store`, which is what is opened.

    Parameters
    ----------
    home : Home
        Its registry exists.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._registry = Registry(home)
        self._leases = Leases(home)
        self._spaces = SpaceTables(home, self._registry)
        self._bases = Bases()

    # Spaces --------------------------------------------------------------------------------------------------------

    def create_space(
        self,
        space: SpaceRecord,
        track_ids: Sequence[str],
        vectors: Float32Array,
        user_ids: Sequence[str] | None = None,
        user_vectors: Float32Array | None = None,
        *,
        listens: Float32Array | None = None,
    ) -> SpaceRecord:
        """Store a training of the recommender; nothing of it is served before a snapshot of it is published.

        Parameters
        ----------
        space : SpaceRecord
            Its counts are filled in.
        vectors : ndarray of float32, shape (len(track_ids), dim)
        user_vectors : ndarray of float32, shape (len(user_ids), dim), optional
        listens : ndarray of float32, shape (len(track_ids),), optional
            Of each track, at least 0, NaN where not known: its popularity.

        Returns
        -------
        SpaceRecord
            As stored.

        Raises
        ------
        SpaceExistsError
        InvalidIdError
            An id is malformed or stands there twice, or there are more or fewer ids than vectors.
        InvalidVectorError
            Wrong dimension, NaN, values beyond 1e15, zero vectors of tracks where the metric is cosine, or listens
            below 0.
        """
        self._home.require_writable()
        return self._spaces.create(space, track_ids, vectors, user_ids, user_vectors, listens)

    def spaces(self) -> list[SpaceRecord]:
        """List all spaces, oldest first."""
        return self._registry.spaces()

    def space(self, space_id: str) -> SpaceRecord:
        """Find a space; raises `UnknownSpaceError`."""
        return self._registry.space(space_id)

    def user_vectors(self, space_id: str, user_ids: Sequence[str] | None = None) -> tuple[list[str], Float32Array]:
        """Give user vectors: found ids, and float32 of shape (n, dim); unknown ids are left out."""
        return self._spaces.user_vectors(space_id, user_ids)

    def served_rows(
        self, space_id: str, *, version: int | None = None, track_ids: Sequence[str] | None = None
    ) -> ServedRows:
        """Give served rows of a space at a version (None: the latest), without the fresh ones."""
        return ServedRows(self._spaces.served(space_id).read(keys=track_ids, version=version))

    def snapshot_columns(
        self,
        snapshot: SnapshotRecord,
        columns: Sequence[str],
        *,
        since: SnapshotRecord | None = None,
        track_ids: Sequence[str] | None = None,
    ) -> pa.Table:
        """Give some columns of the rows of a snapshot, in no order.

        Parameters
        ----------
        since : SnapshotRecord, optional
            An earlier snapshot of the same space: only rows that were written after it.
        track_ids : sequence of str, optional
            Only these; unknown ones are left out.
        """
        return self._spaces.served(snapshot.space_id).read(
            columns=columns,
            keys=track_ids,
            since=since.served_version if since is not None else None,
            version=snapshot.served_version,
        )

    def collaborative_rows(self, space_id: str, track_ids: Sequence[str] | None = None) -> ServedRows:
        """Give the rows that a training brought, without provenance: columns track_id, tier, vector and popularity.

        Parameters
        ----------
        track_ids : sequence of str, optional
            Only these; the unknown and the projected among them are left out.
        """
        return self._spaces.collaborative(space_id, track_ids)

    def newest_rows(self, space_id: str, columns: Sequence[str]) -> tuple[pa.Table, int]:
        """Give columns of each track's newest row, be it staged, served or fresh, whatever snapshot is published.

        Parameters
        ----------
        columns : sequence of str
            Of `index.schemas.served_schema`, ``track_id`` among them.

        Returns
        -------
        (rows, fresh_version) : pyarrow.Table and int
            One row a track, in no order; and the version that the fresh rows were read at, for `replace_served`.
        """
        return self._spaces.newest(space_id, columns)

    def changed_since(self, snapshot: SnapshotRecord) -> bool:
        """Tell whether a snapshot of the space that is built now would hold other rows than this one."""
        return self._spaces.changed_since(snapshot)

    def news_since(self, snapshot: SnapshotRecord) -> bool:
        """Tell whether a space holds tracks, or inputs of tracks, that a snapshot of it does not know.

        Beside `changed_since` it passes over what was only projected anew, as a rollback to an older snapshot does with
        the tracks that are newer.
        """
        return self._spaces.news_since(snapshot)

    def shown_rows(
        self, snapshot: SnapshotRecord, columns: Sequence[str], track_ids: Sequence[str] | None = None
    ) -> pa.Table:
        """Give some columns of what a snapshot and the rows fresh to it show, one row a track, withdrawn ones, too.

        Parameters
        ----------
        columns : sequence of str
            ``track_id`` among them.
        track_ids : sequence of str, optional
            Only these; unknown ones are left out.
        """
        return self._spaces.shown(snapshot, columns, track_ids)

    def fresh_rows(self, space_id: str, *, since: int = 0) -> ServedRows:
        """Give fresh rows written after a version of the fresh table, such as a snapshot's ``fresh_version``."""
        return self.fresh_since(space_id, since)[0]

    def fresh_since(self, space_id: str, version: int) -> tuple[ServedRows, int]:
        """Give `fresh_rows` and the version that they were read at."""
        table = self._spaces.fresh(space_id)
        handle = table.latest()
        rows = table.read(columns=[*handle.schema.names, ROW_VERSION], since=version, handle=handle)
        return ServedRows(rows), int(handle.version)

    def fresh_version(self, space_id: str) -> int:
        """Give the latest version of a space's fresh table."""
        return self._spaces.fresh(space_id).version

    def replace_served(self, space_id: str, rows: Sequence[ServedVector], *, as_of: int) -> int:
        """Merge re-projected rows into the served table; visible once a snapshot of it is published.

        Parameters
        ----------
        as_of : int
            `fresh_version` of the space as it was BEFORE the inputs of the projection were read. Fresh rows
            written later win over these rows; earlier ones are replaced by them.

        Returns
        -------
        int
            Version of the served table.

        Raises
        ------
        UnknownSpaceError, InvalidInputError
        """
        self._home.require_writable()
        return self._spaces.replace_served(space_id, rows, as_of)

    def stage_served(self, space_id: str, rows: pa.Table, *, as_of: int) -> int:
        """Merge rows that are columns already into the served table, in one commit; else as `replace_served`.

        Parameters
        ----------
        rows : pyarrow.Table
            The columns of `index.schemas.served_schema`, but for ``space_id`` and ``fresh_version``, in any order.
        as_of : int
            As for `replace_served`.

        Returns
        -------
        int
            Version of the served table.

        Raises
        ------
        UnknownSpaceError, InvalidInputError
        """
        self._home.require_writable()
        return self._spaces.stage(space_id, rows, as_of)

    def add_fresh(self, space_id: str, rows: pa.Table) -> int:
        """Add fresh rows that are columns already, of tracks that have none, durably, and count them.

        Unlike `commit` it can overwrite nothing that another process writes at the same moment. Searchers learn of it
        as they learn of what other processes write.

        Parameters
        ----------
        rows : pyarrow.Table
            As for `stage_served`.

        Raises
        ------
        UnknownSpaceError, InvalidInputError, DamagedHomeError
        """
        self._home.require_writable()
        return self._spaces.add_fresh(space_id, rows)

    def note_moved(self, space_id: str, rows: pa.Table) -> None:
        """Keep how far a training has tracks from where the one before had them, over what was kept of them before.

        Parameters
        ----------
        rows : pyarrow.Table
            Columns ``track_id``, ``moved`` (float32, at least 0) and ``stamp`` (what the move changes for those who
            lean on the track; empty where it is too small to).
        """
        self._home.require_writable()
        self._spaces.note_moved(space_id, rows)

    def moved(self, space_id: str) -> pa.Table:
        """Give what `note_moved` has kept, in no order; without a row where a space was never bridged to."""
        return self._spaces.moved(space_id)

    def served_vectors(
        self, space_id: str, track_ids: Sequence[str], *, snapshot: SnapshotRecord | None = None
    ) -> dict[str, ServedVector]:
        """Find vectors exactly as stored (not as the index rounds them), with their provenance.

        Parameters
        ----------
        snapshot : SnapshotRecord, optional
            See the space as this snapshot and the rows fresh to it; None: as the latest built snapshot of the
            space would show it.

        Returns
        -------
        dict of track id to ServedVector
            Unknown ids are left out; withdrawn ones are not.
        """
        return self._spaces.lookup(space_id, list(track_ids), snapshot)

    # Snapshots -----------------------------------------------------------------------------------------------------

    def snapshots(self, space_id: str | None = None) -> list[SnapshotRecord]:
        """List built snapshots, of one space or of all, oldest first."""
        return self._registry.snapshots(space_id)

    def snapshot(self, snapshot_id: str) -> SnapshotRecord:
        """Find a snapshot; raises `UnknownSnapshotError`."""
        return self._registry.snapshot(snapshot_id)

    def record_snapshot(self, snapshot: SnapshotRecord) -> None:
        """Record a built snapshot and protect the Lance version that it needs."""
        self._home.require_writable()
        self._spaces.served(snapshot.space_id).protect(snapshot.snapshot_id, snapshot.served_version)
        self._registry.add_snapshot(snapshot)

    def publish(self, snapshot_id: str, *, after: int | None = None) -> PublishRecord:
        """Switch every reader to a snapshot in one step.

        Parameters
        ----------
        after : int, optional
            The sequence of the publish that must still be the last one, 0 for none at all (`publish_sequence`).

        Raises
        ------
        UnknownSnapshotError
        PublishedMeanwhileError
            Another publish or a rollback came after that sequence; nothing was switched.
        """
        self._home.require_writable()
        return self._registry.publish(snapshot_id, after=after)

    def publish_sequence(self) -> int:
        """Give the sequence of the last publish or rollback; 0 before the first."""
        return self._registry.publish_sequence()

    def published(self) -> SnapshotRecord | None:
        """Give the snapshot that is served; None before the first publish."""
        return self._registry.published()

    def publishes(self) -> list[PublishRecord]:
        """Give the publish history, oldest first."""
        return self._registry.publishes()

    def rollback_target(self) -> SnapshotRecord:
        """Give what `rollback` would return to; raises `NoSnapshotError` or `NoRollbackError`."""
        return self._registry.rollback_target()

    def rollback_stack(self) -> list[SnapshotRecord]:
        """Give the way back: the published snapshot last, before it what each `rollback` would return to."""
        return self._registry.rollback_stack()

    def rollback(self, snapshot_id: str | None = None) -> PublishRecord:
        """Switch every reader back, in one step and without waiting for anybody.

        Parameters
        ----------
        snapshot_id : str, optional
            Any snapshot that is kept, also one that was rolled back from; None: the one that was published before
            this one. Rolling back again goes one further back.

        Raises
        ------
        NoSnapshotError, NoRollbackError, UnknownSnapshotError
        """
        self._home.require_writable()
        return self._registry.rollback(snapshot_id)

    def lease(self, name: str, *, ttl_s: float = DEFAULT_TTL_S) -> AbstractContextManager[Lease]:
        """Hold a lease while the body of a ``with`` runs: what only one process may do at a time with this home.

        A thread renews it; that of a process which died is free again 1.25 `ttl_s` after its last renewal. Clocks
        of different machines may differ by up to a quarter of `ttl_s`.

        Parameters
        ----------
        name : str
            What is to be done once at a time; ``[A-Za-z0-9][A-Za-z0-9._-]{0,63}``. ``"refresh"`` stands for all that
            stages rows, publishes or tidies up; going back and withdrawing take none, as they may never have to wait.
        ttl_s : float
            Above 0, in seconds.

        Returns
        -------
        context manager giving Lease
            Call `Lease.check` before each step that others would see.

        Raises
        ------
        LeaseHeldError
            Another one holds it; names who, and until when. Raised on entering, at once: nothing is waited for.
        InvalidInputError, InvalidIdError
        """
        self._home.require_writable()
        return self._leases.hold(name, ttl_s)

    @property
    def layout(self) -> Home:
        """Addresses of the home, for the files of built indexes."""
        return self._home

    @property
    def registry(self) -> Registry:
        """What is recorded of spaces, snapshots and publishes, for the upkeep of the home."""
        return self._registry

    @property
    def space_tables(self) -> SpaceTables:
        """The tables of the spaces, for building snapshots."""
        return self._spaces

    @property
    def bases(self) -> Bases:
        """Built indexes that this store's users have in memory."""
        return self._bases
