"""Recording what listeners do with cold tracks, and moving the tracks' vectors at once."""

from __future__ import annotations

import enum
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from index import (
    FeedbackEvent,
    Searcher,
    SearchView,
    ServedVector,
    SpaceMismatchError,
    Standing,
    Store,
    StoreError,
    Tier,
    UnknownTrackError,
    WithdrawnTrackError,
    WriteBatch,
    basis_with,
    check_event,
)
from jobs.errors import CollaborativeTrackError, JobError
from jobs.gate import Gate
from jobs.projectors import Projectors
from jobs.warming import Warming

if TYPE_CHECKING:
    from encoders import Encoder


class FeedbackState(enum.Enum):
    """What became of an event."""

    COUNTED = "counted"  # recorded, and its listener's vector moves the track
    WAITING = "waiting"  # recorded; it counts once a space brings its listener's vector, or it is sent again with it
    UNCHANGED = "unchanged"  # an event of this id was recorded before: nothing was written
    REFUSED = "refused"  # not recorded; the outcome's error says why


@dataclass(frozen=True)
class FeedbackOutcome:
    """What became of one event.

    Attributes
    ----------
    event_id, track_id : str
    state : FeedbackState
    error : Exception or None
        Why it was refused.
    """

    event_id: str
    track_id: str
    state: FeedbackState
    error: StoreError | JobError | None = None


@dataclass(frozen=True)
class WarmedTrack:
    """How far a track has warmed up.

    Attributes
    ----------
    standing : Standing
        Its listeners, the share of the evidence, whether it has graduated.
    served : bool
        Whether the next query finds it where its listeners have moved it.
    tier : Tier or None
        What its projected vector came from; None where it has no vector.
    """

    standing: Standing
    served: bool
    tier: Tier | None


@dataclass(frozen=True)
class FeedbackReport:
    """What became of some events and of their tracks.

    Attributes
    ----------
    space_id, snapshot_id : str
        What the tracks were moved in.
    outcomes : list of FeedbackOutcome
        One for each event, in order.
    tracks : list of WarmedTrack
        One for each track of an event that was not refused, in order of first mention.
    """

    space_id: str
    snapshot_id: str
    outcomes: list[FeedbackOutcome]
    tracks: list[WarmedTrack]


