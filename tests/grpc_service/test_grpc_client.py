"""The client's own promises: light, patient only where that helps, clear about failures."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from fake_engine import FakeEngine
from google.rpc import status_pb2
from grpc_harness import Running, running

from grpc_service import client as client_module
from grpc_service.client import Client, ClientError, NotFoundError, ServiceFailureError, Tier, UnavailableError
from grpc_service.client_calls import MAX_BACKOFF_S, RetryPolicy
from grpc_service.client_errors import error_of_call, error_of_status
from grpc_service.errors import QueueFullError, RequestError, to_status

FORBIDDEN = ("torch", "faiss", "lance", "pyarrow", "jobs", "encoders", "artist_transfer", "index", "transformers")


def test_importing_the_client_loads_neither_networks_nor_tables() -> None:
    script = f"import sys; import grpc_service.client; print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_list_is_what_the_module_offers() -> None:
    assert set(client_module.__all__) == {
        "Client", "ClientError", "DeadlineExceededError", "Embedding", "FailedPreconditionError", "Feedback",
        "FeedbackReport", "FeedbackResult", "Filters", "Ingested",
        "InvalidArgumentError", "Neighbor", "Neighbors", "NotFoundError", "PermissionDeniedError", "Popularity",
        "RefreshStep", "ResourceExhaustedError", "SearchOptions", "ServiceFailureError", "ServiceStatus", "Tier",
        "UnauthenticatedError", "UnavailableError", "Upkeep", "WarmedTrack",
    }  # fmt: skip
    assert all(hasattr(client_module, name) for name in client_module.__all__)


class FakeRpcError(grpc.RpcError):
    """What a stub raises."""

    def __init__(self, code: grpc.StatusCode, status: status_pb2.Status | None = None, details: str = "Busy.") -> None:
        self._code, self._status, self._details = code, status, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (("grpc-status-details-bin", self._status.SerializeToString()),) if self._status else ()


class Attempts:
    """Fails with each error in turn, then answers."""

    def __init__(self, *errors: grpc.RpcError) -> None:
        self.errors = list(errors)
        self.timeouts: list[float] = []
        self.waits: list[float] = []
        self.request_ids: set[str] = set()

    def __call__(self, timeout: float, metadata: tuple[tuple[str, str], ...]) -> str:
        self.timeouts.append(timeout)
        self.request_ids.add(dict(metadata)["x-request-id"])
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    def policy(self, timeout_s: float = 60.0, retries: int = 3) -> RetryPolicy:
        return RetryPolicy(timeout_s, retries, sleep=self.waits.append)


BUSY = FakeRpcError(grpc.StatusCode.UNAVAILABLE)


def test_a_busy_service_is_asked_again_with_growing_waits_under_one_request_id() -> None:
    attempts = Attempts(BUSY, BUSY, BUSY)
    assert attempts.policy().run(attempts) == "answer"
    assert len(attempts.timeouts) == 4
    assert len(attempts.request_ids) == 1
    for wait, whole in zip(attempts.waits, (0.05, 0.1, 0.2), strict=True):
        assert whole / 2 <= wait <= whole
    assert all(0 < timeout <= 60 for timeout in attempts.timeouts)


def test_the_wait_has_a_ceiling() -> None:
    attempts = Attempts(*[BUSY] * 12)
    attempts.policy(timeout_s=1000, retries=12).run(attempts)
    assert max(attempts.waits) <= MAX_BACKOFF_S


def test_the_service_says_how_long_to_wait() -> None:
    status = to_status(QueueFullError("Full.", retry_after_s=7.0))
    attempts = Attempts(FakeRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, status))
    assert attempts.policy().run(attempts) == "answer"
    assert attempts.waits == [7.0]


@pytest.mark.parametrize(
    ("error", "retries", "timeout_s"),
    [
        (FakeRpcError(grpc.StatusCode.INVALID_ARGUMENT), 3, 60.0),
        (FakeRpcError(grpc.StatusCode.INTERNAL), 3, 60.0),
        (FakeRpcError(grpc.StatusCode.DEADLINE_EXCEEDED), 3, 60.0),
        (
            FakeRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, details="Received message larger than max (9 vs. 4)"),
            3,
            60.0,
        ),
        (BUSY, 0, 60.0),
        (FakeRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, to_status(QueueFullError("Full.", retry_after_s=7))), 3, 5.0),
    ],
    ids=["argument", "internal", "deadline", "too large", "no retries left", "the wait outlasts the deadline"],
)
def test_no_other_try_where_it_cannot_help(error: grpc.RpcError, retries: int, timeout_s: float) -> None:
    attempts = Attempts(error)
    with pytest.raises(ClientError) as caught:
        attempts.policy(timeout_s, retries).run(attempts)
    assert (len(attempts.timeouts), attempts.waits) == (1, [])
    assert caught.value.request_id


def test_an_error_carries_what_a_program_needs() -> None:
    status = to_status(RequestError("Give one.", field="subject"), "request-7")
    failure = error_of_call(FakeRpcError(grpc.StatusCode.INVALID_ARGUMENT, status))
    assert (str(failure), failure.reason, failure.field, failure.request_id) == (
        "Give one.",
        "REQUEST_INVALID",
        "subject",
        "request-7",
    )
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT


def test_statuses_of_strangers_are_survived() -> None:
    assert isinstance(error_of_status(status_pb2.Status(code=77, message="?")), ServiceFailureError)

    class GarbledError(FakeRpcError):
        def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
            return (("grpc-status-details-bin", b"\xff\xff"),)

    failure = error_of_call(GarbledError(grpc.StatusCode.NOT_FOUND, details="Gone."))
    assert isinstance(failure, NotFoundError)
    assert (str(failure), failure.reason) == ("Gone.", "NOT_FOUND")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_server_is_said_within_the_deadline() -> None:
    with Client(f"127.0.0.1:{_free_port()}", timeout_s=1.0, retries=1) as client, pytest.raises(UnavailableError):
        client.status()


def test_waiting_for_a_server_that_comes_later(engine: FakeEngine) -> None:
    port = _free_port()
    with Client(f"127.0.0.1:{port}") as client:
        with pytest.raises(ClientError):
            client.wait_until_ready(timeout_s=0.2)
        with running(engine, port=port):
            client.wait_until_ready(timeout_s=20)
            assert client.status().dim == 4


def test_wrong_use_is_told_before_anything_is_sent(client: Client, engine: FakeEngine) -> None:
    for call, sentence in (
        (lambda: client.ingest("a", artist_ids=["x"]), "either audio or uri"),
        (lambda: client.ingest("a", artist_ids=["x"], audio=b"a", uri="b"), "either audio or uri"),
        (lambda: client.ingest("a", artist_ids=["x"], audio=b"a", roles=["primary"] * 2), "1 artists and 2 roles"),
        (lambda: client.ingest("a", artist_ids=["x"], audio=b"a", roles=["dancer"]), "unknown"),
        (lambda: Client("x", timeout_s=0), "above 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
    with pytest.raises(TypeError, match="max_per_artists"):
        client.neighbors_of_track("warm-0", max_per_artists=1)  # type: ignore[call-arg]
    assert engine.calls == []


def test_answers_are_arrays_and_iterate_as_neighbors(server: Running) -> None:
    with Client(server.address) as client:
        found = client.neighbors_of_track("warm-0", k=2)
    assert len(found) == 2
    assert (found.scores.dtype, found.tiers.dtype, found.confidence.dtype) == (np.float32, np.int8, np.float32)
    assert [(neighbor.track_id, neighbor.tier) for neighbor in found] == [
        ("warm-1", Tier.COLLABORATIVE),
        ("warm-2", Tier.COLLABORATIVE),
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.withdraw("t3"),
        lambda client: client.ingest("t3", audio=b"x", artist_ids="ada"),
        lambda client: client.ingest("t3", audio="t3.flac", artist_ids=["ada"]),
        lambda client: client.ingest("t3", audio=b"x", artist_ids=["ada"], markets="DE"),
        lambda client: client.neighbors_of_tracks("t3"),
        lambda client: client.neighbors_of_users("u1"),
        lambda client: client.get_embeddings("t3"),
        lambda client: list(client.refresh("ada")),
    ],
)
def test_a_string_where_a_list_or_a_path_belongs_is_a_mistake_of_the_caller(
    client: Client, engine: FakeEngine, call: Callable[[Client], object]
) -> None:
    with pytest.raises(TypeError, match="give"):
        call(client)
