"""Pictures of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def plot_index(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw recall against queries a second for each size, and what a size costs.

    Parameters
    ----------
    result : mapping
        What `anacrusis.bench.index.bench_index` found.
    folder : Path
        Made where it is missing.

    Returns
    -------
    list of Path
        The PNG files.
    """
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    sizes = result["sizes"]
    figure = Figure(figsize=(6 * len(sizes), 4.5), layout="constrained")
    for number, size in enumerate(sizes):
        axes = figure.add_subplot(1, len(sizes), number + 1)
        for one in size["contenders"]:
            curve = sorted((step["queries_per_s"], step["recall"]) for step in one["curve"])
            axes.plot(*zip(*curve, strict=True), marker="o" if one["peer"] else "s", markersize=4, label=one["name"])
        axes.axhline(result["least_recall"], color="grey", linewidth=0.8, linestyle=":")
        axes.set(
            xscale="log",
            xlabel="single queries a second, one core",
            ylabel=f"recall@{result['k']}",
            title=f"{size['tracks']:,} x {size['dim']}",
        )
        axes.legend(fontsize=8)
    written = [folder / "recall-speed.png"]
    figure.savefig(written[0], dpi=120)
    if len(sizes) > 1:
        written.append(_growth(sizes, folder / "size-cost.png"))
    return written


def _growth(sizes: list[dict[str, Any]], path: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    latency, memory = figure.subplots(1, 2)
    names = {one["name"]: None for size in sizes for one in size["contenders"]}
    for name in names:
        points = [(size["tracks"], one) for size in sizes for one in size["contenders"] if one["name"] == name]
        counts = [count for count, _ in points]
        latency.plot(counts, [one["p50_ms"] for _, one in points], marker="o", label=name)
        memory.plot(counts, [one["resident_bytes"] / 2**20 for _, one in points], marker="o", label=name)
    latency.set(xscale="log", yscale="log", xlabel="tracks", ylabel="median ms of a single query")
    memory.set(xscale="log", yscale="log", xlabel="tracks", ylabel="resident MiB")
    latency.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    return path


def plot_load(result: Mapping[str, Any], folder: Path) -> Path:
    """Draw latency against offered load; `result` is what `anacrusis.bench.serve.bench_serve` found."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    load = result["load"]
    offered = [one["offered_per_s"] for one in load["offered"]]
    for name in ("p50", "p90", "p99"):
        axes.plot(offered, [one[f"{name}_ms"] for one in load["offered"]], marker="o", label=name)
    axes.axvline(load["top_per_s"], color="grey", linewidth=0.8, linestyle=":", label="top rate")
    axes.set(
        yscale="log",
        xlabel="offered calls a second",
        ylabel="ms from when a call was due, of those answered",
        title=f"{result['tracks']:,} x {result['dim']}, k = {result['k']}",
    )
    axes.legend(fontsize=8)
    path = folder / "latency-load.png"
    figure.savefig(path, dpi=120)
    return path


def plot_gpu(result: Mapping[str, Any], folder: Path) -> Path:
    """Draw queries a second against the batch; `result` is what `anacrusis.bench.gpu.bench_gpu` found."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for size in result["sizes"]:
        batches = [one["batch"] for one in size["batches"]]
        axes.plot(
            batches, [one["gpu_per_s"] for one in size["batches"]], marker="o", label=f"GPU, {size['tracks']:,} tracks"
        )
        cpu = [(one["batch"], one["cpu_per_s"]) for one in size["batches"] if one["cpu_per_s"] is not None]
        if cpu:
            axes.plot(*zip(*cpu, strict=True), marker="x", label=f"CPU, {size['tracks']:,} tracks")
    axes.set(xscale="log", yscale="log", xlabel="queries a call", ylabel="queries a second")
    axes.legend(fontsize=8)
    path = folder / "gpu-batches.png"
    figure.savefig(path, dpi=120)
    return path
