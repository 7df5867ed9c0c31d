"""Keeping up with the home folder: what others publish, and what is stored but not yet projected."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from index import Searcher, SnapshotRecord, Store, WriteBatch, basis_with
from jobs.catalogue_basis import flat
from jobs.gate import Gate
from jobs.outcome import REFUSALS
from jobs.projector import Projectors
from jobs.warming import Warming

if TYPE_CHECKING:
    from encoders import Encoder
    from index.types import Committed

logger = logging.getLogger(__name__)

TRACKS_AT_ONCE = 256  # projected while no ingest and no feedback passes: a fraction of a second
TRACKS_A_SYNC = 4 * TRACKS_AT_ONCE  # before it is looked again whether somebody has published or rolled back
# More than this is a catalogue that was brought in at once. Every writer would project it, each in one thread, to rows
# that are scored exactly until a refresh folds them in: it is left to the refresh.
LEFT_TO_REFRESH = 4096


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
        self._others = False  # somebody else wrote, or something is to be tried again
        self._others_tracks = False
        self._reached = ""  # the last track of those that are missing that was looked at, where some are left
        self._from_the_start = False  # somebody wrote since: some before it may be missing again
        self._left = False  # whether it was said that a refresh has to project them
        self._seen = ("", 0, 0, 0)  # the served space; the versions of its fresh table, of the tracks, of the feedback
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

        What the published snapshot lacks is projected before, so that a track that was acknowledged is found behind the
        switch, too. Where that is more than `LEFT_TO_REFRESH`, only what was fresh until now: what calls acknowledged
        since the snapshot that is left was built. A rollback does not wait for a whole catalogue.
        """
        self._projectors.forget()
        published = self._store.published()
        if published is not None:
            # First into the space's fresh rows, then the switch: a query never misses a track that was acknowledged.
            # Behind a newer snapshot of the space none can be missing that was not before: all that was written since
            # it was built is fresh to it. What a process left unprojected waits for the next sync, as ever.
            if not self._serves_older(published):
                self._project_missing(published, nullcontext, self._fresh_until_now)  # the caller passes the gate
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
            self._project_missing(snapshot, self._gate.alone, self._all_of_few)

    def _note_commit(self, committed: Committed) -> None:
        """Follow the versions of the tables that this process writes; one left out in between was another's."""
        with self._counting:
            space_id, fresh, tracks, feedback = self._seen
            if committed.tracks:
                self._others_tracks |= committed.tracks_version != tracks + 1
                tracks = max(tracks, committed.tracks_version)
            if space_id in committed.fresh_versions:
                self._others |= committed.fresh_versions[space_id] != fresh + 1
                fresh = max(fresh, committed.fresh_versions[space_id])
            if committed.feedback_version:
                self._others |= committed.feedback_version != feedback + 1
                feedback = max(feedback, committed.feedback_version)
            self._seen = (space_id, fresh, tracks, feedback)

    def _others_wrote(self, space_id: str) -> tuple[bool, bool]:
        """Tell whether others wrote tracks, vectors or feedback since the last call, and whether tracks.

        Now and then it says so when nobody did.
        """
        fresh, tracks, *_ = self._store.versions(space_id)
        feedback = self._store.feedback_version()
        with self._counting:
            others, self._others = self._others, False
            others_tracks, self._others_tracks = self._others_tracks, False
            seen, self._seen = self._seen, (space_id, fresh, tracks, feedback)
        others_tracks |= space_id != seen[0] or tracks > seen[2]
        return others or others_tracks or fresh > seen[1] or feedback > seen[3], others_tracks

    def _project_missing(
        self,
        snapshot: SnapshotRecord,
        passing: Callable[[], AbstractContextManager[None]],
        choose: Callable[[list[str]], list[str]],
    ) -> None:
        """Project stored tracks that a snapshot lacks, or knows as they were before their credits, audio or feedback.

        Such are tracks that were ingested, changed or listened to while another space was served, or where that was cut
        off. What cannot be projected stays stored and is tried again at the next sync; it keeps nobody from opening or
        switching.

        Parameters
        ----------
        snapshot : SnapshotRecord
        passing : callable
            Passes the gate alone, for a few tracks at a time: no ingest or feedback of this process moves one of them
            between the reading of what is known of it and the writing of its vector.
        choose : callable
            Which of the missing tracks, in order of id, are projected now.
        """
        try:
            missing = self._missing(snapshot)
            # Built before anybody has to wait for it.
            if not missing or self._projectors.get(snapshot.space_id, self._encoder().encoder_id) is None:
                self._reached, self._left = "", False
                return
            if len(missing) > LEFT_TO_REFRESH and not self._left:
                logger.warning(
                    "%d stored tracks have no vector of what is known of them in space %s: "
                    "`anacrusis refresh` projects them",
                    len(missing),
                    snapshot.space_id,
                )
            self._left = len(missing) > LEFT_TO_REFRESH
            chosen = choose(missing)
            for start in range(0, len(chosen), TRACKS_AT_ONCE):
                with passing():
                    self._project(snapshot.space_id, chosen[start : start + TRACKS_AT_ONCE])
                self._searcher.catch_up()  # a track that another process withdraws meanwhile is masked now
            self._reach(chosen, missing)
        except REFUSALS:
            with self._counting:
                self._others = True  # so that the next sync comes back to them
            logger.exception("stored tracks could not be projected into space %s; tried again", snapshot.space_id)

    def _missing(self, snapshot: SnapshotRecord) -> list[str]:
        stale = self._store.stale_ids(snapshot)
        if not stale:
            return []
        heard = flat(self._store.heard_ids(self._encoder().encoder_id))
        ids = pa.array(stale, pa.string())
        return sorted(ids.filter(pc.is_in(ids, value_set=heard)).to_pylist())

    def _all_of_few(self, missing: list[str]) -> list[str]:
        return missing if len(missing) <= LEFT_TO_REFRESH else []

    def _some(self, missing: list[str]) -> list[str]:
        return [one for one in self._all_of_few(missing) if one > self._reached][:TRACKS_A_SYNC]

    def _fresh_until_now(self, missing: list[str]) -> list[str]:
        served = self._searcher.snapshot
        if len(missing) <= LEFT_TO_REFRESH or served is None:
            return self._all_of_few(missing)
        fresh = set(self._store.fresh_rows(served.space_id, since=served.fresh_version).track_ids)
        return [one for one in missing if one in fresh]

    def _reach(self, chosen: list[str], missing: list[str]) -> None:
        """Remember where the next sync goes on; those that have no place do not keep the others from theirs."""
        self._reached = chosen[-1] if chosen and chosen[-1] < missing[-1] else ""
        if not self._reached and self._from_the_start:
            with self._counting:
                self._others = True
        self._from_the_start &= bool(self._reached)

    def _project(self, space_id: str, track_ids: Sequence[str]) -> None:
        """Project tracks by what is stored of them, again where another process has stored more meanwhile."""
        encoder_id = self._encoder().encoder_id
        while track_ids:
            record_of = {record.track_id: record for record in self._store.tracks(track_ids)}
            found, content = self._store.content(encoder_id, list(record_of))
            projector = self._projectors.get(space_id, encoder_id)
            if projector is None:
                return
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
