"""Plots of two trainings beside each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.evaluation.plots import INK, QUIET, drawing
from jobs.space_comparison import LENGTHS, SpaceComparison

NORMS_PLOT = "norms.png"
OVERLAP_PLOT = "overlap.png"


def plot_comparison(found: SpaceComparison, folder: Path) -> list[Path]:
    """Draw the lengths of both spaces' vectors, and the overlap of neighbours track by track.

    Parameters
    ----------
    found : SpaceComparison
    folder : Path
        Is there; files of the same names are replaced.

    Returns
    -------
    list of Path
        What was written.
    """
    norms, overlap = folder / NORMS_PLOT, folder / OVERLAP_PLOT
    with drawing(norms, 2) as axes:
        for axis, space, colour in zip(axes, (found.space, found.with_space), (INK, QUIET), strict=True):
            # In float32's steps: lengths that differ by less, as those of unit vectors do, have no room for bins.
            lengths = space.norms.astype(np.float32).astype(np.float64)
            axis.hist(lengths, bins=50, color=colour)  # bins of its own: a training's unit is its own
            axis.set_title(f"{space.space_id}: {space.tracks} tracks")
            axis.set_xlabel("length of the vector")
            axis.set_ylabel("tracks")
    with drawing(overlap, len(LENGTHS)) as axes:
        for axis, k in zip(axes, LENGTHS, strict=True):
            one = found.overlap(k)
            axis.set_title(f"overlap@{k}" if one is not None else f"overlap@{k}: too few shared tracks")
            axis.set_xlabel(f"share of the {k} nearest tracks in both")
            axis.set_ylabel("tracks")
            axis.set_xlim(-0.05, 1.05)
            if one is not None:
                axis.hist(one.each, bins=(np.arange(k + 2) - 0.5) / k, color=INK)  # a bin for each possible share
                axis.axvline(one.chance, color="#222222", linewidth=1.0, linestyle="--", label="chance")
                axis.legend(frameon=False)
    return [norms, overlap]
