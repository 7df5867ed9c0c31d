"""What the client takes and gives about feedback: plain, frozen, NumPy."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from grpc_service.client_errors import ClientError, error_of_status
from grpc_service.client_types import Tier
from grpc_service.packing import pack_vectors
from grpc_service.pb.anacrusis.v1 import feedback_service_pb2 as pb

_ACTIONS = {"play": pb.FEEDBACK_ACTION_PLAY, "skip": pb.FEEDBACK_ACTION_SKIP}


@dataclass(frozen=True, eq=False)
class Feedback:
    """What one listener did with one track.

    Attributes
    ----------
    track_id, user_id : str
    action : str
        ``play`` or ``skip``.
    session_position : int
        Place in the listener's session, from 1; 0: unknown.
    at : datetime.datetime or None
        When, with its time zone, in the years 1970 to 9998.
    user_vector : array_like of float, shape (dim,), or None
        The listener's vector, where the space was imported without it; the call names its space then.
    event_id : str
        Names the event: one of the same id counts once. Empty: made from the rest.
    """

    track_id: str
    user_id: str
    action: str = "play"
    session_position: int = 0
    at: dt.datetime | None = None
    user_vector: ArrayLike | None = None
    event_id: str = ""

    def message(self) -> pb.FeedbackEvent:
        """Return the same for the wire; raises ValueError for an action that is none, or a time without a zone."""
        if self.action not in _ACTIONS:
            raise ValueError(f"Action {self.action!r} is unknown; use {' or '.join(_ACTIONS)}.")
        message = pb.FeedbackEvent(
            event_id=self.event_id,
            track_id=self.track_id,
            user_id=self.user_id,
            action=_ACTIONS[self.action],
            session_position=self.session_position,
        )
        if self.at is not None:
            if self.at.tzinfo is None:
                raise ValueError(f"The time {self.at} has no time zone; give one, such as datetime.UTC.")
            try:
                message.event_time.FromDatetime(self.at)
            except OverflowError:
                raise ValueError(f"The time {self.at} lies outside of the years 1970 to 9998.") from None
        if self.user_vector is not None:
            message.user_vector.CopyFrom(pack_vectors(np.asarray(self.user_vector, dtype=np.float32)))
        return message


@dataclass(frozen=True)
class FeedbackResult:
    """What became of one event.

    Attributes
    ----------
    event_id : str
    state : str
        ``counted``, ``waiting`` (until a space has the listener's vector, or the event is sent again with it),
        ``unchanged`` or ``refused``.
    error : ClientError or None
        Why it was refused.
    """

    event_id: str
    state: str
    error: ClientError | None


@dataclass(frozen=True)
class WarmedTrack:
    """How far a track has warmed up.

    Attributes
    ----------
    track_id : str
    effective_listeners : float
        Distinct listeners who played it, weighed by session position.
    evidence_share : float
        How far the projected vector has given way to them, in [0, 1).
    graduated : bool
        Whether its listeners alone would place it.
    served : bool
        Whether queries find it where its listeners have moved it.
    tier : Tier or None
        Where the vector that they move comes from.
    """

    track_id: str
    effective_listeners: float
    evidence_share: float
    graduated: bool
    served: bool
    tier: Tier | None


@dataclass(frozen=True)
class FeedbackReport:
    """What became of some events and of their tracks.

    Attributes
    ----------
    space_id, snapshot_id : str
        What the tracks were moved in.
    results : tuple of FeedbackResult
        One for each event, in order.
    tracks : tuple of WarmedTrack
        One for each track of an event that was not refused.
    """

    space_id: str
    snapshot_id: str
    results: tuple[FeedbackResult, ...]
    tracks: tuple[WarmedTrack, ...]


def feedback_request(events: Sequence[Feedback], space_id: str) -> pb.RecordFeedbackRequest:
    """Write a request."""
    return pb.RecordFeedbackRequest(space_id=space_id, events=[event.message() for event in events])


def feedback_report_from(reply: pb.RecordFeedbackResponse) -> FeedbackReport:
    """Read what became of the events."""
    return FeedbackReport(
        reply.space_id,
        reply.snapshot_id,
        tuple(
            FeedbackResult(
                outcome.event_id,
                pb.FeedbackState.Name(outcome.state).removeprefix("FEEDBACK_STATE_").lower(),
                error_of_status(outcome.error) if outcome.HasField("error") else None,
            )
            for outcome in reply.outcomes
        ),
        tuple(
            WarmedTrack(
                track.track_id,
                track.effective_listeners,
                track.evidence_share,
                track.graduated,
                track.served,
                Tier(track.tier) if track.tier else None,
            )
            for track in reply.tracks
        ),
    )
