"""How content and space are brought to the network's units, and back."""

from dataclasses import dataclass

import numpy as np

from artist_transfer.types import FloatArray, content_known

# Below this share of the largest spread a descriptor counts as constant: it is centred and left at that.
_CONSTANT = 1e-6


@dataclass(frozen=True, eq=False)
class Scaling:
    """Statistics of the training tracks.

    Attributes
    ----------
    content_mean, content_spread : ndarray, shape (content_dim,), float32
        Of the tracks whose content is known. Content is standardised as (c - mean) / spread; the spread (standard
        deviation) of a constant is 1. Where no content is known the mean is 0.
    space_scale : float
        The space is divided by this ONE number, its largest absolute coordinate, so that it lies in [-1, 1] and keeps
        its geometry.
    """

    content_mean: FloatArray
    content_spread: FloatArray
    space_scale: float

    @classmethod
    def of(cls, content: FloatArray, collaborative: FloatArray) -> "Scaling":
        """Measure `content`, shape (n, content_dim), and `collaborative`, shape (n, dim), n at least 1.

        A row of NaN in `content` is not known and is left out.
        """
        known = content[content_known(content)]
        width = content.shape[1]
        mean = known.mean(axis=0, dtype=np.float64) if len(known) else np.zeros(width)
        spread = known.std(axis=0, dtype=np.float64) if len(known) else np.ones(width)
        spread[spread <= _CONSTANT * float(spread.max())] = 1.0
        scale = float(np.abs(collaborative).max())
        return cls(
            content_mean=mean.astype(np.float32),
            content_spread=spread.astype(np.float32),
            space_scale=scale if scale > 0.0 else 1.0,
        )

    def content(self, content: FloatArray) -> FloatArray:
        """Standardise content; the shape of `content`, float32, a row of zeros (the mean) where it is not known."""
        standard: FloatArray = (content - self.content_mean) / self.content_spread
        standard[~content_known(content)] = 0.0
        return standard
