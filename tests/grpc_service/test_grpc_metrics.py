"""The metrics port of a running server, asked as Prometheus and a probe ask it."""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest
from fake_engine import FakeEngine
from grpc_harness import Hold, Running, running, until
from prometheus_client.parser import text_string_to_metric_families

from grpc_service import readiness
from grpc_service.client import Client
from grpc_service.client_errors import ClientError
from grpc_service.gpu_memory import gpu_memory
from grpc_service.metrics_server import CONNECTIONS
from grpc_service.options import InvalidServerOptionError
from grpc_service.server import AddressError
from grpc_service.watch_options import MetricsOptions, TracingOptions, WatchOptions
from index import gpu_count

METRICS = WatchOptions(MetricsOptions(port=0))


@pytest.fixture
def server(engine: FakeEngine) -> Iterator[Running]:
    """Overrides the one that tells nothing."""
    with running(engine, watch=METRICS) as server:
        yield server


def asked(server: Running, path: str) -> tuple[int, str]:
    """The status and the text of a page."""
    try:
        with urllib.request.urlopen(f"http://{server.server.metrics_address}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scraped(server: Running) -> dict[str, float]:
    """Every sample, by its name and labels in order."""
    status, text = asked(server, "/metrics")
    assert status == 200
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {
        name
        + ("{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}" if labels else ""): value
        for name, labels, value, *_ in samples
    }


def test_without_a_port_nothing_listens_and_nothing_is_counted(engine: FakeEngine) -> None:
    with running(engine) as server:
        assert server.server.metrics_address == ""
        assert server.server._watch.figures is None


def test_calls_are_counted_by_method_and_code_and_errors_by_reason(server: Running, client: Client) -> None:
    for _ in range(3):
        client.neighbors_of_track("warm-0", k=2)
    with pytest.raises(ClientError):
        client.neighbors_of_track("nobody", k=2)
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/a.stranger/Method")(b"", timeout=20)
    single = "NeighborService/SearchNeighbors"
    until(lambda: scraped(server).get('anacrusis_calls_total{code="UNIMPLEMENTED",method="unknown"}') == 1)
    found = scraped(server)
    assert found[f'anacrusis_calls_total{{code="OK",method="{single}"}}'] == 3
    assert found[f'anacrusis_calls_total{{code="NOT_FOUND",method="{single}"}}'] == 1
    assert found['anacrusis_call_errors_total{reason="TRACK_NOT_FOUND"}'] == 1
    assert found['anacrusis_refused_queries_total{reason="TRACK_NOT_FOUND"}'] == 1
    assert found[f'anacrusis_call_seconds_count{{method="{single}"}}'] == 4
    assert (
        found['anacrusis_calls_total{code="OK",method="ReleaseService/IngestTrack"}'] == 0
    )  # known before it is called
    assert not [name for name in found if "stranger" in name]


def test_a_search_is_counted_by_stage_and_size(server: Running, client: Client) -> None:
    client.neighbors_of_vectors(np.eye(4, dtype=np.float32)[:3], k=2)
    until(lambda: scraped(server)["anacrusis_search_queries_count"] == 1)
    found = scraped(server)
    assert found["anacrusis_search_queries_sum"] == 3
    assert found['anacrusis_search_queries_bucket{le="2.0"}'] == 0
    assert (
        found['anacrusis_search_queries_bucket{le="4.0"}'] == found['anacrusis_search_queries_bucket{le="+Inf"}'] == 1
    )
    for stage in ("wait", "search", "pack"):
        assert found[f'anacrusis_query_stage_seconds_count{{stage="{stage}"}}'] == 1
        assert 0 < found[f'anacrusis_query_stage_seconds_sum{{stage="{stage}"}}'] < 20


def test_ingests_are_counted_by_stage_state_tier_and_confidence(server: Running, client: Client) -> None:
    client.ingest("new", audio=b"audio", artist_ids=["a"])
    client.ingest("new", audio=b"audio", artist_ids=["a"])
    with pytest.raises(ClientError):
        client.ingest("empty", audio=b"", artist_ids=["a"])
    found = scraped(server)
    assert found['anacrusis_releases_total{state="created"}'] == 1
    assert found['anacrusis_releases_total{state="unchanged"}'] == 1
    assert found['anacrusis_placed_tracks_total{tier="artist_transfer"}'] == 1
    assert found['anacrusis_placed_confidence_bucket{le="0.4"}'] == 0
    assert found['anacrusis_placed_confidence_bucket{le="0.5"}'] == 1
    assert found["anacrusis_ingest_releases_sum"] == sum(
        value for name, value in found.items() if name.startswith("anacrusis_releases_total")
    )
    for stage in ("decode", "write"):
        assert found[f'anacrusis_ingest_stage_seconds_count{{stage="{stage}"}}'] >= 2


def test_what_is_served_and_what_waits_are_told(
    server: Running, client: Client, engine: FakeEngine, hold: Hold
) -> None:
    found = scraped(server)
    assert found['anacrusis_served_tracks{tier="collaborative"}'] == 5
    assert found["anacrusis_ready"] == 1
    assert found["anacrusis_fresh_rows"] == engine.status().fresh_rows
    assert found["anacrusis_snapshot_timestamp_seconds"] == engine.status().snapshot.created_at.timestamp()
    assert found["process_resident_memory_bytes"] > 1e6
    assert any(name.startswith("anacrusis_served_info{") and engine.snapshot in name for name in found)
    held = hold("ingest")
    waiting = threading.Thread(target=lambda: client.ingest("new", audio=b"audio", artist_ids=["a"]))
    waiting.start()
    held.wait()
    found = scraped(server)
    assert found['anacrusis_queue_length{queue="releases"}'] == 1
    assert found["anacrusis_calls_in_progress"] == 1
    held.release()
    waiting.join()
    client.withdraw(["new"])
    assert scraped(server)["anacrusis_withdrawn_tracks"] == 1


def test_a_scrape_goes_without_what_the_engine_cannot_say(
    server: Running, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    engine.status = broken  # type: ignore[method-assign, assignment]
    found = scraped(server)
    assert "anacrusis_fresh_rows" not in found
    assert found["anacrusis_ready"] == 1
    assert "what is served could not be counted" in caplog.text


def test_looks_at_the_home_are_counted(engine: FakeEngine) -> None:
    with running(engine, watch=METRICS, poll_interval_s=0.01) as server:
        until(lambda: scraped(server)['anacrusis_syncs_total{outcome="done"}'] > 0)
        assert scraped(server)["anacrusis_last_sync_timestamp_seconds"] > 1.7e9

        def away() -> None:
            raise OSError("away")

        engine.sync = away  # type: ignore[method-assign, assignment]
        until(lambda: scraped(server)['anacrusis_syncs_total{outcome="failed"}'] > 0)


def test_ready_is_apart_from_alive(engine: FakeEngine, hold: Hold) -> None:
    with running(engine, watch=METRICS) as server, Client(server.address, retries=0) as client:
        assert asked(server, "/livez") == asked(server, "/readyz") == (200, "ok\n")
        assert asked(server, "/other")[0] == 404
        snapshot, engine.snapshot = engine.snapshot, ""
        assert asked(server, "/readyz") == (503, "no snapshot is published\n")
        engine.snapshot = snapshot
        held = hold("search")
        asking = threading.Thread(target=lambda: client.neighbors_of_track("warm-0", k=1))
        asking.start()
        held.wait()
        server.drain()
        until(lambda: asked(server, "/readyz") == (503, "draining\n"))
        assert asked(server, "/livez") == (200, "ok\n")
        held.release()
        asking.join()


def test_a_stuck_event_loop_is_not_alive_and_still_tells_its_metrics(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "ALIVE_WITHIN_S", 0.1)
    stuck = threading.Event()
    server.on_loop(stuck.wait)
    try:
        status, why = asked(server, "/livez")
        assert (status, "event loop" in why) == (503, True)
        assert scraped(server)["anacrusis_ready"] == 1
    finally:
        stuck.set()
    until(lambda: asked(server, "/livez")[0] == 200)


def test_silent_connections_do_not_pile_up(server: Running) -> None:
    host, port = server.server.metrics_address.rsplit(":", 1)
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
        with socket.create_connection((host, int(port)), timeout=20) as late:
            assert late.recv(1) == b""
    until(lambda: _is_answered(server))


def _is_answered(server: Running) -> bool:
    try:
        return asked(server, "/livez")[0] == 200
    except OSError:
        return False


def test_nonsense_on_the_port_is_no_line_in_the_log(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    host, port = server.server.metrics_address.rsplit(":", 1)
    with caplog.at_level(logging.INFO):
        for nonsense in (b"\x16\x03\x01\x00", b"GET /metrics\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n"):
            with socket.create_connection((host, int(port)), timeout=20) as stranger:
                stranger.sendall(nonsense)
        assert asked(server, "/livez")[0] == 200
    assert caplog.text == ""


def test_a_port_that_is_taken_is_named(server: Running) -> None:
    taken = MetricsOptions(int(server.server.metrics_address.rsplit(":", 1)[1]))
    engine = FakeEngine()
    with pytest.raises(AddressError, match=r"choose another metrics\.port"), running(engine, watch=WatchOptions(taken)):
        pass
    assert engine.closed


def test_it_listens_on_ipv6_where_it_is_told_to(engine: FakeEngine) -> None:
    with running(engine, watch=WatchOptions(MetricsOptions(port=0, host="::1"))) as server:
        assert server.server.metrics_address.startswith("[::1]:")
        assert asked(server, "/livez") == (200, "ok\n")


def test_of_several_workers_each_has_a_port_of_its_own() -> None:
    assert [MetricsOptions(9464).of_worker(place).port for place in range(3)] == [9464, 9465, 9466]
    assert MetricsOptions(0).of_worker(2).port == 0
    assert MetricsOptions().of_worker(2).port is None
    with pytest.raises(InvalidServerOptionError):
        MetricsOptions(65535).of_worker(1)


@pytest.mark.parametrize(
    "made",
    [
        lambda: MetricsOptions(port=-1),
        lambda: MetricsOptions(port=65536),
        lambda: MetricsOptions(port=True),
        lambda: MetricsOptions(host=""),
        lambda: TracingOptions(sample=1.5),
        lambda: TracingOptions(sample=float("nan")),
        lambda: TracingOptions(endpoint="127.0.0.1:4318"),
        lambda: TracingOptions(endpoint="file:///etc/passwd"),
    ],
)
def test_a_wrong_option_is_refused(made: object) -> None:
    with pytest.raises(InvalidServerOptionError):
        made()  # type: ignore[operator]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_finds_nothing_wrong_with_what_it_is_told(server: Running, client: Client) -> None:
    client.neighbors_of_track("warm-0", k=2)
    client.ingest("new", audio=b"audio", artist_ids=["a"])
    text = asked(server, "/metrics")[1]
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


class Driver:
    """Imitates NVML: three GPUs, of which one may not be asked and one does not answer."""

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # the library's names
        count._obj.value = 3
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: int, device: Any) -> int:
        device._obj.value = number + 1
        return 4 if number == 1 else 0

    def nvmlDeviceGetMemoryInfo(self, device: Any, memory: Any) -> int:
        memory._obj.total, memory._obj.free, memory._obj.used = 100, 60, 40
        return 15 if device.value == 3 else 0


def test_a_gpu_that_does_not_answer_is_left_out(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_service.gpu_memory._driver", Driver)
    found = scraped(server)
    assert {name: value for name, value in found.items() if name.startswith("anacrusis_gpu")} == {
        'anacrusis_gpu_memory_bytes{gpu="0",kind="used"}': 40,
        'anacrusis_gpu_memory_bytes{gpu="0",kind="total"}': 100,
    }


@pytest.mark.gpu
@pytest.mark.skipif(gpu_count() == 0, reason="FAISS sees no GPU")
def test_the_memory_of_each_gpu_is_told(server: Running) -> None:
    found = scraped(server)
    for number, (_, total) in enumerate(gpu_memory()):
        assert 0 < found[f'anacrusis_gpu_memory_bytes{{gpu="{number}",kind="used"}}'] <= total
    assert len(gpu_memory()) >= gpu_count()
