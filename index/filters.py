"""From `Filters` to one bit a row, compiled once for each distinct filter."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import date

import numpy as np

from index.asked import Filters
from index.errors import InvalidQueryError
from index.rows import Columns, Vocabulary, day_number
from index.types import NO_DATE, Bitmap, BoolArray, Int32Array, Tier

# Compiled filters kept for one index: at a million rows each is 125 kB.
_KEPT = 32


def check_filters(filters: Filters) -> None:
    """Refuse filters that can only be a mistake.

    Raises
    ------
    InvalidQueryError
        Reason FILTER_INVALID.
    """

    def refuse(sentence: str, field: str) -> None:
        raise InvalidQueryError(sentence, reason="FILTER_INVALID", field=field)

    first, last = filters.released_from, filters.released_to
    for name, day in (("released_from", first), ("released_to", last)):
        if day is not None and type(day) is not date:
            refuse(f"{name} is {day!r}: give a date", name)
    if first is not None and last is not None and first > last:
        refuse(f"released_from {first} lies after released_to {last}: exchange them", "released_from")
    for name in ("artists_in", "artists_out", "tiers"):
        if not isinstance(getattr(filters, name), frozenset):
            refuse(f"{name} is no frozenset: filters are remembered by their value", name)
    if any(tier not in set(Tier) for tier in filters.tiers):
        refuse("tiers holds something that is no tier: use 1, 2 or 3", "tiers")
    both = filters.artists_in & filters.artists_out
    if both:
        refuse(f"artist {min(both)!r} is both to be included and left out: choose one", "artists_out")
    if filters.market == "":
        refuse("market is empty: leave it out, or name one", "market")


def passes(filters: Filters, rows: Columns, artists: Vocabulary, markets: Vocabulary) -> BoolArray:
    """Say which rows a filter lets through.

    Returns
    -------
    ndarray of bool, shape (len(rows),)
    """
    keep = np.ones(len(rows), dtype=bool)
    if filters.released_from is not None:
        # NO_DATE is the smallest int32 and so fails this by itself.
        keep &= rows.release_day >= day_number(filters.released_from)
    if filters.released_to is not None:
        keep &= (rows.release_day <= day_number(filters.released_to)) & (rows.release_day != NO_DATE)
    if filters.tiers:
        keep &= np.isin(rows.tiers, np.array(sorted(filters.tiers), dtype=np.int8))
    if filters.artists_in:
        keep &= _rows_with(rows.artist_offsets, rows.artist_codes, artists.known(filters.artists_in))
    if filters.artists_out:
        keep &= ~_rows_with(rows.artist_offsets, rows.artist_codes, artists.known(filters.artists_out))
    if filters.market is not None:
        unrestricted = rows.market_offsets[1:] == rows.market_offsets[:-1]
        keep &= unrestricted | _rows_with(rows.market_offsets, rows.market_codes, markets.known([filters.market]))
    return keep


def _rows_with(offsets: Int32Array, codes: Int32Array, wanted: Int32Array) -> BoolArray:
    """Rows that hold at least one of the wanted codes."""
    found = np.zeros(len(offsets) - 1, dtype=bool)
    where = np.flatnonzero(np.isin(codes, wanted))
    found[np.searchsorted(offsets, where, side="right") - 1] = True
    return found


def packed(keep: BoolArray) -> Bitmap:
    """Pack booleans into the bitmap that FAISS reads: row r is bit ``r % 8`` of byte ``r // 8``."""
    return np.packbits(keep, bitorder="little")


def unpacked(bitmap: Bitmap, count: int) -> BoolArray:
    """Undo `packed`."""
    return np.unpackbits(bitmap, count=count, bitorder="little").view(bool)


def count_bits(bitmap: Bitmap) -> int:
    """Count the rows that a bitmap selects."""
    return int(np.bitwise_count(bitmap).sum(dtype=np.int64))


class CompiledFilters:
    """The bitmaps of the filters used last, for rows that do not change. Safe to use from many threads.

    Parameters
    ----------
    rows : Columns
    artists, markets : Vocabulary
    """

    def __init__(self, rows: Columns, artists: Vocabulary, markets: Vocabulary) -> None:
        self._rows = rows
        self._artists = artists
        self._markets = markets
        self._kept: OrderedDict[Filters, Bitmap] = OrderedDict()
        self._lock = threading.Lock()

    def bitmap(self, filters: Filters) -> Bitmap:
        """Give the bitmap of the rows that pass, read-only."""
        with self._lock:
            found = self._kept.get(filters)
            if found is not None:
                self._kept.move_to_end(filters)
                return found
        # Compiled outside the lock: two threads may both do it once, none waits for another's filter.
        compiled = packed(passes(filters, self._rows, self._artists, self._markets))
        compiled.setflags(write=False)
        with self._lock:
            self._kept[filters] = compiled
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return compiled
