"""A library that panics, which Python gets as no `Exception`: the caller is told, and the server goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_engine import FakeEngine
from grpc_harness import running, until

from grpc_service.client import Client, ClientError, Feedback

CALLS: dict[str, Callable[[Client], object]] = {
    "ingest": lambda client: client.ingest("new", artist_ids=["x"], audio=b"sound"),
    "search": lambda client: client.neighbors_of_track("warm-0"),
    "record_feedback": lambda client: client.record_feedback([Feedback("warm-0", "ann", "play")]),
    "withdraw": lambda client: client.withdraw(["warm-4"]),
    "embeddings": lambda client: client.get_embeddings(["warm-0"]),
}


class Panic(BaseException):
    """As pyo3's: none of `Exception`."""


@pytest.mark.parametrize("method", CALLS)
def test_whoever_called_is_told_and_the_next_call_is_answered(
    engine: FakeEngine, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    def panic(called: str) -> None:
        if called == method:
            raise Panic("already borrowed")

    with running(engine) as server, Client(server.address, timeout_s=20, retries=0) as client:
        engine.before = panic
        with pytest.raises(ClientError) as caught:
            CALLS[method](client)
        assert caught.value.code.name == "INTERNAL"
        assert "borrowed" not in str(caught.value)
        engine.before = lambda called: None
        CALLS[method](client)
        until(lambda: server.in_progress == 0)
    assert "already borrowed" in caplog.text
