"""Stopping a server: what is under way finishes, what is open ends, the process leaves cleanly."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from fake_engine import FakeEngine
from grpc_harness import Hold, Running, running, until
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_service.client import (
    Client,
    DeadlineExceededError,
    UnavailableError,
)
from grpc_service.client_errors import error_of_call
from grpc_service.core import CoreServer
from grpc_service.options import ServerOptions
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.server import AddressError, run_server

QUERY = neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0", k=1)


def test_draining_lets_calls_finish_and_says_not_serving(engine: FakeEngine, hold: Hold) -> None:
    held = hold("search")
    with (
        running(engine, grace_s=600) as server,  # `join` waits 30 s: draining must end with the last call
        grpc.insecure_channel(server.address) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        call = NeighborServiceStub(channel).SearchNeighbors.future(QUERY)
        held.wait()
        server.drain()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with (
            Client(server.address, retries=0, timeout_s=1.0) as late,
            pytest.raises((UnavailableError, DeadlineExceededError)),
        ):
            late.status()
        assert not engine.closed
        held.release()
        assert call.result().packed.track_ids == b"warm-1"
        server.join()
        assert engine.closed


def test_draining_ends_open_streams_after_their_answers(engine: FakeEngine) -> None:
    with running(engine, grace_s=600) as server, grpc.insecure_channel(server.address) as channel:
        leave_open = threading.Event()

        def queries() -> Iterator[neighbor_service_pb2.StreamNeighborsRequest]:
            yield neighbor_service_pb2.StreamNeighborsRequest(request_id="a", search=QUERY)
            leave_open.wait(20)

        replies = NeighborServiceStub(channel).StreamNeighbors(queries())
        assert next(replies).request_id == "a"
        server.drain()
        with pytest.raises(grpc.RpcError) as caught:
            next(replies)
        leave_open.set()
        failure = error_of_call(caught.value)
        assert isinstance(failure, UnavailableError)
        assert (failure.reason, bool(failure.retry_after_s)) == ("DRAINING", True)
        server.join()


def test_what_outlasts_the_grace_is_ended(engine: FakeEngine, hold: Hold) -> None:
    held = hold("search")
    with running(engine, grace_s=0.1) as server, grpc.insecure_channel(server.address) as channel:
        call = NeighborServiceStub(channel).SearchNeighbors.future(QUERY)
        held.wait()
        server.drain()
        assert call.exception(timeout=20).code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        held.release()
        server.join()
        assert engine.closed


def test_a_server_that_got_a_port_and_was_never_started_lets_go_of_it() -> None:
    server = CoreServer((), lambda call: None)
    port = server.add_port("127.0.0.1:0")
    server.close()
    socket.create_server(("127.0.0.1", port)).close()


def test_a_taken_port_is_told_in_a_sentence_and_the_engine_closed(server: Running) -> None:
    port = int(server.address.rsplit(":", 1)[1])
    second = FakeEngine()
    with pytest.raises(AddressError, match="choose another port"):
        run_server(second, ServerOptions(port=port))
    assert second.closed


SERVE = """
import sys
from pathlib import Path
from fake_engine import FakeEngine
from grpc_service.options import ServerOptions
from grpc_service.server import run_server
import time

folder = Path(sys.argv[1])
engine = FakeEngine()

def before(method):
    if method == "search":
        (folder / "searching").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)

engine.before = before
run_server(engine, ServerOptions(port=0, grace_s=600), on_ready=lambda address: print(address, flush=True))
print("closed" if engine.closed else "left open", flush=True)
"""


def test_sigterm_drains_the_process(tmp_path: Path) -> None:
    here = Path(__file__).resolve().parent
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVE, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": f"{here}:{here.parent.parent}", "PATH": "/usr/bin:/bin"},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with grpc.insecure_channel(address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            next(watch)
            call = NeighborServiceStub(channel).SearchNeighbors.future(QUERY)
            until((tmp_path / "searching").exists)
            process.send_signal(signal.SIGTERM)
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            (tmp_path / "go").touch()
            assert call.result(timeout=20).packed.track_ids == b"warm-1"
        assert process.wait(timeout=30) == 0
        assert process.stdout.read().strip() == "closed"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
