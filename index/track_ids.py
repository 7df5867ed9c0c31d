"""The ids of an index's rows: in one piece of memory, found by bisection, handed out as strings."""

from __future__ import annotations

import bisect
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.types import Int64Array

# Up to here a string is cut out for each row: 100 take 15 us, where Arrow takes 40 to begin with.
_CUT_OUT = 1000
# A bisection takes about 10 us among a million ids, a pass over them 20 ms.
_BISECTED = 1024


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
        _, ends, text = ids.buffers()
        offsets = np.frombuffer(ends, dtype=np.int32, count=len(ids) + 1, offset=4 * ids.offset) if len(ids) else [0]
        first = int(offsets[0])
        self._offsets = np.array(offsets, dtype=np.int32) - np.int32(first)
        self._text = text.slice(first, int(self._offsets[-1])).to_pybytes() if len(ids) else b""
        self.array: pa.Array = pa.StringArray.from_buffers(
            len(ids), pa.py_buffer(self._offsets), pa.py_buffer(self._text)
        )

    def __len__(self) -> int:
        return len(self.array)

    def at(self, rows: Int64Array) -> list[str]:
        """Give the ids of some rows, in their order."""
        if len(rows) > _CUT_OUT:
            return list(self.array.take(pa.array(rows)).to_pylist())
        starts, ends, text = self._offsets[rows].tolist(), self._offsets[rows + 1].tolist(), self._text
        return [text[start:end].decode() for start, end in zip(starts, ends, strict=True)]

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
