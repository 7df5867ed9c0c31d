"""How fast audio becomes content vectors: each stage by itself, and beside the plain network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.wesnoth_catalogue import load_catalogue

if TYPE_CHECKING:
    from encoders import Encoder
    from jobs.progress import OnProgress

PLAIN_TRACKS = 4  # through the plain network: enough for a steady figure, few enough to wait for
MIN_SPEED_UP = 3.0
MIN_COSINE = 0.99999


def bench_encode(encoder: str, tracks: int, repeats: int, *, device: str, on_progress: OnProgress) -> dict[str, Any]:
    """Time decoding and encoding on the bundled music.

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
        In JSON's types. ``stages``: seconds, times real time and share of each. ``checks``, for MusiCNN: how many times
        as fast the encoder (its network folded, without dead filters, in batches) is as the plain network a window at a
        time with the same front end, in the same run; and the least cosine between the two.
    """
    from encoders import decode_audio, load_encoder
    from jobs.progress import Progress

    loaded = load_encoder(encoder, device=device)
    catalogue = load_catalogue()
    files = [release.audio for release in (catalogue.warm + catalogue.cold)[:tracks]]
    seconds: dict[str, list[float]] = {"decode": [], "encode": []}
    waveforms: list[NDArray[np.float32]] = []
    for run in range(repeats + 1):
        took_decode, waveforms = timed(
            lambda: [decode_audio(file, sample_rate_hz=loaded.sample_rate_hz).samples for file in files]
        )
        took_encode, _ = timed(partial(loaded.encode, waveforms))
        if run:
            seconds["decode"].append(took_decode)
            seconds["encode"].append(took_encode)
        on_progress(Progress("bench", run, repeats))
    audio_s = sum(map(len, waveforms)) / loaded.sample_rate_hz
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
        "checks": _beside_plain_network(encoder, loaded, waveforms, repeats),
    }


def _beside_plain_network(
    name: str, loaded: Encoder, waveforms: list[NDArray[np.float32]], repeats: int
) -> list[dict[str, Any]]:
    """Compare with the straightforward way to the same content vectors: the plain network, a window at a time."""
    import torch

    from encoders.musicnn_encoder import MusicnnEncoder, load_musicnn

    if not isinstance(loaded, MusicnnEncoder):
        return []
    some = waveforms[:PLAIN_TRACKS]
    plain = load_musicnn(name)[0].eval()

    def straightforward() -> NDArray[np.float32]:
        rows = []
        with torch.inference_mode():
            for waveform in some:
                windows = torch.from_numpy(loaded.patches(waveform))
                rows.append(torch.cat([plain(window[None])["mean_pool"] for window in windows]).mean(dim=0))
        return np.asarray(torch.stack(rows).numpy())

    ratios = []
    for _ in range(repeats):
        took_plain, theirs = timed(straightforward)
        took_served, ours = timed(lambda: loaded.encode(some))
        ratios.append(took_plain / took_served)
    cosine = (ours * theirs).sum(axis=1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    speed_up, least = statistics.median(ratios), float(cosine.min())
    return [
        {
            "name": "encoder beside the plain network a window at a time, times as fast",
            "measured": speed_up,
            "bound": MIN_SPEED_UP,
            "holds": speed_up >= MIN_SPEED_UP,
        },
        {
            "name": "encoder beside the plain network a window at a time, least cosine",
            "measured": least,
            "bound": MIN_COSINE,
            "holds": least >= MIN_COSINE,
        },
    ]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many seconds some work took, and what it gave."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
