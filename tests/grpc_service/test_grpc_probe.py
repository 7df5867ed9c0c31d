"""What the container's health check sees."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

import pytest
from grpc_harness import Held, Running

from grpc_service.client import Client
from grpc_service.probe import main


def test_a_server_that_takes_calls(server: Running):
    assert main([server.address]) == 0
    assert main([server.address, "--service", "anacrusis.v1.NeighborService"]) == 0


def test_as_the_container_runs_it(server: Running, monkeypatch: pytest.MonkeyPatch):
    """By a process of its own, and past a proxy that the environment names."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    command = [sys.executable, "-m", "grpc_service.probe", server.address]
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0


def test_a_service_that_the_server_has_not(server: Running, capsys: pytest.CaptureFixture[str]):
    assert main([server.address, "--service", "anacrusis.v1.Nothing"]) == 1
    assert "NOT_FOUND" in capsys.readouterr().err


def test_nobody_listens(capsys: pytest.CaptureFixture[str]):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: no other process can be met there
        assert main([f"127.0.0.1:{taken.getsockname()[1]}", "--timeout-s", "5"]) == 1
    assert "UNAVAILABLE" in capsys.readouterr().err


def test_a_server_that_drains_is_not_sent_new_calls(
    server: Running, client: Client, hold, capsys: pytest.CaptureFixture[str]
):
    held: Held = hold("ingest")
    call = threading.Thread(target=client.ingest, args=("t",), kwargs={"artist_ids": ["a"], "audio": b"x"})
    call.start()
    held.wait()
    try:
        server.drain()
        codes = set()
        give_up = time.monotonic() + 30.0
        while 1 not in codes and time.monotonic() < give_up:  # the drain begins on the server's own loop
            codes.add(main([server.address, "--timeout-s", "5"]))
        assert 1 in codes
    finally:
        held.release()
        call.join(30)
    error = capsys.readouterr().err
    assert "NOT_SERVING" in error or "UNAVAILABLE" in error
