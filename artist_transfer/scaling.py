"""How content and space are brought to the network's units, and back."""

from dataclasses import dataclass

import numpy as np

from artist_transfer.types import FloatArray

# Below this share of the largest spread a descriptor counts as constant: it is centred and left at that.
_CONSTANT = 1e-6


@dataclass(frozen=True, eq=False)
class Scaling:
    """Statistics of the training tracks.

    Attributes
    ----------
    content_mean, content_spread : ndarray, shape (content_dim,), float32
        Content is standardised as (c - mean) / spread; the spread (standard deviation) of a constant is 1.
    space_scale : float
        The space is divided by this ONE number, its largest absolute coordinate, so that it lies in [-1, 1] and keeps
        its geometry.
    """

    content_mean: FloatArray
    content_spread: FloatArray
    space_scale: float

    @classmethod
    def of(cls, content: FloatArray, collaborative: FloatArray) -> "Scaling":
        """Measure `content`, shape (n, content_dim), and `collaborative`, shape (n, dim), n at least 1."""
        spread = content.std(axis=0, dtype=np.float64)
        widest = float(spread.max())
        spread[spread <= _CONSTANT * widest] = 1.0
        scale = float(np.abs(collaborative).max())
        return cls(
            content_mean=content.mean(axis=0, dtype=np.float64).astype(np.float32),
            content_spread=spread.astype(np.float32),
            space_scale=scale if scale > 0.0 else 1.0,
        )

    def content(self, content: FloatArray) -> FloatArray:
        """Standardise content; the shape of `content`, float32."""
        standard: FloatArray = (content - self.content_mean) / self.content_spread
        return standard
