"""A writer and a read-only replica, each in a process of its own, on one home."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from made_catalogue import audio_bytes

from anacrusis.server_process import running_server
from grpc_service.client import Client
from grpc_service.client_errors import FailedPreconditionError


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("the replica never followed")


def test_a_replica_follows_the_writer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANACRUSIS_SERVER__POLL_INTERVAL_S", "0.05")
    with (
        running_server(home) as writing,
        running_server(home, "--read-only") as reading,
        Client(writing.address, timeout_s=60.0) as writer,
        Client(reading.address, timeout_s=60.0) as replica,
    ):

        def found() -> set[str]:
            return set(replica.neighbors_of_track("ada-0", k=100).track_ids)

        assert (writer.status().read_only, replica.status().read_only) == (False, True)
        writer.ingest("new", audio=audio_bytes(330.0), artist_ids=["ada"])
        until(lambda: "new" in found())
        assert (replica.get_embedding("new").vector == writer.get_embedding("new").vector).all()
        *_, refreshed = writer.refresh()
        until(lambda: replica.status().snapshot_id == refreshed.snapshot_id)
        assert "new" in found()
        writer.withdraw(["new"])
        until(lambda: "new" not in found())
        with pytest.raises(FailedPreconditionError) as caught:
            replica.withdraw(["ada-1"])
        assert caught.value.reason == "READ_ONLY"
