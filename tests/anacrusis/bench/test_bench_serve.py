"""`bench serve`: the clients count what a server does, and vectors reach a server as they were given."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from command_line import CommandLine
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from anacrusis.bench.given_vectors import CONTENT_DIM, SAMPLE_RATE_HZ, GivenVectors, audio_of
from anacrusis.bench.load_clients import together
from anacrusis.bench.loads import Loads
from anacrusis.bench.serve_milvus import beside_milvus
from encoders import decode_audio


def test_a_given_vector_arrives_through_the_decoder() -> None:
    content = np.linspace(-1, 1, CONTENT_DIM, dtype=np.float32)
    heard = decode_audio(audio_of(content), sample_rate_hz=SAMPLE_RATE_HZ)
    assert GivenVectors().encode([heard.samples])[0] == pytest.approx(content, abs=1e-6)


class _Moody(grpc.GenericRpcHandler):
    """Answers every other call; refuses the rest as a full queue does."""

    def __init__(self) -> None:
        self.calls = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        if self.calls % 2:
            return request
        hint = error_details_pb2.RetryInfo()
        hint.retry_delay.FromMilliseconds(50)
        refusal = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="full")
        refusal.details.add().Pack(hint)
        context.abort_with_status(rpc_status.to_status(refusal))
        return b""


def test_refusals_are_counted_with_their_hints(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((_Moody(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    requests = tmp_path / "requests"
    requests.write_text("00\n01\n", encoding="ascii")
    loads = Loads()
    loads.carry_out("connect", address=f"127.0.0.1:{port}", method="/any/Method", requests=str(requests))
    for order, arguments in (
        ("closed", {"seconds": 0.2, "callers": 2}),
        ("offered", {"per_s": 200.0, "seconds": 0.2, "seed": 1}),
    ):
        found = loads.carry_out(order, **arguments)
        refused = found["failed"]["RESOURCE_EXHAUSTED"]
        assert refused > 0
        assert found["hinted"] == refused
        assert found["said"] == {"RESOURCE_EXHAUSTED": "full"}
        assert abs(len(found["latency_ms"]) - refused) <= 1
    loads.close()
    server.stop(None).wait()


class _Told:
    """A process of clients that has found something already."""

    def __init__(self, latency_ms: list[float], failed: dict[str, int]) -> None:
        self._found = {
            "seconds": 2.0,
            "latency_ms": latency_ms,
            "late_ms": [],
            "failed": failed,
            "hinted": sum(failed.values()),
            "said": dict.fromkeys(failed, "why"),
        }

    def tell(self, order: str, **arguments: object) -> None:
        self.order = order

    def answer(self) -> dict[str, object]:
        return self._found


def test_what_several_processes_find_is_joined() -> None:
    workers = [_Told([1.0, 2.0, 3.0], {"UNAVAILABLE": 1}), _Told([5.0], {"UNAVAILABLE": 2, "CANCELLED": 1})]
    found = together(workers, "closed", seconds=2.0)  # type: ignore[arg-type]
    assert (found["per_s"], found["answered"], found["p50_ms"]) == (2.0, 4, 2.5)
    assert (found["failed"], found["hinted"]) == ({"UNAVAILABLE": 3, "CANCELLED": 1}, 4)
    assert found["said"] == {"UNAVAILABLE": "why", "CANCELLED": "why"}
    assert together([_Told([], {})], "closed")["p99_ms"] is None  # type: ignore[list-item]


def test_milvus_lite_is_left_out_with_the_reason(tmp_path: Path) -> None:
    found = beside_milvus(tmp_path, "127.0.0.1:1", 1, 0.1, str(tmp_path / "no-python"))
    assert found["checks"] == []
    assert "cannot be run" in found["skipped"]


@pytest.mark.slow
def test_the_bench_runs_as_a_user_runs_it(anacrusis: CommandLine, tmp_path: Path) -> None:
    command = ("bench", "serve", "--tracks", 1000, "--repeats", 1, "--seconds", 0.5)
    result = anacrusis.json(*command, "--plots", tmp_path)
    assert result["ingest"]["quiet"][0]["failed"] == {}  # type: ignore[index]
    assert all(one["errors"] == [] for one in result["ingest"]["busy"])  # type: ignore[index]
    assert (tmp_path / "latency-load.png").is_file()
