"""Which factorisation of the bundled playlists finds the most held-out entries? Prints the table behind the demo's.

Run it with ``python -m benchmarks.wesnoth_factors``. A fifth of all playlist entries is held out, four times; the
figure is the share of them that stand among the first five tracks recommended to their playlist. It judges the
recommender by its own work and knows nothing of cold tracks.
"""

from __future__ import annotations

import numpy as np

from anacrusis.wesnoth_catalogue import ALPHA, DIM, REGULARIZATION, factorise, load_catalogue, playlist_matrix

DIMS = (4, 8, 16, 24)
REGULARIZATIONS = (0.01, 1.0, 10.0)
ALPHAS = (1.0, 10.0)
K = 5
SEEDS = range(4)
HELD_OUT_SHARE = 0.2


def recall(dim: int, regularization: float, alpha: float) -> float:
    """Mean share of held-out entries found among the first `K`."""
    plays = playlist_matrix(load_catalogue()).tocoo()
    found = []
    for seed in SEEDS:
        held_out = np.random.default_rng(seed).random(plays.nnz) < HELD_OUT_SHARE
        known = plays.tocsr().copy()
        rows, columns = plays.row[held_out], plays.col[held_out]
        known[rows, columns] = 0
        known.eliminate_zeros()
        playlists, tracks = factorise(known, dim=dim, regularization=regularization, alpha=alpha, seed=0)
        scores = playlists @ tracks.T
        scores[known.nonzero()] = -np.inf
        above = (scores[rows] > scores[rows, columns][:, None]).sum(axis=1)
        found.append(np.mean(above < K))
    return float(np.mean(found))


def main() -> None:
    """Print recall for each combination, and mark the demo's."""
    print(f"{'dim':>4} {'regularization':>15} {'alpha':>6} {'recall@5':>9}")
    for dim in DIMS:
        for regularization in REGULARIZATIONS:
            for alpha in ALPHAS:
                mark = "  <- demo" if (dim, regularization, alpha) == (DIM, REGULARIZATION, ALPHA) else ""
                print(f"{dim:4d} {regularization:15g} {alpha:6g} {recall(dim, regularization, alpha):9.3f}{mark}")


if __name__ == "__main__":
    main()
