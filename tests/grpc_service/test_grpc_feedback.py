"""RecordFeedback: every event told apart, nothing of one spoiling another, and the client beside it."""

from __future__ import annotations

import datetime as dt
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from fake_engine import DIM, SPACE, FakeEngine
from grpc_harness import running

from grpc_service.client import Client, FailedPreconditionError, Feedback, InvalidArgumentError, NotFoundError, Tier
from grpc_service.errors import DeadlineExpiredError
from grpc_service.feedback import MAX_EVENTS, FeedbackServicer, _read
from grpc_service.options import ServerOptions
from grpc_service.packing import pack_vectors
from grpc_service.pb.anacrusis.v1 import feedback_service_pb2 as pb
from grpc_service.pb.anacrusis.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from grpc_service.work import Work
from index import FeedbackAction
from jobs import Engine

WHEN = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)


def test_events_arrive_as_they_were_sent(client: Client, engine: FakeEngine) -> None:
    vector = np.arange(DIM, dtype=np.float32)
    report = client.record_feedback(
        [
            Feedback("warm-0", "ann", "play", session_position=3, at=WHEN, event_id="e-1"),
            Feedback("warm-1", "bob", "skip"),
            Feedback("warm-1", "cy", user_vector=vector),
        ],
        space_id=SPACE,
    )
    (sent,) = (argument for method, argument in engine.calls if method == "record_feedback")
    first, second, third = sent  # type: ignore[misc]
    assert (first.event_id, first.track_id, first.user_id, first.session_position) == ("e-1", "warm-0", "ann", 3)
    assert (first.action, first.at) == (FeedbackAction.PLAY, WHEN)
    assert (second.action, second.session_position, second.at) == (FeedbackAction.SKIP, None, None)
    np.testing.assert_array_equal(third.user_vector, vector)
    assert [result.state for result in report.results] == ["counted", "waiting", "counted"]
    assert next(result.event_id for result in report.results) == "e-1"
    assert all(result.event_id and result.error is None for result in report.results)
    assert (report.space_id, report.snapshot_id) == (SPACE, "snapshot-1")
    track, _ = report.tracks
    assert (track.track_id, track.effective_listeners, track.evidence_share) == ("warm-0", 1.5, 0.25)
    assert (track.graduated, track.served, track.tier) == (True, True, Tier.COLLABORATIVE)


def test_an_event_that_cannot_be_read_or_taken_spoils_no_other(channel: grpc.Channel) -> None:
    good = pb.FeedbackEvent(event_id="good", track_id="warm-0", user_id="ann", action="FEEDBACK_ACTION_PLAY")
    no_action = pb.FeedbackEvent(event_id="no action", track_id="warm-0", user_id="ann")
    stranger = pb.FeedbackEvent(event_id="stranger", track_id="nobody", user_id="ann", action="FEEDBACK_ACTION_PLAY")
    torn, two, late = pb.FeedbackEvent(), pb.FeedbackEvent(), pb.FeedbackEvent()
    for message in (torn, two, late):
        message.CopyFrom(good)
    torn.user_vector.data, torn.user_vector.dim = b"abc", DIM
    two.user_vector.CopyFrom(pack_vectors(np.ones((2, DIM), np.float32)))
    late.event_time.seconds = 10**15
    request = pb.RecordFeedbackRequest(events=[no_action, good, stranger, torn, two, late])
    reply = FeedbackServiceStub(channel).RecordFeedback(request)
    assert [outcome.state for outcome in reply.outcomes] == [4, 1, 4, 4, 4, 4]
    assert [outcome.event_id for outcome in reply.outcomes[:3]] == ["no action", "good", "stranger"]
    assert [outcome.HasField("error") for outcome in reply.outcomes] == [True, False, True, True, True, True]
    codes = [outcome.error.code for outcome in reply.outcomes if outcome.HasField("error")]
    invalid, not_found = (code.value[0] for code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND))
    assert codes == [invalid, not_found, invalid, invalid, invalid]


@pytest.mark.parametrize("count", [0, MAX_EVENTS + 1])
def test_no_events_or_too_many_are_refused_as_a_whole(client: Client, count: int) -> None:
    with pytest.raises(InvalidArgumentError, match="events") as caught:
        client.record_feedback([Feedback("warm-0", "ann")] * count)
    assert caught.value.reason == "REQUEST_INVALID"


def test_another_space_is_refused(client: Client) -> None:
    with pytest.raises(FailedPreconditionError) as caught:
        client.record_feedback([Feedback("warm-0", "ann")], space_id="another")
    assert caught.value.reason == "SPACE_MISMATCH"


def test_what_the_client_can_see_it_says_itself() -> None:
    with pytest.raises(ValueError, match="play or skip"):
        Feedback("warm-0", "ann", "like").message()
    with pytest.raises(ValueError, match="time zone"):
        Feedback("warm-0", "ann", at=WHEN.replace(tzinfo=None)).message()
    with pytest.raises(ValueError, match="1970 to 9998"):
        Feedback("warm-0", "ann", at=dt.datetime.fromisoformat("0001-01-01T00:00:00+14:00")).message()


def test_the_real_engine_moves_the_track_before_the_call_returns(home: Path) -> None:
    from made_catalogue import release

    with Engine.open(home) as opened:
        opened.ingest([release()])
        with running(opened) as server, Client(server.address) as client:
            before = client.get_embedding("new").vector
            fans = [
                Feedback("new", f"fan-{number}", user_vector=np.eye(len(before), dtype=np.float32)[0])
                for number in range(12)
            ]
            report = client.record_feedback(
                [*fans, Feedback("ada-0", "listener"), Feedback("nobody", "listener")],
                space_id=opened.serving()[0],
            )
            assert [result.state for result in report.results] == ["counted"] * 12 + ["refused"] * 2
            assert isinstance(report.results[-2].error, FailedPreconditionError)
            assert report.results[-2].error.reason == "TRACK_COLLABORATIVE"
            assert isinstance(report.results[-1].error, NotFoundError)
            (track,) = report.tracks
            assert (track.graduated, track.served, track.tier) == (True, True, Tier.ARTIST_TRANSFER)
            moved = client.get_embedding("new")
            assert moved.vector[0] > before[0]
            assert moved.model_id.endswith("+feedback")
            again = client.record_feedback(fans, space_id=opened.serving()[0])
            assert {result.state for result in again.results} == {"unchanged"}


def test_events_are_read_off_the_event_loop_and_not_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def read(message: pb.FeedbackEvent) -> object:
        threads.append(threading.current_thread().name)
        return _read(message)

    monkeypatch.setattr("grpc_service.feedback._read", read)
    engine = FakeEngine()
    with running(engine) as server, Client(server.address) as client:
        client.record_feedback([Feedback("warm-0", "ann")])
        assert [name.rstrip("_0123456789") for name in threads] == ["feedback"]
    work = Work(engine, ServerOptions())
    request = pb.RecordFeedbackRequest(events=[Feedback("warm-0", "ann").message()])
    with pytest.raises(DeadlineExpiredError):
        FeedbackServicer(work)._record(request, time.monotonic() - 1.0)
    work.close()
    assert len(threads) == 1
