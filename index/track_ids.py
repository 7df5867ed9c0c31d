"""The ids of an index's rows: in one piece of memory, found by bisection, picked out without a string being made."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.types import Int32Array, Int64Array

# Up to here a piece of the text is cut out for each row: 100 take 13 us; Arrow takes 20 to begin with, and 0.2 ms for
# 25,600.
_CUT_OUT = 400
# A bisection takes about 10 us among a million ids, a pass over them 20 ms.
_BISECTED = 1024


def text_and_offsets(ids: pa.Array) -> tuple[bytes, Int32Array]:
    """Give the memory of an Arrow array of n strings without nulls: its UTF-8, and where each string begins and ends.

    Returns
    -------
    (text, offsets) : bytes, and ndarray of int32, shape (n + 1,)
        The offsets are counted from the beginning of the text; read-only.
    """
    if not len(ids):
        return b"", np.zeros(1, dtype=np.int32)
    _, ends, text = ids.buffers()
    offsets = np.frombuffer(ends, dtype=np.int32, count=len(ids) + 1, offset=4 * ids.offset)
    first, last = int(offsets[0]), int(offsets[-1])
    return text.slice(first, last - first).to_pybytes(), offsets if not first else offsets - np.int32(first)


@dataclass(frozen=True, eq=False)
class PackedIds:
    """n ids of which no string was made.

    Parameters
    ----------
    text : bytes
        Their UTF-8, one behind the other.
    offsets : ndarray of int32, shape (n + 1,)
        Where each begins in the text, and where the last one ends.
    """

    text: bytes
    offsets: Int32Array

    @classmethod
    def of(cls, ids: Iterable[str]) -> PackedIds:
        """Pack some strings."""
        return cls.of_pieces([one.encode() for one in ids])

    @classmethod
    def of_pieces(cls, pieces: Sequence[bytes]) -> PackedIds:
        """Pack the UTF-8 of some strings."""
        return cls(b"".join(pieces), np.cumsum([0, *map(len, pieces)], dtype=np.int32))

    def strings(self) -> list[str]:
        """Give them as strings."""
        places = pairwise(self.offsets.tolist())
        if self.text.isascii():  # then bytes and characters are counted alike, and are decoded at once
            characters = self.text.decode("ascii")
            return [characters[start:end] for start, end in places]
        return [self.text[start:end].decode() for start, end in places]

    def part(self, first: int, end: int) -> PackedIds:
        """Give those of some places."""
        offsets = self.offsets[first : end + 1]
        begin = offsets[0]
        return PackedIds(self.text[begin : offsets[-1]], offsets - begin)


def _table(text: bytes, offsets: Int32Array) -> NDArray[np.uint8] | None:
    """Lay out ids of one length, as ISRCs, UUIDs and most platforms' keys are, as rows of bytes; None for others.

    Some rows are picked out of it in a tenth of the time that ids of any lengths take.
    """
    width = int(offsets[1]) if len(offsets) > 1 else 0
    if not width or (np.diff(offsets) != width).any():
        return None
    return np.frombuffer(text, dtype=np.uint8).reshape(-1, width)


class TrackIds:
    """n ids in ascending order.

    Parameters
    ----------
    ids : pyarrow.Array of string, length n
        Ascending by the bytes of their UTF-8, which is by code point, which is how Python compares strings; no nulls.

    Attributes
    ----------
    array : pyarrow.Array of string, length n
        The same ids; it shares its memory with this object.
    """

    def __init__(self, ids: pa.Array) -> None:
        self._text, offsets = text_and_offsets(ids)
        self._offsets = np.array(offsets, dtype=np.int32)
        self.array: pa.Array = pa.StringArray.from_buffers(
            len(ids), pa.py_buffer(self._offsets), pa.py_buffer(self._text)
        )
        self._table = _table(self._text, self._offsets)

    def __len__(self) -> int:
        return len(self.array)

    def at(self, rows: Int64Array, further: Callable[[int], str] | None = None) -> PackedIds:
        """Give the ids of some rows, in their order.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
        further : callable, optional
            Names what lies beyond the rows of this object, counted from there.
        """
        beyond = np.flatnonzero(rows >= len(self)).tolist() if further is not None else []
        others = [further(row) for row in (rows[beyond] - len(self)).tolist()] if further is not None else []
        if self._table is not None and not beyond:
            width = self._table.shape[1]
            text = self._table.take(rows, axis=0).tobytes()
            return PackedIds(text, np.arange(0, len(text) + 1, width, dtype=np.int32))
        here = np.delete(rows, beyond) if beyond else rows
        if len(rows) > _CUT_OUT:
            ids = self.array.take(pa.array(here))
            if beyond:
                places = np.empty(len(rows), dtype=np.int64)
                places[np.delete(np.arange(len(rows)), beyond)] = np.arange(len(here))
                places[beyond] = len(here) + np.arange(len(beyond))
                ids = pa.concat_arrays([ids, pa.array(others, pa.string())]).take(pa.array(places))
            return PackedIds(*text_and_offsets(ids))
        bounds, text = zip(self._offsets[here].tolist(), self._offsets[here + 1].tolist(), strict=True), self._text
        pieces = [text[start:end] for start, end in bounds]
        for place, other in zip(beyond, others, strict=True):  # ascending: each finds those before it in place
            pieces.insert(place, other.encode())
        return PackedIds.of_pieces(pieces)

    def _bytes(self, row: int) -> bytes:
        return self._text[self._offsets[row] : self._offsets[row + 1]]

    def find(self, track_id: str) -> int:
        """Give the row of an id; -1 where it is not there."""
        wanted = track_id.encode(errors="surrogatepass")  # no id has any, and none is found
        row = bisect.bisect_left(range(len(self)), wanted, key=self._bytes)
        return row if row < len(self) and self._bytes(row) == wanted else -1

    def rows_of(self, wanted: Collection[str]) -> Int64Array:
        """Give the rows of some ids, in any order; those that are not there are left out."""
        if len(wanted) <= _BISECTED:
            found = np.array([self.find(track_id) for track_id in wanted], dtype=np.int64)
            return found[found >= 0]
        here = pc.is_in(self.array, value_set=pa.array(list(wanted), pa.string()))
        return np.flatnonzero(here.to_numpy(zero_copy_only=False))

    def places_among(self, others: TrackIds) -> Int64Array:
        """Give where among m other ids these stand, shape (n,); -1 where one is not there."""
        if self.array.equals(others.array):
            return np.arange(len(self))
        found = pc.index_in(self.array, value_set=others.array)
        return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)
