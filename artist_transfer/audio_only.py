"""The tier below the artist's catalogue: from content alone to the collaborative space."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from artist_transfer.credits import IntArray
from artist_transfer.ranking import row_cosine, unit_rows
from artist_transfer.scaling import Scaling
from artist_transfer.types import FloatArray, WarmTracks

MIN_RIDGE_TRACKS = 20
"""With fewer tracks a linear map from hundreds of descriptors is noise; the nearest tracks' mean serves."""

CONTENT_NEIGHBOURS = 5

# Penalties tried, as multiples of the mean squared singular value of the standardised content.
_PENALTIES = np.logspace(-4.0, 4.0, 17)

# Rows that choose the penalty and estimate the agreement at most; more change neither by anything that matters.
_JUDGED = 20_000

# Leverage is kept this far from 1, where a left-out prediction has no finite value.
_LEVERAGE_ROOM = 1e-6

DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AudioOnly:
    r"""Content to collaborative vector.

    "ridge": :math:`\hat e = b + W \tilde c` with :math:`\tilde c` the standardised content. "neighbours": the mean
    of the 5 tracks nearest by cosine of the standardised content, weighted by (1 + cosine) / 2.

    Attributes
    ----------
    kind : {"ridge", "neighbours"}
    content_mean, content_spread : ndarray, shape (content_dim,), float32
        Of the warm tracks.
    left : ndarray, float32
        "ridge": W transposed, shape (content_dim, dim); "neighbours": standardised content, shape (n, content_dim).
    right : ndarray, float32
        "ridge": b, shape (1, dim); "neighbours": collaborative vectors, shape (n, dim).
    """

    kind: Literal["ridge", "neighbours"]
    content_mean: FloatArray
    content_spread: FloatArray
    left: FloatArray
    right: FloatArray

    def predict(self, content: FloatArray) -> FloatArray:
        """Collaborative vectors, shape (m, dim), float32, of `content`, shape (m, content_dim)."""
        standard = (content - self.content_mean) / self.content_spread
        # What is not known is taken for the average.
        standard = np.where(np.isnan(standard), np.float32(0.0), standard)
        if self.kind == "ridge":
            return (standard @ self.left + self.right).astype(np.float32, copy=False)
        return _neighbour_mean(standard, self.left, self.right, None)

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """All weights by name, as they are saved."""
        return {
            f"audio_only.{self.kind}.left": self.left,
            f"audio_only.{self.kind}.right": self.right,
            "audio_only.content_mean": self.content_mean,
            "audio_only.content_spread": self.content_spread,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[np.generic]], content_dim: int, dim: int) -> "AudioOnly":
        """Rebuild the level that `tensors` gave; raises KeyError or ValueError where they do not fit."""
        kind: Literal["ridge", "neighbours"] = "ridge" if "audio_only.ridge.left" in tensors else "neighbours"
        found = {
            name: np.asarray(tensors[f"audio_only.{name}"], dtype=np.float32)
            for name in ("content_mean", "content_spread", f"{kind}.left", f"{kind}.right")
        }
        left, right = found[f"{kind}.left"], found[f"{kind}.right"]
        rows = 1 if kind == "ridge" else left.shape[0]
        expected = {
            "content_mean": (content_dim,),
            "content_spread": (content_dim,),
            f"{kind}.left": (content_dim, dim) if kind == "ridge" else (rows, content_dim),
            f"{kind}.right": (rows, dim),
        }
        for name, shape in expected.items():
            if found[name].shape != shape:
                raise ValueError(f"audio_only.{name} has shape {found[name].shape} where {shape} is due")
        return cls(kind, found["content_mean"], found["content_spread"], left, right)


def fit_audio_only(warm: WarmTracks) -> tuple[AudioOnly, DoubleArray]:
    """Fit the audio-only level on all warm tracks whose content is known; without any, it gives their mean vector.

    From 20 tracks on it is a ridge regression, in closed form, with the penalty of the smallest leave-one-out error;
    below, the mean of the nearest tracks by content.

    Parameters
    ----------
    warm : WarmTracks
        At least one track.

    Returns
    -------
    model : AudioOnly
    agreement : ndarray, shape (judged,), float64
        Cosine between the true vector and the one predicted for the track when its whole (primary) artist is left
        out, as a track of this tier is by an artist without a catalogue; of at most 20,000 tracks. An artist with more
        than half of the tracks is left out track by track. Empty where a single track leaves nothing to predict from.
    """
    known = warm.content_known
    if not known.any():
        centre = warm.collaborative.mean(axis=0, keepdims=True)
        nothing = np.zeros(warm.content_dim, dtype=np.float32)
        flat = np.zeros((warm.content_dim, warm.dim), dtype=np.float32)
        return AudioOnly("ridge", nothing, nothing + 1.0, flat, centre), np.empty(0, dtype=np.float64)
    if not known.all():
        warm = warm.take(known)
    scaling = Scaling.of(warm.content, warm.collaborative)
    standard = scaling.content(warm.content)
    groups = _artist_groups(warm)
    if len(warm) < MIN_RIDGE_TRACKS:
        model = AudioOnly("neighbours", scaling.content_mean, scaling.content_spread, standard, warm.collaborative)
        if len(warm) == 1:
            return model, np.empty(0, dtype=np.float64)
        predicted = _neighbour_mean(standard, standard, warm.collaborative, groups)
        return model, row_cosine(predicted, warm.collaborative)
    weight, bias, agreement = _fit_ridge(standard, warm.collaborative, groups)
    return AudioOnly("ridge", scaling.content_mean, scaling.content_spread, weight, bias), agreement


