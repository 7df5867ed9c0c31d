from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import pytest
from fake_engine import FakeEngine
from grpc_harness import Held, Running, running

from grpc_service.client import Client


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def server(engine: FakeEngine) -> Iterator[Running]:
    with running(engine) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.address, retries=0) as client:
        yield client


@pytest.fixture
def channel(server: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def hold(engine: FakeEngine) -> Iterator[Callable[[str], Held]]:
    made: list[Held] = []

    def hold(method: str) -> Held:
        made.append(Held(engine, method))
        return made[-1]

    yield hold
    for held in made:
        held.release()
