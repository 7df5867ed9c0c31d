"""Too many queries: the surplus is refused at once, and what is let in does not wait much longer than it may."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import grpc
import numpy as np
import pytest
from fake_engine import FakeEngine
from google.rpc import error_details_pb2
from grpc_harness import Hold, running, until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from grpc_service.admission import FLOOR_CALLS, STANDING_S, Admission, Exertion
from grpc_service.callers import ANYBODY
from grpc_service.client import Client
from grpc_service.options import ServerOptions
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.query_calls import HELD_BACK_S, SINGLE, QueryCalls

WAIT_S = 0.005
SEARCH_S, QUERY_S = 0.0005, 0.0002
TOP_PER_S = 1 / QUERY_S


class Offered:
    """A server whose searches take all that waits, one after the other."""

    def __init__(self) -> None:
        self.now = 0.0
        self._admission = Admission(WAIT_S)
        self._waiting: list[float] = []  # when they came
        self._searched: list[float] = []
        self._free_at = 0.0
        self._exertion = Exertion(0.0)

    def run(self, arrivals: list[float]) -> tuple[np.ndarray, int]:
        """Give how long those waited for their answers that were let in, in seconds, and the number of the refused."""
        start, self._took, refused = self.now, [], 0
        for at in arrivals:
            self._until(start + at)
            self.now = start + at
            oldest_s = self.now - self._waiting[0] if self._waiting else 0.0
            calls = len(self._waiting) + len(self._searched)
            if self._admission.lets_in(calls, oldest_s, self._exertion.seconds(self.now)):
                self._waiting.append(self.now)
                if not self._searched:
                    self._exertion.work(self.now)
                    self._search(self.now)
            else:
                refused += 1
        self._until(np.inf)
        return np.array(self._took), refused

    def _search(self, now: float) -> None:
        self._searched, self._waiting = self._waiting, []
        self._free_at = now + SEARCH_S + QUERY_S * len(self._searched)

    def _until(self, now: float) -> None:
        while self._searched and self._free_at <= now:
            self._took += [self._free_at - came for came in self._searched]
            self.now = self._free_at
            self._searched = []
            if self._waiting:
                self._search(self._free_at)
            else:
                self._exertion.rest(self._free_at)


def _random(per_s: float, seconds: float) -> list[float]:
    gaps = np.random.default_rng(1).exponential(1 / per_s, round(per_s * seconds))
    return np.cumsum(gaps).tolist()


def test_below_the_top_rate_nothing_is_refused() -> None:
    took, refused = Offered().run(_random(0.6 * TOP_PER_S, 10.0))
    assert refused == 0
    assert np.quantile(took, 0.99) < 3 * WAIT_S


@pytest.mark.parametrize("share", [1.2, 1.5, 2.0, 5.0])
def test_above_it_the_surplus_is_refused_and_the_rest_keeps_its_latency(share: float) -> None:
    took, refused = Offered().run(_random(share * TOP_PER_S, 10.0))
    assert refused > 0
    steady = took[round(0.1 * len(took)) :]  # behind what came before the overload was known
    assert np.quantile(steady, 0.99) < (2 + share) * WAIT_S * 2
    assert len(took) / 10.0 > 0.8 * TOP_PER_S  # none of the time is lost


def test_a_burst_that_is_soon_answered_is_not_refused() -> None:
    assert Offered().run([0.0] * round(STANDING_S / QUERY_S))[1] == 0


def test_it_comes_to_an_end_with_the_overload() -> None:
    offered = Offered()
    assert offered.run(_random(2 * TOP_PER_S, 2.0))[1] > 0
    assert offered.run(_random(0.5 * TOP_PER_S, 2.0))[1] == 0


def test_a_short_pause_is_not_the_end_of_an_overload_and_a_longer_one_is() -> None:
    exertion = Exertion(0.0)
    exertion.work(0.0)
    exertion.rest(10.0)
    assert exertion.seconds(10.001) > STANDING_S
    exertion.work(10.001)
    exertion.rest(10.05)
    assert exertion.seconds(10.07) == 0.0


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("grpc_service.query_calls.time", SimpleNamespace(monotonic=lambda: self.now))


class Call:
    """A call as gRPC's thread has it: its message is read when the test says so."""

    method, metadata, caller, deadline, span, cancelled = SINGLE, (), ANYBODY, None, None, False
    on_finished = on_cancel = None

    def __init__(self, came_at: float) -> None:
        self.came_at = came_at
        self.code: grpc.StatusCode | None = None

    def watch(self) -> None: ...

    def receive(self, then: Callable[[bytes | None], object]) -> None:
        self.read = then

    def finish(self, reply: bytes | None = None, *, code: grpc.StatusCode, details: str = "", **_: object) -> None:
        self.code = code


