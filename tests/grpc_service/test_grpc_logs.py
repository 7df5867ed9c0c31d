"""What a running server logs of its calls: what went wrong, under the call's id, and nothing of what was sent."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from fake_engine import FakeEngine
from grpc_harness import Running, until

from anacrusis.logs import JsonLines, TextLines
from grpc_service.call_log import LINES_A_SECOND, CallLog
from grpc_service.callers import ANYBODY
from grpc_service.core import CoreCall
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2, release_service_pb2
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub

SECRETS = ("the-token", "The Title", "the-track", "the-artist", "audio-bytes")


class Log:
    """What a process would have written to standard error."""

    def __init__(self) -> None:
        self.text, self.people = io.StringIO(), io.StringIO()
        self.handlers = [logging.StreamHandler(self.text), logging.StreamHandler(self.people)]
        self.handlers[0].setFormatter(JsonLines())
        self.handlers[1].setFormatter(TextLines())

    def lines(self, **wanted: object) -> list[dict[str, Any]]:
        """Every line with these fields."""
        lines = [json.loads(line) for line in self.text.getvalue().splitlines()]
        return [line for line in lines if wanted.items() <= line.items()]


@pytest.fixture
def log() -> Iterator[Log]:
    log, root = Log(), logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    for handler in log.handlers:
        root.addHandler(handler)
    yield log
    root.setLevel(level)
    for handler in log.handlers:
        root.removeHandler(handler)


def metadata(request_id: str) -> tuple[tuple[str, str], ...]:
    return (("x-request-id", request_id), ("authorization", "Bearer the-token"))


def search(channel: grpc.Channel, request_id: str, track_id: str = "warm-0") -> None:
    request = neighbor_service_pb2.SearchNeighborsRequest(track_id=track_id, k=1)
    NeighborServiceStub(channel).SearchNeighbors(request, metadata=metadata(request_id), timeout=20)


def ingest(channel: grpc.Channel, request_id: str, audio: bytes = b"audio-bytes") -> None:
    track = release_service_pb2.TrackMetadata(
        track_id="the-track", title="The Title", credits=[release_service_pb2.Credit(artist_id="the-artist")]
    )
    request = release_service_pb2.IngestTrackRequest(track=track, inline=audio)
    ReleaseServiceStub(channel).IngestTrack(request, metadata=metadata(request_id), timeout=20)


def test_a_refused_call_is_one_line_and_one_that_goes_well_none(log: Log, channel: grpc.Channel) -> None:
    search(channel, "good-1")
    ingest(channel, "good-2")
    with pytest.raises(grpc.RpcError):
        search(channel, "bad-1", track_id="the-track-of-nobody")
    until(lambda: bool(log.lines(request_id="bad-1")))
    (line,) = log.lines(request_id="bad-1")
    assert (line["method"], line["code"], line["reason"]) == (
        "/anacrusis.v1.NeighborService/SearchNeighbors",
        "NOT_FOUND",
        "TRACK_NOT_FOUND",
    )
    assert (line["level"], line["logger"]) == ("info", "grpc_service.call_log")
    assert (line["caller"], line["ms"] > 0) == ("anybody", True)
    assert line["time"].endswith("+00:00")
    assert log.lines(request_id="good-1") == log.lines(request_id="good-2") == []
    assert "[request bad-1]" in log.people.getvalue()


def test_a_failure_of_ours_is_logged_with_its_traceback_under_the_callers_id(
    log: Log, channel: grpc.Channel, engine: FakeEngine
) -> None:
    def fail(method: str) -> None:
        raise ZeroDivisionError

    engine.before = fail
    for request_id, call in (("query", search), ("ingest", ingest)):
        with pytest.raises(grpc.RpcError):
            call(channel, request_id)
        until(lambda request_id=request_id: len(log.lines(request_id=request_id)) == 2)
        traceback, ended = log.lines(request_id=request_id)
        assert traceback["level"] == "error"
        assert "ZeroDivisionError" in traceback["exception"]
        assert (ended["level"], ended["code"], ended["reason"]) == ("warning", "INTERNAL", "INTERNAL")


def test_what_is_logged_during_an_ingest_names_its_call(log: Log, channel: grpc.Channel, engine: FakeEngine) -> None:
    engine.before = lambda method: logging.getLogger("index").warning("met during %s", method)
    ingest(channel, "some-id")
    assert log.lines(message="met during ingest", request_id="some-id")


def test_neither_secrets_nor_contents_are_logged(log: Log, server: Running, channel: grpc.Channel) -> None:
    """Whatever becomes of the call, and at every level."""
    ingest(channel, "1")
    with pytest.raises(grpc.RpcError):
        ingest(channel, "2", audio=b"")
    with pytest.raises(grpc.RpcError):
        search(channel, "3", track_id="the-track-of-nobody")
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/anacrusis.v1.NeighborService/SearchNeighbors")(
            b"The Title is no message", metadata=metadata("4"), timeout=20
        )
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/the-track.of/The-artist")(b"", metadata=metadata("5"), timeout=20)
    until(lambda: bool(log.lines(code="UNIMPLEMENTED")))
    until(lambda: len([line for line in log.lines() if "code" in line]) == 4)
    written = log.text.getvalue() + log.people.getvalue()
    assert [secret for secret in SECRETS if secret.lower() in written.lower()] == []


def test_a_flood_of_refusals_is_none_of_lines(log: Log) -> None:
    now = 0.0
    calls = CallLog(lambda line: line(), clock=lambda: now)
    call = object.__new__(CoreCall)
    call.came_at, call.trailers, call.caller = 0.0, (), ANYBODY
    call.code, call.reason = grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"
    for _ in range(1000):
        calls.call_ended(call, "/a/Method")
    assert len(log.lines(reason="QUEUE_FULL")) == LINES_A_SECOND
    call.reason = "DRAINING"
    calls.call_ended(call, "/a/Method")
    assert len(log.lines(reason="DRAINING")) == 1  # one reason keeps no other back
    call.reason, now = "QUEUE_FULL", 1.0
    calls.call_ended(call, "/a/Method")
    assert log.lines(reason="QUEUE_FULL")[-1]["left_out"] == 1000 - LINES_A_SECOND
    assert f"{1000 - LINES_A_SECOND} more like it" in log.people.getvalue()


def test_a_log_whose_reader_stalls_keeps_no_query_from_its_answer(log: Log, channel: grpc.Channel) -> None:
    stuck, go_on = threading.Event(), threading.Event()

    class Stalled(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            stuck.set()
            assert go_on.wait(30)

    handler = Stalled()
    logging.getLogger("grpc_service.call_log").addHandler(handler)
    try:
        with pytest.raises(grpc.RpcError):
            search(channel, "bad", track_id="the-track-of-nobody")
        assert stuck.wait(20)
        search(channel, "good")
    finally:
        go_on.set()
        logging.getLogger("grpc_service.call_log").removeHandler(handler)
