"""Decoding in processes of their own: the same answers, and what a file or a process does harms nobody else."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import encoders
from encoders import AudioError, AudioLimits, DecoderUnavailableError, DecodingPool, decode_audio
from encoders.decoding_process import DecodingProcess
from encoders.decoding_program import header
from tests.encoders.audio_files import ENCODERS, sndfile, tone
from tests.hostile_audio import HOSTILE

TARGET = 16_000
MIB = 1 << 20
SOON = AudioLimits(max_decode_s=1.0)
PROGRAM = "encoders.decoding_process._PROGRAM"
READY = f"import os; os.write(1, {header({'ready': True})!r}); "  # and what is begun behind it


@pytest.fixture(scope="module")
def pool():
    with DecodingPool() as pool:
        yield pool


@pytest.fixture(scope="module")
def music() -> bytes:
    return sndfile(tone(), "WAV", "PCM_16")


def decode(pool, audio, **options):
    return pool.decode(audio, **({"sample_rate_hz": TARGET} | options))


def reason(pool, audio, **options) -> str:
    with pytest.raises(encoders.EncoderError) as caught:
        decode(pool, audio, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert ": " in sentence
    return caught.value.reason


def children() -> list[int]:
    """Processes that this one started to decode in, those too that have ended and nobody has looked at."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = status.read_text().rsplit(") ", 1)
            command = (status.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields.split()[1]) == os.getpid() and (fields[0] == "Z" or b"decoding_program" in command):
            found.append(int(name.split()[0]))
    return found


def only(pool) -> int:
    """The process id of a pool's only process."""
    pool.warm_up()
    (process,) = pool._idle
    return process._process.pid


def until(condition) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("the condition never came true")


@pytest.mark.parametrize("name", ENCODERS)
def test_every_format_decodes_as_in_this_process(pool, name):
    audio = ENCODERS[name](tone())
    here, there = decode_audio(audio, sample_rate_hz=TARGET), decode(pool, audio)
    np.testing.assert_array_equal(here.samples, there.samples)
    assert here.samples.dtype == there.samples.dtype
    assert {**vars(here), "samples": None} == {**vars(there), "samples": None}
    part = decode(pool, audio, max_seconds=1.0)
    np.testing.assert_array_equal(part.samples, decode_audio(audio, sample_rate_hz=TARGET, max_seconds=1.0).samples)


LONG = {"three-hours"}  # to make, and to be decoded twice


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in HOSTILE])
def test_what_has_to_be_refused_is_refused_with_the_same_sentence(pool, name):
    make, wanted = HOSTILE[name]
    audio = make()
    with pytest.raises(AudioError) as here:
        decode_audio(audio, sample_rate_hz=TARGET)
    with pytest.raises(AudioError) as there:
        decode(pool, audio)
    assert type(here.value) is type(there.value)
    assert (str(here.value), here.value.reason, here.value.field) == (str(there.value), wanted, there.value.field)


def test_wrong_options_are_refused(pool, music):
    assert reason(pool, music, sample_rate_hz=0) == "OPTION_INVALID"
    assert reason(pool, music, max_seconds=-1.0) == "OPTION_INVALID"


def test_refusals_cost_no_process(music):
    with DecodingPool() as pool:
        before = only(pool)
        for make, _ in (HOSTILE["playlist"], HOSTILE["truncated"]):
            reason(pool, make())
        decode(pool, music)
        assert only(pool) == before


def test_the_process_can_open_nothing_and_knows_nothing(music, monkeypatch):
    monkeypatch.setenv("ANACRUSIS_SECRET_OF_THIS_TEST", "x")
    with DecodingPool(AudioLimits(max_decode_bytes=100 * MIB)) as pool:
        place = Path("/proc", str(only(pool)))
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (place / "limits").read_text().splitlines()}
        assert limits["Max core file size"] == limits["Max file size"] == ["0", "0"]
        descriptors = {int(one.name) for one in (place / "fd").iterdir()}
        assert limits["Max open files"] == [str(max(descriptors) + 1)] * 2
        assert descriptors == set(range(len(descriptors)))  # no number is left to be given out
        assert int(limits["Max address space"][1]) < 4096 * MIB
        assert "NoNewPrivs:\t1" in (place / "status").read_text()
        names = {entry.split(b"=")[0] for entry in (place / "environ").read_bytes().split(b"\0") if entry}
        assert names == {b"PYTHONPATH", b"OPENBLAS_NUM_THREADS", b"OMP_NUM_THREADS"}
        assert decode(pool, music).duration_s == pytest.approx(3.0, abs=1e-3)
        assert re.search(r"^Max cpu time +[1-9]\d+ ", (place / "limits").read_text(), re.MULTILINE)


