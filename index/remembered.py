"""What was computed from a table, kept for as long as the table stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pyarrow as pa

from index.tables import Table

T = TypeVar("T")


class Remembered:
    """What was computed from a table, until the table has another version.

    Parameters
    ----------
    table : Table
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        # Value and version in one, so that no thread pairs the one with another's.
        self._known: tuple[Any, int] | None = None

    def at(self, compute: Callable[[pa.Table], T]) -> tuple[T, int]:
        """Give ``compute(all rows)``, computed at most once a version, and the version."""
        handle = self._table.latest()
        known = self._known
        if known is None or known[1] != handle.version:
            known = self._known = compute(self._table.read(handle=handle)), int(handle.version)
        return known

    def get(self, compute: Callable[[pa.Table], T]) -> T:
        """Give ``compute(all rows)``, computed at most once a version."""
        return self.at(compute)[0]

    def known(self, compute: Callable[[pa.Table], T]) -> T:
        """Give what was computed last, whatever the table holds by now; asks the disk only the first time."""
        known = self._known
        if known is None:
            return self.get(compute)
        value: T = known[0]
        return value

    def find(self, key: str, compute: Callable[[pa.Table], Mapping[str, T]]) -> T | None:
        """Look a key up in what `get` gives, for tables whose rows never change: only an unknown key asks the disk."""
        known = self._known
        if known is not None and key in known[0]:
            found: T = known[0][key]
            return found
        return self.get(compute).get(key)
