"""More than a server can take: what stands still is cut off, what nobody reads is not piled up, idle ones are held."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest
from fake_engine import FakeEngine
from grpc_harness import running, until

from benchmarks.soak.steady import idle_connections
from grpc_service import options, releases
from grpc_service.client import Client
from grpc_service.client_errors import error_of_call
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as neighbor_pb
from grpc_service.pb.anacrusis.v1 import release_service_pb2 as pb
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub

TRACK = pb.TrackMetadata(track_id="up", credits=[pb.Credit(artist_id="x")])
HEADER = pb.UploadTrackRequest(header=pb.UploadHeader(track=TRACK))


@pytest.mark.parametrize("sent", [[], [HEADER], [HEADER, pb.UploadTrackRequest(chunk=b"123")]], ids=len)
def test_an_upload_that_stands_still_is_cut_off_and_gives_back_what_it_held(
    engine: FakeEngine, sent: list[pb.UploadTrackRequest]
) -> None:
    over = threading.Event()

    def messages() -> Iterator[pb.UploadTrackRequest]:
        yield from sent
        over.wait(20)

    with running(engine, upload_idle_s=0.2) as server, grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ReleaseServiceStub(channel).UploadTrack(messages(), timeout=20)
        over.set()
        failure = error_of_call(caught.value)
        assert (failure.reason, failure.code) == ("UPLOAD_STALLED", grpc.StatusCode.DEADLINE_EXCEEDED)
        until(lambda: server.in_progress == 0)
        assert server.server._work.uploads.taken == 0
        assert not [one for one in engine.calls if one[0] == "ingest"]


def test_an_upload_that_drips_is_cut_off_too(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "LEAST_UPLOAD_BYTES_PER_S", 1 << 40)  # nothing that has come buys time
    over = threading.Event()

    def messages() -> Iterator[pb.UploadTrackRequest]:
        yield HEADER
        while not over.wait(0.05):  # never silent for long
            yield pb.UploadTrackRequest(chunk=b"1")

    with running(engine, upload_idle_s=0.3) as server, grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ReleaseServiceStub(channel).UploadTrack(messages(), timeout=20)
        over.set()
        assert error_of_call(caught.value).reason == "UPLOAD_STALLED"


def test_the_longest_upload_gets_through_at_the_least_speed() -> None:
    defaults = options.ServerOptions()
    assert defaults.max_upload_bytes / options.LEAST_UPLOAD_BYTES_PER_S < 10 * 3600


def test_replies_that_nobody_reads_are_not_piled_up(engine: FakeEngine) -> None:
    window, sent = 16, 20_000
    search = neighbor_pb.SearchNeighborsRequest(track_id="warm-0", view=neighbor_pb.HIT_VIEW_FULL)
    over = threading.Event()

    def queries() -> Iterator[neighbor_pb.StreamNeighborsRequest]:
        for number in range(sent):
            yield neighbor_pb.StreamNeighborsRequest(request_id=f"{number:0128d}", search=search)
        over.wait(30)

    small = [
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 1 << 16),
    ]

    def searched() -> int:
        calls = [queries for method, queries in list(engine.calls) if method == "search"]
        return sum(query.track_id == "warm-0" for queries in calls for query in queries)  # type: ignore[attr-defined]

    with (
        running(engine, stream_window=window) as server,
        grpc.insecure_channel(server.address, options=small) as channel,
    ):
        replies = NeighborServiceStub(channel).StreamNeighbors(queries(), timeout=60)
        with Client(server.address) as other:
            before = -1
            while before != (now := searched()):  # until it stands still while others are answered
                before = now
                for _ in range(100):
                    assert other.neighbors_of_track("warm-1").track_ids
        assert 0 < before < sent / 2
        replies.cancel()
        over.set()


def hold_idle(engine: FakeEngine, count: int) -> None:
    with running(engine) as server:
        with idle_connections(server.address, count) as held, Client(server.address) as client:
            assert held == count
            assert client.neighbors_of_track("warm-0").track_ids
        with Client(server.address) as client:
            assert client.neighbors_of_track("warm-0").track_ids


def test_hundreds_of_idle_connections_keep_nobody_from_an_answer(engine: FakeEngine) -> None:
    hold_idle(engine, 300)


@pytest.mark.slow
def test_five_thousand_idle_connections_in_one_process_with_their_server(engine: FakeEngine) -> None:
    """Both ends are here; ten thousand are held by `make soak`, whose server is a process of its own."""
    hold_idle(engine, 5000)
