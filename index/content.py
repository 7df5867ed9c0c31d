"""The tables of content vectors, one an encoder, made when its first vector arrives."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from index.errors import InvalidVectorError
from index.layout import Home
from index.schemas import column_vectors, content_schema, content_table
from index.tables import Table
from index.types import Float32Array
from index.validation import check_id, check_name, check_vectors


class ContentTables:
    """The content vectors of a home.

    Parameters
    ----------
    home : Home
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._opened: dict[str, Table] = {}
        self._lock = threading.Lock()

    def table(self, encoder_id: str) -> Table | None:
        """Open an encoder's table; None before its first vector."""
        address = self._home.content(check_name(encoder_id, "encoder_id"))
        with self._lock:
            if encoder_id not in self._opened and self._home.exists(address):
                self._opened[encoder_id] = Table(address, f"content/{encoder_id}", "track_id")
            return self._opened.get(encoder_id)

    def opened(self) -> list[Table]:
        """List the tables in use."""
        with self._lock:
            return list(self._opened.values())

    def all(self) -> list[Table]:
        """Open the tables of all encoders."""
        return [table for name in self._home.encoder_ids if (table := self.table(name)) is not None]

    def check(self, encoder_id: str, rows: Iterable[tuple[str, Float32Array]]) -> None:
        """Refuse rows that the encoder's table could not hold.

        Raises
        ------
        InvalidIdError, InvalidVectorError
        """
        table = self.table(encoder_id)
        dim = _dim(table) if table is not None else None
        for track_id, vector in rows:
            check_id(track_id)
            check_vectors(np.asarray(vector)[None], dim=dim, names=[track_id], field="content")

    def create(self, encoder_id: str, dim: int) -> Table:
        """Give an encoder's table, made where there is none.

        Raises
        ------
        InvalidVectorError
            It holds vectors of another length.
        """
        table = self.table(encoder_id)
        if table is None:
            empty = content_schema(dim).empty_table()
            table = Table.create(self._home.content(encoder_id), f"content/{encoder_id}", "track_id", empty)
            with self._lock:
                table = self._opened.setdefault(encoder_id, table)
        if _dim(table) != dim:
            raise InvalidVectorError(
                f"content of encoder {encoder_id!r} has the length {_dim(table)} in this home, not {dim}: "
                "send vectors of one encoder under one encoder id",
                field="content",
            )
        return table

    def write(self, encoder_id: str, vectors: Mapping[str, Float32Array]) -> None:
        """Write checked vectors durably, over those that are there.

        Raises
        ------
        InvalidVectorError
            Vectors of an encoder that had none yet differ in length.
        """
        ids = list(vectors)
        table = self.table(encoder_id)
        wanted = _dim(table) if table is not None else len(vectors[ids[0]])
        lengths = {len(vector) for vector in vectors.values()}
        if lengths != {wanted}:
            raise InvalidVectorError(
                f"content of encoder {encoder_id!r} has the lengths {sorted(lengths)} where {wanted} is needed: "
                "send vectors of one encoder under one encoder id",
                field="content",
            )
        rows = content_table(encoder_id, ids, np.stack([np.asarray(vectors[i], dtype=np.float32) for i in ids]))
        self.create(encoder_id, wanted).upsert(rows)

    def read(self, encoder_id: str, track_ids: Sequence[str] | None) -> tuple[list[str], Float32Array]:
        """Read vectors; see `Store.content`."""
        table = self.table(encoder_id)
        if table is None:
            return [], np.zeros((0, 0), dtype=np.float32)
        rows = table.read(columns=["track_id", "content"], keys=track_ids)
        return list(rows["track_id"].to_pylist()), column_vectors(rows["content"])

    def ids(self, encoder_id: str) -> pa.ChunkedArray:
        """Give the ids of all tracks with a vector; see `Store.heard_ids`."""
        table = self.table(encoder_id)
        if table is None:
            return pa.chunked_array([], pa.string())
        return table.read(columns=["track_id"])["track_id"]


def _dim(table: Table) -> int:
    return int(table.schema.field("content").type.list_size)