class Idle:
    """Searches that nothing waits for."""

    def oldest_wait_s(self) -> float:
        return 0.0

    def exerted_s(self) -> float:
        return 0.0

    def put(self, group: object) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def queries(clock: Clock) -> QueryCalls:
    work = SimpleNamespace(searches=Idle(), options=ServerOptions(max_query_wait_s=WAIT_S))
    return QueryCalls(cast(Any, work), lambda call, raw: None)


MESSAGE = neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0").SerializeToString()


def _begun(queries: QueryCalls, clock: Clock, count: int, gap_s: float) -> list[Call]:
    calls = []
    for _ in range(count):
        calls.append(Call(clock.now))
        queries.begin(cast(Any, calls[-1]))
        clock.now += gap_s
    return calls


def test_calls_are_refused_where_grpcs_thread_does_not_get_round_to_their_messages(
    queries: QueryCalls, clock: Clock
) -> None:
    calls = _begun(queries, clock, 200, 0.0005)
    assert {call.code for call in calls} == {None}  # for all that is known, they are slow themselves
    for call in calls:
        call.read(MESSAGE)
        clock.now += 0.0005
    late = _begun(queries, clock, 200, 0.0005)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in {call.code for call in late}
    for call in late:
        if call.code is None:
            call.read(MESSAGE)
    for _ in range(20):  # in time again
        (call,) = _begun(queries, clock, 1, 0.001)
        call.read(MESSAGE)
    assert call.code is None


def test_callers_who_hold_their_messages_back_keep_nobody_out_for_long(
    queries: QueryCalls, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Idle, "exerted_s", lambda self: 1.0)  # the search is at work, and keeps up
    _begun(queries, clock, 2 * FLOOR_CALLS, 0.0)
    clock.now += 2 * HELD_BACK_S
    for _ in range(100):
        (call,) = _begun(queries, clock, 1, 0.001)
        assert call.code is None
        call.read(MESSAGE)


def test_a_few_callers_of_large_batches_are_no_overload() -> None:
    assert Admission(WAIT_S).lets_in(FLOOR_CALLS - 1, oldest_wait_s=10.0, exerted_s=100.0)


def test_a_server_that_is_stuck_refuses_with_a_hint_but_not_those_who_look_why(engine: FakeEngine, hold: Hold) -> None:
    held = hold("search")
    query = neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0", k=1)
    with (
        running(engine) as server,
        grpc.insecure_channel(server.address) as channel,
        Client(server.address, retries=0) as client,
    ):
        stub = NeighborServiceStub(channel)
        calls = [stub.SearchNeighbors.future(query) for _ in range(4 * FLOOR_CALLS)]
        held.wait()

        def refused() -> list[grpc.Future]:
            calls.append(stub.SearchNeighbors.future(query))
            return [one for one in calls if one.done()]

        until(lambda: bool(refused()))
        (first, *_) = refused()
        assert first.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = {one.TypeName(): one for one in rpc_status.from_call(first).details}
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        details["google.rpc.ErrorInfo"].Unpack(info)
        details["google.rpc.RetryInfo"].Unpack(retry)
        assert info.reason == "QUEUE_FULL"
        assert retry.retry_delay.ToTimedelta()
        assert dict(first.trailing_metadata())["x-request-id"] == info.metadata["request_id"]

        assert client.status().waiting_query_count
        healthy = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert healthy.status == health_pb2.HealthCheckResponse.SERVING
        held.release()
        answered = [one for one in calls if one.exception() is None]
        assert len(answered) > FLOOR_CALLS
        assert {one.code() for one in calls if one not in answered} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_of_finished_calls_none_is_left_in_the_count(engine: FakeEngine) -> None:
    with running(engine) as server, Client(server.address, retries=0) as client:
        client.neighbors_of_track("warm-0")
        client.neighbors_of_tracks(["warm-0", "nobody"])
        client.status()
        queries = server.server._router._queries
        until(lambda: server.in_progress == queries.under_way == 0)
