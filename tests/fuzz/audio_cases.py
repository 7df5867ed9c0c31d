"""Mutated audio of every container, decoded through the pool that services decode with."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from encoders import AudioError, AudioLimits, DecodingPool
from tests.encoders.audio_files import ENCODERS, ffmpeg, sndfile, tone
from tests.fuzz.findings import Findings, FoundError
from tests.fuzz.mutations import mutated

SECONDS = 0.5
RATE_HZ = 16_000
LIMITS = AudioLimits(min_duration_s=0.05, max_duration_s=30.0, max_decode_s=20.0, max_decode_bytes=512 << 20)
# What a file may be refused with; that a decoder dies or hangs is no answer.
ALLOWED = frozenset(
    {"AUDIO_EMPTY", "AUDIO_TOO_LARGE", "AUDIO_NOT_AUDIO", "AUDIO_TRUNCATED", "AUDIO_TOO_SHORT", "AUDIO_TOO_LONG"}
    | {"AUDIO_SILENT", "AUDIO_SAMPLE_RATE", "AUDIO_CHANNELS", "AUDIO_NOT_FINITE", "AUDIO_DECODING_MEMORY"}
)
LEAKS = ("Traceback", 'File "', ".py", "0x", "/usr", "/tmp", "/home")  # in a sentence about bytes that have no name


@cache
def sources() -> dict[str, bytes]:
    """A short chord in every container and coding, and in one container that is not supported."""
    made = {name: encode(tone(SECONDS)) for name, encode in ENCODERS.items()}
    made["aiff"] = sndfile(tone(SECONDS), "AIFF", "PCM_16")
    made["opus-mp4"] = ffmpeg(tone(SECONDS, rate=24_000), "mp4", "libopus", 24_000)
    return made


def case(seed: int, number: int) -> tuple[str, bytes]:
    """Make a case: always the same one by its seed and number."""
    rng = random.Random(f"audio {seed} {number}")
    names = sorted(sources())
    name = names[number % len(names)]
    return name, mutated(rng, sources()[name], list(sources().values()))


def fuzz_audio(seed: int, cases: int, folder: Path, *, threads: int = 2) -> Findings:
    """Decode mutated files.

    Parameters
    ----------
    seed, cases : int
    folder : Path
        For what is found.
    threads : int
        Files at once.

    Returns
    -------
    Findings
    """
    findings = Findings(folder, "audio-")
    with DecodingPool(LIMITS) as pool, ThreadPoolExecutor(threads) as executor:

        def run(number: int) -> None:
            name, data = case(seed, number)
            try:
                findings.note(name, outcome_of(pool, data))
            except FoundError as found:
                findings.find(name, data, str(found))

        for _ in executor.map(run, range(cases)):
            pass
    return findings


def outcome_of(pool: DecodingPool, data: bytes) -> str:
    """Decode a file.

    Returns
    -------
    str
        "decoded" or the reason of its refusal.

    Raises
    ------
    FoundError
    """
    try:
        waveform = pool.decode(data, sample_rate_hz=RATE_HZ)
    except AudioError as error:
        if error.reason not in ALLOWED:
            raise FoundError(f"{error.reason}: {error}") from error
        if any(leak in str(error) for leak in LEAKS) or "\n" in str(error):
            raise FoundError(f"says too much: {error}") from error
        return error.reason
    except Exception as error:
        raise FoundError(f"{type(error).__name__}: {error}") from error
    if not (0 < waveform.duration_s <= LIMITS.max_duration_s + 1 and np.isfinite(waveform.samples).all()):
        raise FoundError(f"{waveform.duration_s} s, or no numbers")
    return "decoded"
