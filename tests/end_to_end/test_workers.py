"""Several processes on one port: what one of them acknowledges, all of them show."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from made_catalogue import audio_bytes

from anacrusis.server_process import ServerProcess, running_server
from grpc_service.client import Client
from grpc_service.client_errors import error_of_call
from grpc_service.packing import unpack_ids
from grpc_service.pb.anacrusis.v1 import release_service_pb2 as release_pb
from grpc_service.pb.anacrusis.v1.admin_service_pb2 import GetStatusRequest, RefreshArtistsRequest
from grpc_service.pb.anacrusis.v1.admin_service_pb2_grpc import AdminServiceStub
from grpc_service.pb.anacrusis.v1.feedback_service_pb2 import FEEDBACK_ACTION_PLAY, FeedbackEvent, RecordFeedbackRequest
from grpc_service.pb.anacrusis.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2 import SearchNeighborsRequest, SearchNeighborsResponse
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub
from grpc_service.probe import serving_status

CONNECTIONS = 24  # the system chooses a worker for each: that one of two gets none happens once in eight million


@contextmanager
def connections(address: str) -> Iterator[list[grpc.Channel]]:
    """Open connections that share nothing."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]))
            for _ in range(CONNECTIONS)
        ]


def answer(channel: grpc.Channel) -> SearchNeighborsResponse:
    request = SearchNeighborsRequest(track_id="ada-0", k=100)
    return NeighborServiceStub(channel).SearchNeighbors(request, timeout=60, wait_for_ready=True)


def found(channel: grpc.Channel) -> set[str]:
    packed = answer(channel).packed
    return set(unpack_ids(packed.track_ids, np.frombuffer(packed.track_id_lengths, "<u4")))


def ingest(channel: grpc.Channel, track_id: str) -> release_pb.IngestedTrack:
    track = release_pb.TrackMetadata(track_id=track_id, credits=[release_pb.Credit(artist_id="ada")])
    request = release_pb.IngestTrackRequest(track=track, inline=audio_bytes(330.0))
    return ReleaseServiceStub(channel).IngestTrack(request, timeout=60).track


def upload(channel: grpc.Channel, track_id: str) -> release_pb.IngestedTrack:
    track = release_pb.TrackMetadata(track_id=track_id, credits=[release_pb.Credit(artist_id="ada")])
    part = release_pb.UploadTrackRequest
    parts = [part(header=release_pb.UploadHeader(track=track)), part(chunk=audio_bytes(440.0))]
    return ReleaseServiceStub(channel).UploadTrack(iter(parts), timeout=60).track


def workers_of(server: ServerProcess) -> list[int]:
    """Process ids of the workers, in the order in which they were started: the one that writes is the first."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text(encoding="utf-8")
    return sorted(int(pid) for pid in children.split())


def two_free_ports() -> tuple[int, int]:
    """One behind the other."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port, port + 1


def until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never came about")


def test_what_one_worker_acknowledges_all_of_them_show(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = two_free_ports()
    monkeypatch.setenv("ANACRUSIS_METRICS__PORT", str(ports[0]))
    with running_server(home, "--workers", "2") as server, connections(server.address) as channels:
        workers = workers_of(server)
        assert len(workers) == 2
        assert serving_status(server.address) == "SERVING"
        for number, channel in enumerate(channels[:6]):
            taken = (upload if number % 2 else ingest)(channel, f"new-{number}")
            assert taken.state == release_pb.INGEST_STATE_CREATED
            assert all(f"new-{number}" in found(each) for each in channels)
        for number, channel in enumerate(channels[:6]):
            stub = ReleaseServiceStub(channel)
            gone = stub.WithdrawTracks(release_pb.WithdrawTracksRequest(track_ids=[f"new-{number}"]), timeout=60)
            assert list(gone.newly_withdrawn_track_ids) == [f"new-{number}"]
            assert not any(f"new-{number}" in found(each) for each in channels)
        for channel in channels[:2]:
            (refreshed,) = [
                step
                for step in AdminServiceStub(channel).RefreshArtists(RefreshArtistsRequest(all=True), timeout=60)
                if step.HasField("report")
            ]
            assert {answer(each).snapshot_id for each in channels} == {refreshed.snapshot_id}
        event = FeedbackEvent(track_id="nobody's", user_id="u", action=FEEDBACK_ACTION_PLAY)
        for channel in channels:
            assert not AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=60).read_only
            record = FeedbackServiceStub(channel).RecordFeedback(RecordFeedbackRequest(events=[event]), timeout=60)
            assert record.outcomes[0].HasField("error")
            with pytest.raises(grpc.RpcError) as caught:
                ingest(channel, "new-0")  # the writing worker's refusal, with all that it says
            failure = error_of_call(caught.value)
            assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TRACK_WITHDRAWN")
        tell_their_metrics(ports)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
        assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []


def tell_their_metrics(ports: tuple[int, int]) -> None:
    """Each worker its own, and what was handed on the one that answered it: three ingests and three uploads."""

    def calls(port: int, method: str, code: str = "OK") -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        written = re.search(rf'^anacrusis_calls_total{{code="{code}",method="{method}"}} (\S+)$', text, re.MULTILINE)
        return float(written[1]) if written else 0.0

    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as answer:
            assert answer.status == 200
        until(lambda port=port: calls(port, "NeighborService/SearchNeighbors") > 0)
    for method in ("IngestTrack", "UploadTrack"):
        until(lambda method=method: calls(ports[0], f"ReleaseService/{method}") == 3)
        assert calls(ports[1], f"ReleaseService/{method}") == 0
    until(lambda: calls(ports[0], "ReleaseService/IngestTrack", "FAILED_PRECONDITION") == CONNECTIONS)
    assert calls(ports[1], "ReleaseService/IngestTrack", "FAILED_PRECONDITION") == 0


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_and_misses_nothing(home: Path) -> None:
    with running_server(home, "--workers", "2") as server, connections(server.address) as channels:
        for dying in (0, 1):  # the one that writes, then the one that reads
            before = workers_of(server)
            os.kill(before[dying], signal.SIGKILL)
            until(lambda before=before, dying=dying: before[dying] not in workers_of(server))
            assert serving_status(server.address, timeout_s=20.0) != "SERVING"
            with Client(server.address, timeout_s=60.0, retries=60) as client:
                assert client.ingest(f"new-{dying}", audio=audio_bytes(330.0), artist_ids=["ada"]).served
            until(lambda: serving_status(server.address) == "SERVING")
            assert len(workers_of(server)) == 2
            assert all(f"new-{dying}" in found(each) for each in channels)
