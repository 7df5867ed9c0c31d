"""Spans of real calls, as an exporter gets them."""

from __future__ import annotations

import builtins
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc
import pytest
from fake_engine import FakeEngine
from grpc_harness import Hold, Running, running, until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from grpc_service import watching
from grpc_service.client import Client
from grpc_service.client_errors import ClientError
from grpc_service.options import InvalidServerOptionError
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.traced import Tracing, tracing_of
from grpc_service.watch_options import TracingOptions, WatchOptions

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
QUERY = "anacrusis.v1.NeighborService/SearchNeighbors"
INGEST = "anacrusis.v1.ReleaseService/IngestTrack"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(watching, "tracing_of", lambda options: Tracing(provider))
    return exporter


@pytest.fixture
def server(engine: FakeEngine, exporter: InMemorySpanExporter) -> Iterator[Running]:
    """Overrides the one that traces nothing."""
    with running(engine) as server:
        yield server


def ended(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The span of the only call of a method, once that is over."""
    until(lambda: any(span.name == name for span in exporter.get_finished_spans()))
    (span,) = (span for span in exporter.get_finished_spans() if span.name == name)
    return span


def stages(exporter: InMemorySpanExporter, parent: ReadableSpan) -> list[ReadableSpan]:
    spans = exporter.get_finished_spans()
    return [span for span in spans if span.parent is not None and span.parent.span_id == parent.context.span_id]


def test_a_query_has_a_span_with_its_stages_below_the_callers(
    exporter: InMemorySpanExporter, channel: grpc.Channel
) -> None:
    metadata = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "some-id"))
    request = neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0", k=1)
    NeighborServiceStub(channel).SearchNeighbors(request, metadata=metadata, timeout=20)
    span = ended(exporter, QUERY)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert dict(span.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": "anacrusis.v1.NeighborService",
        "rpc.method": "SearchNeighbors",
        "rpc.grpc.status_code": 0,
        "anacrusis.request_id": "some-id",
    }
    until(lambda: len(stages(exporter, span)) == 3)
    below = stages(exporter, span)
    assert [stage.name for stage in below] == ["wait", "search", "pack"]
    assert [stage.start_time for stage in below] == sorted(stage.start_time for stage in below)
    assert all(stage.start_time < stage.end_time for stage in below)


def test_an_ingest_has_the_stages_of_its_work(exporter: InMemorySpanExporter, client: Client) -> None:
    client.ingest("new", audio=b"audio", artist_ids=["a"])
    span = ended(exporter, INGEST)
    assert [stage.name for stage in stages(exporter, span)] == ["decode", "write"]
    assert {stage.context.trace_id for stage in stages(exporter, span)} == {span.context.trace_id}


def test_releases_that_go_in_together_are_all_told_the_stages(
    exporter: InMemorySpanExporter, server: Running, hold: Hold
) -> None:
    held = hold("ingest")
    with Client(server.address, retries=0) as client:
        calls = [
            threading.Thread(target=client.ingest, args=(f"new-{n}",), kwargs={"audio": b"a", "artist_ids": ["a"]})
            for n in range(3)
        ]
        calls[0].start()
        held.wait()
        for call in calls[1:]:
            call.start()
        until(lambda: server.in_progress == 3)
        held.release()
        for call in calls:
            call.join()
    until(lambda: sum(span.name == INGEST for span in exporter.get_finished_spans()) == 3)
    for span in exporter.get_finished_spans():
        if span.name == INGEST:
            assert [stage.name for stage in stages(exporter, span)] == ["decode", "write"]


def test_a_refusal_is_no_error_of_ours_and_a_failure_is(
    exporter: InMemorySpanExporter, client: Client, engine: FakeEngine
) -> None:
    with pytest.raises(ClientError):
        client.neighbors_of_track("nobody", k=1)
    span = ended(exporter, QUERY)
    assert (span.attributes["anacrusis.reason"], span.status.status_code) == ("TRACK_NOT_FOUND", StatusCode.UNSET)
    exporter.clear()

    def fail(method: str) -> None:
        raise ZeroDivisionError

    engine.before = fail
    with pytest.raises(ClientError):
        client.neighbors_of_track("warm-0", k=1)
    span = ended(exporter, QUERY)
    assert (span.attributes["anacrusis.reason"], span.status.status_code) == ("INTERNAL", StatusCode.ERROR)


def test_spans_reach_a_collector_before_a_drained_server_is_gone(engine: FakeEngine) -> None:
    got: list[str] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                got.extend(span.name for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        listening = threading.Thread(target=collector.serve_forever, args=(0.05,))
        listening.start()
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}/v1/traces"
        watch = WatchOptions(tracing=TracingOptions(endpoint, sample=1.0))
        with running(engine, watch=watch) as server, Client(server.address) as client:
            client.neighbors_of_track("warm-0", k=1)
        collector.shutdown()
        listening.join()
    assert QUERY in got
    assert {"wait", "search", "pack"} <= set(got)


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from grpc_service.watching import Watch; import grpc_service.server; "
        "assert Watch().tracing is None; "
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus_client'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return imported(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidServerOptionError, match=r"pip install 'anacrusis\[otel\]'"):
        tracing_of(TracingOptions("http://127.0.0.1:4318/v1/traces"))
