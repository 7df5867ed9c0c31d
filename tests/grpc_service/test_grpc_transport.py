"""Deadlines, cancellation, limits, health and reflection, through a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from fake_engine import FakeEngine
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_harness import Hold, Running, running, until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from grpc_service.client import (
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
from grpc_service.client_errors import error_of_call
from grpc_service.pb.anacrusis.v1 import admin_service_pb2, neighbor_service_pb2, release_service_pb2
from grpc_service.pb.anacrusis.v1.admin_service_pb2_grpc import AdminServiceStub
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub
from grpc_service.server import SERVICES

QUERY = neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0", k=1)
TRACK = release_service_pb2.TrackMetadata(track_id="up", credits=[release_service_pb2.Credit(artist_id="x")])


def test_a_query_whose_deadline_passes_in_the_queue_is_never_searched(
    server: Running, engine: FakeEngine, client: Client, hold: Hold
) -> None:
    held = hold("search")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.neighbors_of_track, "warm-0")
        held.wait()
        with pytest.raises(DeadlineExceededError):
            client.neighbors_of_track("warm-1", timeout_s=0.2)
        held.release()
        assert len(first.result()) == 4
    client.neighbors_of_track("warm-2")
    searched = [query.track_id for _, queries in engine.calls for query in queries]  # type: ignore[attr-defined]
    assert searched == ["warm-0", "warm-2"]


def test_a_query_whose_caller_leaves_the_queue_is_never_searched(
    server: Running, engine: FakeEngine, channel: grpc.Channel, hold: Hold
) -> None:
    held = hold("search")
    stub = NeighborServiceStub(channel)
    first = stub.SearchNeighbors.future(QUERY)
    held.wait()
    second = stub.SearchNeighbors.future(neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-1"))
    until(lambda: server.in_progress == 2)
    second.cancel()
    until(lambda: server.in_progress == 1)
    held.release()
    assert first.result().packed.track_ids == b"warm-1"
    stub.SearchNeighbors(neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-2"))
    searched = [query.track_id for _, queries in engine.calls for query in queries]  # type: ignore[attr-defined]
    assert searched == ["warm-0", "warm-2"]


def test_an_ingest_whose_caller_leaves_the_queue_is_never_begun(engine: FakeEngine, hold: Hold) -> None:
    held = hold("ingest")
    with running(engine, ingest_threads=1) as server, Client(server.address, retries=0) as client:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(client.ingest, "one", artist_ids=["x"], audio=b"music")
            held.wait()
            with pytest.raises(DeadlineExceededError):
                client.ingest("two", artist_ids=["x"], audio=b"music", timeout_s=0.2)
            until(lambda: server.in_progress == 1)
            held.release()
            assert first.result().state == "created"
        client.ingest("three", artist_ids=["x"], audio=b"music")
    assert "two" not in engine.tracks


def test_full_queues_refuse_with_a_hint_when_to_come_back(engine: FakeEngine, hold: Hold) -> None:
    with (
        running(engine, query_queue_size=1, max_batch_queries=1, ingest_threads=1, ingest_queue_size=0) as server,
        Client(server.address, retries=0) as client,
        ThreadPoolExecutor() as pool,
    ):
        for method, call in (
            ("search", lambda: client.neighbors_of_track("warm-0")),
            ("ingest", lambda: client.ingest("one", artist_ids=["x"], audio=b"music")),
            ("refresh", lambda: list(client.refresh())),
        ):
            held = hold(method)
            calls = [pool.submit(call)]
            held.wait()
            if method == "search":
                calls.append(pool.submit(call))
                until(lambda: client.status().waiting_query_count == 1)
            with pytest.raises(ResourceExhaustedError) as caught:
                call()
            assert caught.value.reason == "QUEUE_FULL"
            assert caught.value.retry_after_s
            held.release()
            for waiting in calls:
                waiting.result()


def test_a_retrying_client_gets_through_a_full_queue(engine: FakeEngine, hold: Hold) -> None:
    held = hold("ingest")
    with (
        running(engine, ingest_threads=1, ingest_queue_size=0) as server,
        Client(server.address, retries=5, timeout_s=30) as client,
        ThreadPoolExecutor() as pool,
    ):
        first = pool.submit(client.ingest, "one", artist_ids=["x"], audio=b"music")
        held.wait()
        second = pool.submit(client.ingest, "two", artist_ids=["x"], audio=b"music")
        until(lambda: server.calls_begun >= 2 and server.in_progress == 1)
        held.release()
        assert (first.result().state, second.result().state) == ("created", "created")


def test_a_message_above_the_limit_is_refused_and_not_sent_again(engine: FakeEngine) -> None:
    with running(engine, max_message_bytes=1 << 16) as server, Client(server.address, retries=5) as client:
        with pytest.raises(ResourceExhaustedError, match="larger than max"):
            client.ingest("one", artist_ids=["x"], audio=bytes(1 << 17))
        assert client.ingest("one", artist_ids=["x"], audio=bytes(1 << 15)).served


def test_uploads_are_bounded_one_by_one_and_together(engine: FakeEngine) -> None:
    part = release_service_pb2.UploadTrackRequest
    with (
        running(engine, max_upload_bytes=10, upload_buffer_bytes=12) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = ReleaseServiceStub(channel)
        header = part(header=release_service_pb2.UploadHeader(track=TRACK))
        announced = part(header=release_service_pb2.UploadHeader(track=TRACK, size_bytes=11))
        for messages in ([announced], [header, part(chunk=b"123456"), part(chunk=b"78901")]):
            with pytest.raises(grpc.RpcError) as caught:
                stub.UploadTrack(iter(messages))
            failure = error_of_call(caught.value)
            assert isinstance(failure, InvalidArgumentError)
            assert failure.reason == "UPLOAD_TOO_LARGE"
        finish = threading.Event()

        def slow() -> Iterator[release_service_pb2.UploadTrackRequest]:
            yield header
            yield part(chunk=b"12345678")
            assert finish.wait(20)

        first = stub.UploadTrack.future(slow())
        until(lambda: server.server._work.uploads.taken == 8)
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadTrack(iter([header, part(chunk=b"12345")]))
        assert error_of_call(caught.value).reason == "QUEUE_FULL"
        finish.set()
        assert first.result().track.served
        assert server.server._work.uploads.taken == 0


def test_too_many_calls_at_once_are_refused(engine: FakeEngine, hold: Hold) -> None:
    held = hold("search")
    with running(engine, max_concurrent_rpcs=1) as server, grpc.insecure_channel(server.address) as channel:
        stub = NeighborServiceStub(channel)
        first = stub.SearchNeighbors.future(QUERY)
        held.wait()
        with pytest.raises(grpc.RpcError) as caught:
            stub.SearchNeighbors(QUERY)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        held.release()
        first.result()


def test_one_thread_searches_whatever_the_number_of_callers(client: Client, engine: FakeEngine) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.neighbors_of_track, ["warm-0"] * 50))
    assert {answer.track_ids for answer in answers} == {answers[0].track_ids}
    assert len(engine.search_threads) == 1


def test_leaving_a_refresh_stops_it_before_it_publishes(client: Client, engine: FakeEngine) -> None:
    engine.refresh_steps = 2000
    steps = client.refresh()
    assert next(steps).stage == "project"
    steps.close()  # type: ignore[attr-defined]
    until(lambda: any(name == "refresh stopped" for name, _ in engine.calls))
    assert engine.snapshot == "snapshot-1"
    until(lambda: client.status().waiting_job_count == 0)
    engine.refresh_steps = 1
    assert list(client.refresh())[-1].stage == "done"


def test_leaving_a_busy_stream_harms_nobody(
    server: Running, channel: grpc.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    def queries() -> Iterator[neighbor_service_pb2.StreamNeighborsRequest]:
        for number in range(5000):
            yield neighbor_service_pb2.StreamNeighborsRequest(request_id=str(number), search=QUERY)

    stub = NeighborServiceStub(channel)
    for _ in range(3):
        replies = stub.StreamNeighbors(queries())
        next(replies)
        replies.cancel()
    until(lambda: server.in_progress == 0)
    assert stub.SearchNeighbors(QUERY).packed.track_ids == b"warm-1"
    assert [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []


def test_a_long_stream_answers_everything_once(client: Client) -> None:
    replies = client.stream_neighbors(
        ((str(number), f"warm-{number % 5}") for number in range(2000)), k=1, timeout_s=60
    )
    assert sorted(int(request_id) for request_id, _ in replies) == list(range(2000))


def test_a_request_id_is_echoed_or_made(channel: grpc.Channel) -> None:
    status = AdminServiceStub(channel).GetStatus
    for given, kept in (("abc-1", True), ("no good", False), ("x" * 200, False)):
        _, call = status.with_call(admin_service_pb2.GetStatusRequest(), metadata=(("x-request-id", given),))
        echoed = dict(call.trailing_metadata())["x-request-id"]
        assert (echoed == given) is kept
        assert 1 <= len(echoed) <= 128


def test_health_knows_each_service(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    names = ("Admin", "Embedding", "Feedback", "Neighbor", "Release")
    assert set(SERVICES) == {f"anacrusis.v1.{name}Service" for name in names}
    for service in ("", *SERVICES):
        reply = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="anacrusis.v1.Nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_describes_every_method(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(SERVICES) | {"grpc.health.v1.Health"} <= set(database.get_services())
    pool = DescriptorPool(database)
    neighbors = pool.FindServiceByName("anacrusis.v1.NeighborService")
    assert [method.name for method in neighbors.methods] == [
        "SearchNeighbors",
        "BatchSearchNeighbors",
        "StreamNeighbors",
    ]
    error = pool.FindMessageTypeByName("anacrusis.v1.NeighborResult").fields_by_name["error"]
    assert error.message_type.full_name == "google.rpc.Status"
