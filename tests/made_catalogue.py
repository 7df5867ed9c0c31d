"""A small catalogue whose music is made on the spot: four artists, three warm tracks each."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from jobs import Release
from jobs.factors import Factors

SPACE_ID = "space-1"
DIM = 8
SAMPLE_RATE_HZ = 16_000
ARTISTS = ("ada", "ben", "cleo", "dana")
TRACKS_EACH = 3


def audio_bytes(pitch_hz: float = 220.0, seconds: float = 3.2, *, fmt: str = "WAV", seed: int = 0) -> bytes:
    """A chord with a little noise: heard by the encoder, and different for each pitch and seed."""
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    chord = sum(np.sin(2 * np.pi * pitch_hz * ratio * time_s) for ratio in (1.0, 1.25, 1.5))
    noise = np.random.default_rng(seed).normal(scale=0.05, size=time_s.size)
    buffer = io.BytesIO()
    soundfile.write(buffer, (0.2 * chord + noise).astype(np.float32), SAMPLE_RATE_HZ, format=fmt)
    return buffer.getvalue()


def release(track_id: str = "new", **fields: object) -> Release:
    """A deliverable track by ada, unless `fields` say otherwise."""
    defaults: dict[str, object] = {"artist_ids": ("ada",), "audio": audio_bytes(330.0), "title": track_id.title()}
    return Release(track_id=track_id, **{**defaults, **fields})  # type: ignore[arg-type]


def warm_releases() -> list[Release]:
    """Four artists with three tracks each; an artist's tracks share a pitch."""
    return [
        Release(
            track_id=f"{artist}-{number}",
            title=f"{artist.title()} {number}",
            artist_ids=(artist,),
            audio=audio_bytes(110.0 * (place + 1), seed=number),
        )
        for place, artist in enumerate(ARTISTS)
        for number in range(TRACKS_EACH)
    ]


def warm_factors(seed: int = 0) -> Factors:
    """Collaborative vectors in which an artist's tracks lie together."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(len(ARTISTS), DIM)), TRACKS_EACH, axis=0)
    vectors = (centres + 0.2 * rng.normal(size=centres.shape)).astype(np.float32)
    return Factors(np.array([one.track_id for one in warm_releases()], dtype=np.str_), vectors)
