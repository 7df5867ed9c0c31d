"""The servicer of FeedbackService."""

from __future__ import annotations

import datetime as dt
import time

import numpy as np
from numpy.typing import NDArray

from grpc_service.call_context import CallContext
from grpc_service.errors import DeadlineExpiredError, RequestError, TransportError, VectorPayloadError, to_status
from grpc_service.packing import unpack_vectors
from grpc_service.pb.anacrusis.v1 import common_pb2 as common
from grpc_service.pb.anacrusis.v1 import feedback_service_pb2 as pb
from grpc_service.pb.anacrusis.v1 import feedback_service_pb2_grpc as pb_grpc
from grpc_service.request_ids import current_request_id
from grpc_service.work import Work, deadline_of
from index import FeedbackAction, FeedbackEvent
from jobs import FeedbackError, FeedbackOutcome, WarmedTrack

MAX_EVENTS = 10_000

_ACTIONS = {pb.FEEDBACK_ACTION_PLAY: FeedbackAction.PLAY, pb.FEEDBACK_ACTION_SKIP: FeedbackAction.SKIP}


class FeedbackServicer(pb_grpc.FeedbackServiceServicer):
    """Records feedback; see the proto for each method.

    Parameters
    ----------
    work : Work
        The engine behind its queues.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    async def RecordFeedback(  # noqa: N802, D102 - the proto names and documents it
        self, request: pb.RecordFeedbackRequest, context: CallContext
    ) -> pb.RecordFeedbackResponse:
        if not 1 <= len(request.events) <= MAX_EVENTS:
            raise RequestError(
                f"The request holds {len(request.events)} events; give 1 to {MAX_EVENTS} a call.", field="events"
            )
        # Ten thousand events are work: none of it happens on the event loop, which others' answers wait for.
        return await self._work.feedback.run(self._record, request, deadline_of(context))

    def _record(self, request: pb.RecordFeedbackRequest, deadline: float | None) -> pb.RecordFeedbackResponse:
        if deadline is not None and time.monotonic() >= deadline:
            raise DeadlineExpiredError("The deadline passed before the work began; allow more time.")
        read = [_read(message) for message in request.events]
        events = [one for one in read if isinstance(one, FeedbackEvent)]
        report = self._work.engine.record_feedback(events, space_id=request.space_id)
        recorded = iter(report.outcomes)
        return pb.RecordFeedbackResponse(
            space_id=report.space_id,
            snapshot_id=report.snapshot_id,
            outcomes=[
                _outcome(next(recorded)) if isinstance(one, FeedbackEvent) else _refused(message.event_id, one)
                for message, one in zip(request.events, read, strict=True)
            ],
            tracks=[_track(track) for track in report.tracks],
        )


def _read(message: pb.FeedbackEvent) -> FeedbackEvent | FeedbackError | TransportError:
    """Read an event, or say why it is none; ids, positions and numbers are for the store to check."""
    action = _ACTIONS.get(message.action)
    if action is None:
        return FeedbackError(f"Action {message.action} is none; use PLAY or SKIP.", field="action")
    vector: NDArray[np.float32] | None = None
    if message.HasField("user_vector"):
        try:
            (vector,) = unpack_vectors(message.user_vector)
        except ValueError as error:  # also more rows than one
            return VectorPayloadError(f"The user's vector cannot be read: {error}", field="user_vector")
    at: dt.datetime | None = None
    if message.HasField("event_time"):
        try:
            at = message.event_time.ToDatetime(dt.UTC)
        except (ValueError, OverflowError):
            return FeedbackError("The event's time lies outside of the years 1 to 9999.", field="event_time")
    return FeedbackEvent(
        track_id=message.track_id,
        user_id=message.user_id,
        action=action,
        session_position=message.session_position or None,
        at=at,
        user_vector=vector,
        event_id=message.event_id,
    )


def _refused(event_id: str, error: Exception) -> pb.FeedbackOutcome:
    status = to_status(error, current_request_id())
    return pb.FeedbackOutcome(event_id=event_id, state=pb.FEEDBACK_STATE_REFUSED, error=status)


def _outcome(outcome: FeedbackOutcome) -> pb.FeedbackOutcome:
    if outcome.error is not None:
        return _refused(outcome.event_id, outcome.error)
    return pb.FeedbackOutcome(event_id=outcome.event_id, state=f"FEEDBACK_STATE_{outcome.state.name}")


def _track(track: WarmedTrack) -> pb.WarmedTrack:
    return pb.WarmedTrack(
        track_id=track.standing.track_id,
        effective_listeners=track.standing.listeners,
        evidence_share=track.standing.evidence_share,
        graduated=track.standing.graduated,
        served=track.served,
        tier=common.Tier.Name(int(track.tier or 0)),
    )