def test_what_eats_memory_dies_alone(music):
    twenty_minutes = sndfile(np.zeros((1200 * 4000, 1), np.float32), "FLAC", rate=4000)
    assert len(twenty_minutes) < MIB
    with DecodingPool(AudioLimits(max_decode_bytes=48 * MIB)) as pool:
        before = only(pool)
        assert reason(pool, twenty_minutes) == "AUDIO_DECODING_MEMORY"
        assert decode(pool, music).duration_s == pytest.approx(3.0, abs=1e-3)
        assert before not in children()
    assert reason(DecodingPool(AudioLimits(max_bytes=1000)), music) == "AUDIO_TOO_LARGE"


def test_a_file_that_alone_is_more_than_the_memory_is_told_of_as_that():
    with DecodingPool(AudioLimits(max_decode_bytes=24 * MIB)) as pool:
        assert reason(pool, b"RIFF" + bytes(20 * MIB)) == "AUDIO_DECODING_MEMORY"


@pytest.mark.slow
def test_what_hangs_is_killed_and_the_next_file_gets_a_new_process(music):
    with DecodingPool(SOON) as pool:
        stopped = only(pool)
        os.kill(stopped, signal.SIGSTOP)
        assert reason(pool, music) == "AUDIO_DECODING_TIME"
        assert stopped not in children()
        assert decode(pool, music).duration_s == pytest.approx(3.0, abs=1e-3)


def test_what_is_killed_from_outside_costs_nobody_a_file(music):
    with DecodingPool() as pool, ThreadPoolExecutor(1) as thread:
        os.kill(only(pool), signal.SIGKILL)  # while it waits
        assert decode(pool, music).samples.size
        stopped = only(pool)
        os.kill(stopped, signal.SIGSTOP)
        waiting = thread.submit(decode, pool, music)
        until(lambda: pool._busy)
        os.kill(stopped, signal.SIGKILL)  # while it decodes
        assert waiting.result().samples.size


def test_a_file_that_kills_two_processes_is_refused(music, monkeypatch):
    monkeypatch.setattr(PROGRAM, READY + "os.read(0, 1); os.abort()")
    with DecodingPool() as pool:
        assert reason(pool, music) == "AUDIO_DECODER_DIED"
        monkeypatch.undo()
        assert decode(pool, music).samples.size


def test_a_decoder_that_fails_unexpectedly_refuses_the_file_and_says_it_in_the_log(music, monkeypatch, caplog):
    broken = "import encoders.decoding_program as p\ndef fail(*_, **__): raise LookupError('a secret')\n"
    monkeypatch.setattr(PROGRAM, broken + "p._load = lambda: None; p.decode_audio = fail; p.main()")
    with DecodingPool() as pool:
        with pytest.raises(AudioError) as caught:
            decode(pool, music)
        assert caught.value.reason == "AUDIO_DECODER_DIED"
    assert "secret" not in str(caught.value)
    assert "LookupError: a secret" in caplog.text


GOOD = {"source_sample_rate_hz": 8000, "source_channels": 1, "source_duration_s": 1.0, "container": "wav", "codec": "x"}


@settings(max_examples=5, deadline=None)
@given(st.binary(max_size=40))
@example(header({"bytes": 8, "waveform": GOOD}) + np.array([1, np.nan], "<f4").tobytes())
@example(header({"bytes": 1 << 40, "waveform": GOOD}))
@example(header({"bytes": 8, "waveform": {**GOOD, "container": "exe"}}) + bytes(8))
@example(header({"bytes": 8, "waveform": {}}))
@example(header({"bytes": "8", "waveform": GOOD}))
@example(header({"bytes": 0, "reason": ["AUDIO_EMPTY"], "message": "", "field": ""}))
@example(header({"bytes": 0, "reason": "INTERNAL", "message": "", "field": ""}))
@example(header({"bytes": 0, "reason": "AUDIO_EMPTY"}))
@example(b"\xff\xff\xff\xff")
@example(b"\x00\x80\0\0" + b"[" * 0x8000)
def test_nothing_that_a_process_says_is_believed(said):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PROGRAM, READY + f"os.read(0, 1); os.write(1, {said!r}); os._exit(0)")
        process = DecodingProcess(AudioLimits())
        with pytest.raises(AudioError) as caught:
            process.decode(b"music", sample_rate_hz=TARGET, max_seconds=None)
    assert caught.value.reason == "AUDIO_DECODER_DIED"
    assert process.ended


