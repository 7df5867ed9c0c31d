"""What a track is apart from who listens to it, in the ranking network's units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from artist_transfer.types import NO_DATE, FloatArray, WarmTracks, content_known

# Below this share of the largest spread (or, for a single number, of its mean) a descriptor counts as constant: it is
# centred and left at that.
_CONSTANT = 1e-6

# Standardised descriptors are kept within so many standard deviations: a release of tomorrow is dated beyond all that
# was learned from, and a descriptor that was always the same may one day not be.
_WIDEST = 4.0


CONTENT_END = -3
"""Where a track's descriptors leave its content: behind it stand whether the content is known, day, whether that is."""


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Statistics of the warm tracks, and how tracks are described by them.

    Attributes
    ----------
    content_mean, content_spread : ndarray, shape (content_dim,), float32
        Of the known content vectors; the spread (standard deviation) of a constant is 1.
    day : ndarray, shape (2,), float32
        Mean and spread of the known release days.
    listens : ndarray, shape (2,), float32
        Mean and spread of log(1 + listens) of the tracks whose listens are known; (0, 1) where none are.
    length : ndarray, shape (1,), float32
        Mean length of the collaborative vectors: the network's unit.
    """

    content_mean: FloatArray
    content_spread: FloatArray
    day: FloatArray
    listens: FloatArray
    length: FloatArray

    @classmethod
    def of(cls, warm: WarmTracks) -> Descriptors:
        """Measure the warm tracks, at least one."""
        content = warm.content[warm.content_known].astype(np.float64)
        if content.shape[0] == 0:
            content = np.zeros((1, warm.content_dim))
        spread = content.std(axis=0)
        spread[spread <= _CONSTANT * max(float(spread.max()), np.finfo(np.float64).tiny)] = 1.0
        length = float(np.linalg.norm(warm.collaborative, axis=1).mean())
        return cls(
            content_mean=content.mean(axis=0).astype(np.float32),
            content_spread=spread.astype(np.float32),
            day=_mean_and_spread(warm.release_day[warm.release_day != NO_DATE].astype(np.float64)),
            listens=_mean_and_spread(np.log1p(warm.popularity[~np.isnan(warm.popularity)].astype(np.float64))),
            length=np.asarray([length if length > 0.0 else 1.0], dtype=np.float32),
        )

    @property
    def width(self) -> int:
        """Length of one track's descriptors."""
        return self.content_mean.size + 3

    def describe(self, content: FloatArray, release_day: npt.NDArray[np.int32]) -> FloatArray:
        """Describe tracks: content (0 where not known), whether it is known, release day, whether that is known.

        Parameters
        ----------
        content : ndarray, shape (n, content_dim), float32
            A row of NaN where not known.
        release_day : ndarray, shape (n,), int32

        Returns
        -------
        ndarray, shape (n, width), float32
        """
        known, dated = content_known(content), release_day != NO_DATE
        found = np.zeros((content.shape[0], self.width), dtype=np.float32)
        with np.errstate(over="ignore"):  # far out is far out
            standard = (content[known] - self.content_mean) / self.content_spread
        found[known, :CONTENT_END] = np.clip(standard, -_WIDEST, _WIDEST)
        found[:, CONTENT_END] = known
        days = (release_day[dated].astype(np.float32) - self.day[0]) / self.day[1]
        found[dated, -2] = np.clip(days, -_WIDEST, _WIDEST)
        found[:, -1] = dated
        return found

    def standard_listens(self, popularity: FloatArray) -> FloatArray:
        """Standardise log(1 + listens), shape (n,); 0 where not known."""
        found: FloatArray = ((np.log1p(popularity) - self.listens[0]) / self.listens[1]).astype(np.float32)
        found[np.isnan(found)] = 0.0
        return found

    def listens_of(self, standard: FloatArray) -> FloatArray:
        """Bring standardised log listens back to listens, at least 0; the shape of `standard`."""
        # Far beyond every count there is; without it a wild estimate would leave float32's range.
        log = np.clip(standard.astype(np.float64) * self.listens[1] + self.listens[0], 0.0, 60.0)
        listens: FloatArray = np.expm1(log).astype(np.float32)
        return listens

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """All statistics by name, as they are saved."""
        return {f"descriptors.{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[np.generic]], content_dim: int) -> Descriptors:
        """Rebuild what `tensors` gave; raises KeyError or ValueError where they do not fit."""
        sizes = {"content_mean": content_dim, "content_spread": content_dim, "day": 2, "listens": 2, "length": 1}
        return cls(
            **{
                name: np.array(tensors[f"descriptors.{name}"], dtype=np.float32).reshape(size)
                for name, size in sizes.items()
            }
        )


def _mean_and_spread(values: npt.NDArray[np.float64]) -> FloatArray:
    if values.size == 0:
        return np.asarray([0.0, 1.0], dtype=np.float32)
    mean, spread = float(values.mean()), float(values.std())
    return np.asarray([mean, spread if spread > _CONSTANT * abs(mean) else 1.0], dtype=np.float32)
