"""What becomes of calls between gRPC's core and us: odd ones, failing ones, and that none is left behind."""

from __future__ import annotations

import gc
import threading

import grpc
import pytest
from fake_engine import FakeEngine
from grpc_harness import Hold, Running, running, until

from grpc_service.client import Client
from grpc_service.client_errors import ServiceFailureError
from grpc_service.core import CoreCall
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub

SERVICE = "/anacrusis.v1.NeighborService"
QUERY = neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0", k=1)


def test_a_method_that_does_not_exist_is_told(channel: grpc.Channel) -> None:
    for method in (f"{SERVICE}/FindNeighbours", "/anacrusis.v2.NeighborService/SearchNeighbors", "/x"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(method)(b"", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["NeighborService/SearchNeighbors", "AdminService/GetStatus"])
def test_a_call_without_a_message_is_the_callers_mistake(channel: grpc.Channel, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(f"/anacrusis.v1.{method}")(iter(()), timeout=20))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "without a message" in caught.value.details()


def test_calls_that_are_done_with_are_let_go_of_at_once(server: Running, client: Client) -> None:
    client.neighbors_of_track("warm-0")
    gc.collect()
    gc.disable()  # nobody looks for circles: what is in one would stay
    try:
        for _ in range(20):
            client.neighbors_of_track("warm-0")
            client.neighbors_of_tracks(["warm-0", "nobody"])
            client.neighbors_of_track("warm-0", titles=True)
            client.status()
        until(lambda: server.in_progress == 0)
        until(lambda: not any(type(one) is CoreCall for one in gc.get_objects()))
    finally:
        gc.enable()


def test_a_failing_search_fails_its_callers_and_no_later_one(
    server: Running, engine: FakeEngine, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(method: str) -> None:
        raise MemoryError("no room on /dev/secret")

    engine.before = fail
    with pytest.raises(ServiceFailureError) as caught:
        client.neighbors_of_track("warm-0")
    assert "secret" not in str(caught.value)
    assert "no room" in caplog.text
    engine.before = lambda method: None
    assert len(client.neighbors_of_track("warm-0"))


def test_leaving_while_the_search_goes_on_ends_the_call_and_harms_nobody(
    server: Running, engine: FakeEngine, channel: grpc.Channel, hold: Hold
) -> None:
    held = hold("search")
    stub = NeighborServiceStub(channel)
    leaving, staying = stub.SearchNeighbors.future(QUERY), None
    held.wait()
    staying = stub.SearchNeighbors.future(QUERY)
    until(lambda: server.in_progress == 2)
    leaving.cancel()
    until(lambda: server.in_progress == 1)  # it counts no longer, though its search goes on
    held.release()
    assert staying.result().packed.track_ids
    until(lambda: server.in_progress == 0)


def test_a_server_that_stops_waits_for_replies_under_way_and_leaves_no_call(engine: FakeEngine, hold: Hold) -> None:
    held = hold("search")
    with running(engine) as server, grpc.insecure_channel(server.address) as channel:
        stub = NeighborServiceStub(channel)
        first = stub.SearchNeighbors.future(QUERY)
        held.wait()
        server.drain()
        held.release()
        assert first.result(20).packed.track_ids
        server.join()
    assert not any(type(one) is CoreCall for one in gc.get_objects())


def test_a_call_whose_caller_leaves_before_its_first_step_is_ended(server: Running, channel: grpc.Channel) -> None:
    """Of a coroutine that is cancelled before it begins, not one line runs."""
    entered, leave = threading.Event(), threading.Event()
    server.on_loop(lambda: (entered.set(), leave.wait(20)))  # the loop stands still: nothing begins
    assert entered.wait(20)
    calls = [channel.unary_unary("/anacrusis.v1.AdminService/GetStatus").future(b"") for _ in range(5)]
    calls += [channel.stream_stream("/anacrusis.v1.NeighborService/StreamNeighbors")(iter(())) for _ in range(5)]
    until(lambda: server.in_progress == 10)
    for call in calls:
        call.cancel()
    NeighborServiceStub(channel).SearchNeighbors(QUERY)  # behind those on the same connection, and needs no loop
    leave.set()
    until(lambda: server.in_progress == 0)
