"""Vectors as the float16 codes of an index: encoded from all rows of a table, or patched where few rows are new."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index.types import Float32Array, Int64Array, Metric

Codes = npt.NDArray[np.float16]
"""Shape (n, dim): vectors times the index's scale, of unit length before that where the metric is cosine."""

# Elements are scaled by a power of two (which changes no digit) so that the largest lies below 2**14: below float16's
# 65,504 with room for sums, and with 28 powers of two above its smallest normal number, 2**-14.
_LARGEST_EXPONENT = 14
_LARGEST_CODE = float(np.finfo(np.float16).max)
_MAGNITUDE = 0x7FFF  # all bits but the sign
_HALF_OF_LARGEST = int(np.float16(2.0 ** (_LARGEST_EXPONENT - 1)).view(np.uint16))


def unit(vectors: Float32Array) -> Float32Array:
    """Scale rows to length 1; computed in float64, as squares of large or small float32 values leave their range."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def power_of_two_scale(largest: float) -> float:
    """Give the power of two that brings the largest absolute value into (2**13, 2**14]."""
    if largest <= 0.0:
        return 1.0
    return 2.0 ** max(min(_LARGEST_EXPONENT - math.ceil(math.log2(largest)), 100), -100)


_UNIT_SCALE = power_of_two_scale(1.0)


def encode(
    batches: Callable[[], Iterable[Float32Array]], place: Int64Array, dim: int, metric: Metric
) -> tuple[Any, float]:
    """Encode all vectors of a table.

    Parameters
    ----------
    batches : callable
        Gives the vectors in the table's order, float32 of shape (some, dim). Read to the end a second time only where
        the first batch does not hold elements of the largest magnitude; one batch at a time is in memory.
    place : ndarray of int64, shape (n,)
        Row of the index for each row of the table.

    Returns
    -------
    (index, scale) : faiss.IndexScalarQuantizer of n rows, and float
    """
    index = empty_index(len(place), dim)
    codes = codes_of(index)
    if metric is Metric.COSINE:
        scale = _UNIT_SCALE
        _fill(codes, place, (unit(vectors) for vectors in batches()), scale)
        return index, scale
    scale = power_of_two_scale(next((_largest(vectors) for vectors in batches()), 0.0))
    right = power_of_two_scale(_fill(codes, place, batches(), scale))
    if right != scale:
        _fill(codes, place, batches(), right)
    return index, right


def _fill(codes: Codes, place: Int64Array, batches: Iterable[Float32Array], scale: float) -> float:
    """Encode as long as nothing overflows, and give the largest absolute value."""
    largest, start = 0.0, 0
    for vectors in batches:
        largest = max(largest, _largest(vectors))
        if largest * scale <= _LARGEST_CODE:
            codes[place[start : start + len(vectors)]] = vectors * np.float32(scale)
        start += len(vectors)
    return largest


def patch(before: Codes, scale: float, kept: Int64Array, vectors: Float32Array, metric: Metric) -> Any | None:
    """Copy the codes of rows whose vectors are as they were and encode the others: bit for bit what `encode` gives.

    Parameters
    ----------
    before : Codes of shape (m, dim)
        Of what `encode` or `patch` gave with this scale, m at least 1.
    kept : ndarray of int64, shape (n,)
        Row of `before` for each row of the index; -1 where the next one of `vectors` stands.
    vectors : ndarray of float32, shape (number of -1 in `kept`, dim)

    Returns
    -------
    faiss.IndexScalarQuantizer of n rows, or None
        None where all the vectors together may have another scale, so that no code can be taken over.
    """
    index = empty_index(len(kept), before.shape[1])
    codes = codes_of(index)
    before.take(kept, axis=0, out=codes, mode="clip")  # -1 takes row 0, which is written over
    new = np.flatnonzero(kept < 0)
    if metric is Metric.COSINE:
        vectors = unit(vectors)
    else:
        codes[new] = 0
        largest = _largest(vectors)
        wanted = power_of_two_scale(largest) if largest else math.inf  # vectors of zeros want none
        # Of the kept vectors only the codes are known. The largest one was in (2**13, 2**14] before it was rounded: it
        # gives the same scale again if it is still there, and above 2**13 after rounding.
        if wanted < scale or (wanted > scale and _largest_magnitude(codes) <= _HALF_OF_LARGEST):
            return None
    codes[new] = vectors * np.float32(scale)
    return index


def _largest(vectors: Float32Array) -> float:
    return max(float(vectors.max(initial=0.0)), -float(vectors.min(initial=0.0)))


def _largest_magnitude(codes: Codes) -> int:
    # As integers, float16 numbers of one sign are ordered by magnitude; NumPy's own maximum of them is slow.
    positive, negative = codes.view(np.int16).max(initial=0), codes.view(np.uint16).max(initial=0) & _MAGNITUDE
    return max(int(positive), int(negative))


def empty_index(count: int, dim: int) -> Any:
    """Make an index whose codes are still to be written, in its own memory: a copy of them would double the peak."""
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.codes.resize(count * index.code_size)
    index.ntotal = count
    return index


def codes_of(index: Any) -> Codes:
    """View the codes of an index, which may be written to and live as long as it does."""
    if not index.ntotal:
        return np.zeros((0, index.d), dtype=np.float16)
    flat: Any = faiss.rev_swig_ptr(index.codes.data(), index.ntotal * index.code_size)
    codes: Codes = flat.view(np.float16).reshape(index.ntotal, index.d)
    return codes
