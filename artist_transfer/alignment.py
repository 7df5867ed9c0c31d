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
"""From so many tracks on one in ten is held out and judged; of fewer each tenth in turn."""

JUDGED_FROM = 20
"""From so many tracks on the alignment is judged on tracks that it was not fitted on: fewer would say nothing."""

_PARTS = 10

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
    cosine : float
        Mean cosine between carried and new vectors over the same tracks, 0 to 1 (0 as well where it is negative).
    fitted, held_out : int
        Tracks that the map was fitted on, and those that the residual was measured on without being fitted; 0 where
        there were too few. Below `HELD_OUT_FROM` both are all of them: each tenth is judged by a map that was fitted on
        the others (cross-validation).
    """

    rotation: DoubleArray
    scale: float
    residual: float
    cosine: float
    fitted: int
    held_out: int

    @classmethod
    def fit(cls, old: npt.ArrayLike, new: npt.ArrayLike, *, directions: bool = False, seed: int = 0) -> Alignment:
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
        directions : bool
            Whether only directions mean something: the rotation, the residual and the cosine are then those of vectors
            of length 1, and the scale makes carried vectors as long on average as the new ones.
        seed : int
            Of who is held out, from `JUDGED_FROM` tracks on and where enough are left to fit.

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
        parts = np.array_split(np.random.default_rng(seed).permutation(usable), _PARTS)
        enough = usable.size >= JUDGED_FROM and usable.size - max(part.size for part in parts) >= needed
        if enough and usable.size >= HELD_OUT_FROM:
            held = np.sort(parts.pop())
            fitted = np.sort(np.concatenate(parts))
            rotation, scale = _procrustes(before, after, fitted, directions)
            judgement = _judge(before, after, held, directions, rotation, scale)
        else:
            held, fitted = (usable if enough else usable[:0]), usable
            rotation, scale = _procrustes(before, after, fitted, directions)
            judgement = np.zeros(3)
            for part in parts if enough else ():
                others = _procrustes(before, after, np.setdiff1d(usable, part), directions)
                judgement += _judge(before, after, np.sort(part), directions, *others)
            if not enough:
                judgement = _judge(before, after, fitted, directions, rotation, scale)
        missed, total, cosines = judgement.tolist()
        cosine = min(1.0, max(0.0, cosines / (held.size or fitted.size)))
        if directions:
            scale = _length_ratio(before, after, fitted, rotation)
        return cls(
            rotation=rotation,
            scale=scale,
            residual=float(np.sqrt(missed / total)),
            cosine=cosine if scale > 0.0 else 0.0,
            fitted=int(fitted.size),
            held_out=int(held.size),
        )

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
        matrix = _vectors(vectors, len(self.rotation), "old", "that is carried over")
        return _mapped(matrix, self.rotation, self.scale)

    def back(self, vectors: npt.ArrayLike) -> FloatArray:
        """Bring vectors of the new training to where the old one would have had them.

        The transpose and the inverse of the scale: where the dimension stays or grows, what `carry` gave comes back.

        Parameters
        ----------
        vectors : array_like, shape (n, new_dim), float32

        Returns
        -------
        ndarray, shape (n, old_dim), float32

        Raises
        ------
        NotEnoughTracksError
            ``NOTHING_IN_COMMON`` where the scale is 0.
        TransferInputError
            ``NOT_NUMERIC``, ``SHAPE_MISMATCH`` or ``NOT_FINITE``.
        """
        self.require_common_ground()
        matrix = _vectors(vectors, self.rotation.shape[1], "new", "that is brought back")
        return _mapped(matrix, self.rotation.T, 1.0 / self.scale)

    def then(self, later: Alignment) -> Alignment:
        """Join this map with the one from its new training into a still newer one.

        Parameters
        ----------
        later : Alignment
            From the training that this one leads to.

        Returns
        -------
        Alignment
            Carries and brings back as the two do one after the other. Its residual and cosine are those of two losses
            that have nothing to do with each other: nothing was measured between the first training and the last.

        Raises
        ------
        TransferInputError
            ``SHAPE_MISMATCH`` where the one does not end in the dimension that the other begins in.
        """
        if self.rotation.shape[1] != len(later.rotation):
            raise TransferInputError(
                f"The alignments lead to {self.rotation.shape[1]} dimensions and on from {len(later.rotation)}; give "
                "the alignment that goes on from where this one leads.",
                reason="SHAPE_MISMATCH",
                field="later",
            )
        return Alignment(
            rotation=self.rotation @ later.rotation,
            scale=self.scale * later.scale,
            residual=float(np.hypot(self.residual, later.residual)),
            cosine=self.cosine * later.cosine,
            fitted=min(self.fitted, later.fitted),
            held_out=min(self.held_out, later.held_out),
        )

    def require_common_ground(self) -> None:
        """Refuse trainings that have nothing in common.

        Raises
        ------
        NotEnoughTracksError
            ``NOTHING_IN_COMMON`` where the scale is 0.
        """
        if not self.scale > 0.0:
            raise NotEnoughTracksError(
                f"The {self.fitted} shared tracks have nothing in common in the two trainings, so that nothing can be "
                "carried from one to the other; fit a transfer on the new one.",
                reason="NOTHING_IN_COMMON",
                field="alignment",
            )


def _vectors(values: npt.ArrayLike, dim: int, training: str, which: str) -> FloatArray:
    matrix = finite_matrix(values, "vectors")
    if matrix.shape[1] != dim:
        raise TransferInputError(
            f"vectors have {matrix.shape[1]} dimensions and the {training} training {dim}; give vectors of "
            f"the training {which}.",
            reason="SHAPE_MISMATCH",
            field="vectors",
        )
    return matrix


def _mapped(vectors: FloatArray, rotation: DoubleArray, scale: float) -> FloatArray:
    mapped = np.empty((len(vectors), rotation.shape[1]), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        some = slice(start, start + _BLOCK)
        mapped[some] = scale * (vectors[some].astype(np.float64) @ rotation)
    return mapped


def _judge(
    before: FloatArray,
    after: FloatArray,
    rows: npt.NDArray[np.intp],
    directions: bool,
    rotation: DoubleArray,
    scale: float,
) -> DoubleArray:
    """Sum over some tracks: the squares that a map misses, the squares that there are, and the cosines."""
    sums = np.zeros(3)
    for x, y in _blocks(before, after, rows, directions):
        carried = x @ rotation
        lengths = np.linalg.norm(carried, axis=1) * np.linalg.norm(y, axis=1)
        cosines = np.einsum("nd,nd->n", carried, y) / np.where(lengths > 0.0, lengths, 1.0)
        sums += np.square(scale * carried - y).sum(), np.square(y).sum(), cosines.sum()
    return sums


def _procrustes(
    before: FloatArray, after: FloatArray, rows: npt.NDArray[np.intp], directions: bool
) -> tuple[DoubleArray, float]:
    cross = np.zeros((before.shape[1], after.shape[1]))
    for x, y in _blocks(before, after, rows, directions):
        cross += x.T @ y
    left, singular, right = np.linalg.svd(cross, full_matrices=False)
    rotation: DoubleArray = left @ right
    length = sum(float(np.square(x @ rotation).sum()) for x, _ in _blocks(before, after, rows, directions))
    # Nothing is left of X only where the trainings have nothing in common, so that tr(S) is 0 as well.
    return rotation, float(singular.sum()) / length if length > 0.0 else 0.0


def _length_ratio(before: FloatArray, after: FloatArray, rows: npt.NDArray[np.intp], rotation: DoubleArray) -> float:
    """How much longer the new vectors are on average than the turned old ones; 0 where nothing is left of those."""
    carried = wanted = 0.0
    for x, y in _blocks(before, after, rows, directions=False):
        carried += float(np.linalg.norm(x @ rotation, axis=1).sum())
        wanted += float(np.linalg.norm(y, axis=1).sum())
    return wanted / carried if carried > 0.0 else 0.0


def _blocks(
    before: FloatArray, after: FloatArray, rows: npt.NDArray[np.intp], directions: bool
) -> Iterator[tuple[DoubleArray, DoubleArray]]:
    for start in range(0, rows.size, _BLOCK):
        some = rows[start : start + _BLOCK]
        x, y = before[some].astype(np.float64), after[some].astype(np.float64)
        if directions:
            x /= np.linalg.norm(x, axis=1, keepdims=True)
            y /= np.linalg.norm(y, axis=1, keepdims=True)
        yield x, y
