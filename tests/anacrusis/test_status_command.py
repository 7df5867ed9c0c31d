"""``anacrusis status``: what a server says of itself, for a person and for a program."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from command_line import CommandLine

from grpc_service.client import Client, ServiceStatus, Tier, Upkeep

WHEN = datetime(2024, 5, 1, tzinfo=UTC)
ALERT = "table tracks has 200 small fragments where 128 are normal"
SERVED = ServiceStatus(
    space_id="als",
    snapshot_id="snapshot-1",
    dim=4,
    metric="cosine",
    snapshot_time=WHEN,
    tier_counts={Tier.COLLABORATIVE: 5, Tier.ARTIST_TRANSFER: 1, Tier.AUDIO_ONLY: 0},
    track_count=6,
    fresh_count=1,
    withdrawn_count=0,
    encoder_id="musicnn-msd",
    model_id="model-1",
    device="cpu",
    waiting_query_count=0,
    waiting_job_count=0,
    read_only=False,
    poll_interval_s=1.0,
    upkeep=Upkeep(200, 42, (ALERT,), WHEN),
)


def test_a_server_is_asked(anacrusis: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "status", lambda self: SERVED)
    assert anacrusis("status", "--address", "127.0.0.1:1") == 0
    for word in ("snapshot-1", "small fragments", "artist transfer", f"ALERT: {ALERT}"):
        assert word in anacrusis.out
    found = anacrusis.json("status")
    assert (found["tier_counts"], found["snapshot_id"]) == (
        {"collaborative": 5, "artist_transfer": 1, "audio_only": 0},
        "snapshot-1",
    )
    assert found["upkeep"]["alerts"] == [ALERT]  # type: ignore[index]


def test_before_the_first_count_there_is_no_alert(anacrusis: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "status", lambda self: replace(SERVED, upkeep=None))
    assert anacrusis("status") == 0
    assert "ALERT" not in anacrusis.out
    assert "not yet" in anacrusis.out


def test_a_server_that_is_not_there_is_a_failure(anacrusis: CommandLine) -> None:
    assert anacrusis("status", "--address", "127.0.0.1:1", "--timeout-s", "0.2") == 1
    assert "[UNAVAILABLE]" in anacrusis.err or "[DEADLINE_EXCEEDED]" in anacrusis.err
    assert "Traceback" not in anacrusis.err