def test_a_program_that_does_not_start_is_no_files_fault(music, monkeypatch):
    with DecodingPool() as pool:
        for program in ("raise SystemExit(3)", "print('hello')", "print(end='\\0\\0')"):
            monkeypatch.setattr(PROGRAM, program)
            assert reason(pool, music) == "DECODER_UNAVAILABLE"
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        assert reason(pool, music) == "DECODER_UNAVAILABLE"
        monkeypatch.undo()
        assert decode(pool, music).samples.size


def test_many_decode_at_once_and_each_gets_its_own(pool):
    lengths = [1.0 + 0.25 * number for number in range(12)]
    files = [sndfile(tone(length), "WAV", "PCM_16") for length in lengths]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda audio: decode(pool, audio).duration_s, files))
    assert found == pytest.approx(lengths, abs=1e-3)
    assert len(pool._idle) <= len(os.sched_getaffinity(0))


def test_a_closed_pool_leaves_nothing_behind(music):
    before = set(children())
    pool = DecodingPool()
    stopped = only(pool)
    os.kill(stopped, signal.SIGSTOP)
    refused = []
    thread = threading.Thread(target=lambda: refused.append(reason(pool, music)))
    thread.start()
    until(lambda: pool._busy)
    pool.close()
    thread.join()
    assert refused == ["DECODER_UNAVAILABLE"]
    assert set(children()) == before
    pool.close()
    with pytest.raises(DecoderUnavailableError):
        pool.warm_up()


def test_a_pool_that_is_closed_while_a_process_starts_decodes_nothing_in_it(music, monkeypatch):
    started, closing = threading.Event(), threading.Event()

    class Slow(DecodingProcess):
        def __init__(self, limits):
            super().__init__(limits)
            started.set()
            assert closing.wait(60)

    monkeypatch.setattr("encoders.decoding_pool.DecodingProcess", Slow)
    before = set(children())
    pool = DecodingPool()
    with ThreadPoolExecutor(2) as threads:
        refused = threads.submit(reason, pool, music)
        assert started.wait(60)
        closed = threads.submit(pool.close)
        until(lambda: pool._closed)
        closing.set()
        assert refused.result() == "DECODER_UNAVAILABLE"
        closed.result()
    assert set(children()) == before


@pytest.mark.slow
def test_a_service_that_is_told_to_end_still_decodes(music):
    with DecodingPool() as pool:
        process = only(pool)
        os.kill(process, signal.SIGTERM)
        assert decode(pool, music).samples.size
        assert only(pool) == process


def test_no_file_is_left_open(music, monkeypatch):
    before = len(os.listdir("/proc/self/fd"))
    with DecodingPool() as pool:
        decode(pool, music)
        monkeypatch.setattr(PROGRAM, "raise SystemExit(3)")
        os.kill(only(pool), signal.SIGKILL)
        assert reason(pool, music) == "DECODER_UNAVAILABLE"
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        assert reason(pool, music) == "DECODER_UNAVAILABLE"
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
def test_old_processes_are_replaced(music, monkeypatch):
    monkeypatch.setattr("encoders.decoding_pool.FILES_A_PROCESS", 1)
    with DecodingPool() as pool:
        first = only(pool)
        decode(pool, music)
        assert children().count(first) == 0
        assert only(pool) != first


CALLER = """
import sys
from encoders import DecodingPool
pool = DecodingPool()
pool.warm_up()
(process,) = pool._idle
if sys.argv[1] == "stopped":
    process._process.send_signal(19)
print(process._process.pid, flush=True)
pool.decode(sys.stdin.buffer.read(), sample_rate_hz=16_000)
"""


@pytest.mark.parametrize(
    "state", ["stopped", *(pytest.param(state, marks=pytest.mark.slow) for state in ("waiting", "decoding"))]
)
def test_a_caller_that_is_killed_leaves_nothing_behind(state):
    decoding = state == "decoding"
    long = sndfile(np.zeros((1000 * 4000, 1), np.float32), "FLAC", rate=4000) if decoding else b""
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdin
        assert caller.stdout
        process = int(caller.stdout.readline())
        handle = os.pidfd_open(process)
        if decoding:
            caller.stdin.write(long)
            caller.stdin.close()
            until(lambda: Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0] == "R")
        caller.kill()
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        assert poll.poll(20_000), "the process outlived its caller"
        os.close(handle)


def test_limits_cross_as_they_are():
    limits = AudioLimits(max_duration_s=2.0, min_duration_s=0.5)
    with DecodingPool(limits) as pool:
        assert reason(pool, sndfile(tone(3.0), "WAV")) == "AUDIO_TOO_LONG"
        assert decode(pool, sndfile(tone(0.75), "WAV")).duration_s == pytest.approx(0.75, abs=1e-3)
    assert json.loads(json.dumps(vars(limits))) == vars(limits)
