"""Too many queries: the surplus is refused at once, and what is let in does not wait much longer than it may."""

from __future__ import annotations

from bisect import bisect_right

import grpc
import numpy as np
import pytest
from fake_engine import FakeEngine
from google.rpc import error_details_pb2
from grpc_harness import Hold, running, until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from grpc_service.admission import FLOOR_CALLS, STANDING_S, Admission
from grpc_service.client import Client
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub

WAIT_S = 0.02
CALL_S, REFUSAL_S = 0.001, 0.0003
TOP_PER_S = 1 / CALL_S


class Offered:
    """A server that takes calls up one by one, in the order in which they come, whether or not it keeps up."""

    def __init__(self) -> None:
        self.now = 0.0
        self.others = 0
        self._unfinished = 0
        self.admission = Admission(lambda: self._unfinished + self.others, WAIT_S, clock=lambda: self.now)

    def run(self, arrivals: list[float]) -> tuple[np.ndarray, int]:
        """Give how long those waited that were let in, in seconds, and the number of the refused."""
        start, waits, refused, answering = self.now, [], 0, False
        came = [start + one for one in arrivals]
        for number, at in enumerate(came):
            if answering and at > self.now:  # nobody is there
                self.admission.end()
                answering = False
            self.now = max(self.now, at)
            self._unfinished = bisect_right(came, self.now) - number
            if not self.admission.lets_in():
                refused += 1
                self.now += REFUSAL_S
                continue
            waits.append(self.now - at)
            self.admission.begin()
            if answering:
                self.admission.end()  # the next one is taken up before this one is done with
            answering = True
            self.now += CALL_S
        if answering:
            self.admission.end()
        return np.array(waits), refused


def _random(per_s: float, seconds: float) -> list[float]:
    gaps = np.random.default_rng(1).exponential(1 / per_s, round(per_s * seconds))
    return np.cumsum(gaps).tolist()


def test_below_the_top_rate_nothing_is_refused() -> None:
    waits, refused = Offered().run(_random(0.7 * TOP_PER_S, 10.0))
    assert refused == 0
    assert np.quantile(waits, 0.99) < WAIT_S


@pytest.mark.parametrize("share", [1.2, 1.5, 2.0])
def test_above_it_the_surplus_is_refused_and_the_rest_keeps_its_latency(share: float) -> None:
    waits, refused = Offered().run(_random(share * TOP_PER_S, 10.0))
    assert refused > 0
    assert np.quantile(waits, 0.99) < 3 * WAIT_S
    # Refusals take their share of the time; the rest of it goes into answers.
    possible = (1 - REFUSAL_S * share * TOP_PER_S) / (CALL_S - REFUSAL_S)
    assert len(waits) / 10.0 > 0.9 * min(possible, TOP_PER_S)


def test_a_burst_that_is_soon_answered_is_not_refused() -> None:
    calls = round(STANDING_S / CALL_S)
    offered = Offered()
    offered.run(_random(0.7 * TOP_PER_S, 1.0))
    assert offered.run([0.0] * calls)[1] == 0


def test_it_comes_to_an_end_with_the_overload() -> None:
    offered = Offered()
    assert offered.run(_random(2 * TOP_PER_S, 2.0))[1] > 0
    assert offered.run(_random(0.5 * TOP_PER_S, 2.0))[1] == 0


def test_what_is_no_query_does_not_count() -> None:
    offered = Offered()
    offered.others = offered.admission.others = 1000  # such as streams that are open for hours
    assert offered.run(_random(0.7 * TOP_PER_S, 5.0))[1] == 0


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
        client.status()
        admission = server.server._calls._admission
        until(lambda: admission._unfinished() == 0)
        assert admission.others == 0
