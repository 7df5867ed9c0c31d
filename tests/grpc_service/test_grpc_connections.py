"""As many connections as there may be, and no more: what is beyond is closed, and files are left for the home."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fake_engine import FakeEngine
from grpc_harness import running, until

from benchmarks.soak.steady import greet
from grpc_service.client import Client
from grpc_service.connections import KEPT_FILES, allow_most_files, most_connections


@pytest.fixture
def hard() -> Iterator[int]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, limits[1]), limits[1]))
    yield limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(hard: int) -> None:
    allow_most_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_a_system_that_refuses_is_put_up_with(
    hard: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(kind: int, limits: tuple[int, int]) -> None:
        raise ValueError("no")

    with monkeypatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda kind: (1024, hard + 1))
        patch.setattr(resource, "setrlimit", refuse)
        allow_most_files()
    assert "stays at 1024" in caplog.text


@pytest.mark.parametrize(
    ("files", "wanted", "held"),
    [
        (20_000, 16_384, 16_384),
        (4096, 16_384, 4096 - KEPT_FILES),
        (600, 16_384, 300),
        (1, 16_384, 1),
        (20_000, 3, 3),
        (resource.RLIM_INFINITY, 16_384, 16_384),
    ],
)
def test_files_are_left_for_the_home(files: int, wanted: int, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (files, files))
    assert most_connections(wanted) == held


def test_connections_beyond_the_bound_are_closed_and_there_is_room_again_behind_one_that_ends(
    engine: FakeEngine,
) -> None:
    with running(engine, max_connections=3) as server, ExitStack() as stack:
        host, _, port = server.address.rpartition(":")

        def opened() -> socket.socket:
            return stack.enter_context(socket.create_connection((host, int(port)), timeout=20))

        held = [opened() for _ in range(3)]
        assert all(greet(one) for one in held)
        assert not greet(opened())
        held[0].close()
        until(lambda: greet(opened()))
        held[1].close()
        with Client(server.address, timeout_s=20) as client:
            assert client.neighbors_of_track("warm-0").track_ids
