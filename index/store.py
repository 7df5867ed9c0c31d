"""The Lance tables of a home behind one door: durable writes in groups, reads at a version. No search here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc

from index.backfill import ContentBackfill
from index.committer import GroupCommitter, merge_batches
from index.content import ContentTables
from index.errors import StoreClosedError
from index.feedback import FeedbackEvent, FeedbackTables, Standing, check_event, check_standing
from index.layout import Home
from index.registry import Registry
from index.remembered import Remembered
from index.schemas import TRACKS, WITHDRAWN, served_table, track_records, tracks_table
from index.space_store import SpaceStore
from index.table_reads import ROW_VERSION
from index.tables import Table
from index.types import (
    CommitReceipt,
    Committed,
    Float32Array,
    SnapshotRecord,
    TrackRecord,
    WriteBatch,
    utc_now,
)
from index.validation import check_served, check_track, check_withdrawal

_log = logging.getLogger(__name__)


class Store(SpaceStore):
    """One home folder. Every method may be called from any thread; several processes may open one home.

    What `commit` acknowledged survives the end of the process at any moment; a power failure is survived as far as
    the file system brings finished writes to the disk by itself (Lance does not ask it to).

    Use `Store.open`.
    """

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._tracks = Table(home.tracks, "tracks", "track_id")
        self._withdrawn = Table(home.withdrawn, "withdrawn", "track_id")
        self._known_withdrawn = Remembered(self._withdrawn)
        self._content = ContentTables(home)
        self._feedback = FeedbackTables(home)
        self._committer = GroupCommitter(self._write_group, tidy=self._tidy)
        self._listeners: list[Callable[[Committed], None]] = []
        self._closed = False

    @classmethod
    def open(
        cls, home: str | Path, *, create: bool = True, read_only: bool = False, cache: Path | None = None
    ) -> Store:
        """Open a home folder.

        Parameters
        ----------
        home : str or Path
            A local folder, or ``s3://BUCKET/PREFIX``.
        create : bool
            Whether a folder that is missing or empty is made into a home.
        read_only : bool
            Whether every call that would write is refused; the home has to be there then.
        cache : Path, optional
            Where copies of an object store's indexes are kept from one opening to the next.

        Raises
        ------
        DamagedHomeError
            It is no home, is of another format version, or cannot be read.
        HomeUnreachableError
            The object store does not answer, has no such bucket, or refuses the credentials.
        InvalidInputError
            The address is none.
        """
        layout = Home(home, cache=cache, read_only=read_only)
        if not layout.check_marker(create=create and not read_only):
            if layout.local is not None:
                layout.local.mkdir(parents=True, exist_ok=True)
            for address, name, schema in (
                (layout.tracks, "tracks", TRACKS),
                (layout.withdrawn, "withdrawn", WITHDRAWN),
            ):
                if not layout.exists(address):
                    Table.create(address, name, "track_id", schema.empty_table())
            Registry.create(layout)
            layout.write_marker()
        return cls(layout)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish the commits under way; later ones are refused."""
        self._closed = True
        self._committer.close()
        self._home.files.close()

    @property
    def home(self) -> Path | str:
        """The home folder, as `open` takes it: a path where it lies on this machine."""
        return self._home.local or self._home.address

    # Writing -------------------------------------------------------------------------------------------------------

    def commit(self, batch: WriteBatch) -> CommitReceipt:
        """Write a batch; concurrent callers share one write.

        Tables are written in the order content, tracks, feedback, fresh, standings, withdrawn: whoever sees a fresh row
        finds its track, its content and its feedback. Of rows with one key, in one batch or in several, the last one
        stands. Ids that are withdrawn already keep their first reason, events that are recorded already stay.

        Returns
        -------
        CommitReceipt
            Once everything is durable and visible to the searchers of this store.

        Raises
        ------
        InvalidInputError
            Something in the batch is malformed; nothing of it was written.
        UnknownSpaceError
        DamagedHomeError, HomeFullError
            A table could not be written; what the batch wrote before it stays, and writing it again is safe.
        """
        self._home.require_writable()
        self._check(batch)
        if batch.row_count == 0:
            return CommitReceipt()
        return self._committer.commit(batch)

    def subscribe(self, listener: Callable[[Committed], None]) -> Callable[[], None]:
        """Have `listener` called with every group after it is durable and before its callers return, in order.

        What it raises is logged: it does not keep the callers from their receipts.

        Returns
        -------
        callable
            Ends the subscription.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def between_commits(self) -> AbstractContextManager[object]:
        """Keep commits of this store waiting while the body of a ``with`` runs; it must not commit.

        What the tables hold and their listeners have not heard of was then written by others.
        """
        return self._committer.writing

    def backfill(self, encoder_id: str, dim: int) -> ContentBackfill:
        """Begin, or go on, bringing content vectors that many processes write; see `ContentBackfill`."""
        self._home.require_writable()
        return ContentBackfill(self._home, self._content, encoder_id, dim)

    def add_tracks(self, tracks: Sequence[TrackRecord]) -> int:
        """Add tracks that are not known yet, durably, and count them; what is known of others stays as it is.

        Unlike `commit` it can overwrite nothing that another process writes at the same moment. Searchers learn of it
        as they learn of what other processes write.

        Raises
        ------
        InvalidTrackError, ReadOnlyError, DamagedHomeError
        """
        self._home.require_writable()
        for track in tracks:
            check_track(track)
        return self._tracks.insert(tracks_table(tracks)) if tracks else 0

    def know_keys(self, encoder_id: str, space_id: str) -> None:
        """Look now at all keys of the tables that releases go into, so that none of them waits for that.

        Parameters
        ----------
        encoder_id : str
            Whose content vectors will come.
        space_id : str
            That will be projected into.
        """
        content = self._content.table(encoder_id)
        for table in (self._tracks, self._spaces.fresh(space_id), *([content] if content is not None else [])):
            table.know_keys()

    def _check(self, batch: WriteBatch) -> None:
        if self._closed:
            raise StoreClosedError("the store is closed: open it again")
        for track in batch.tracks:
            check_track(track)
        for encoder_id, rows in batch.content.items():
            self._content.check(encoder_id, rows)
        for space_id, served in batch.fresh.items():
            space = self.space(space_id)
            check_served(served, dim=space.dim, metric=space.metric)
        for track_id, reason in batch.withdrawn.items():
            check_withdrawal(track_id, reason)
        for event in batch.feedback:
            check_event(event, self.space(event.space_id).dim if event.space_id else None)
        for standing in batch.standings:
            check_standing(standing)

    def _write_group(self, batches: Sequence[WriteBatch]) -> list[CommitReceipt]:
        merged, receipts = merge_batches(batches, self.withdrawn, self._feedback.known)
        for encoder_id, vectors in merged.content.items():
            self._content.write(encoder_id, vectors)
        tracks_version = self._tracks.upsert(tracks_table(merged.tracks.values())) if merged.tracks else 0
        feedback_version = self._feedback.add(merged.feedback.values()) if merged.feedback else 0
        versions = {
            space_id: self._spaces.fresh(space_id).upsert(
                served_table(space_id, list(rows.values()), self.space(space_id).dim)
            )
            for space_id, rows in merged.fresh.items()
        }
        if merged.standings:
            self._feedback.put_standings(merged.standings.values())
        if merged.withdrawn:
            ids, reasons = list(merged.withdrawn), list(merged.withdrawn.values())
            self._withdrawn.insert(pa.table([ids, [utc_now()] * len(ids), reasons], schema=WITHDRAWN))
        gone = frozenset(merged.withdrawn)
        self._tell(Committed(merged.tracks, tracks_version, merged.fresh, versions, gone, feedback_version))
        return receipts

    def _tidy(self) -> None:
        for table in (
            self._tracks,
            self._withdrawn,
            *self._content.opened(),
            *self._spaces.opened(),
            *self._feedback.opened(),
        ):
            table.compact_if_due()

    def _tell(self, committed: Committed) -> None:
        for listener in list(self._listeners):
            try:
                listener(committed)
            except Exception:
                # The rows are durable, so the commit succeeded: what a listener missed it must find out by itself.
                _log.exception("a listener failed on a commit")

    # Reading -------------------------------------------------------------------------------------------------------

    def track(self, track_id: str) -> TrackRecord | None:
        """Find a track's metadata; None where it is unknown."""
        found = self.tracks([track_id])
        return found[0] if found else None

    def tracks(self, track_ids: Sequence[str] | None = None) -> list[TrackRecord]:
        """Give metadata of tracks, of all where no ids are given; unknown ids are left out."""
        return track_records(self._tracks.read(keys=track_ids))

    def tracks_table(self, *, track_ids: Sequence[str] | None = None, since: int | None = None) -> tuple[pa.Table, int]:
        """Give metadata as columns, and the version it was read at.

        Parameters
        ----------
        track_ids : sequence of str, optional
            Only these.
        since : int, optional
            Only rows written after this version.
        """
        handle = self._tracks.latest()
        rows = self._tracks.read(columns=[*TRACKS.names, ROW_VERSION], keys=track_ids, since=since, handle=handle)
        return rows, int(handle.version)

    def track_columns(self, columns: Sequence[str], track_ids: Sequence[str] | None = None) -> pa.Table:
        """Give some columns of the metadata of tracks, of all where no ids are given; ``basis`` may be named."""
        return self._tracks.read(columns=columns, keys=track_ids)

    def heard_ids(self, encoder_id: str) -> pa.ChunkedArray:
        """Give the ids of all tracks that have a content vector of an encoder."""
        return self._content.ids(encoder_id)

    def content(self, encoder_id: str, track_ids: Sequence[str] | None = None) -> tuple[list[str], Float32Array]:
        """Give content vectors of an encoder, of all tracks where no ids are given.

        Returns
        -------
        (found_ids, vectors) : list of str and ndarray of float32, shape (n, content_dim)
            Unknown ids are left out; ``(0, 0)`` where the encoder has stored nothing.
        """
        return self._content.read(encoder_id, track_ids)

    def withdrawn(self) -> frozenset[str]:
        """Give the ids of all withdrawn tracks."""
        return self.withdrawn_at()[0]

    def withdrawn_at(self) -> tuple[frozenset[str], int]:
        """Give `withdrawn` and the version that it was read at."""
        return self._known_withdrawn.at(lambda rows: frozenset(rows["track_id"].to_pylist()))

    # Feedback ------------------------------------------------------------------------------------------------------

    def feedback(self, track_ids: Sequence[str]) -> list[FeedbackEvent]:
        """Give all feedback on some tracks, in no order."""
        return self._feedback.events(track_ids)

    def feedback_counts(self) -> Mapping[str, int]:
        """Give the number of events of each track that has any."""
        return self._feedback.counts()

    def feedback_version(self) -> int:
        """Give the latest version of the feedback; 0 before the first event."""
        return self._feedback.version

    def standings(self, track_ids: Sequence[str] | None = None) -> dict[str, Standing]:
        """Find how far tracks have warmed up; those that never had feedback are left out."""
        return self._feedback.standings(track_ids)

    # Across both ------------------------------------------------------------------------------------------------------

    def with_feedback_counts(self, tracks: pa.Table) -> pa.Table:
        """Extend the column ``basis`` of a table of tracks by their numbers of events: what a row should have."""
        return self._feedback.with_events(tracks)

    def stale_ids(self, snapshot: SnapshotRecord) -> list[str]:
        """Give the ids of tracks that a snapshot and the rows fresh to it do not show as the tracks are now.

        Returns
        -------
        list of str
            Of the stored tracks that are not withdrawn: those without a vector, and those whose vector was projected
            from another `TrackRecord.basis` than theirs or with other feedback. Collaborative ones depend on neither.
        """
        tracks = self._tracks.read(columns=["track_id", "basis"])
        gone = pc.is_in(tracks["track_id"], value_set=pa.array(sorted(self.withdrawn()), pa.string()))
        tracks = tracks.filter(pc.invert(gone))
        return self._spaces.stale(snapshot, self._feedback.with_events(tracks)) if tracks.num_rows else []

    def versions(self, space_id: str) -> tuple[int, int, int]:
        """Give the latest versions of a space's fresh table, of the tracks table and of the withdrawn ids."""
        return self._spaces.fresh(space_id).version, self._tracks.version, self._withdrawn.version

    def tables(self) -> list[Table]:
        """Open all tables of the home but those of retired spaces."""
        spaces = [space.space_id for space in self._registry.spaces()]
        of_spaces = [table for space_id in spaces for table in self._spaces.all(space_id)]
        leases = self._leases.table()
        return [
            self._tracks,
            self._withdrawn,
            *self._content.all(),
            *self._feedback.all(),
            *of_spaces,
            *self._registry.tables(),
            *([leases] if leases is not None else []),
        ]
