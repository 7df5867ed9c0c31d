"""How one training of the recommender lies to another: the rotation and scale that carry the one into the other.

Two trainings on the same listens may agree on everything that matters and share no coordinate: a factorisation is
determined up to a rotation at best. What is left after the best rotation and scale is what has really changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from artist_transfer.errors import NotEnoughTracksError, TransferInputError
from artist_transfer.types import FloatArray, finite_matrix

HELD_OUT_FROM = 100
"""From so many tracks on one in ten is held out: fewer would make a residual of a handful of tracks."""

_BLOCK = 65_536  # rows brought to float64 at once: 64 MiB at 128 dimensions

DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Alignment:
    """The map from an older training into a newer one, as its shared tracks have it.

    Attributes
    ----------
    rotation : ndarray, shape (old_dim, new_dim), float64
        With orthonormal rows where the dimension grows or stays, orthonormal columns where it shrinks or stays.
    scale : float
        At least 0; 0 where the trainings have nothing in common.
    residual : float
        |scale X rotation - Y| / |Y| (Frobenius), X the old and Y the new vectors of the tracks that were held out: 0
        for a rotated and scaled copy, about 1 for trainings that have nothing in common, a little above where chance
        was fitted. Where none was held out it is over the tracks that were fitted, which flatters.
    fitted, held_out : int
        Tracks that the map was fitted on, and others that the residual was measured on; 0 where there were too few.
    """

    rotation: DoubleArray
    scale: float
    residual: float
    fitted: int
    held_out: int

    @classmethod
    def fit(cls, old: npt.ArrayLike, new: npt.ArrayLike, *, seed: int = 0) -> Alignment:
        """Fit the map on tracks that both trainings know.

        The rotation is U V' of the singular value decomposition U S V' of X'Y (Schoenemann, "A generalized solution of
        the orthogonal Procrustes problem", Psychometrika 31, 1966); the scale that goes with it by least squares is
        tr(S) / |X rotation|^2. Together they leave the least residual where the dimension stays or grows. Where it
        shrinks that least has no closed form, and U V' is the projection whose images agree most with Y.

        Parameters
        ----------
        old : array_like, shape (n, old_dim), float32
        new : array_like, shape (n, new_dim), float32
            The same tracks in the same order. A track that is zero in either has no direction and is left out.
        seed : int
            Of the tenth that is held out, from `HELD_OUT_FROM` tracks on and where enough are left to fit.

        Returns
        -------
        Alignment

        Raises
        ------
        TransferInputError
            ``NOT_NUMERIC``, ``SHAPE_MISMATCH`` or ``NOT_FINITE``.
        NotEnoughTracksError
            ``NOT_ENOUGH_TRACKS``: fewer tracks that are not zero than the smaller dimension, which determine no map.
        """
        before = finite_matrix(old, "old")
        after = finite_matrix(new, "new", rows=len(before))
        usable = np.flatnonzero(before.any(axis=1) & after.any(axis=1))
        needed = min(before.shape[1], after.shape[1])
        if usable.size < needed:
            raise NotEnoughTracksError(
                f"Only {usable.size} shared tracks have vectors other than zero in both trainings and {needed} are "
                "needed to align them; compare trainings that share more tracks.",
                reason="NOT_ENOUGH_TRACKS",
                field="old",
            )
        held = usable.size // 10 if usable.size >= HELD_OUT_FROM else 0
        held = held if usable.size - held >= needed else 0
        shuffled = np.random.default_rng(seed).permutation(usable)
        fitted = np.sort(shuffled[held:])
        rotation, scale = _procrustes(before, after, fitted)
        judged = np.sort(shuffled[:held]) if held else fitted
        missed = total = 0.0
        for x, y in _blocks(before, after, judged):
            missed += float(np.square(scale * (x @ rotation) - y).sum())
            total += float(np.square(y).sum())
        return cls(rotation, scale, float(np.sqrt(missed / total)), int(fitted.size), held)

    def carry(self, vectors: npt.ArrayLike) -> FloatArray:
        """Bring vectors of the old training to where the new one would have them.

        Parameters
        ----------
        vectors : array_like, shape (n, old_dim), float32

        Returns
        -------
        ndarray, shape (n, new_dim), float32
            Where the dimension stays or grows, inner products are those of `vectors` times the scale squared.

        Raises
        ------
        TransferInputError
            ``NOT_NUMERIC``, ``SHAPE_MISMATCH`` or ``NOT_FINITE``.
        """
        matrix = finite_matrix(vectors, "vectors")
        if matrix.shape[1] != len(self.rotation):
            raise TransferInputError(
                f"vectors have {matrix.shape[1]} dimensions and the old training {len(self.rotation)}; give vectors of "
                "the training that is carried over.",
                reason="SHAPE_MISMATCH",
                field="vectors",
            )
        return (self.scale * (matrix.astype(np.float64) @ self.rotation)).astype(np.float32)


def _procrustes(before: FloatArray, after: FloatArray, rows: npt.NDArray[np.intp]) -> tuple[DoubleArray, float]:
    cross = np.zeros((before.shape[1], after.shape[1]))
    for x, y in _blocks(before, after, rows):
        cross += x.T @ y
    left, singular, right = np.linalg.svd(cross, full_matrices=False)
    rotation: DoubleArray = left @ right
    length = sum(float(np.square(x @ rotation).sum()) for x, _ in _blocks(before, after, rows))
    # Nothing is left of X only where the trainings have nothing in common, so that tr(S) is 0 as well.
    return rotation, float(singular.sum()) / length if length > 0.0 else 0.0


def _blocks(
    before: FloatArray, after: FloatArray, rows: npt.NDArray[np.intp]
) -> Iterator[tuple[DoubleArray, DoubleArray]]:
    for start in range(0, rows.size, _BLOCK):
        some = rows[start : start + _BLOCK]
        yield before[some].astype(np.float64), after[some].astype(np.float64)
