"""Vectors and ids as packed bytes: what both sides of the wire agree on. NumPy and generated code only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grpc_service.pb.anacrusis.v1 import common_pb2 as common

MAX_DIM = 65536  # far above any vector in use; keeps a wrong number from becoming an allocation

_DTYPES: dict[int, np.dtype[np.floating[Any]]] = {
    common.ELEMENT_TYPE_UNSPECIFIED: np.dtype("<f4"),
    common.ELEMENT_TYPE_FLOAT32: np.dtype("<f4"),
    common.ELEMENT_TYPE_FLOAT16: np.dtype("<f2"),
}


def pack_vectors(
    vectors: NDArray[np.floating[Any]], element_type: common.ElementType = common.ELEMENT_TYPE_FLOAT32
) -> common.PackedVectors:
    """Pack vectors for the wire.

    Parameters
    ----------
    vectors : ndarray, shape (n, dim) or (dim,)
        A single vector counts as one row.
    element_type : ElementType
        How each number is stored; unspecified means float32.

    Returns
    -------
    PackedVectors
        Row-major, little-endian.

    Raises
    ------
    ValueError
        When the element type is unknown.
    """
    if element_type not in _DTYPES:
        raise ValueError(f"Element type {element_type} is unknown; use FLOAT32 or FLOAT16.")
    rows = np.ascontiguousarray(np.atleast_2d(vectors), dtype=_DTYPES[element_type])
    stored = element_type or common.ELEMENT_TYPE_FLOAT32
    return common.PackedVectors(data=rows.tobytes(), dim=rows.shape[1], element_type=stored)


def unpack_vectors(packed: common.PackedVectors) -> NDArray[np.float32]:
    """Read vectors from the wire.

    Parameters
    ----------
    packed : PackedVectors
        As received; nothing in it is trusted.

    Returns
    -------
    ndarray of float32, shape (n, dim)
        Read-only where the bytes were float32 already: a view, not a copy. May hold NaN and infinities.

    Raises
    ------
    ValueError
        When the element type is unknown, the dimension out of range, or the bytes no whole number of rows; the
        sentence says which.
    """
    dtype = _DTYPES.get(packed.element_type)
    if dtype is None:
        raise ValueError(f"Element type {packed.element_type} is unknown; use FLOAT32 or FLOAT16.")
    if not 1 <= packed.dim <= MAX_DIM:
        raise ValueError(f"The dimension is {packed.dim}; give 1 to {MAX_DIM} beside the data.")
    row_bytes = packed.dim * dtype.itemsize
    if not packed.data or len(packed.data) % row_bytes:
        raise ValueError(
            f"The data has {len(packed.data)} bytes, which is no whole number of vectors of {packed.dim} elements "
            f"of {dtype.itemsize} bytes ({row_bytes} bytes each)."
        )
    rows = np.frombuffer(packed.data, dtype=dtype).reshape(-1, packed.dim)
    values: NDArray[np.float32] = rows.astype(np.float32, copy=False)
    return values


def pack_ids(ids: Sequence[str]) -> tuple[bytes, NDArray[np.uint32]]:
    """Put n ids one behind the other.

    Returns
    -------
    (text, lengths) : bytes, and ndarray of uint32, shape (n,)
        Their UTF-8, and how many bytes of it each has.
    """
    parts = [one.encode() for one in ids]
    return b"".join(parts), np.array([len(part) for part in parts], dtype=np.uint32)


def unpack_ids(text: bytes, lengths: NDArray[np.uint32]) -> tuple[str, ...]:
    """Read what `pack_ids` gives.

    Raises
    ------
    ValueError
        When the lengths are not those of the text's parts, or a part is no UTF-8.
    """
    places = [0, *np.cumsum(lengths, dtype=np.int64).tolist()]
    if places[-1] != len(text):
        raise ValueError(f"The {len(lengths)} ids have {places[-1]} bytes together, and {len(text)} have come.")
    if text.isascii():  # then bytes and characters are counted alike, and are decoded at once
        characters = text.decode("ascii")
        return tuple([characters[start:end] for start, end in pairwise(places)])
    return tuple([text[start:end].decode() for start, end in pairwise(places)])
