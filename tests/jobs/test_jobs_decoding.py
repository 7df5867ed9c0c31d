"""A decoder that hangs, dies or eats memory, as an ingest meets it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from made_catalogue import warm_releases

from encoders import AudioLimits
from jobs import Engine, IngestState, Release
from tests.hostile_audio import encoded


def music(seconds: float = 2.0) -> bytes:
    return encoded(np.random.default_rng(0).uniform(-0.5, 0.5, int(16_000 * seconds)).astype(np.float32), 16_000)


def test_a_decoder_that_hangs_refuses_one_track_and_delays_no_other_for_ever(home: Path) -> None:
    with Engine.open(home, limits=AudioLimits(max_decode_s=2.0)) as engine:
        engine.warm_up()
        (process,) = engine._decoding._idle
        os.kill(process._process.pid, signal.SIGSTOP)
        stuck, fine = engine.ingest([Release("stuck", ("ada",), music()), Release("fine", ("ada",), music())])
    assert (stuck.state, fine.state) == (IngestState.REFUSED, IngestState.CREATED)
    assert stuck.error is not None
    assert stuck.error.reason == "AUDIO_DECODING_TIME"
    assert process.ended


def test_a_process_that_cannot_be_had_is_said_to_be_that(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("encoders.decoding_process._PROGRAM", "raise SystemExit(7)")
    (outcome,) = engine.ingest([Release("new", ("ada",), music())])
    assert outcome.error is not None
    assert outcome.error.reason == "DECODER_UNAVAILABLE"
    assert "ended with 7" in caplog.text
    monkeypatch.undo()
    assert engine.ingest([Release("new", ("ada",), music())])[0].state is IngestState.CREATED


def test_what_is_known_needs_no_process(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encoders.decoding_process._PROGRAM", "raise SystemExit(7)")
    (outcome,) = engine.ingest(warm_releases()[:1])
    assert outcome.state is IngestState.UNCHANGED
