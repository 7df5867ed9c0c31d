"""How far a projected vector may be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from artist_transfer.credits import IntArray
from artist_transfer.types import FloatArray

SIZE_BINS = (1, 2, 4, 8)
"""The smallest catalogue size of each bin: 1, 2 to 3, 4 to 7, 8 and more."""

# A bin with so many tracks counts as much as the mean over all bins.
_SHRINKAGE = 8.0


@dataclass(frozen=True)
class ConfidenceTable:
    """Expected cosine between the projected and the true vector, clipped to [0, 1].

    Attributes
    ----------
    artist_transfer : tuple of float
        By catalogue size, one for each of `SIZE_BINS`.
    audio_only : float
        Without a catalogue.
    """

    artist_transfer: tuple[float, ...]
    audio_only: float

    @classmethod
    def estimate(
        cls,
        sizes: IntArray,
        agreement: npt.NDArray[np.float64],
        audio_only: npt.NDArray[np.float64],
    ) -> "ConfidenceTable":
        """Make the table from tracks whose true vector is known but was hidden.

        Each bin's mean is drawn towards the mean of the tier, as strongly as 8 tracks would. Where nothing was
        measured the confidence is 0: nothing is known.

        Parameters
        ----------
        sizes : ndarray, shape (n,), int64
            Catalogue sizes, at least 1.
        agreement : ndarray, shape (n,), float64
            Cosines at those sizes.
        audio_only : ndarray, shape (m,), float64
            Cosines of predictions from content alone.
        """
        overall = float(agreement.mean()) if agreement.size else 0.0
        bins = _bin(sizes)
        table = []
        for index in range(len(SIZE_BINS)):
            here = agreement[bins == index]
            table.append((float(here.sum()) + _SHRINKAGE * overall) / (here.size + _SHRINKAGE))
        alone = float(audio_only.mean()) if audio_only.size else 0.0
        return cls(tuple(_clip(value) for value in table), _clip(alone))

    @classmethod
    def from_json(cls, values: dict[str, float | Sequence[float]]) -> "ConfidenceTable":
        """Rebuild what `to_json` gave; raises ValueError, TypeError or KeyError where it is not one."""
        sizes, alone = values["artist_transfer"], values["audio_only"]
        if not isinstance(sizes, list) or len(sizes) != len(SIZE_BINS) or not isinstance(alone, float):
            raise ValueError(f"{len(SIZE_BINS)} numbers for artist_transfer and one for audio_only")
        table = cls(tuple(float(value) for value in sizes), alone)
        if not all(0.0 <= value <= 1.0 for value in (*table.artist_transfer, alone)):
            raise ValueError("numbers from 0 to 1")
        return table

    def to_json(self) -> dict[str, float | list[float]]:
        """Plain numbers, for the manifest."""
        return {"artist_transfer": list(self.artist_transfer), "audio_only": self.audio_only}

    def of(self, sizes: IntArray) -> FloatArray:
        """Confidence for catalogue sizes (m,), 0 meaning none; shape (m,), float32, in [0, 1]."""
        by_size = np.asarray([*self.artist_transfer, self.audio_only], dtype=np.float32)
        # Size 0 falls into bin -1: the last entry.
        found: FloatArray = by_size[_bin(sizes)]
        return found


def _bin(sizes: IntArray) -> IntArray:
    return np.searchsorted(np.asarray(SIZE_BINS), sizes, side="right").astype(np.int64) - 1


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
