"""The exact float16 search on a GPU, beside what its memory's bandwidth allows and beside the CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.promises import at_least
from jobs.progress import OnProgress, Progress

K = 100
DIM = 128
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
CPU_SCORES = 300_000_000  # of one call that the CPU is asked for at most: more would take minutes
LEAST_SECONDS = 0.2  # of a measurement
MIN_RECALL = 0.999
_PIECE = 1 << 18


def bench_gpu(
    tracks: Sequence[int], *, repeats: int, bandwidth_tb_per_s: float, on_progress: OnProgress
) -> dict[str, Any]:
    """Measure each size at each batch.

    Parameters
    ----------
    tracks : sequence of int
        Vectors, drawn at random: an exact scan takes as long whatever they are.
    repeats : int
        Medians count.
    bandwidth_tb_per_s : float
        Of the device's memory at most, in TB/s.
    on_progress : callable

    Returns
    -------
    dict
        In JSON's types: `sizes` and `checks`, both empty where FAISS sees no GPU, and then `skipped`.
    """
    from index import gpu_count

    about = {"k": K, "repeats": repeats, "bandwidth_tb_per_s": bandwidth_tb_per_s}
    if gpu_count() == 0:
        return {**about, "skipped": "FAISS sees no GPU here: nothing was measured", "sizes": [], "checks": []}
    import torch

    sizes = []
    for number, count in enumerate(sorted(set(tracks))):
        on_progress(Progress("measure", number, len(tracks), f"{count:,} tracks"))
        sizes.append(_size(count, repeats, bandwidth_tb_per_s))
    on_progress(Progress("measure", len(sizes), len(sizes)))
    return {
        **about,
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "a GPU",
        "sizes": sizes,
        "checks": [check for size in sizes for check in size.pop("checks")],
    }


def _size(count: int, repeats: int, bandwidth_tb_per_s: float) -> dict[str, Any]:
    from index.backends import CpuFlat
    from index.gpu_flat import GpuFlat

    rng = np.random.default_rng(0)
    index = _filled(count, rng)
    cpu, gpu = CpuFlat(index), GpuFlat(index)
    bound_ms = 1e3 * 2 * count * DIM / (bandwidth_tb_per_s * 1e12)
    found = []
    for batch in BATCHES:
        queries = rng.standard_normal((batch, DIM), np.float32)
        gpu_s = _median_s(partial(gpu.search, queries, K), repeats)
        cpu_s = None
        if batch * count <= max(CPU_SCORES, count):
            cpu_s = _median_s(partial(cpu.search, queries, K), min(repeats, 3))
        found.append(
            {
                "batch": batch,
                "gpu_ms": 1e3 * gpu_s,
                "gpu_per_s": batch / gpu_s,
                "share_of_bound": bound_ms / (1e3 * gpu_s),
                "cpu_per_s": batch / cpu_s if cpu_s is not None else None,
            }
        )
    some = rng.standard_normal((16, DIM), np.float32)
    same = np.mean(
        [
            len(np.intersect1d(mine, best)) / K
            for mine, best in zip(gpu.search(some, K)[1], cpu.search(some, K)[1], strict=True)
        ]
    )
    gpu.close()
    return {
        "tracks": count,
        "dim": DIM,
        "bound_ms": bound_ms,
        "batches": found,
        "checks": [
            at_least(f"{count:,} tracks: what the GPU finds beside the CPU, recall@{K}", float(same), MIN_RECALL)
        ],
    }


def _filled(count: int, rng: np.random.Generator) -> Any:
    import faiss

    index = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for at in range(0, count, _PIECE):
        index.add(rng.standard_normal((min(_PIECE, count - at), DIM), np.float32))
    return index


def _median_s(search: Callable[[], tuple[NDArray[np.float32], NDArray[np.int64]]], repeats: int) -> float:
    search()
    took = []
    for _ in range(repeats):
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < LEAST_SECONDS:
            search()
            calls += 1
        took.append((time.perf_counter() - start) / calls)
    return statistics.median(took)
