"""Audio that has to be refused, by name: what a delivery pipeline sends on a bad day."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import soundfile


def encoded(samples: np.ndarray, sample_rate_hz: int, fmt: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sample_rate_hz, format=fmt)
    return buffer.getvalue()


def _noise(n_samples: int, channels: int = 1) -> np.ndarray:
    shape = (n_samples, channels) if channels > 1 else (n_samples,)
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def _three_hours() -> bytes:
    """Eight kilohertz, one repeated second: FLAC makes a small file of it, as a decompression bomb would be."""
    second = np.tile(_noise(80), 100)
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8000, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(3 * 3600 // 60):
            file.write(np.tile(second, 60))
    return buffer.getvalue()


def _not_finite() -> bytes:
    samples = _noise(48_000)
    samples[1000] = np.nan
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


# What is wrong -> how it is made, and the reason that it has to be refused with.
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "AUDIO_EMPTY"),
    "truncated": (lambda: encoded(_noise(160_000), 16_000, "FLAC")[:-120_000], "AUDIO_TRUNCATED"),
    "no-audio": (lambda: b"#!/bin/sh\necho this is no music\n" * 100, "AUDIO_NOT_AUDIO"),
    "playlist": (lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n", "AUDIO_NOT_AUDIO"),
    "silence": (lambda: encoded(np.zeros(80_000, np.float32), 16_000), "AUDIO_SILENT"),
    "a-fifth-of-a-second": (lambda: encoded(_noise(3200), 16_000), "AUDIO_TOO_SHORT"),
    "three-hours": (_three_hours, "AUDIO_TOO_LONG"),
    "192-kHz-8-channels": (lambda: encoded(_noise(192_000 * 2, 8), 192_000), "AUDIO_CHANNELS"),
    "384-kHz": (lambda: encoded(_noise(384_000 * 2), 384_000), "AUDIO_SAMPLE_RATE"),
    "nan-samples": (_not_finite, "AUDIO_NOT_FINITE"),
}
