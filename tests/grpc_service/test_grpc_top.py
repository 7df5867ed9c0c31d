"""`anacrusis top` beside a running server."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from grpc_harness import Running, running, until

from anacrusis import commands_top
from anacrusis.cli import main
from anacrusis.commands_top import shown
from anacrusis.scrapes import Scrape, frame, percentile_ms, scrape
from grpc_service.client import Client
from grpc_service.client_errors import ClientError
from grpc_service.watch_options import MetricsOptions, WatchOptions

SINGLE = "NeighborService/SearchNeighbors"
Top = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(engine: FakeEngine) -> Iterator[Running]:
    """Overrides the one that tells nothing."""
    with running(engine, watch=WatchOptions(MetricsOptions(port=0))) as server:
        yield server


@pytest.fixture
def top(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Top:
    """The command, run in this process: exit code, output, and what it says."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anacrusis", "top", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run


def test_a_frame_has_rates_times_errors_and_what_is_served(server: Running, client: Client, top: Top) -> None:
    for _ in range(20):
        client.neighbors_of_track("warm-0", k=2)
    with pytest.raises(ClientError):
        client.neighbors_of_track("nobody", k=2)
    client.ingest("new", audio=b"audio", artist_ids=["a"])
    address = server.server.metrics_address
    until(lambda: "ReleaseService/IngestTrack" in frame(scrape([address]))["calls"])
    code, out, _ = top("--metrics", address, "--json", "-")
    told = json.loads(out)
    assert code == 0
    assert told["calls"][SINGLE]["per_s"] == pytest.approx(21 / told["seconds"])
    assert 0 < told["calls"][SINGLE]["median_ms"] <= told["calls"][SINGLE]["p99_ms"]
    assert told["errors_per_s"] == {"TRACK_NOT_FOUND": pytest.approx(1 / told["seconds"])}
    assert (told["ready"], told["workers"], told["tracks"]["collaborative"]) == (True, 1, 5)
    assert told["served"]["snapshot_id"] == "snapshot-1"
    assert told["mean_confidence"] == 0.5
    code, out, _ = top("--metrics", address, "--once")
    assert code == 0
    for word in (SINGLE, "TRACK_NOT_FOUND", "snapshot-1", "ready;", "queries a search", "mean confidence"):
        assert word in out


def test_between_two_looks_only_what_has_happened_counts(server: Running, client: Client) -> None:
    address = server.server.metrics_address
    client.neighbors_of_track("warm-0", k=2)
    until(lambda: SINGLE in frame(scrape([address]))["calls"])
    before = scrape([address])
    client.status()
    until(lambda: "AdminService/GetStatus" in frame(scrape([address]), before)["calls"])
    now = scrape([address])
    told = frame(now, before)
    assert set(told["calls"]) == {"AdminService/GetStatus"}
    assert told["queries_per_search"] is None
    assert told["seconds"] == pytest.approx(now.at - before.at)


def test_workers_are_added_up_and_one_that_is_away_is_left_out(server: Running, client: Client) -> None:
    client.neighbors_of_track("warm-0", k=2)
    address = server.server.metrics_address
    until(lambda: SINGLE in frame(scrape([address]))["calls"])
    told = frame(scrape([address, address, "127.0.0.1:9"]))
    assert told["workers"] == 2
    assert told["calls"][SINGLE]["per_s"] == pytest.approx(2 / told["seconds"])
    assert told["tracks"]["collaborative"] == 5  # both serve the same ones


def test_it_goes_on_where_the_server_is_away_for_a_while(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with running(engine, watch=WatchOptions(MetricsOptions(port=0))) as server:
        addresses = [server.server.metrics_address]
        pictures = commands_top._pictures(addresses, scrape(addresses), 2.0)
        assert not isinstance(next(pictures), str)
    assert "There are no metrics" in str(next(pictures))
    port = int(addresses[0].rsplit(":", 1)[1])
    with running(FakeEngine(), watch=WatchOptions(MetricsOptions(port))):
        assert not isinstance(next(pictures), str)


def test_a_worker_that_was_started_again_counts_from_the_start() -> None:
    before = Scrape(['anacrusis_calls_total{method="m",code="OK"} 100\n'], at=0.0)
    now = Scrape(['anacrusis_calls_total{method="m",code="OK"} 4\n'], at=2.0)
    assert frame(now, before)["calls"]["m"]["per_s"] == 2
    shown(frame(now, before))


@pytest.mark.parametrize(
    ("buckets", "share", "wanted"),
    [
        ({0.1: 10, math.inf: 10}, 0.5, 50.0),
        ({0.1: 0, 0.2: 10, math.inf: 10}, 0.5, 150.0),
        ({0.1: 0, 0.2: 0, math.inf: 10}, 0.5, 200.0),
        ({0.1: 0, math.inf: 0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_percentiles_are_estimated_as_prometheus_does(
    buckets: dict[float, float], share: float, wanted: float | None
) -> None:
    assert percentile_ms(buckets, share) == (None if wanted is None else pytest.approx(wanted))


def test_where_nobody_tells_metrics_it_says_so(server: Running, top: Top, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("127.0.0.1:9", server.address, "not an address"):  # nobody; gRPC; nothing
        code, _, err = top("--metrics", address)
        assert (code, "There are no metrics at" in err, "METRICS_UNREACHABLE" in err) == (1, True, True)
        assert err.isprintable() or err.strip().isprintable()
    code, _, err = top()
    assert (code, "metrics.port is not set" in err) == (2, True)
    monkeypatch.setenv("ANACRUSIS_METRICS__PORT", server.server.metrics_address.rsplit(":", 1)[1])
    assert top()[0] == 0  # no terminal: one frame


def test_addresses_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch, top: Top) -> None:
    asked: list[str] = []

    def ask(addresses: list[str]) -> Scrape:
        asked.extend(addresses)
        return Scrape([""], at=0.0)

    monkeypatch.setattr(commands_top, "scrape", ask)
    monkeypatch.setenv("ANACRUSIS_METRICS__PORT", "9464")
    monkeypatch.setenv("ANACRUSIS_METRICS__HOST", "0.0.0.0")
    monkeypatch.setenv("ANACRUSIS_SERVER__WORKERS", "3")
    assert top()[0] == 0
    assert asked == ["127.0.0.1:9464", "127.0.0.1:9465", "127.0.0.1:9466"]


def test_a_frame_is_written_to_a_file_as_well(server: Running, top: Top, tmp_path: Path) -> None:
    code, out, _ = top("--metrics", server.server.metrics_address, "--json", str(tmp_path / "frame.json"))
    assert (code, "ready;" in out) == (0, True)
    assert json.loads((tmp_path / "frame.json").read_text())["workers"] == 1
