"""The artist mean: a new track stands where its artists' tracks stand on average."""

import numpy as np

from artist_transfer.catalogue import Catalogue, CatalogueRows
from artist_transfer.model import FittedModel
from artist_transfer.types import ColdTracks, FloatArray

# Floats of catalogue vectors to gather at once: 64 MiB.
_GATHER = 2**24


def artist_means(selected: CatalogueRows, collaborative: FloatArray) -> FloatArray:
    """Take the plain mean over each target's merged catalogue.

    Parameters
    ----------
    selected : CatalogueRows
        Catalogues of m targets, none empty.
    collaborative : ndarray, shape (n, dim), float32
        Of the warm tracks.

    Returns
    -------
    ndarray, shape (m, dim), float32
    """
    m, dim = selected.sizes.size, collaborative.shape[1]
    means = np.empty((m, dim), dtype=np.float32)
    per_block = max(1, _GATHER // dim)
    begin = 0
    while begin < m:
        end = int(np.searchsorted(selected.indptr, selected.indptr[begin] + per_block, side="right")) - 1
        end = min(m, max(begin + 1, end))
        first, last = selected.indptr[begin], selected.indptr[end]
        sums = np.add.reduceat(
            collaborative[selected.rows[first:last]].astype(np.float64),
            selected.indptr[begin:end] - first,
            axis=0,
        )
        means[begin:end] = sums / selected.sizes[begin:end, None]
        begin = end
    return means


class ArtistMeanModel(FittedModel):
    """Reads a catalogue by its mean; every catalogue track counts the same."""

    def read_catalogues(
        self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `FittedModel.read_catalogues`."""
        weights = np.repeat(1.0 / selected.sizes, selected.sizes).astype(np.float32)
        return artist_means(selected, catalogue.tracks.collaborative), weights
