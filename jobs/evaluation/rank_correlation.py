"""How far two orders agree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def spearman(left: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Spearman's rank correlation: that of Pearson between ranks, equal values sharing the mean of theirs.

    Parameters
    ----------
    left, right : array_like, shape (n,)
        Finite numbers.

    Returns
    -------
    float
        In [-1, 1]; NaN where one of the two is constant, which has no order.
    """
    ranks = np.stack([_ranks(np.asarray(left)), _ranks(np.asarray(right))])
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1)
    if not length.all():
        return float("nan")
    return float(np.clip(ranks[0] @ ranks[1] / (length[0] * length[1]), -1.0, 1.0))


def _ranks(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: npt.NDArray[np.float64] = (ends - (counts - 1) / 2.0)[inverse.reshape(-1)]
    return means
