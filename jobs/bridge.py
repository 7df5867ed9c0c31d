"""From one training of the recommender into the next: what is served and what was fitted go along, at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from artist_transfer import Alignment

MOVED_MORE = 0.8
"""A warm track that the new training puts farther from where the old one has it, as a share of its length, has moved.

Two trainings on the same listens that differ by their seed alone put half of the tracks 0.45 away and 999 of 1,000
within 0.77 (`benchmarks.bridge`): farther than chance carries a track, listeners have.
"""

FloatArray = npt.NDArray[np.float32]


def movement(alignment: Alignment, old: FloatArray, new: FloatArray, *, directions: bool) -> FloatArray:
    """Measure how far a new training puts tracks from where the old one has them.

    Parameters
    ----------
    alignment : Alignment
    old, new : ndarray, shape (n, old_dim) and (n, new_dim), float32
        Of the same tracks, none of them zero.
    directions : bool
        Whether lengths mean nothing, so that all are brought to 1.

    Returns
    -------
    ndarray, shape (n,), float32
        |carried - new| / |new|, at least 0.
    """
    carried = alignment.carry(old)
    lengths = np.linalg.norm(new, axis=1)
    if directions:
        carried_lengths = np.linalg.norm(carried, axis=1)
        carried /= np.where(carried_lengths > 0.0, carried_lengths, 1.0)[:, None]
        new, lengths = new / lengths[:, None], np.ones_like(lengths)
    moved: FloatArray = np.linalg.norm(carried - new, axis=1) / lengths
    return moved
