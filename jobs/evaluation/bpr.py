"""The collaborative space of a benchmark folder that brings none: Bayesian personalised ranking by `implicit`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.errors import ExtraMissingError

DIM = 128
# The library's own rate of 0.01 is far from done after 100 passes over half a million playlist entries.
ITERATIONS = 100
LEARNING_RATE = 0.1
REGULARIZATION = 0.01


def train_factors(
    entries: NDArray[np.int64], tracks: int, users: int, *, dim: int = DIM, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Train vectors whose inner product ranks what a user listened to above what they did not (Rendle et al., 2009).

    The library keeps an item's bias as one more dimension, in which every user has 1: it is one of the `dim`.

    Parameters
    ----------
    entries : ndarray, shape (n, 2), int64
        User row and track row, each pair once.
    tracks, users : int
        How many there are.
    dim : int
        Length of the vectors, the bias among them; at least 2.
    seed : int
        Fixes the first values and the draws; on one thread the same seed gives the same vectors.

    Returns
    -------
    tracks, users : ndarray, shapes (tracks, dim) and (users, dim), float32

    Raises
    ------
    ExtraMissingError
        When `implicit` is not installed.
    """
    try:
        from implicit.cpu.bpr import BayesianPersonalizedRanking
        from scipy.sparse import csr_matrix
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise ExtraMissingError(
            "Factors are trained with the package implicit, which is not installed; run "
            "`pip install 'anacrusis[evaluate]'`, or put factors into the folder."
        ) from None
    ones = np.ones(len(entries), dtype=np.float32)
    listens = csr_matrix((ones, (entries[:, 0], entries[:, 1])), shape=(users, tracks))
    with threadpool_limits(1, "blas"):  # implicit warns where BLAS threads compete with its own
        model = BayesianPersonalizedRanking(
            factors=dim - 1,
            learning_rate=LEARNING_RATE,
            regularization=REGULARIZATION,
            iterations=ITERATIONS,
            num_threads=1,
            random_state=seed,
        )
        model.fit(listens, show_progress=False)
    return np.asarray(model.item_factors, dtype=np.float32), np.asarray(model.user_factors, dtype=np.float32)
