"""What one call may ask at most is set in the options, and said where it is too much."""

from __future__ import annotations

import asyncio
import threading

import grpc
import pytest
from fake_engine import FakeEngine
from grpc_harness import running, until
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_service.client import Client, Filters, InvalidArgumentError
from grpc_service.client_errors import error_of_call
from grpc_service.connections import MAX_METADATA_BYTES
from grpc_service.health import HealthServicer
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2 import SearchNeighborsRequest, StreamNeighborsRequest
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2 import Credit, TrackMetadata, UploadHeader, UploadTrackRequest
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub


@pytest.mark.parametrize("titles", [False, True])
def test_k_and_filters_have_bounds(engine: FakeEngine, titles: bool) -> None:
    with (
        running(engine, max_k=3, max_filter_artists=2) as server,
        Client(server.address, retries=0) as client,
    ):
        few, many = Filters(artists_in=["a", "b"]), Filters(artists_in=["a"], artists_out=["b", "c"])
        assert len(client.neighbors_of_track("warm-0", k=3, filters=few, titles=titles)) <= 3
        with pytest.raises(InvalidArgumentError) as wide:
            client.neighbors_of_track("warm-0", k=4, titles=titles)
        assert (wide.value.reason, wide.value.field) == ("K_OUT_OF_RANGE", "k")
        assert "at most 3" in str(wide.value)
        with pytest.raises(InvalidArgumentError) as filtered:
            client.neighbors_of_track("warm-0", k=3, filters=many, titles=titles)
        assert (filtered.value.reason, filtered.value.field) == ("FILTER_INVALID", "filters")
        with pytest.raises(InvalidArgumentError) as batch:
            client.neighbors_of_tracks(["warm-0"], k=4, titles=titles)
        assert batch.value.reason == "K_OUT_OF_RANGE"
        (found,) = [answer for _, answer in client.stream_neighbors([("1", "warm-0")], k=4)]
        assert getattr(found, "reason", "") == "K_OUT_OF_RANGE"
    searched = [query.k for method, queries in engine.calls if method == "search" for query in queries]  # type: ignore[attr-defined]
    assert max(searched) == 3


def test_a_stream_ends_where_it_is_too_long_and_its_answers_came(engine: FakeEngine) -> None:
    query = StreamNeighborsRequest(search=SearchNeighborsRequest(track_id="warm-0"))
    with running(engine, max_stream_messages=3) as server, grpc.insecure_channel(server.address) as channel:
        replies = NeighborServiceStub(channel).StreamNeighbors(iter([query] * 5), timeout=20)
        assert len([next(replies) for _ in range(3)]) == 3
        with pytest.raises(grpc.RpcError) as caught:
            next(replies)
        failure = error_of_call(caught.value)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
        assert "more than 3 messages" in str(failure)


def test_an_upload_of_nothing_ends_too(engine: FakeEngine) -> None:
    track = TrackMetadata(track_id="t", credits=[Credit(artist_id="x")])

    def empty() -> object:
        yield UploadTrackRequest(header=UploadHeader(track=track))
        while True:
            yield UploadTrackRequest(chunk=b"")

    with running(engine, max_stream_messages=50) as server, grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ReleaseServiceStub(channel).UploadTrack(empty(), timeout=20)
        assert "more than 50 messages" in str(error_of_call(caught.value))


def test_a_probe_finds_a_place_beside_those_who_watch(engine: FakeEngine) -> None:
    with running(engine, max_concurrent_rpcs=2) as server, grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watching = [health.Watch(health_pb2.HealthCheckRequest(), timeout=20) for _ in range(2)]
        for watch in watching:
            next(watch)
        with pytest.raises(grpc.RpcError) as caught:
            next(health.Watch(health_pb2.HealthCheckRequest(), timeout=20))
        assert error_of_call(caught.value).reason == "QUEUE_FULL"
        reply = health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        for watch in watching:
            watch.cancel()


def test_a_probe_finds_a_place_beside_those_who_only_begin_one(engine: FakeEngine) -> None:
    """It needs no token, so that any stranger can begin many and send nothing."""
    with running(engine, max_concurrent_rpcs=3) as server, grpc.insecure_channel(server.address) as channel:
        begin = channel.stream_unary("/grpc.health.v1.Health/Check")
        over = threading.Event()
        begun = [begin.future(iter(over.wait, True), timeout=20) for _ in range(3)]
        router = server.server._router
        until(lambda: len(router._probes) == 3)
        stub = health_pb2_grpc.HealthStub(channel)
        for _ in range(10):
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status
        until(lambda: any(one.done() for one in begun))
        assert [one.code() for one in begun if one.done()] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        for one in begun:
            one.cancel()
        until(lambda: not router._probes)
        over.set()


@pytest.mark.parametrize("size", [100, 20_000])
def test_what_comes_with_a_call_is_bounded(engine: FakeEngine, size: int) -> None:
    """Python's gRPC takes 16 MiB of it by default, before anybody has looked whose it is."""
    with running(engine) as server, grpc.insecure_channel(server.address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        if size < MAX_METADATA_BYTES:
            check(health_pb2.HealthCheckRequest(), timeout=20, metadata=(("authorization", "x" * size),))
        else:
            with pytest.raises(grpc.RpcError) as caught:
                check(health_pb2.HealthCheckRequest(), timeout=20, metadata=(("authorization", "x" * size),))
            assert error_of_call(caught.value).code is grpc.StatusCode.RESOURCE_EXHAUSTED
        check(health_pb2.HealthCheckRequest(), timeout=20)


def test_health_lists_each_service(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    with running(engine) as server, grpc.insecure_channel(server.address) as channel:
        statuses = health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=20).statuses
    assert {"", "anacrusis.v1.NeighborService"} <= statuses.keys()
    assert {one.status for one in statuses.values()} == {health_pb2.HealthCheckResponse.SERVING}
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_watcher_that_does_not_read_keeps_nobody_from_draining() -> None:
    class Deaf:
        """A caller whose message never leaves."""

        async def write(self, message: object) -> None:
            await asyncio.Event().wait()

    health = HealthServicer()
    health.set(("", "a"), serving=True)
    watching = asyncio.create_task(health.Watch(health_pb2.HealthCheckRequest(), Deaf()))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    health.drain()
    health.set(("",), serving=True)  # too late
    statuses = (await health.List(health_pb2.HealthListRequest(), Deaf())).statuses  # type: ignore[arg-type]
    assert {one.status for one in statuses.values()} == {health_pb2.HealthCheckResponse.NOT_SERVING}
    watching.cancel()
