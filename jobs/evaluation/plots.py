"""Plots of an evaluation, drawn without a display."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.evaluation.context import Result

PLOTTED_SLICES = ("overall", "discovery", "exploit")
METHODS_PLOT = "methods.png"
DIFFERENCES_PLOT = "differences.png"
MARKED = "anacrusis"
"""The method whose bar stands out, where it is among them."""

INK, QUIET = "#1f4e79", "#c8d3de"


@contextmanager
def drawing(path: Path, columns: int = 1, *, width: float = 10.0, height: float = 4.0) -> Iterator[list[Any]]:
    """Draw axes side by side and save them.

    Parameters
    ----------
    path : Path
        The PNG to write.
    columns : int
        How many axes.
    width, height : float
        Of the whole figure, inches.

    Yields
    ------
    list of matplotlib.axes.Axes
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plot = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(plot)  # no display, no state shared between plots
    axes = plot.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="both", color="#e8e8e8", linewidth=0.6)
        axis.set_axisbelow(True)
    yield list(axes)
    plot.savefig(path, dpi=120, metadata={"Software": None})  # the same figures give the same bytes


def bars(axis: Any, names: list[str], found: list[Result], *, scale: float = 1.0, marked: str = "") -> None:
    """Draw horizontal bars with intervals, the first name on top.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
    names : list of str
    found : list of dict
        ``mean``, ``low`` and ``high`` of each name; None is drawn as nothing.
    scale : float
        Multiplies every figure, such as 100 for percent.
    marked : str
        The name whose bar stands out; empty for none.
    """
    for place, (name, one) in enumerate(zip(names, found, strict=True)):
        if one["mean"] is None:
            continue
        axis.barh(place, one["mean"] * scale, color=INK if name == marked else QUIET, height=0.7)
        axis.plot([one["low"] * scale, one["high"] * scale], [place, place], color="#222222", linewidth=1.4)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axis.set_ylim(max(len(names), 1) - 0.5, -0.5)


def plot_methods(result: Result, folder: Path) -> Path:
    """Draw NDCG@20 by method with its interval, for the three main slices; `result` is that of `run.evaluate`."""
    names = list(result["methods"])
    path = folder / METHODS_PLOT
    with drawing(path, len(PLOTTED_SLICES), width=13, height=1.2 + 0.35 * len(names)) as axes:
        for axis, one in zip(axes, PLOTTED_SLICES, strict=True):
            bars(axis, names, [result["methods"][name][one]["ndcg@20"] for name in names], marked=MARKED)
            axis.set_title(one)
            axis.set_xlabel("NDCG@20")
            if axis is not axes[0]:
                axis.set_yticklabels([])
    return path


def plot_differences(result: Result, folder: Path) -> Path:
    """Draw the relative difference in NDCG@20 from the strongest baseline, paired by user."""
    path = folder / DIFFERENCES_PLOT
    with drawing(path, len(PLOTTED_SLICES), width=13, height=1.2 + 0.35 * len(result["methods"])) as axes:
        for axis, one in zip(axes, PLOTTED_SLICES, strict=True):
            compared = result["differences"][one]["ndcg@20"]
            names = list(compared["methods"])
            found = [compared["methods"][name]["relative"] for name in names]
            bars(axis, names, found, scale=100, marked=MARKED)
            axis.axvline(0.0, color="#222222", linewidth=0.8)
            axis.set_title(f"{one}, from {(compared['reference'] or '-').replace('_', ' ')}")
            axis.set_xlabel("difference in NDCG@20, %")
    return path
