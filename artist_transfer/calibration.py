"""How far each projected vector may be trusted: predicted from what is known when it is projected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from artist_transfer.catalogue import CatalogueRows
from artist_transfer.credits import IntArray, Role
from artist_transfer.ranking import row_cosine, unit_rows
from artist_transfer.types import FloatArray

# Weight of the penalty that keeps signs from being fitted to a few tracks, in tracks.
_PENALTY = 10.0

# A step of the curve holds at least so many tracks: a mean of fewer cosines is noise.
_STEP = 25

_SIGNS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Expected cosine between a projected vector and the true one.

    A linear score of the signs (see `signs`) is brought to the cosines that were seen by a monotone curve (isotonic
    regression: pool adjacent violators, Ayer et al. 1955), linear between its knots.

    Attributes
    ----------
    weights : ndarray, shape (10,), float32
    scores, cosines : ndarray, shape (knots,), float32
        The curve; scores ascend, cosines do not fall and lie in [0, 1].
    """

    weights: FloatArray
    scores: FloatArray
    cosines: FloatArray

    @classmethod
    def fit(cls, signs_: FloatArray, cosine: npt.NDArray[np.float64]) -> Calibration:
        """Learn from tracks whose true vector was hidden.

        Parameters
        ----------
        signs_ : ndarray, shape (n, 10), float32
            From `signs`; n at least 1.
        cosine : ndarray, shape (n,), float64
            Between the projected and the true vector.
        """
        given = signs_.astype(np.float64)
        penalty = np.eye(given.shape[1]) * _PENALTY
        penalty[0, 0] = 1e-9  # the constant
        weights = np.linalg.solve(given.T @ given + penalty, given.T @ cosine).astype(np.float32)
        score = signs_ @ weights
        order = np.argsort(score, kind="stable")
        parts = np.array_split(order, max(1, order.size // _STEP))
        # Where scores are the same, so is the answer: those steps are one.
        knots, step = np.unique(np.array([score[part].mean() for part in parts]), return_inverse=True)
        size = np.bincount(step, [part.size for part in parts]).astype(np.float64)
        mean = np.bincount(step, [cosine[part].sum() for part in parts]) / size
        levels = _monotone(mean, size)
        return cls(weights, knots.astype(np.float32), np.clip(levels, 0.0, 1.0).astype(np.float32))

    def of(self, signs_: FloatArray) -> FloatArray:
        """Confidence for signs (m, 10); shape (m,), float32, in [0, 1]."""
        found: FloatArray = np.interp(signs_ @ self.weights, self.scores, self.cosines).astype(np.float32)
        return found

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """All numbers by name, as they are saved."""
        return {f"calibration.{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[np.generic]]) -> Calibration:
        """Rebuild what `tensors` gave; raises KeyError or ValueError where they do not fit."""
        weights, scores, cosines = (
            np.array(tensors[f"calibration.{field.name}"], dtype=np.float32) for field in fields(cls)
        )
        if weights.shape != (_SIGNS,) or scores.ndim != 1 or scores.shape != cosines.shape or scores.size == 0:
            raise ValueError(f"calibration of shapes {weights.shape}, {scores.shape}, {cosines.shape}")
        return cls(weights, scores, cosines)


def signs(
    vectors: FloatArray, selected: CatalogueRows, collaborative: FloatArray, content_known: npt.NDArray[np.bool_]
) -> FloatArray:
    """Gather what tells a sure projection from a guess.

    A constant; whether there is a catalogue, whether a primary artist's tracks are in it (a guest's alone say less),
    its size (log(1 + n) and 1 / n) and how much its tracks agree (length of the mean of their directions, also beside
    1 / n); the cosine of the projected vector with that mean; whether the content is known, and whether it is all
    there is.

    Parameters
    ----------
    vectors : ndarray, shape (m, dim), float32
        Projected vectors.
    selected : CatalogueRows
        Catalogues of the m targets; may be empty.
    collaborative : ndarray, shape (n, dim), float32
        Of the catalogue's tracks.
    content_known : ndarray, shape (m,), bool

    Returns
    -------
    ndarray, shape (m, 10), float32
    """
    sizes = selected.sizes
    has = sizes > 0
    primary = np.zeros(sizes.size, dtype=np.bool_)
    primary[np.repeat(np.arange(sizes.size), sizes)[selected.roles == Role.PRIMARY]] = True
    mean = np.zeros_like(vectors)
    if has.any():
        used, place = np.unique(selected.rows, return_inverse=True)
        mean = _sums(unit_rows(collaborative[used]), place, selected.indptr)
        mean /= np.maximum(sizes, 1).astype(np.float32)[:, None]
    agreement = np.linalg.norm(mean, axis=1)
    reciprocal = has / np.maximum(sizes, 1)
    columns = (
        np.ones(sizes.size),
        has,
        primary,
        np.log1p(sizes),
        reciprocal,
        agreement,
        agreement * reciprocal,
        row_cosine(vectors, mean),
        content_known,
        content_known & ~has,
    )
    return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)


def _sums(values: FloatArray, rows: IntArray, indptr: IntArray) -> FloatArray:
    """Sum rows of `values` (n, dim), named one group behind the other; 0 for an empty group. Shape (m, dim)."""
    import torch

    # Nothing is gathered: ten times as fast as np.add.reduceat.
    summed: FloatArray = torch.nn.functional.embedding_bag(
        torch.from_numpy(rows), torch.from_numpy(values), torch.from_numpy(indptr), mode="sum", include_last_offset=True
    ).numpy()
    return summed


def _monotone(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Find the closest sequence that does not fall, in weighted squares: pool adjacent violators."""
    levels: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        level, mass, length = value, weight, 1
        while levels and levels[-1][0] >= level:
            above, more, count = levels.pop()
            level = (level * mass + above * more) / (mass + more)
            mass, length = mass + more, length + count
        levels.append((level, mass, length))
    return np.repeat([level for level, _, _ in levels], [length for _, _, length in levels])