class FeedbackRecorder:
    """Records events and moves vectors; thread safe.

    Parameters
    ----------
    store : Store
    searcher : Searcher
    encoder : callable returning Encoder
        Whose content vectors the projection reads; called only where a vector has to move.
    projectors : Projectors
    gate : Gate
        No publish happens while tracks are being moved.
    holding : callable
        Keeps tracks from being ingested meanwhile (`Ingester.holding`).
    """

    def __init__(
        self,
        store: Store,
        searcher: Searcher,
        encoder: Callable[[], Encoder],
        projectors: Projectors,
        gate: Gate,
        holding: Callable[[set[str]], AbstractContextManager[None]],
    ) -> None:
        self._store = store
        self._searcher = searcher
        self._encoder = encoder
        self._projectors = projectors
        self._gate = gate
        self._holding = holding

    def record(self, events: Sequence[FeedbackEvent], *, space_id: str = "") -> FeedbackReport:
        """Record events; what is not refused is durable, and the next query finds the tracks where they have moved to.

        Parameters
        ----------
        events : sequence of FeedbackEvent
            One that brings a `user_vector` names its space, by itself or by `space_id`; else it is refused.
        space_id : str
            The space the caller means; empty for the published one.

        Returns
        -------
        FeedbackReport

        Raises
        ------
        index.NoSnapshotError, index.SpaceMismatchError
            For all of them; an event's own faults are its own.
        """
        with self._holding({event.track_id for event in events}), self._gate.shared():
            view = self._searcher.view()
            if space_id and space_id != view.space_id:
                raise SpaceMismatchError(space_id, view.space_id)
            # Never the served space by default: a vector of the last training would count in the next one.
            taken = [
                replace(event, space_id=space_id) if event.user_vector is not None and not event.space_id else event
                for event in events
            ]
            errors = self._refusals(taken, view)
            kept = [event for event, error in zip(taken, errors, strict=True) if error is None]
            warming = Warming(self._store, view.space_id)
            recorded = self._store.commit(WriteBatch(feedback=kept)).newly_recorded
            track_ids = list(dict.fromkeys(event.track_id for event in kept))
            # All that is stored on these tracks, also by earlier calls: it alone says who counts.
            stored = self._store.feedback(track_ids)
            counted = warming.counted(stored)
            completed = self._completed(kept, stored, counted)
            if completed:
                self._store.commit(WriteBatch(feedback=list(completed.values())))
                stored = self._store.feedback(track_ids)
                counted = warming.counted(stored)
            tracks = self._move(track_ids, stored, view, warming)
        outcomes = []
        left, late = set(recorded), set(completed)
        for event, error in zip(taken, errors, strict=True):
            if error is not None:
                state = FeedbackState.REFUSED
            elif event.event_id in left:
                left.remove(event.event_id)  # of one id, the first was recorded
                state = FeedbackState.COUNTED if event.event_id in counted else FeedbackState.WAITING
            elif event.event_id in late and event.user_vector is not None:
                late.remove(event.event_id)
                state = FeedbackState.COUNTED
            else:
                state = FeedbackState.UNCHANGED
            outcomes.append(FeedbackOutcome(event.event_id, event.track_id, state, error))
        return FeedbackReport(view.space_id, view.snapshot_id, outcomes, tracks)

    def _refusals(self, events: Sequence[FeedbackEvent], view: SearchView) -> list[StoreError | JobError | None]:
        """Say for each event why it cannot be recorded, None where it can."""
        track_ids = list({event.track_id for event in events})
        withdrawn = self._store.withdrawn()
        known = {record.track_id for record in self._store.tracks(track_ids)}
        placed = self._store.served_vectors(view.space_id, track_ids, snapshot=view.snapshot)

        def refusal(event: FeedbackEvent) -> StoreError | JobError | None:
            try:
                if event.space_id and event.space_id != view.space_id:
                    raise SpaceMismatchError(event.space_id, view.space_id)
                check_event(event, view.dim)
            except StoreError as error:
                return error
            track_id = event.track_id
            if track_id in withdrawn:
                return WithdrawnTrackError(f"Track {track_id!r} was withdrawn and takes no feedback.", field="track_id")
            if track_id in placed and placed[track_id].tier is Tier.COLLABORATIVE:
                return CollaborativeTrackError(
                    f"Track {track_id!r} is collaborative already: its place comes from the recommender's training, "
                    "which is where this belongs.",
                    field="track_id",
                )
            if track_id not in known:
                return UnknownTrackError(f"Track {track_id!r} is unknown; ingest it first.", field="track_id")
            return None

        return [refusal(event) for event in events]

    @staticmethod
    def _completed(
        sent: Sequence[FeedbackEvent], stored: Sequence[FeedbackEvent], counted: Collection[str]
    ) -> dict[str, FeedbackEvent]:
        """Give what completes events that wait for their listener's vector and are sent again with it.

        Stored events never change. The vector comes as one more event that says the same under an id of its own, made
        from the first one's: a listener's plays of one track count once.

        Returns
        -------
        dict of str to FeedbackEvent
            By the id of the event that is completed.
        """
        waiting = {event.event_id: event for event in stored if event.event_id not in counted}
        completed: dict[str, FeedbackEvent] = {}
        for event in sent:
            first = waiting.get(event.event_id)
            same = first is not None and (first.track_id, first.user_id) == (event.track_id, event.user_id)
            if first is not None and same and event.user_vector is not None:
                name = hashlib.sha256(json.dumps([event.event_id, event.space_id]).encode()).hexdigest()[:32]
                one = replace(first, user_vector=event.user_vector, space_id=event.space_id, event_id=name)
                completed.setdefault(event.event_id, one)
        return completed

    def _move(
        self, track_ids: Sequence[str], stored: Sequence[FeedbackEvent], view: SearchView, warming: Warming
    ) -> list[WarmedTrack]:
        """Project anew those tracks whose served vectors lack feedback: also what a broken-off call left behind."""
        counts = Counter(event.track_id for event in stored)
        records = {record.track_id: record for record in self._store.tracks(track_ids)}
        placed = self._store.served_vectors(view.space_id, track_ids, snapshot=view.snapshot)
        wanted = {track_id: basis_with(record.basis, counts[track_id]) for track_id, record in records.items()}
        behind = [one for one in track_ids if one not in placed or placed[one].basis != wanted[one]]
        rows: list[ServedVector] = []
        if behind:
            encoder_id = self._encoder().encoder_id
            projector = self._projectors.get(view.space_id, encoder_id)
            found, content = self._store.content(encoder_id, behind)
            if projector is not None and found:
                rows = projector.project([records[track_id] for track_id in found], content, stored)
        standings = warming.standings(track_ids, stored)
        before = self._store.standings(track_ids)
        changed = [standing for track_id, standing in standings.items() if standing != before.get(track_id)]
        self._store.commit(WriteBatch(fresh={view.space_id: rows}, standings=changed))
        placed |= {row.track_id: row for row in rows}
        return [
            WarmedTrack(
                standings[track_id],
                track_id in placed and placed[track_id].basis == wanted[track_id],
                placed[track_id].tier if track_id in placed else None,
            )
            for track_id in track_ids
        ]
