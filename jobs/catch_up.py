"""Keeping up with the home folder: what others publish, and what is stored but not yet projected."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from index import Searcher, SnapshotRecord, Store, WriteBatch, basis_with, give_back
from index.table_reads import ROW_VERSION
from jobs.gate import Gate
from jobs.missing import Missing, many, missing_tracks
from jobs.outcome import REFUSALS
from jobs.projector import Projector
from jobs.projectors import Projectors
from jobs.rows_at_hand import RowsOf, rows_carried_from, rows_of_newest
from jobs.warming import Warming

if TYPE_CHECKING:
    from encoders import Encoder
    from index.types import Committed

logger = logging.getLogger(__name__)

TRACKS_AT_ONCE = 256  # projected while no ingest and no feedback passes: a fraction of a second
ROWS_AT_ONCE = 4096  # brought over in one merge: half a second, after which it is looked what others have withdrawn
TRACKS_A_SYNC = 4 * TRACKS_AT_ONCE  # before it is looked again whether somebody has published or rolled back


class CatchUp:
    """Brings one process up to what its home folder holds.

    Parameters
    ----------
    store, searcher
        Of the home folder.
    projectors : Projectors
    encoder : callable returning Encoder
        Called only where something has to be projected.
    gate : Gate
        A switch of snapshots passes it alone, and so does the projection of what is missing.
    """

    def __init__(
        self, store: Store, searcher: Searcher, projectors: Projectors, encoder: Callable[[], Encoder], gate: Gate
    ) -> None:
        self._store = store
        self._searcher = searcher
        self._projectors = projectors
        self._encoder = encoder
        self._gate = gate
        self._counting = threading.Lock()
        self._again = False  # something is to be tried again
        self._reached = ""  # the last track of those that are missing that was looked at, where some are left
        self._from_the_start = False  # somebody wrote since: some before it may be missing again
        self._left = False  # whether it was said that a refresh has to project them
        self._seen = ("", 0, 0, 0)  # the served space; the versions of its fresh table, of the tracks, of the feedback
        self._own: tuple[set[int], set[int], set[int]] = (set(), set(), set())  # versions that this process wrote since
        self._unsubscribe = store.subscribe(self._note_commit)

    def close(self) -> None:
        """Stop following the store's commits."""
        self._unsubscribe()

    def sync(self) -> bool:
        """Adopt what other processes have published, ingested or withdrawn; project some of what they left.

        Returns
        -------
        bool
            Whether anything was new.
        """
        published = self._store.published()
        served = self._searcher.snapshot
        if published is not None and (served is None or served.snapshot_id != published.snapshot_id):
            # Most of what it lacks, while ingests pass in between; what comes meanwhile is left to `adopt`.
            if not self._serves_older(published):
                self._projectors.forget()
                self._project_missing(published, self._gate.alone, self._all)
            with self._gate.alone():
                return self.adopt()
        if published is None:
            return False
        changed = self._searcher.catch_up()
        wrote, wrote_tracks = self._others_wrote(published.space_id)
        if wrote_tracks:
            self._projectors.forget()  # their tracks may belong to the catalogue; fresh rows and feedback never do
        if wrote or self._reached:
            self._from_the_start |= wrote and bool(self._reached)
            self._project_missing(published, self._gate.alone, self._some)
        return changed

    def adopt(self) -> bool:
        """Switch to the published snapshot. To be called inside `Gate.alone`, after publishing.

        What the published snapshot lacks is projected before, or brought back from a newer snapshot of its space, so
        that a track that was found is found behind the switch, too; see `jobs.missing`.
        """
        self._projectors.forget()
        published = self._store.published()
        if published is not None:
            # First into the space's fresh rows, then the switch: a query never misses a track that was acknowledged.
            # Behind a newer snapshot of the space none can be missing that was not before: all that was written since
            # it was built is fresh to it. What a process left unprojected waits for the next sync, as ever.
            if not self._serves_older(published):
                self._project_missing(published, nullcontext, self._all)  # the caller passes the gate already
            self._settle(published.space_id)
        switched = self._searcher.sync()
        if switched and published is not None:
            logger.info("serving snapshot %s of space %s", published.snapshot_id, published.space_id)
        return switched

    def _serves_older(self, published: SnapshotRecord) -> bool:
        served = self._searcher.snapshot
        return (
            served is not None
            and served.space_id == published.space_id
            and served.snapshot_id < published.snapshot_id  # which sort by when they were built
            and served.served_version <= published.served_version
            and served.fresh_version <= published.fresh_version
        )

    def serve_missing(self) -> None:
        """Project what was stored but not projected when a process ended, unless that is a refresh's work."""
        if (snapshot := self._searcher.snapshot) is not None:
            self._others_wrote(snapshot.space_id)  # from here on it counts what they write
            self._project_missing(snapshot, self._gate.alone, self._all)
            give_back()

    def _note_commit(self, committed: Committed) -> None:
        """Follow the versions of the tables that this process writes: others are another's, or of the upkeep."""
        with self._counting:
            fresh, tracks, feedback = self._own
            if committed.tracks:
                tracks.add(committed.tracks_version)
            if self._seen[0] in committed.fresh_versions:
                fresh.add(committed.fresh_versions[self._seen[0]])
            if committed.feedback_version:
                feedback.add(committed.feedback_version)

    def _others_wrote(self, space_id: str) -> tuple[bool, bool]:
        """Tell whether others wrote tracks, vectors or feedback since the last call, and whether tracks.

        Now and then it says so when nobody did: where the feedback was compacted.
        """
        # Not in the midst of a commit of our own, whose versions we have not heard of.
        with self._store.between_commits():
            fresh, tracks, *_ = self._store.versions(space_id)
            feedback = self._store.feedback_version()
            with self._counting:
                again, self._again = self._again, False
                seen, self._seen = self._seen, (space_id, fresh, tracks, feedback)
                own, self._own = self._own, (set(), set(), set())
        if space_id != seen[0]:
            return True, True

        def rows_of_others(now: int, before: int, ours: set[int], versions: Callable[[], Iterable[int]]) -> bool:
            # A compaction writes a version and no rows; that is looked for only where a version is not ours.
            return now - before != len(ours) and any(at <= now and at not in ours for at in versions())

        wrote_tracks = rows_of_others(
            tracks, seen[2], own[1], lambda: self._store.tracks_table(since=seen[2])[0][ROW_VERSION].to_pylist()
        )
        wrote_fresh = rows_of_others(
            fresh, seen[1], own[0], lambda: self._store.fresh_rows(space_id, since=seen[1]).versions
        )
        return again or wrote_tracks or wrote_fresh or feedback - seen[3] != len(own[2]), wrote_tracks

    def _project_missing(
        self,
        snapshot: SnapshotRecord,
        passing: Callable[[], AbstractContextManager[None]],
        choose: Callable[[Missing], list[str]],
    ) -> None:
        """Project stored tracks that a snapshot lacks, or knows as they were before their credits, audio or feedback.

        What cannot be projected stays stored and is tried again at the next sync; it keeps nobody from opening or
        switching.

        Parameters
        ----------
        snapshot : SnapshotRecord
        passing : callable
            Passes the gate alone, for a few tracks at a time: no ingest or feedback of this process moves one of them
            between the reading of what is known of it and the writing of its vector.
        choose : callable
            Which of the due ones, in order of id, are projected now.
        """
        try:
            stale = self._store.stale_ids(snapshot)
            found = None
            if stale:
                encoder_id = self._encoder().encoder_id
                found = missing_tracks(self._store, snapshot, stale, encoder_id, self._searcher.snapshot)
            if found is None or not found.track_ids:
                self._reached, self._left = "", False
                return
            waiting = len(found.track_ids) - len(found.due)
            if waiting and not self._left:
                logger.warning(
                    "%d stored tracks have no vector of what is known of them in space %s: "
                    "`anacrusis refresh` projects them",
                    waiting,
                    snapshot.space_id,
                )
            self._left = bool(waiting)
            chosen = choose(found)
            self._serve(snapshot, found, chosen, passing)
            self._reach(chosen, found.due)
        except REFUSALS:
            with self._counting:
                self._again = True  # so that the next sync comes back to them
            logger.exception("stored tracks could not be projected into space %s; tried again", snapshot.space_id)

    def _all(self, found: Missing) -> list[str]:
        return found.due

    def _some(self, found: Missing) -> list[str]:
        return [one for one in found.due if one > self._reached][:TRACKS_A_SYNC]

    def _reach(self, chosen: list[str], due: list[str]) -> None:
        """Remember where the next sync goes on; those that have no place do not keep the others from theirs."""
        self._reached = chosen[-1] if chosen and chosen[-1] < due[-1] else ""
        if not self._reached and self._from_the_start:
            with self._counting:
                self._again = True
        self._from_the_start &= bool(self._reached)

    def _serve(
        self,
        snapshot: SnapshotRecord,
        found: Missing,
        chosen: Sequence[str],
        passing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Make fresh rows of tracks: by rows that are at hand, of many by what can be carried, else by projecting."""
        space_id = snapshot.space_id
        at_hand = [one for one in chosen if one in found.in_newest]
        others = [one for one in chosen if one not in found.in_newest]
        if at_hand:
            others += self._add(snapshot, at_hand, rows_of_newest(self._store, space_id))
        for left in found.left:
            # A rollback does not wait until thousands are projected: that is the refresh's work afterwards.
            if many(others) and left.space_id != space_id:
                carried = rows_carried_from(self._store, left, space_id)
                others = self._add(snapshot, others, carried) if carried is not None else others
        # Built before anybody has to wait for it, and once: ingests that pass in between ask for the served space's.
        projector = self._projectors.get(space_id, self._encoder().encoder_id) if others else None
        if projector is None:
            return
        for start in range(0, len(others), TRACKS_AT_ONCE):
            with passing():
                self._project(projector, others[start : start + TRACKS_AT_ONCE])
            self._searcher.catch_up()  # a track that another process withdraws meanwhile is masked now

    def _add(self, snapshot: SnapshotRecord, track_ids: Sequence[str], rows_of: RowsOf) -> list[str]:
        """Add fresh rows of tracks that have none, which lies over nobody's; give those still not shown as they are."""
        added = 0
        for start in range(0, len(track_ids), ROWS_AT_ONCE):
            added += self._store.add_fresh(snapshot.space_id, rows_of(track_ids[start : start + ROWS_AT_ONCE]))
            self._searcher.catch_up()  # shows the rows where the space is served, and masks what others withdraw
        logger.info("%d tracks were taken along into space %s", added, snapshot.space_id)
        stale = set(self._store.stale_ids(snapshot))
        return [one for one in track_ids if one in stale]

    def _project(self, projector: Projector, track_ids: Sequence[str]) -> None:
        """Project tracks by what is stored of them, again where another process has stored more meanwhile."""
        space_id, encoder_id = projector.model.space_id, projector.model.encoder_id
        while track_ids:
            record_of = {record.track_id: record for record in self._store.tracks(track_ids)}
            found, content = self._store.content(encoder_id, list(record_of))
            rows = projector.project([record_of[track_id] for track_id in found], content)
            if not rows:
                return
            self._store.commit(WriteBatch(fresh={space_id: rows}))
            logger.info("%d stored tracks were projected into space %s", len(rows), space_id)
            projector.warming.settle([row.track_id for row in rows])
            # What was written may lie over what another process has acknowledged since it was read.
            counts = self._store.feedback_counts()
            basis_of = {
                record.track_id: basis_with(record.basis, counts.get(record.track_id, 0))
                for record in self._store.tracks([row.track_id for row in rows])
            }
            track_ids = [row.track_id for row in rows if row.basis != basis_of.get(row.track_id, row.basis)]

    def _settle(self, space_id: str) -> None:
        """Count the listeners anew by the vectors of the space that is switched to."""
        try:
            Warming(self._store, space_id).settle()
        except REFUSALS:
            # Nobody waits for it, and the next feedback on a track counts for itself.
            logger.exception("how far tracks have warmed up could not be counted in space %s", space_id)
