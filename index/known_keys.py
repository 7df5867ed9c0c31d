"""The keys of a table, remembered as hashes: what is new is then known to be new without a look into the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from index.table_reads import rows_where
from index.types import Int64Array

# New ones are kept in a set, 60 bytes each, until there are so many that sorting them in costs little for each.
_SORTED_IN = 65_536


class KnownKeys:
    """The keys of one table at one of its versions; 8 bytes a key.

    Nothing is ever forgotten, so that a key that was deleted counts as one that may be there. One thread at a time may
    change it, any number may ask meanwhile.
    """

    def __init__(self) -> None:
        # All in one, so that no thread pairs a version with another's keys.
        self._state: tuple[int, Int64Array, set[int]] = (-1, np.empty(0, np.int64), set())

    @property
    def version(self) -> int:
        """Of the table; -1 before the first look."""
        return self._state[0]

    def follow(self, dataset: Any, key: str) -> None:
        """Look what was written up to the version of a handle on the table; all of it the first time."""
        if dataset.version > self.version:
            rows = rows_where(dataset, [key], None, self.version if self.version >= 0 else None)
            for chunk in rows[key].chunks:
                self._add(chunk.to_pylist())
            self._state = (int(dataset.version), *self._state[1:])

    def wrote(self, keys: Iterable[str], version: int) -> None:
        """Note the keys of all that was written between the version known and this one."""
        self._add(keys)
        self._state = (version, *self._state[1:])

    def possible(self, keys: Sequence[str], version: int) -> list[str]:
        """Leave out those of some keys that the table surely lacks at a version; none where that one is not known."""
        known, in_order, added = self._state
        if known != version or not keys:
            return list(keys)
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
        at = np.minimum(np.searchsorted(in_order, hashes), max(0, len(in_order) - 1))
        there = in_order[at] == hashes if len(in_order) else np.zeros(len(keys), dtype=bool)
        return [one for one, is_there in zip(keys, there.tolist(), strict=True) if is_there or hash(one) in added]

    def _add(self, keys: Iterable[str]) -> None:
        version, in_order, added = self._state
        added.update(map(hash, keys))
        if len(added) > _SORTED_IN:
            more = np.fromiter(added, np.int64, len(added))
            self._state = version, np.union1d(in_order, more), set()
