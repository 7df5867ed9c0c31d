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

PLAIN_WINDOWS = 40  # of the plain network, one at a time: enough for a steady figure, few enough to wait for
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
        as fast its network as it is served (folded, without its dead filters, in batches) makes a window's features as
        the plain one, a window at a time, in the same run; and the least cosine between the two.
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
    """Compare the served network with the one that the weights were written for, on the same windows."""
    import torch

    from encoders.musicnn_encoder import MusicnnEncoder, load_musicnn

    if not isinstance(loaded, MusicnnEncoder):
        return []
    windows = np.concatenate([loaded.patches(waveform) for waveform in waveforms])
    plain = load_musicnn(name)[0].eval()

    def one_at_a_time() -> NDArray[np.float32]:
        with torch.inference_mode():
            rows = [plain(torch.from_numpy(window[None]))["mean_pool"] for window in windows[:PLAIN_WINDOWS]]
            return np.asarray(torch.cat(rows).numpy())

    n_plain = min(PLAIN_WINDOWS, len(windows))
    ratios = []
    for _ in range(repeats):
        took_plain, theirs = timed(one_at_a_time)
        took_served, served = timed(lambda: loaded.outputs_of_patches(windows)["mean_pool"])
        ratios.append((took_plain / n_plain) / (took_served / len(windows)))
    ours = served[:n_plain]
    cosine = (ours * theirs).sum(axis=1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    speed_up, least = statistics.median(ratios), float(cosine.min())
    return [
        {
            "name": "served network beside the plain one, windows a second",
            "measured": speed_up,
            "bound": MIN_SPEED_UP,
            "holds": speed_up >= MIN_SPEED_UP,
        },
        {
            "name": "served network beside the plain one, least cosine",
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
