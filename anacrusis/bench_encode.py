"""How fast audio becomes content vectors, each stage by itself."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from anacrusis.wesnoth_catalogue import load_catalogue

if TYPE_CHECKING:
    from jobs.progress import OnProgress


def bench_encode(encoder: str, tracks: int, repeats: int, *, device: str, on_progress: OnProgress) -> dict[str, Any]:
    """Time decoding, and encoding as a whole, on the bundled music.

    Parameters
    ----------
    encoder : str
        As `encoders.load_encoder` names it.
    tracks : int
        How many of the 36 excerpts.
    repeats : int
        Runs, of which the median counts; one more before them warms up.
    device : {"auto", "cpu", "cuda"}
    on_progress : callable

    Returns
    -------
    dict
        In JSON's types: seconds, times real time and share of each stage.
    """
    from encoders import decode_audio, load_encoder
    from jobs.progress import Progress

    loaded = load_encoder(encoder, device=device)
    catalogue = load_catalogue()
    files = [release.audio for release in (catalogue.warm + catalogue.cold)[:tracks]]
    seconds: dict[str, list[float]] = {"decode": [], "encode": []}
    audio_s = 0.0
    for run in range(repeats + 1):
        start = time.perf_counter()
        waveforms = [decode_audio(file, sample_rate_hz=loaded.sample_rate_hz) for file in files]
        decoded = time.perf_counter()
        loaded.encode([waveform.samples for waveform in waveforms])
        encoded = time.perf_counter()
        audio_s = sum(waveform.duration_s for waveform in waveforms)
        if run:
            seconds["decode"].append(decoded - start)
            seconds["encode"].append(encoded - decoded)
        on_progress(Progress("bench", run, repeats))
    medians = {stage: statistics.median(times) for stage, times in seconds.items()}
    whole = sum(medians.values())
    return {
        "encoder_id": loaded.encoder_id,
        "device": device,
        "tracks": len(files),
        "audio_s": audio_s,
        "tracks_per_s": len(files) / whole,
        "stages": [
            {"stage": stage, "seconds": took, "times_real_time": audio_s / took, "share": took / whole}
            for stage, took in {**medians, "together": whole}.items()
        ],
    }
