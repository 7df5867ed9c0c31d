"""Drawing catalogue tracks for a whole epoch at once."""

import numpy as np

from artist_transfer.catalogue import CatalogueRows
from artist_transfer.credits import IntArray


def sample_catalogues(catalogues: CatalogueRows, width: int, rng: np.random.Generator) -> IntArray:
    """Draw up to `width` tracks from each catalogue, uniformly and without replacement.

    Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", CACM 30(9), 1987), for all targets side by side:
    for j from size - width to size - 1 draw t from 0..j and take t, or j where t is already taken. A catalogue of at
    most `width` tracks is taken whole.

    Parameters
    ----------
    catalogues : CatalogueRows
        Of m targets.
    width : int
        Tracks to draw, at least 1.
    rng : numpy.random.Generator
        The source of chance.

    Returns
    -------
    ndarray, shape (m, width), int64
        Rows of the warm tracks in no meaningful order, padded with -1 at the end.
    """
    places = sample_places(catalogues, width, rng)
    return np.where(places >= 0, catalogues.rows[np.maximum(places, 0)], -1) if catalogues.rows.size else places


def sample_places(catalogues: CatalogueRows, width: int, rng: np.random.Generator) -> IntArray:
    """Draw as `sample_catalogues` does; places in ``catalogues.rows`` instead of what stands there."""
    sizes = catalogues.sizes
    drawn = np.full((sizes.size, width), -1, dtype=np.int64)
    for step in range(width):
        last = sizes - width + step
        guess = rng.integers(0, np.maximum(last, 0) + 1)
        taken = (drawn[:, :step] == guess[:, None]).any(axis=1)
        pick = np.where(taken, last, guess)
        drawn[:, step] = np.where(sizes > width, pick, np.where(step < sizes, step, -1))
    return np.where(drawn >= 0, catalogues.indptr[:-1, None] + drawn, -1)
