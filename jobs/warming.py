"""Warming up stored tracks: their feedback and their listeners' vectors, folded into what was projected.

The fold always begins at the projection, which is made anew each time: never at a vector that feedback was folded into.
So it does not matter, but for rounding, in how many calls the feedback came; and a refresh, a new training or a
corrected credit starts from its own prior with all of the feedback.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index import (
    FOLDED,
    FeedbackAction,
    FeedbackEvent,
    Metric,
    ServedVector,
    Standing,
    Store,
    Tier,
    WriteBatch,
    basis_with,
)

if TYPE_CHECKING:
    from artist_transfer import Background, Listens, WarmingOptions


@dataclass(frozen=True)
class Evidence:
    """What is known of a track by listening, in one space.

    Attributes
    ----------
    listeners : float
        Effective listeners.
    share : float
        How far the projected vector has given way to them, in [0, 1).
    """

    listeners: float
    share: float


class Warming:
    """The feedback of a home, seen from one space.

    Parameters
    ----------
    store : Store
    space_id : str
    options : WarmingOptions, optional
    """

    def __init__(self, store: Store, space_id: str, options: WarmingOptions | None = None) -> None:
        from artist_transfer import WarmingOptions

        self._store = store
        self._space_id = space_id
        self._options = options or WarmingOptions()
        self._cosine = store.space(space_id).metric is Metric.COSINE
        self._measuring = threading.Lock()
        self._measured: Background | None = None

    def fold(self, rows: Sequence[ServedVector], feedback: Sequence[FeedbackEvent] | None = None) -> list[ServedVector]:
        """Fold the stored feedback into projected vectors.

        Parameters
        ----------
        rows : sequence of ServedVector
            Straight from the projection.
        feedback : sequence of FeedbackEvent, optional
            All that is stored on their tracks, where it was read already.

        Returns
        -------
        list of ServedVector
            In the same order; those without feedback as they are. `ServedVector.basis` says how many events were seen.
        """
        if feedback is None:
            counts = self._store.feedback_counts()
            feedback = self._store.feedback([row.track_id for row in rows if row.track_id in counts])
        seen = Counter(event.track_id for event in feedback)
        ids = [row.track_id for row in rows if row.track_id in seen]
        if not ids:
            return list(rows)
        from artist_transfer import warm_up

        there = set(ids)
        events = [event for event in feedback if event.track_id in there]
        listens, counted = self._listens(events, ids)
        prior_of = {row.track_id: row.vector for row in rows}
        priors = self._comparable(np.stack([prior_of[track_id] for track_id in ids]))
        warmed = warm_up(priors, listens, self._background(), self._options)
        moved = {track_id: warmed.vectors[place] for place, track_id in enumerate(ids) if counted[place]}
        if self._cosine:
            moved = {track_id: vector for track_id, vector in moved.items() if vector.any()}
        return [
            replace(
                row,
                vector=moved.get(row.track_id, row.vector),
                model_id=row.model_id + FOLDED if row.track_id in moved else row.model_id,
                basis=basis_with(row.basis, seen[row.track_id]),
            )
            for row in rows
        ]

    def evidence(
        self, track_ids: Sequence[str], feedback: Sequence[FeedbackEvent] | None = None
    ) -> dict[str, Evidence]:
        """Count the listeners of some tracks whose vectors are known; `feedback` is all that is stored on them."""
        from artist_transfer import evidence

        ids = list(track_ids)
        listens, _ = self._listens(self._store.feedback(ids) if feedback is None else feedback, ids)
        listeners, share = evidence(listens, len(ids), self._options)
        return {track_id: Evidence(float(listeners[row]), float(share[row])) for row, track_id in enumerate(ids)}

    def standings(
        self, track_ids: Sequence[str], feedback: Sequence[FeedbackEvent] | None = None
    ) -> dict[str, Standing]:
        """Say how far tracks have warmed up by now; what was stored before decides between the two thresholds.

        Parameters
        ----------
        track_ids : sequence of str
        feedback : sequence of FeedbackEvent, optional
            All that is stored on these tracks, where it was read already.
        """
        from artist_transfer import graduates

        before = self._store.standings(track_ids)
        served = self._store.served_rows(self._space_id, track_ids=track_ids)
        warm = {row.track_id for row in served.records() if row.tier is Tier.COLLABORATIVE}
        return {
            track_id: Standing(
                track_id=track_id,
                space_id=self._space_id,
                listeners=found.listeners,
                evidence_share=found.share,
                graduated=track_id in warm
                or graduates(found.listeners, track_id in before and before[track_id].graduated, self._options),
            )
            for track_id, found in self.evidence(track_ids, feedback).items()
        }

    def settle(self, track_ids: Sequence[str] | None = None) -> None:
        """Bring the stored standings up to date: of some tracks, or of all that have feedback."""
        counts = self._store.feedback_counts()
        ids = [one for one in (counts if track_ids is None else track_ids) if one in counts]
        if ids:
            before = self._store.standings(ids)
            found = self.standings(ids)
            self._store.commit(WriteBatch(standings=[one for one in found.values() if one != before.get(one.track_id)]))

    def counted(self, feedback: Sequence[FeedbackEvent]) -> set[str]:
        """Return ids of the events whose listener has a vector; `feedback` is all that is stored on its tracks."""
        vectors = self._user_vectors(feedback)
        return {event.event_id for event in feedback if _key(event, vectors) in vectors}

    def _user_vectors(self, feedback: Sequence[FeedbackEvent]) -> dict[tuple[str, str], NDArray[np.float32]]:
        """Find listeners' vectors: the space's own, else the latest that came with an event on the same track.

        A track's vector follows from its own feedback alone, so with whatever others it is projected.

        Returns
        -------
        dict of (track id, user id) to ndarray of float32, shape (dim,)
            The space's own stand under the empty track id: they are the same for every track.
        """
        user_ids = sorted({event.user_id for event in feedback})
        own = zip(*self._store.user_vectors(self._space_id, user_ids), strict=True)
        found = {("", user_id): vector for user_id, vector in own}
        brought = [event for event in feedback if event.user_vector is not None and event.space_id == self._space_id]
        latest_first = sorted(
            brought, key=lambda one: (one.at.timestamp() if one.at else -np.inf, one.event_id), reverse=True
        )
        for event in latest_first:
            assert event.user_vector is not None  # only such were picked
            found.setdefault(_key(event, found), event.user_vector)
        return found

    def _listens(self, events: Sequence[FeedbackEvent], track_ids: Sequence[str]) -> tuple[Listens, NDArray[np.int64]]:
        """Put events into the transfer's form, and count those of each track that have a listener's vector."""
        from artist_transfer import Listens

        vectors = self._user_vectors(events)
        users = sorted(vectors)  # whatever order the store gave: the same feedback gives the same bits
        row_of_user = {key: row for row, key in enumerate(users)}
        row_of_track = {track_id: row for row, track_id in enumerate(track_ids)}
        kept = [event for event in events if _key(event, vectors) in vectors]
        tracks = np.array([row_of_track[event.track_id] for event in kept], dtype=np.int64)
        dim = self._store.space(self._space_id).dim
        stacked = np.stack([vectors[key] for key in users]) if users else np.empty((0, dim), np.float32)
        listens = Listens(
            tracks=tracks,
            listeners=np.array([row_of_user[_key(event, vectors)] for event in kept], dtype=np.int64),
            played=np.array([event.action is FeedbackAction.PLAY for event in kept], dtype=np.bool_),
            positions=np.array([event.session_position or 0 for event in kept], dtype=np.int64),
            vectors=self._comparable(stacked),
        )
        return listens, np.bincount(tracks, minlength=len(track_ids))

    def _background(self) -> Background:
        """Measure the space at the first fold; neither its users nor its warm vectors ever change."""
        from artist_transfer import Background

        with self._measuring:
            if self._measured is None:
                served = self._store.served_rows(self._space_id)
                tracks = self._comparable(served.vectors[served.tiers == Tier.COLLABORATIVE])
                users = self._comparable(self._store.user_vectors(self._space_id)[1])
                # A space that was imported without users: its tracks point to where its listeners are.
                self._measured = Background.of(users if users.any() else tracks, tracks)
            return self._measured

    def _comparable(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring vectors to length 1 where the space compares directions."""
        if not self._cosine:
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def _key(event: FeedbackEvent, vectors: Mapping[tuple[str, str], NDArray[np.float32]]) -> tuple[str, str]:
    """Say under which key `Warming._user_vectors` has an event's listener, if at all."""
    own = ("", event.user_id)
    return own if own in vectors else (event.track_id, event.user_id)