def _artist_groups(warm: WarmTracks) -> IntArray:
    """Give the tracks that are to be left out together the same number; shape (n,)."""
    n = len(warm)
    alone = np.arange(n, dtype=np.int64) + len(warm.credits.artist_ids)
    artist = warm.credits.primary_artists()
    group = np.where(artist >= 0, artist, alone)
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    return np.where(counts[inverse] * 2 > n, alone, group)


def _neighbour_mean(
    queries: FloatArray, content: FloatArray, collaborative: FloatArray, groups: IntArray | None
) -> FloatArray:
    """Weighted mean of the nearest tracks; with `groups` each query is a track that sees other groups only."""
    cosine = unit_rows(queries) @ unit_rows(content).T
    weight = np.maximum((1.0 + cosine) / 2.0, np.finfo(np.float32).tiny)
    if groups is not None:
        weight = np.where(groups[:, None] == groups[None, :], np.float32(0.0), weight)
    order = np.argsort(-weight, axis=1, kind="stable")[:, :CONTENT_NEIGHBOURS]
    kept = np.take_along_axis(weight, order, axis=1)
    kept /= kept.sum(axis=1, keepdims=True)
    mean: FloatArray = np.einsum("mk,mkd->md", kept, collaborative[order]).astype(np.float32)
    return mean


def _fit_ridge(
    standard: FloatArray, collaborative: FloatArray, groups: IntArray
) -> tuple[FloatArray, FloatArray, DoubleArray]:
    r"""Ridge regression with an intercept that is not penalised.

    With the centred X = U S V^T, Z = X V and penalty p: W = V (S^2 + p)^-1 Z^T Y, the hat matrix is
    H = 1/n + Z (S^2 + p)^-1 Z^T, and what a group G of rows would get from a fit without it follows from the residuals
    r_G = y_G - yhat_G as y_G - (I - H_GG)^-1 r_G (leave-one-out: r / (1 - h)).
    """
    n, width = standard.shape
    target = collaborative.astype(np.float64)
    bias = target.mean(axis=0)
    target -= bias
    # Standardised content is centred; the Gram matrix of the shorter side has the same spectrum.
    if n <= width:
        values, left = np.linalg.eigh(standard.astype(np.float64) @ standard.T.astype(np.float64))
        kept = values > values[-1] * 1e-10
        values, basis = values[kept], standard.T @ left[:, kept] / np.sqrt(values[kept])
    else:
        gram = np.zeros((width, width))
        for begin in range(0, n, _JUDGED):
            block = standard[begin : begin + _JUDGED].astype(np.float64)
            gram += block.T @ block
        values, basis = np.linalg.eigh(gram)
        kept = values > values[-1] * 1e-10
        values, basis = values[kept], basis[:, kept]
    moment = np.zeros((values.size, target.shape[1]))
    for begin in range(0, n, _JUDGED):
        rows = slice(begin, begin + _JUDGED)
        moment += (standard[rows] @ basis).T @ target[rows]

    judged = _judged_rows(groups)
    scores = standard[judged] @ basis
    squared = scores**2
    truth = target[judged]
    best_error, penalty = np.inf, float(_PENALTIES[-1])
    for candidate in _PENALTIES * (float(values.mean()) if values.size else 1.0):
        shrunk = 1.0 / (values + candidate)
        room = np.maximum(1.0 - 1.0 / n - squared @ shrunk, _LEVERAGE_ROOM)
        error = float(np.mean(((truth - scores @ (shrunk[:, None] * moment)) / room[:, None]) ** 2))
        if error < best_error:
            best_error, penalty = error, float(candidate)

    coefficients = moment / (values + penalty)[:, None]
    left_out = _left_out(scores, truth - scores @ coefficients, 1.0 / (values + penalty), groups[judged], n)
    agreement = row_cosine((truth - left_out + bias).astype(np.float32), collaborative[judged])
    return (basis @ coefficients).astype(np.float32), bias[None, :].astype(np.float32), agreement


def _judged_rows(groups: IntArray) -> IntArray:
    """Whole groups, evenly spread, that hold about 20,000 rows at most; all rows of a smaller set."""
    if groups.size <= _JUDGED:
        return np.arange(groups.size, dtype=np.int64)
    unique, inverse = np.unique(groups, return_inverse=True)
    step = -(-groups.size // _JUDGED)
    return np.flatnonzero(inverse % step == 0).astype(np.int64) if unique.size > step else np.arange(_JUDGED)


def _left_out(scores: DoubleArray, residual: DoubleArray, shrunk: DoubleArray, groups: IntArray, n: int) -> DoubleArray:
    """Residual of each row (judged, dim) from a fit without the row's group."""
    order = np.argsort(groups, kind="stable")
    borders = np.flatnonzero(np.diff(groups[order])) + 1
    result = np.empty_like(residual)
    for rows in np.split(order, borders):
        part = scores[rows]
        hat = (part * shrunk) @ part.T + 1.0 / n
        room = np.eye(rows.size) * (1.0 + _LEVERAGE_ROOM) - hat
        result[rows] = np.linalg.solve(room, residual[rows])
    return result
