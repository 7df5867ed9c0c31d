"""How fast audio becomes content vectors: each stage by itself, and beside the plain network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.promises import at_least
from anacrusis.wesnoth_catalogue import load_catalogue

if TYPE_CHECKING:
    from encoders import Encoder
    from jobs.progress import OnProgress

PLAIN_TRACKS = 4  # through the plain network: enough for a steady figure, few enough to wait for
MIN_SPEED_UP = 3.0
MIN_COSINE = 0.99999
MIN_STRAIGHT_SPEED_UP = 8.0
MIN_STRAIGHT_COSINE = 0.999  # librosa and torchaudio differ in the last digits of a mel band
MIN_NETWORK_SHARE = 0.6


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
        In JSON's types. ``stages``: seconds, times real time and share of each. For MusiCNN, ``parts``: the same of
        front end and network by themselves, beside decoding; and ``checks``: how many times as fast the encoder (its
        network folded, without dead filters, in batches) is as the plain network a window at a time, with the same
        front end and with librosa's, in the same run; and the least cosine to each. ``skipped``: what could not be
        compared, and why.
    """
    from encoders import load_encoder
    from jobs.progress import Progress

    loaded = load_encoder(encoder, device=device)
    catalogue = load_catalogue()
    files = [release.audio for release in (catalogue.warm + catalogue.cold)[:tracks]]
    seconds: dict[str, list[float]] = {"decode": [], "encode": []}
    waveforms: list[NDArray[np.float32]] = []
    for run in range(repeats + 1):
        took_decode, waveforms = timed(partial(_decoded, files, loaded.sample_rate_hz))
        took_encode, _ = timed(partial(loaded.encode, waveforms))
        if run:
            seconds["decode"].append(took_decode)
            seconds["encode"].append(took_encode)
        on_progress(Progress("bench", run, repeats))
    audio_s = sum(map(len, waveforms)) / loaded.sample_rate_hz
    medians = {stage: statistics.median(times) for stage, times in seconds.items()}
    whole = sum(medians.values())
    parts, of_network = _parts(loaded, waveforms, repeats, medians["decode"], audio_s)
    checks, skipped = _beside_straightforward(encoder, loaded, waveforms, repeats)
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
        "parts": parts,
        "skipped": skipped,
        "checks": [*_beside_plain_network(encoder, loaded, waveforms, repeats), *of_network, *checks],
    }


def _decoded(files: list[bytes | Path], sample_rate_hz: int) -> list[NDArray[np.float32]]:
    """Decode as `anacrusis encode` does: on as many cores as the network has."""
    from encoders import EncoderError, decode_side_by_side

    waveforms = []
    for found in decode_side_by_side(files, sample_rate_hz=sample_rate_hz):
        if isinstance(found, EncoderError):
            raise found
        waveforms.append(found.samples)
    return waveforms


def _parts(
    loaded: Encoder, waveforms: list[NDArray[np.float32]], repeats: int, decode_s: float, audio_s: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Time front end and network by themselves, and check the network's share."""
    from encoders.musicnn_encoder import MusicnnEncoder

    if not isinstance(loaded, MusicnnEncoder):
        return [], []
    seconds: dict[str, list[float]] = {"front end": [], "network": []}
    for _ in range(repeats):
        took, patches = timed(lambda: [loaded.patches(waveform) for waveform in waveforms])
        seconds["front end"].append(took)
        seconds["network"].append(timed(partial(_each, loaded.outputs_of_patches, patches))[0])
    medians = {"decode": decode_s, **{part: statistics.median(times) for part, times in seconds.items()}}
    whole = sum(medians.values())
    parts = [
        {"part": part, "seconds": took, "times_real_time": audio_s / took, "share": took / whole}
        for part, took in medians.items()
    ]
    share = medians["network"] / whole
    return parts, [at_least("the network's share of the time, beside decoding and front end", share, MIN_NETWORK_SHARE)]


def _beside_straightforward(
    name: str, loaded: Encoder, waveforms: list[NDArray[np.float32]], repeats: int
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Compare with what one would write first: librosa's features, and the same weights a window at a time."""
    from encoders.musicnn_encoder import MusicnnEncoder, load_musicnn

    if not isinstance(loaded, MusicnnEncoder):
        return [], []
    try:
        import librosa
    except ImportError as error:
        reason = f"librosa cannot be imported ({error}): install the extra with pip install 'anacrusis[bench]'"
        return [], [{"name": "the straightforward way", "reason": reason}]
    import torch

    from encoders import frontend

    some = waveforms[:PLAIN_TRACKS]
    plain = load_musicnn(name)[0].eval()

    def straightforward() -> NDArray[np.float32]:
        rows = []
        for waveform in some:
            power = librosa.feature.melspectrogram(
                y=waveform,
                sr=frontend.SAMPLE_RATE_HZ,
                n_fft=frontend.N_FFT,
                hop_length=frontend.HOP_LENGTH,
                n_mels=frontend.N_MELS,
                pad_mode="reflect",
            )
            log_mel = np.log10(frontend.LOG_GAIN * power.T + 1.0).astype(np.float32)
            outputs = []
            for at in range(0, len(log_mel) - frontend.N_FRAMES + 1, frontend.N_FRAMES):
                with torch.inference_mode():
                    outputs.append(plain(torch.from_numpy(log_mel[None, at : at + frontend.N_FRAMES]))["mean_pool"])
            rows.append(torch.cat(outputs).mean(dim=0))
        return np.asarray(torch.stack(rows).numpy())

    straightforward()
    speed_up, least = _compared(straightforward, lambda: loaded.encode(some), repeats)
    told = "encoder beside librosa's features and the same weights a window at a time"
    return [
        at_least(f"{told}, times as fast", speed_up, MIN_STRAIGHT_SPEED_UP),
        at_least(f"{told}, least cosine", least, MIN_STRAIGHT_COSINE),
    ], []


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

    speed_up, least = _compared(straightforward, lambda: loaded.encode(some), repeats)
    return [
        at_least("encoder beside the plain network a window at a time, times as fast", speed_up, MIN_SPEED_UP),
        at_least("encoder beside the plain network a window at a time, least cosine", least, MIN_COSINE),
    ]


def _compared(
    theirs: Callable[[], NDArray[np.float32]], ours: Callable[[], NDArray[np.float32]], repeats: int
) -> tuple[float, float]:
    """Say how many times as fast we are, and the least cosine between the two, a row a track."""
    ratios = []
    for _ in range(repeats):
        took_theirs, their_rows = timed(theirs)
        took_ours, our_rows = timed(ours)
        ratios.append(took_theirs / took_ours)
    lengths = np.linalg.norm(our_rows, axis=1) * np.linalg.norm(their_rows, axis=1)
    return statistics.median(ratios), float(((our_rows * their_rows).sum(axis=1) / lengths).min())


def _each(work: Callable[[NDArray[np.float32]], object], arrays: list[NDArray[np.float32]]) -> None:
    for array in arrays:
        work(array)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many seconds some work took, and what it gave."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
