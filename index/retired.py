"""The marks of what is retired: rows that are only ever inserted, so that what was retired once stays so."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import pyarrow as pa

from index.layout import Home
from index.remembered import Remembered
from index.schemas import RETIRED
from index.tables import Table

Kind = Literal["snapshot", "space"]
Marks = dict[tuple[str, str], datetime]
"""When each (kind, id) was retired."""


class Retired:
    """The marks of one home.

    Parameters
    ----------
    home : Home
        Its table of marks is made with the first one.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._table: Table | None = None
        self._remembered: Remembered | None = None
        self._lock = threading.Lock()
        self.table()

    def table(self) -> Table | None:
        """Give the table; None before the first mark."""
        with self._lock:
            if self._table is None and self._home.exists(self._home.registry("retired")):
                self._open(Table(self._home.registry("retired"), "registry/retired", "name"))
            return self._table

    def _open(self, table: Table) -> Table:
        self._table, self._remembered = table, Remembered(table)
        return table

    def mark(self, kind: Kind, ids: Iterable[str], now: datetime) -> None:
        """Mark things as retired, durably; those that are so already keep their time."""
        rows = [{"name": f"{kind}/{one}", "kind": kind, "id": one, "retired_at": now} for one in ids]
        if not rows:
            return
        table = self.table()
        if table is None:
            with self._lock:
                address = self._home.registry("retired")
                table = self._open(Table.create(address, "registry/retired", "name", RETIRED.empty_table()))
        table.insert(pa.Table.from_pylist(rows, schema=RETIRED))

    def marks(self) -> Marks:
        """Give all marks as they are now."""
        if self.table() is None or self._remembered is None:
            return {}
        return self._remembered.get(_marks)

    def known(self) -> Marks:
        """Give the marks as this process saw them last; asks the disk only the first time."""
        return self._remembered.known(_marks) if self._remembered is not None else {}


def _marks(table: pa.Table) -> Marks:
    return {(row["kind"], row["id"]): row["retired_at"] for row in table.to_pylist()}
