"""Content vectors made ready for a regression, with a mark where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.evaluation.benchmark_folder import FloatArray


@dataclass(frozen=True, eq=False)
class ContentScale:
    """Standardises each number of a content vector by the warm tracks.

    Attributes
    ----------
    mean, deviation : ndarray, shape (content_dim,), float32
        Of the warm tracks whose content is known; 0 and 1 where none is.
    """

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def of(cls, content: FloatArray) -> ContentScale:
        """Learn from content of shape (n, content_dim), rows of NaN where it is not known."""
        known = content[~np.isnan(content[:, 0])].astype(np.float64)
        if len(known) == 0:
            width = content.shape[1]
            return cls(np.zeros(width, dtype=np.float32), np.ones(width, dtype=np.float32))
        deviation = known.std(axis=0)
        return cls(known.mean(axis=0).astype(np.float32), np.where(deviation > 0, deviation, 1.0).astype(np.float32))

    @property
    def width(self) -> int:
        """Numbers in a row of `features`."""
        return self.mean.size + 1

    def standardised(self, content: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return the standardised rows, zeros where not known, and whether each is known."""
        known = ~np.isnan(content[:, 0])
        rows = np.where(known[:, None], (content - self.mean) / self.deviation, np.float32(0.0))
        return rows.astype(np.float32), known

    def features(self, content: FloatArray) -> FloatArray:
        """Standardised rows with one more number: 1 where the content is not known; shape (n, `width`)."""
        rows, known = self.standardised(content)
        return np.concatenate([rows, (~known)[:, None]], axis=1).astype(np.float32)
